"""As ``driver.py``, on Ray's workers; it loads nothing that only the real proxy needs.

``python -m tests.faults.ray_driver '{…}'``
"""

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from nas_fpn.search import Evaluate, Loop, Progress, nodes
from nas_fpn.search.carry import Carried
from nas_fpn.search.tune import search_on_ray
from tests.faults.driver import Given, said, search
from tests.faults.faulty import Visiting


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


if __name__ == "__main__":
    said("started", os.getpid())
    search(json.loads(sys.argv[1]), on_ray)
