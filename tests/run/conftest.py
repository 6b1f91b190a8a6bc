"""A search at the smallest size, done once for all tests that need a finished one."""

from pathlib import Path

import pytest

from nas_fpn.run import read_run, search_run
from tests.run.smallest import SMALLEST

SMALL = (
    """
space = "quick"
controller = "random_search"
baselines = ["none", "fpn"]
[budget]
trials = 1
"""
    + SMALLEST
    + """
[ray]
workers = 0
[report]
mirror = false
[detector]
head_depth = 1
score_threshold = 0.0
[training]
image_size = 64
steps = 3
batch_size = 2
evaluations = 1
[explain]
seeds = 2
most = 1
[confirm]
seeds = 0
screened = 0
finalists = 1
equal_cost = "none"
min_seeds = 3
max_seeds = 5
"""
)


@pytest.fixture(scope="session")
def small() -> str:
    """The question of the search."""
    return SMALL


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; who changes something takes a copy."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    folder.mkdir()
    (folder / "run.toml").write_text(SMALL)
    for _ in search_run(read_run(folder)):
        pass
    return folder
