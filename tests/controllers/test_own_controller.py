"""The controller that docs/controllers.md shows runs, learns and keeps the rules it states."""

import re
from pathlib import Path

import pytest

from nas_fpn.record import Outcome
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import find_controller, load_controller
from tests.controllers.planted import PROBLEM, race, tables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "controllers.md").read_text(encoding="utf-8")


@pytest.fixture
def climber(tmp_path: Path) -> Path:
    shown = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    path = tmp_path / "climber.py"
    path.write_text(shown[1], encoding="utf-8")
    return path


def test_it_climbs(climber: Path) -> None:
    def make(problem: Problem, seed: int) -> Controller:
        return load_controller(climber, problem, seed=seed, settings={"random_trials": 20})

    curve = race(make, tables()[0], seed=0, trials=100, workers=4)
    assert curve[-1] > curve[20]


def test_it_passes_over_what_was_stopped(climber: Path) -> None:
    def asks(stopped: float) -> list[tuple[int, ...]]:
        controller = load_controller(climber, PROBLEM, seed=0, settings={})
        asked = []
        for number in range(40):
            trial = controller.ask()
            asked.append(trial.genotype)
            score = sum(trial.genotype) / 100
            controller.tell(
                trial,
                Outcome("stopped", {"ap": stopped + score}, steps=100)
                if number % 2
                else Outcome("complete", {"ap": score}, steps=300),
            )
        return asked

    assert asks(0.0) == asks(9.0)


def test_the_page_names_every_shipped_controller() -> None:
    for path in (ROOT / "controllers").glob("*.py"):
        assert f"| `{path.stem}` |" in PAGE
        assert find_controller(path.stem) == path
