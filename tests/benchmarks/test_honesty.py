"""A run that searches, screens and decides is honest: 1,000 simulated runs whose truth is known."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def honesty(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("honesty")


def counted(honesty: ModuleType, runs: int, **world: object):
    case = honesty.Case("a test", **world)
    return honesty.row_of(case, [honesty.run_case(case, seed) for seed in range(runs)])


@pytest.mark.slow
def test_of_1000_runs_among_equal_necks_at_most_50_call_one_better(honesty: ModuleType) -> None:
    assert counted(honesty, 1000).false <= 50


@pytest.mark.slow
def test_of_1000_runs_at_least_800_find_and_confirm_one_neck_of_64_that_is_2_better(
    honesty: ModuleType,
) -> None:
    row = counted(honesty, 1000, planted=2.0)
    assert row.right >= 800
    assert row.false <= 50


def test_a_few_such_runs(honesty: ModuleType) -> None:
    assert counted(honesty, 15).false <= 2
    row = counted(honesty, 15, planted=2.0)
    assert row.right >= 10
    assert row.finalist >= row.right
    assert row.screened == 45


def test_with_the_default_controller_too(honesty: ModuleType) -> None:
    assert counted(honesty, 2, planted=4.0, controller="surrogate").right == 2


def test_worse_necks_win_nothing_and_cost_little(honesty: ModuleType) -> None:
    row = counted(honesty, 20, necks=-2.0)
    assert row.false == 0
    assert row.confirmed < 12


def test_a_run_is_its_seeds(honesty: ModuleType) -> None:
    case = honesty.Case("a test", planted=2.0)
    assert honesty.run_case(case, 3) == honesty.run_case(case, 3)
    assert honesty.run_case(case, 3) != honesty.run_case(case, 4)


def test_the_page_has_a_line_for_each_case(
    honesty: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(honesty, "MOST", (3,))
    rows = [counted(honesty, 2), counted(honesty, 2, planted=3.0)]
    said = honesty.page(rows, command="a command", seconds=1.0)
    assert said.count("| a test | measured | random_search | 2 |") == 2
    assert "| – | – |" in said
