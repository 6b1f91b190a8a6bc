r"""Writes benchmarks/results/calibration.md: what ``nas-fpn calibrate`` said of runs, and necks.

    nas-fpn calibrate runs/calibrate_shapes --minutes 60 --workers 2
    nas-fpn calibrate runs/calibrate_aquarium --minutes 100 --workers 2
    python benchmarks/calibration_page.py runs/calibrate_shapes runs/calibrate_aquarium --write

``before/…`` are the same questions as commit 5e1c4ef answered them, whose proxy learned boxes of
other sizes than the detector: made there, and named by ``--as``.

Trains nothing: it reads ``calibration.json`` and ``calibration.jsonl`` of the folders.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from machine import processor

from nas_fpn.report import calibrated, calibrated_text

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--as", dest="names", default="", help="names of the runs, by comma")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    names = given.names.split(",") if given.names else [str(folder) for folder in given.folders]
    lines = [
        "# The default proxy held against training end to end",
        "",
        f"`nas-fpn calibrate RUN` of the runs below; `python benchmarks/{Path(__file__).name} "
        f"{' '.join(names)} --write` made the page. {processor()}, one thread, on a machine that "
        "had much other work: CPU seconds are larger than on an idle one.",
    ]
    if any(name.startswith("before/") for name in names):
        lines += [
            "",
            "`before/…`: the same questions at commit 5e1c4ef, whose proxy learned boxes of other "
            "sizes at its levels than the detector, and started them elsewhere.",
        ]
    for folder, name in zip(given.folders, names, strict=True):
        lines += ["", f"## {name}", "", *calibration_section(folder)]
    text = "\n".join([*lines, ""])
    print(text)
    if given.write:
        (RESULTS / "calibration.md").write_text(text, encoding="utf-8")


def calibration_section(folder: Path) -> list[str]:
    """What a calibration says, from its trainings, and the scores of its necks."""
    event = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    lines = (folder / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    made = {"event", "necks", "compared", "done", "failed", "cost", "told_apart", "chosen"}
    about = {key: value for key, value in event.items() if key not in made}
    event = calibrated(rows, necks=event["necks"], about=about)
    whole = sum(row["cpu_seconds"] for row in rows) / 60
    return [
        "```text",
        calibrated_text(event),
        "```",
        "",
        f"{len(rows)} trainings, {whole:.0f} CPU minutes. AP on val, the mean of its seeds and, in "
        "brackets, how many:",
        "",
        *_necks(event, rows),
    ]


def _necks(event: Any, rows: list[dict[str, Any]]) -> list[str]:
    labels = [event["reference"]["label"], *(one["label"] for one in event["fidelities"])]
    table = [
        f"| neck | chosen as | mmacs | {' | '.join(labels)} |",
        f"| --- | --- | --- |{' --- |' * len(labels)}",
    ]
    for neck in sorted(event["necks"], key=lambda one: one["macs"]):
        cells = []
        for label in labels:
            scores = [
                row["scores"].get(event["objective"], 0.0)
                for row in rows
                if row["neck"] == neck["neck"] and row["label"] == label
            ]
            cells.append(f"{statistics.fmean(scores):.4f} ({len(scores)})" if scores else "–")
        table.append(
            f"| {neck['neck']} | {neck['why']} | {neck['macs'] / 1e6:.1f} | {' | '.join(cells)} |"
        )
    return table


if __name__ == "__main__":
    main()
