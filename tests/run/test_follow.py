"""A run that is followed: the same events as its search gave, whatever of a line is written."""

from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import (
    Entry,
    Event,
    Outcome,
    Record,
    Report,
    ask_event,
    pause_event,
    promote_event,
    report_event,
    tell_event,
)
from nas_fpn.run import Begun, Checked, Watch, follow, read_run
from nas_fpn.run.settings import Run
from nas_fpn.search import Asked, Over, Paused, Promoted, Reported, Told
from nas_fpn.search.plan import FREE

QUESTION = 'baselines = ["fpn"]\n[budget]\ntrials = 2\n[confirm]\nseeds = {seeds}\n'
FIRST: Event = {"event": "run", "version": 1, "settings": {"budget": {"trials": 2}}}
SCORES = {"ap": 0.25}
COMPLETE = Outcome("complete", SCORES, 300, 9.0)


def asked(number: int, source: str = "controller") -> Event:
    return ask_event(Entry(number, source, None, f"{number:08x}", "", {}))


def told(number: int, outcome: Outcome = COMPLETE) -> Event:
    return tell_event(number, outcome)


CHECK: Event = {
    "event": "verdict",
    "split": "test",
    "objective": "ap",
    "trial": 1,
    "control": 0,
    "seeds": [1, 2],
    "scores": {"trial": [0.3, 0.4], "control": [0.3, 0.4]},
}
WHOLE: tuple[Event, ...] = (
    FIRST,
    asked(0, "baseline:fpn"),
    told(0),
    asked(1),
    report_event(1, Report(100, SCORES, 3.0)),
    pause_event(1, 100),
    asked(2),
    promote_event(1, 100),
    told(1),
    told(2, Outcome("failed", reason="ValueError: no")),
    CHECK,
)


def begun(folder: Path, seeds: int = 2) -> Run:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(QUESTION.format(seeds=seeds))
    return read_run(folder)


def record(run: Run, *events: Event) -> None:
    with Record(run.folder / "history.jsonl") as file:
        for event in events:
            file.append(event)


def test_each_line_comes_once_and_in_order_while_the_writer_has_the_lock(tmp_path: Path) -> None:
    run = begun(tmp_path)
    following = follow(run)
    assert next(following) is None, "there is no record yet"
    kinds = []
    with Record(run.folder / "history.jsonl") as file:
        for event in WHOLE:
            file.append(event)
            while (news := next(following, "over")) not in (None, "over"):
                kinds.append(type(news))
    assert news == "over"
    assert kinds == [
        *(Begun, Asked, Told, Asked, Reported, Paused, Asked, Promoted, Told, Told, Over, Checked)
    ]


def test_events_hold_what_was_known_at_their_line(tmp_path: Path) -> None:
    run = begun(tmp_path)
    record(run, FIRST)
    following = follow(run)
    assert isinstance(next(following), Begun)
    assert next(following) is None
    record(run, *WHOLE[1:])
    found = [event for event in following if event is not None]
    (stopped,) = [event for event in found if isinstance(event, Paused)]
    assert (stopped.entry.outcome, stopped.entry.pauses) == (None, (100,))
    watch = Watch("ap")
    watch.see(Begun(2, 1, (), ()), now=0.0)
    said = [line for event in found if (line := watch.see(event, now=1.0)) is not None]
    assert said[1].startswith("[2/3] trial 1 00000001: paused at step 100, ap 0.2500; ")


def test_a_torn_line_is_left_for_later_and_the_file_as_it_is(tmp_path: Path) -> None:
    run = begun(tmp_path)
    record(run, *WHOLE[:3])
    path = run.folder / "history.jsonl"
    following = follow(run)
    assert isinstance(next(following), Begun)
    assert next(following) is None
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "ask", "tri')
    assert next(following) is None
    assert path.read_bytes() == whole + b'{"event": "ask", "tri'
    path.write_bytes(whole)
    record(run, asked(1))
    assert isinstance(next(following), Asked)


def test_a_budget_that_grows_is_begun_again(tmp_path: Path) -> None:
    run = begun(tmp_path)
    record(run, *WHOLE[:-1])
    following = follow(run)
    assert isinstance(next(following), Begun)
    assert isinstance(next(following), Over)
    record(run, {"event": "budget", "trials": 5}, asked(3))
    assert next(following) is None
    again = next(following)
    assert isinstance(again, Begun)
    assert (again.trials, len(again.entries)) == (5, 3)
    assert isinstance(next(following), Asked)


def test_a_session_with_other_workers_is_shown_with_its_own(tmp_path: Path) -> None:
    run = begun(tmp_path)
    packing = {"workers": 2, "threads": 1, "gpus_per_trial": 0, "cores": 2, "gpus": 0}
    record(run, FIRST, {"event": "packing", **packing})
    following, watch = follow(run), Watch("ap")

    def shown() -> int:
        while (event := next(following)) is not None:
            watch.see(event, now=0.0)
        return watch.look(now=0.0).workers

    assert shown() == 2
    record(run, {"event": "workers", "workers": 5})
    assert shown() == 5, "as it follows"
    following, watch = follow(run), Watch("ap")
    assert shown() == 5, "and who looks later"
    record(run, {"event": "workers", "workers": 0})
    assert shown() == 1, "in the process that searches one trains at a time"


def test_another_run_in_the_same_place_begins_anew(tmp_path: Path) -> None:
    run = begun(tmp_path)
    record(run, *WHOLE[:5])
    following = follow(run)
    assert isinstance(next(following), Begun)
    assert next(following) is None
    (run.folder / "history.jsonl").unlink()
    record(run, FIRST, asked(0))
    again = next(following)
    assert isinstance(again, Begun)
    assert len(again.entries) == 1


def test_a_record_that_is_malformed_is_said(tmp_path: Path) -> None:
    run = begun(tmp_path)
    (run.folder / "history.jsonl").write_text('{"event": "nothing"}\n')
    with pytest.raises(RunError, match="the first line must be"):
        next(follow(run))


@pytest.mark.parametrize("count", range(1, len(WHOLE)))
def test_a_run_is_over_with_its_last_line_and_not_before(count: int, tmp_path: Path) -> None:
    run = begun(tmp_path)
    record(run, *WHOLE[:count])
    assert not ends(run)
    record(run, *WHOLE[count:])
    assert ends(run)


def ends(run: Run) -> bool:
    """Whether following ends with what there is."""
    return all(event is not None for event in follow(run))


def test_without_a_check_a_run_is_over_with_its_last_trial(tmp_path: Path) -> None:
    run = begun(tmp_path, seeds=0)
    record(run, *WHOLE[:-1])
    assert ends(run)


def test_without_a_neck_nothing_is_checked(tmp_path: Path) -> None:
    run = begun(tmp_path)
    failed = Outcome("failed", reason="ValueError: no")
    record(run, *WHOLE[:3], asked(1), told(1, failed), asked(2), told(2, failed))
    assert ends(run)


def test_a_check_of_another_neck_is_not_the_one_awaited(tmp_path: Path) -> None:
    run = begun(tmp_path)
    better = Outcome("complete", {"ap": 0.9}, 300)
    record(run, *WHOLE, {"event": "budget", "trials": 3}, asked(3), told(3, better))
    assert not ends(run)
    record(run, {**CHECK, "trial": 3})
    assert ends(run)


def test_a_space_that_has_nothing_new_ends_a_run(tmp_path: Path) -> None:
    run = begun(tmp_path, seeds=0)
    again = Outcome("repeated", SCORES, 300, of=0)
    free = [row for k in range(1, FREE + 1) for row in (asked(k), told(k, again))]
    record(run, *WHOLE[:3], *free[:-2])
    assert not ends(run)
    record(run, *free[-2:])
    assert ends(run)
    (last,) = [event for event in follow(run) if isinstance(event, Over)]
    assert (last.trained, last.exhausted) == (0, True)
