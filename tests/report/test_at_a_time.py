"""How many trials train at a time, as a record has it."""

import pytest

from nas_fpn.record import Event, History
from nas_fpn.report.at_a_time import changed_workers, workers_on_record

PACKING: Event = {"event": "packing", "workers": 2}


def begun(workers: int | str | None, *events: Event) -> History:
    ray = {} if workers is None else {"ray": {"workers": workers}}
    return History(({"event": "run", "version": 1, "machine": ray}, *events))


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (History(), None),
        (begun(None), None),
        (begun("auto"), None),
        (begun(4), 4),
        (begun("auto", PACKING), 2),
        (begun("auto", PACKING, {"event": "workers", "workers": 6}), 6),
        (begun(4, {"event": "workers", "workers": 0}, {"event": "tell"}), 0),
    ],
)
def test_the_last_line_that_says_it_counts(history: History, said: int | None) -> None:
    assert workers_on_record(history) == said


@pytest.mark.parametrize("workers", [0, 1, 6])
def test_a_session_of_another_number_is_one_line_and_the_next_of_it_none(workers: int) -> None:
    history = begun("auto", PACKING)
    line = changed_workers(history, workers, asked="auto")
    assert line is not None
    longer = History((*history.events, line))
    assert workers_on_record(longer) == workers
    assert changed_workers(longer, workers, asked=workers) is None
    assert changed_workers(longer, 2, asked=workers) == {"event": "workers", "workers": 2}, (
        "and back"
    )


def test_what_is_said_or_not_decided_is_no_line() -> None:
    assert changed_workers(begun(4), 4, asked=4) is None
    assert changed_workers(begun(4), "auto", asked="auto") is None
    assert changed_workers(History(), 3, asked=3) is None


def test_a_new_record_has_a_line_where_fewer_train_than_were_asked_for() -> None:
    assert changed_workers(History(), 2, asked=8) == {"event": "workers", "workers": 2}
