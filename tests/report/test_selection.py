"""Which trials a table shows: filters, orders, and messages for what is not there."""

import pandas as pd
import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import Entry, History, Outcome, Report
from nas_fpn.report import Selection, answer_json, answer_text, frame, selected


def entry(number: int, source: str, outcome: Outcome | None, params: int = 1000) -> Entry:
    return Entry(number, source, None, f"{number:08x}", "", {"params": params}, outcome=outcome)


def complete(ap: float, fish: float = 0.0) -> Outcome:
    return Outcome("complete", {"ap": ap, "ap/fish": fish}, 300, 9.0)


PAUSED = Entry(
    *(4, "controller", None, "00000004", "", {"params": 70, "cost/x": 1.0}),
    reports=(Report(100, {"ap": 0.2}, 3.0),),
    pauses=(100,),
    paused=True,
)
HISTORY = History(
    entries=(
        entry(0, "baseline:fpn", complete(0.25, 0.9), 300),
        entry(1, "prior:panet", complete(0.5, 0.1), 200),
        entry(2, "controller", complete(0.4, 0.2), 100),
        entry(3, "controller", Outcome("stopped", {"ap": 0.45}, 100, 3.0), 400),
        PAUSED,
        entry(5, "controller", Outcome("failed", reason="ValueError: no"), 50),
        entry(6, "controller", None, 60),
    )
)


def numbers(**wanted: object) -> list[int]:
    return list(selected(frame(HISTORY), Selection(**wanted))["trial"])  # type: ignore[arg-type]


def test_nothing_wanted_is_everything_in_order() -> None:
    pd.testing.assert_frame_equal(selected(frame(HISTORY), Selection()), frame(HISTORY))


def test_scores_stand_best_first_and_costs_smallest_first_and_what_is_missing_last() -> None:
    assert numbers(sort="ap") == [1, 3, 2, 0, 4, 5, 6]
    assert numbers(sort="ap/fish")[:3] == [0, 2, 1]
    assert numbers(sort="params") == [5, 6, 4, 2, 1, 0, 3]
    assert numbers(sort="ap", reverse=True) == [4, 0, 2, 3, 1, 5, 6]
    assert numbers(sort="params", reverse=True)[0] == 3
    assert numbers(reverse=True) == [6, 5, 4, 3, 2, 1, 0]


def test_states_and_sources_are_kept() -> None:
    assert numbers(states=("paused", "stopped")) == [3, 4]
    assert numbers(states=("running",)) == [6]
    assert numbers(sources=("baseline",)) == numbers(sources=("baseline:fpn",)) == [0]
    assert numbers(sources=("prior", "baseline")) == [0, 1]
    assert numbers(sources=("controller",), states=("complete",)) == [2]
    assert numbers(sort="ap", sources=("controller",), top=2) == [3, 2]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"sort": "parms"}, r"--sort 'parms': there are trial, .*; did you mean 'params'\?"),
        ({"states": ("complet",)}, r"--state 'complet': .*did you mean 'complete'\?"),
        ({"sources": ("fpn",)}, r"--source 'fpn': there are baseline, controller, prior, base"),
    ],
)
def test_what_is_not_there_is_a_message(wanted: dict[str, object], said: str) -> None:
    with pytest.raises(RunError, match=said):
        numbers(**wanted)


def test_an_empty_record_can_be_asked_for_anything_of_it() -> None:
    wanted = Selection(sort="ap", states=("failed",), sources=("baseline",), top=3)
    assert len(selected(frame(History()), wanted)) == 0


def test_the_text_shows_what_is_wanted_and_the_verdict_of_all() -> None:
    text = answer_text(HISTORY, Selection(states=("paused", "stopped"), sort="params"))
    rows = text.splitlines()
    assert [row.split()[3] for row in rows[1:3]] == ["paused", "stopped"]
    assert "the best of 2 necks found is 00000001" in text
    assert "no trial is of this kind" in answer_text(HISTORY, Selection(states=("rejected",)))
    assert "more trials" not in answer_text(HISTORY, Selection(top=2))


def test_a_column_that_is_sorted_by_and_costs_of_ones_own_are_shown() -> None:
    own = Entry(0, "controller", None, "a", "", {"params": 1, "joules": 2.5, "ap": 9.0})
    table = frame(History(entries=(own,)))
    assert table.loc[0, "cost/joules"] == 2.5
    assert pd.isna(table.loc[0, "ap"]), "a cost is never taken for a score"
    assert table.loc[0, "cost/ap"] == 9.0
    assert "cost/joules" in answer_text(History(entries=(own,))).splitlines()[0]
    assert "ap/fish" in answer_text(HISTORY, Selection(sort="ap/fish")).splitlines()[0]
    assert "ap/fish" not in answer_text(HISTORY).splitlines()[0]


def test_json_holds_what_is_wanted() -> None:
    answer = answer_json(HISTORY, Selection(sort="ap", top=2))
    assert [trial["trial"] for trial in answer["trials"]] == [1, 3]
    assert len(answer_json(HISTORY)["trials"]) == 7
