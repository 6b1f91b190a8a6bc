"""A run as pandas frames: all that is on record, joined by the trial's number."""

import json
from pathlib import Path

import pandas as pd
import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import choices, explain, find_space, read
from nas_fpn.record import (
    Entry,
    Outcome,
    Record,
    Report,
    ask_event,
    read_history,
    report_event,
    tell_event,
)
from nas_fpn.report import Opened, frame, frames

SPACE = read(find_space("quick"))
NAMES = [choice.name for choice in choices(SPACE)]


def recorded(folder: Path) -> Path:
    """Two trials: a baseline outside the space, a neck of it; the space on record is another."""
    first_options = (0,) * len(NAMES)
    first = {"event": "run", "version": 1, "space": "0", "settings": {"space": "quick"}}
    rows = (
        Entry(0, "baseline:fpn", None, "aaaaaaaa", "", {"params": 10, "macs": 20}),
        Entry(1, "controller", first_options, "bbbbbbbb", "", {"params": 30, "joules": 0.5}),
    )
    with Record(folder / "history.jsonl") as record:
        record.append(first)
        for entry in rows:
            record.append(ask_event(entry))
            for step in (100, 200):
                report = Report(step, {"ap": step / 1000, "loss": 1.0}, step / 10)
                record.append(report_event(entry.number, report))
        record.append(tell_event(0, Outcome("complete", {"ap": 0.2}, 200, 20.0)))
    return folder


def test_the_frames_hold_all_that_is_on_record(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    history = read_history(run / "history.jsonl")
    made = frames(run)
    pd.testing.assert_frame_equal(made.trials, frame(history))
    assert list(made.reports.columns) == ["trial", "steps", "seconds", "ap", "loss"]
    assert list(made.reports["trial"]) == [0, 0, 1, 1]
    assert list(made.reports["ap"]) == [0.1, 0.2, 0.1, 0.2]
    assert made.costs.loc[1, "joules"] == 0.5
    assert pd.isna(made.costs.loc[0, "joules"])
    assert [json.loads(line) for line in made.events["json"]] == list(history.events)
    assert list(made.events["event"][:2]) == ["run", "ask"]
    joined = made.trials.set_index("trial")[["state"]].join(made.costs)
    assert list(joined["params"]) == [10, 30]


def test_choices_have_names_where_the_space_is_given(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    named = frames(run, space=SPACE).choices
    assert list(named.columns) == NAMES
    assert named.loc[0].isna().all(), "no member of the space"
    assert named.loc[1].to_dict() == dict(explain(SPACE, [0] * len(named.columns)))


def test_choices_are_numbered_where_the_space_is_not_the_one_on_record(tmp_path: Path) -> None:
    numbered = frames(recorded(tmp_path)).choices
    assert list(numbered.columns[:2]) == ["choice 0", "choice 1"]
    assert set(numbered.loc[1]) == {"0"}


def test_a_record_that_is_open_is_taken_as_it_is(tmp_path: Path) -> None:
    history = read_history(recorded(tmp_path) / "history.jsonl")
    made = frames(Opened("mine", history, space=SPACE))
    assert list(made.choices.columns) == NAMES


def test_an_empty_record_gives_empty_frames(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"event": "run", "version": 1}\n')
    made = frames(str(tmp_path))
    parts = (made.trials, made.reports, made.choices, made.costs, made.events)
    assert [len(one) for one in parts] == [0, 0, 0, 0, 1]
    with pytest.raises(RunError, match="no run: it has neither"):
        frames(tmp_path / "none")
