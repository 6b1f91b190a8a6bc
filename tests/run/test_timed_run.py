"""A whole run of minutes at the smallest size: its plan, its record, and how it goes on."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import ray

from nas_fpn.proxy.timing import Timing
from nas_fpn.record import read_history
from nas_fpn.run import Event, Planned, Step, follow, plan_run, read_run, search_run, watch_of
from nas_fpn.run.clock import RunClock
from nas_fpn.run.follow import is_over
from nas_fpn.run.on_ray import drive_on_ray, ray_started
from nas_fpn.run.packed import Packed
from nas_fpn.run.plan import Measured, Wishes, plan_time
from nas_fpn.run.timed import as_planned, in_time
from nas_fpn.search import Halving, Noted, Over, Told
from tests.run.test_run_search import TINY

TIMED = TINY.replace("trials = 2", "minutes = 5\ntrials = 2").replace("steps = 2", "steps = 6")


def begin(folder: Path, text: str = TIMED) -> Path:
    folder.mkdir()
    (folder / "run.toml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = begin(tmp_path_factory.mktemp("runs") / "mine")
    return folder, list(search_run(read_run(folder)))


def kinds(folder: Path) -> list[str]:
    return [event["event"] for event in read_history(folder / "history.jsonl").events]


def test_the_plan_is_shown_before_the_search_and_stands_on_record(
    searched: tuple[Path, list[Event]],
) -> None:
    folder, events = searched
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert planned.plan is not None
    assert planned.text.startswith("the plan: over after about ")
    assert 0 < planned.left < 300
    header, plan = read_history(folder / "history.jsonl").events[:2]
    assert plan["event"] == "plan"
    assert (plan["minutes"], plan["trials"], plan["steps"]) == (5.0, 2, 6)
    assert header["plan"] == {"steps": 6, "most_steps": 6}
    assert header["settings"]["budget"] == {"trials": 2}


def test_minutes_and_trials_together_end_with_whichever_is_first(
    searched: tuple[Path, list[Event]],
) -> None:
    folder, events = searched
    (over,) = [event for event in events if isinstance(event, Over)]
    assert over == Over(2, exhausted=False, late=False)
    assert "over" not in kinds(folder)
    assert (folder / "best" / "neck.py").is_file()
    assert is_over(read_history(folder / "history.jsonl"), read_run(folder).settings)


def test_the_check_takes_more_seeds_while_there_is_time(
    searched: tuple[Path, list[Event]],
) -> None:
    (check,) = [
        event
        for event in read_history(searched[0] / "history.jsonl").events
        if event["event"] == "verdict"
    ]
    assert check["seeds"] == list(range(1, 11))
    assert len(check["scores"]["trial"]) == 10


def test_a_finished_run_is_left_as_it_is(searched: tuple[Path, list[Event]]) -> None:
    folder = searched[0]
    before = (folder / "history.jsonl").read_bytes()
    events = list(search_run(read_run(folder)))
    assert (folder / "history.jsonl").read_bytes() == before
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert planned.plan is None, "nothing is timed again"


def test_without_time_nothing_more_is_begun_and_the_record_says_so(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    steps = search_run(read_run(folder), minutes="5", trials="50")
    for event in steps:
        if isinstance(event, Told):
            break
    steps.close()
    late = time.monotonic() - 300
    events = list(search_run(read_run(folder), trials="50", began=late + 10))
    assert kinds(folder)[-1] == "over"
    history = read_history(folder / "history.jsonl")
    assert all(one.outcome is not None for one in history.entries)
    assert is_over(history, read_run(folder).settings)
    (over,) = [event for event in events if isinstance(event, Over)]
    assert over.late
    again = list(search_run(read_run(folder), trials="50"))
    assert kinds(folder)[-1] == "over"
    (planned,) = [event for event in again if isinstance(event, Planned)]
    assert planned.text.endswith("of 5 min are used; for more of them: --minutes +30")
    watch = watch_of(read_run(folder))
    said = [watch.see(one, now=0.0) for one in follow(read_run(folder)) if one is not None]
    assert any("the time is over" in (line or "") for line in said)


def test_a_run_without_time_for_its_check_is_over_all_the_same(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    steps = search_run(read_run(folder))
    for event in steps:
        if isinstance(event, Over):
            break
    steps.close()
    settings = read_run(folder).settings
    assert not is_over(read_history(folder / "history.jsonl"), settings)
    for late in (290, 0):  # the second session finds that it is so, and says nothing again
        list(search_run(read_run(folder), began=time.monotonic() - late))
        assert kinds(folder)[-1] == "over"
        assert kinds(folder).count("over") == 1
        assert is_over(read_history(folder / "history.jsonl"), settings)


def test_fewer_steps_are_the_runs_own_from_then_on(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    header = {"event": "run", "version": 1, "plan": {"steps": 3, "most_steps": 6}}
    (folder / "history.jsonl").write_text(json.dumps(header) + "\n")
    assert read_run(folder).settings.proxy.steps == 3
    (folder / "run.toml").write_text(TIMED.replace("steps = 6", "steps = 9"))
    assert read_run(folder).settings.proxy.steps == 9, "of another question"
    for plan in ([], "x", {"steps": "3", "most_steps": 9}, {"steps": 99, "most_steps": 9}):
        (folder / "history.jsonl").write_text(json.dumps({**header, "plan": plan}) + "\n")
        assert read_run(folder).settings.proxy.steps == 9


def test_rungs_of_a_plan_are_the_runs_own_from_then_on(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine", TIMED.replace("steps = 6", "steps = 9"))
    run = read_run(folder)
    wishes = Wishes(
        seconds=600.0, spent=0.0, steps=(9,), evaluations=1, halving="auto", ranked=1, seeds=0
    )
    slow = Timing(step_s=4.0, evaluation_s=0.0, setup_s=0.0)
    plan = plan_time(wishes, Measured(usual=slow, dear=slow))
    planned = as_planned(run, plan).settings
    assert planned.halving == Halving((1, 3), 3, promotes=True)
    header = {"event": "run", "version": 1, "settings": {"halving": asdict(planned.halving)}}
    (folder / "history.jsonl").write_text(json.dumps(header) + "\n")
    assert read_run(folder).settings.halving == planned.halving
    without = as_planned(run, replace(plan, rungs=())).settings
    assert without.halving is None
    for other in (None, {"eta": 0, "rungs": [1]}, {"eta": 3, "rungs": [1] * 99}):
        header["settings"] = {"halving": other}
        (folder / "history.jsonl").write_text(json.dumps(header) + "\n")
        assert read_run(folder).settings.halving is None


@pytest.mark.slow
def test_as_many_trials_at_a_time_as_were_found_fastest(tmp_path: Path) -> None:
    text = TIMED.replace("workers = 0", 'workers = "auto"').replace("trials = 2", "trials = 6")
    text = text.replace("minutes = 5", "minutes = 30")  # a busy machine starts Ray for minutes
    folder = begin(tmp_path / "mine", text)
    events = list(search_run(read_run(folder), drive=drive_on_ray, started=ray_started))
    (packed,) = [event for event in events if isinstance(event, Packed)]
    assert packed.text is not None
    header, packing, plan = read_history(folder / "history.jsonl").events[:3]
    assert header["machine"]["ray"]["workers"] == "auto"
    assert header["settings"]["proxy"]["threads"] == packing["threads"]
    assert packing["event"] == "packing"
    assert packing["workers"] == plan["workers"] == packed.workers >= 1
    assert plan["slower"] >= 1
    assert not ray.is_initialized()
    again = read_run(folder)
    assert again.settings.proxy.threads == packing["threads"]
    assert watch_of(again).workers == 1
    news = [event for event in follow(again) if isinstance(event, Packed)]
    assert [event.workers for event in news] == [packed.workers]
    more = list(search_run(again, trials="+1", drive=drive_on_ray, started=ray_started))
    (kept,) = [event for event in more if isinstance(event, Packed)]
    assert (kept.workers, kept.line) == (packed.workers, None)
    assert kinds(folder).count("packing") == 1
    assert all(one.outcome for one in read_history(folder / "history.jsonl").entries)


def test_a_plan_by_itself_trains_nothing_and_leaves_what_is_prepared(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    steps = plan_run(read_run(folder), minutes="60")
    seen = []
    try:
        while True:
            seen.append(next(steps))
    except StopIteration as end:
        outlook = end.value
    assert outlook.bounded
    assert (outlook.plan.minutes, outlook.plan.trials) == (60.0, 2)
    assert outlook.threads == 1
    assert seen[-1] == Step("timing a few trainings", 1, 1)
    assert not (folder / "history.jsonl").exists()
    assert list((folder / "bank").glob("bank-*.safetensors"))


def test_minutes_of_a_command_are_bounded_by_no_number_that_nobody_wrote(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine", TINY.replace("trials = 2\n", ""))
    steps = plan_run(read_run(folder), minutes="60")
    try:
        while True:
            next(steps)
    except StopIteration as end:
        outlook = end.value
    assert outlook.plan.trials > read_run(folder).settings.budget.trials


def test_an_export_that_would_break_the_promise_is_left_and_said(tmp_path: Path) -> None:
    def slow() -> Iterator[Step]:
        time.sleep(60)
        yield Step("x", 0, 1)

    clock = RunClock(60.0, began=time.monotonic() - 66.0)
    (said,) = in_time(slow(), clock, tmp_path / "mine")
    assert isinstance(said, Noted)
    assert "mine" in said.text
