"""A search over a cluster on this machine that loses a worker and a node, and ends all the same.

    python -m benchmarks.loopback              # the run stays in runs/loopback
    python -m benchmarks.loopback FOLDER

A head and two nodes of Ray, each of its own processes under its own node id; as root on Linux each
node has a network and a disk of its own, so that the bank really travels. Then ``nas-fpn search``,
a ``kill -9`` of one worker, one of a whole node, and a third node that joins.
"""

import shutil
import sys
import time
from pathlib import Path

from nas_fpn.record import read_history
from nas_fpn.report import answer_text
from tests.faults.lost_nodes import search_loses

ROOT = Path(__file__).parents[1]


def main(folder: Path) -> None:
    """Search in a folder, and say what became of its trials."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    tally = search_loses(folder, say)
    print(answer_text(read_history(folder / "run" / "history.jsonl")))
    say(f"lost: {tally.lost}, doubled: {tally.doubled}")
    sys.exit(bool(tally.lost or tally.doubled))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "loopback")
