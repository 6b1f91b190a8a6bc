"""The page of the controllers says in words what its numbers say."""

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nas_fpn.search.simulate import Point, Replayed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TRIALS, REFERENCE = 8, 4


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("controllers_page")


def searches(slope: float) -> tuple[Replayed, ...]:
    """Ten searches that find so much more with each trial, up to the best, 0.5."""
    return tuple(
        Replayed(
            tuple(Point(n, 60.0 * n, min(0.1 + slope * n + seed / 1000, 0.5)) for n in range(9)),
            exhausted=False,
        )
        for seed in range(10)
    )


def race(page: ModuleType, **slopes: float) -> Any:
    return page.Race(
        bench=SimpleNamespace(best=0.5),
        searches={
            (label, workers): searches(slope)
            for label, slope in slopes.items()
            for workers in page.WORKERS
        },
        entries=tuple(page.Entry(label, label) for label in slopes),
        trials=TRIALS,
        reference=REFERENCE,
        busy=dict.fromkeys(slopes, 1.0),
    )


def test_who_loses_to_random_search_or_to_reinforce_is_named(page: ModuleType) -> None:
    said = "\n".join(page.words(race(page, random_search=0.03, ppo=0.01, reinforce=0.05)))
    assert "- ppo LOSES to random_search at 1 worker" in said
    assert "- ppo LOSES to reinforce at 1 worker" in said
    assert "- reinforce beats random_search at 1 worker" in said


def test_equals_do_not_stand_out(page: ModuleType) -> None:
    said = "\n".join(page.words(race(page, random_search=0.03, evolution=0.03)))
    assert said.count("does not stand out from random_search") == len(page.WORKERS)


def test_the_goals_of_the_default_are_met_or_not(
    page: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "RunSettings", lambda: SimpleNamespace(controller="mine"))
    # Random finds 0.12 more in four trials: at 0.06 a trial that takes two, at 0.13 one.
    for slope, verdicts in ((0.13, ("met", "met")), (0.06, ("NOT met", "met"))):
        one, sixteen, *_ = page.words(race(page, random_search=0.03, mine=slope))
        assert one.startswith("- Goal at 1 worker") and one.endswith(f": {verdicts[0]}.")
        assert sixteen.startswith("- Goal at 16 workers") and sixteen.endswith(f": {verdicts[1]}.")


def test_what_was_never_reached_is_a_dash(page: ModuleType) -> None:
    rows = page._reach_table(race(page, random_search=0.03, ppo=0.0), REFERENCE)
    assert rows[2].startswith("| random_search | 4 (4 to ") and "| 1.00 |" in rows[2]
    assert rows[3].startswith("| ppo | – (– to –) | – |")


def test_a_chart_has_a_line_for_each_row_and_panel(page: ModuleType) -> None:
    drawn = page.chart(race(page, random_search=0.03, ppo=0.06))
    assert drawn.count("<polyline") == 2 * len(page.WORKERS)
