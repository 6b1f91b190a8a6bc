"""Controllers by name and path; every fault of their settings at once, in golden text."""

from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.search.controller import Problem
from nas_fpn.search.loading import find_controller, load_controller

GOLDEN = Path(__file__).parents[1] / "golden" / "search"
PROBLEM = Problem((Choice("width", 3),), lambda genotype: str(genotype[0]), lambda _: {})
MINE = """
from dataclasses import dataclass
from nas_fpn.record import Trial

def controller(problem, *, seed: int, step: int = 1, rate: float = 0.5,
               prior: tuple[str, ...] = ()):
    if step < 1:
        raise ValueError(f"step must be at least 1, but got {step}")
    return Mine(len(problem.choices), step, rate, prior)

@dataclass
class Mine:
    choices: int
    step: int
    rate: float
    prior: tuple[str, ...]
    def ask(self): return Trial(0, (0,) * self.choices)
    def tell(self, trial, outcome): pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def message(path: Path, **settings: object) -> str:
    with pytest.raises(RunError) as caught:
        load_controller(path, PROBLEM, seed=0, settings=settings)
    return str(caught.value).replace(f"{path.parent}/", "")


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_text().removesuffix("\n")


def test_a_shipped_controller_is_found_by_name() -> None:
    assert find_controller("random_search").name == "random_search.py"


def test_a_path_is_relative_to_the_base(mine: Path) -> None:
    assert find_controller("mine.py", base=mine.parent) == mine
    assert find_controller(str(mine)) == mine


def test_settings_reach_the_controller_in_the_types_of_its_signature(mine: Path) -> None:
    settings = {"step": 3, "rate": 2, "prior": ["fpn", "panet"]}
    made = load_controller(mine, PROBLEM, seed=0, settings=settings)
    assert (made.step, made.rate, made.prior) == (3, 2.0, ("fpn", "panet"))  # type: ignore[attr-defined]


def test_an_edited_file_is_read_again(mine: Path) -> None:
    load_controller(mine, PROBLEM, seed=0, settings={})
    mine.write_text(MINE.replace("Trial(0,", "Trial(7,"))
    assert load_controller(mine, PROBLEM, seed=0, settings={}).ask().number == 7


def test_all_wrong_settings_are_named_at_once(mine: Path) -> None:
    settings: dict[str, object] = {"stp": 2, "step": "2", "rate": True, "prior": "fpn", "zzz": 1}
    assert message(mine, **settings) == golden("wrong_settings")


def test_what_the_controller_refuses_is_named_with_its_file(mine: Path) -> None:
    assert message(mine, step=0) == golden("refused_setting")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x = 1\n", "no_controller"),
        ("def controller(problem): pass\n", "no_seed"),
        ("def controller(problem, *, seed, **rest): pass\n", "bag_of_settings"),
        ("def controller(problem, *, seed): return 3\n", "no_ask"),
        ("def controller(problem, *, seed, k: int): pass\n", "no_default"),
        ("\n\ndef controller(:\n", "not_python"),
        ("import surely_not_installed\n", "missing_module"),
    ],
)
def test_a_file_that_is_no_controller_says_what_it_lacks(
    tmp_path: Path, source: str, name: str
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    assert message(path) == golden(name)


def test_an_unknown_name_is_answered_with_the_near_miss() -> None:
    with pytest.raises(
        RunError, match="no shipped controller has this name; did you mean 'random_s"
    ):
        find_controller("randomsearch")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"controller = 'x.py': there is no file .*x\.py"):
        find_controller("x.py", base=tmp_path)
