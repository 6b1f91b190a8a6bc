"""As ``ray_driver.py``, with the real proxy in the run of a folder, wounded at places.

``python -m tests.faults.real_driver '{…}'``
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from nas_fpn.run import Run, read_run, search_run
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, Progress
from tests.faults.driver import Given, said, tell
from tests.faults.ray_driver import on_ray
from tests.faults.wounded import Wounded


def real(given: Given) -> None:
    """The run of a folder."""
    places = {int(number): place for number, place in given["faults"].items()}

    def drive(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
        return on_ray(loop, Wounded(trainer, Path(given["marks"]), places), given)

    tell(search_run(read_run(Path(given["run"])), drive=drive))


if __name__ == "__main__":
    said("started", os.getpid())
    real(json.loads(sys.argv[1]))
