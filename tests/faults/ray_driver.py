"""As ``driver.py``, on Ray's workers; and with "run" the real proxy, wounded at places.

``python -m tests.faults.ray_driver '{…}'``
"""

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nas_fpn.run import Run, read_run, search_run
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Evaluate, Loop, Progress, nodes
from nas_fpn.search.carry import Carried
from nas_fpn.search.tune import search_on_ray
from tests.faults.driver import Given, said, search, tell
from tests.faults.faulty import Visiting
from tests.faults.wounded import Wounded


def on_ray(loop: Loop, evaluate: Evaluate, given: Given) -> Iterator[Progress]:
    file = Path(given["file"]) if "file" in given else None
    nodes.PATIENCE = given.get("patience", nodes.PATIENCE)
    return search_on_ray(
        loop,
        evaluate if file is None else Carried(file, partial(Visiting, evaluate)),
        workers=given["workers"],
        seconds=given.get("seconds"),
        address=given.get("address", "local"),
    )


def real(given: Given) -> None:
    """The run of a folder."""
    places = {int(number): place for number, place in given["faults"].items()}

    def drive(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
        return on_ray(loop, Wounded(trainer, Path(given["marks"]), places), given)

    tell(search_run(read_run(Path(given["run"])), drive=drive))


if __name__ == "__main__":
    said("started", os.getpid())
    asked = json.loads(sys.argv[1])
    if "run" in asked:
        real(asked)
    else:
        search(asked, on_ray)
