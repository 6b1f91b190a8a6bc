"""The laws of a loop that promotes: pauses at rungs, the best go on, a kill changes nothing."""

import random
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.record import Report, read_history
from nas_fpn.search.halving import Halving
from nas_fpn.search.local import advance, search_here
from nas_fpn.search.loop import Loop
from nas_fpn.search.outcomes import trained
from nas_fpn.search.progress import Over, Progress
from tests.search.fakes import Scripted, table, with_loop


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def run(path: Path, *, fault: str = "", **changes: Any) -> list[Progress]:
    progress: list[Progress] = with_loop(
        path, lambda loop: list(search_here(loop, table(fault))), **changes
    )
    return progress


def states(path: Path) -> list[str]:
    return [entry.outcome.state for entry in read_history(path).entries if entry.outcome]


def promoting(**changes: Any) -> dict[str, Any]:
    """A search that promotes, over proposals most of which differ."""
    proposals = [(0, 1 + i % 3, i // 3 % 3, i // 2 % 4) for i in range(40)]
    halving = Halving((100, 200), eta=2, promotes=True)
    return {"controller": Scripted(proposals), "halving": halving, **changes}


def test_every_proposal_pauses_at_its_rungs_and_the_best_are_promoted(path: Path) -> None:
    run(path, **promoting())
    entries = read_history(path).entries
    assert trained(entries) == 12
    for entry in entries:
        assert entry.outcome is not None
        assert not entry.paused
        if entry.source != "controller":
            assert (entry.outcome.state, entry.pauses) == ("complete", ())
        elif entry.outcome.state == "complete":
            assert entry.pauses == (100, 200)
        elif entry.outcome.state == "stopped" and entry.outcome.of is None:
            assert entry.outcome.steps == entry.pauses[-1]
    assert {"complete", "stopped"} <= set(states(path)[2:])
    reports = [report for entry in entries for report in entry.reports]
    assert sum(report.steps == 300 for report in reports) < sum(r.steps == 100 for r in reports)


def test_a_promoting_search_killed_after_any_line_resumes_to_the_same_record(
    tmp_path: Path,
) -> None:
    def search(path: Path) -> None:
        proposals = [(0, 1, 2, 3), (1, 3, 2, 3), (0, 3, 1, 2), (0, 1, 1, 0), (1, 1, 1, 2)]
        controller = Scripted([*proposals, (0, 2, 0, 2), (0, 3, 0, 0)])
        limits = {"params_m": 0.7}
        run(path, fault="raise", **promoting(controller=controller, trials=4, limits=limits))

    whole = tmp_path / "whole.jsonl"
    search(whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    kinds = {event["event"] for event in read_history(whole).events}
    assert {"pause", "promote"} <= kinds
    assert set(states(whole)) == {"complete", "stopped", "failed", "rejected", "repeated"}
    for count in range(len(lines)):
        path = tmp_path / f"{count}.jsonl"
        path.write_bytes(b"".join(lines[:count]) + lines[count][:count])
        search(path)
        assert path.read_bytes() == whole.read_bytes(), f"killed after line {count}"


def crowd(loop: Loop, chance: random.Random, *, workers: int, steps: int) -> bool:
    """Train with ``workers`` at once, in an order of chance, for so many steps; whether over."""
    under_way = []
    for _ in range(steps):
        while len(under_way) < workers and (due := loop.next()) is not None:
            assert due.number not in [one.number for one, _ in under_way]
            under_way.append((due, iter(table("raise")(due))))
        if not under_way:
            assert loop.over
            return True
        at = chance.randrange(len(under_way))
        due, reports = under_way[at]
        step = advance(reports)
        if isinstance(step, Report):
            if loop.report(due.number, step):
                continue
        else:
            loop.finish(due.number, failure=step)
        under_way.pop(at)
    return False


@pytest.mark.parametrize("workers", [1, 3, 16])
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_that_is_killed_again_and_again_tells_every_trial_once(
    path: Path, workers: int, seed: int
) -> None:
    chance = random.Random(f"{workers}/{seed}")
    kills, over = 0, False
    while not over:
        changes = promoting(trials=18)
        over = with_loop(
            path,
            lambda loop: crowd(loop, chance, workers=workers, steps=20 + 10 * kills),  # noqa: B023
            **changes,
        )
        if not over:  # lose the end of the record, as a machine that loses its power may
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) - chance.randrange(300)])
            kills += 1
    assert kills > 1
    entries = read_history(path).entries
    controller = changes["controller"]
    assert trained(entries) == 18
    assert all(entry.outcome is not None and not entry.paused for entry in entries)
    assert sorted(trial.number for trial, _ in controller.told) == list(range(controller.asked))
    for entry in entries:
        assert entry.pauses in {(), (100,), (100, 200)}
        assert [report.steps for report in entry.reports] in (
            [100, 200, 300][:count] for count in range(4)
        )
    again = promoting(trials=18)
    assert with_loop(path, lambda loop: loop.over, **again)
    assert again["controller"].told == controller.told


def test_a_paused_neck_is_answered_at_its_rung_and_costs_nothing(path: Path) -> None:
    same = Scripted([(0, 1, 1, 1), (0, 1, 1, 1), (0, 2, 2, 2), (0, 3, 0, 1), (0, 1, 1, 1)])
    run(path, **promoting(controller=same, trials=3, baselines=()))
    entries = read_history(path).entries
    assert trained(entries) == 3
    first, second = entries[:2]
    assert second.reports == second.pauses == ()
    assert second.outcome is not None
    assert (second.outcome.state, second.outcome.of, second.outcome.steps) == ("stopped", 0, 100)
    assert second.outcome.scores == first.reports[0].scores


def test_a_neck_in_training_is_waited_for_until_its_rung(path: Path) -> None:
    def act(loop: Loop) -> None:
        first, second = loop.next(), loop.next()
        assert first is not None
        assert second is None
        assert (first.begin, first.pause) == (0, 100)
        assert loop.report(first.number, Report(50, {"ap": 0.4}))
        assert not loop.report(first.number, Report(100, {"ap": 0.5}))
        assert [type(one).__name__ for one in loop.drain()][-2:] == ["Paused", "Told"]
        assert loop.entries[0].paused
        outcome = loop.entries[1].outcome
        assert outcome is not None
        assert (outcome.state, outcome.of, outcome.steps) == ("stopped", 0, 100)
        assert not loop.report(first.number, Report(150, {"ap": 0.5})), "a late worker is told off"

    same = Scripted([(0, 0, 1, 1), (1, 0, 1, 1), (0, 2, 2, 2)])
    with_loop(path, act, **promoting(controller=same, baselines=(), trials=2))


def test_a_promoted_trial_goes_on_from_its_rung_to_the_next(path: Path) -> None:
    def act(loop: Loop) -> None:
        due = []
        for score in (0.1, 0.2):
            one = loop.next()
            assert one is not None
            loop.report(one.number, Report(100, {"ap": score}))
        for expected in ((1, 100, 200), (2, 0, 100)):  # alone at its rung, nobody is promoted
            one = loop.next()
            assert one is not None
            assert (one.number, one.begin, one.pause) == expected
            due.append(one)
        loop.report(1, Report(200, {"ap": 0.3}))
        loop.report(2, Report(100, {"ap": 0.9}))
        loop.next()

    with_loop(path, act, **promoting(baselines=(), trials=4))
    kinds = [
        (e["event"], e["trial"], e["steps"]) for e in read_history(path).events if "steps" in e
    ]
    assert ("promote", 1, 100) in kinds
    assert ("pause", 1, 200) in kinds


def test_a_training_that_passes_its_rung_by_has_failed(path: Path) -> None:
    def act(loop: Loop) -> None:
        for steps in (150, None):
            due = loop.next()
            assert due is not None
            if steps is None:
                loop.report(due.number, Report(50, {"ap": 0.1}))
                loop.finish(due.number)
            else:
                assert not loop.report(due.number, Report(steps, {"ap": 0.1}))

    with_loop(path, act, **promoting(baselines=()))
    for entry in read_history(path).entries:
        assert entry.outcome is not None
        assert entry.outcome.reason == "the training gave no report at the rung of 100 steps"


def test_a_promoting_search_is_extended(path: Path) -> None:
    run(path, **promoting(trials=6))
    assert run(path, **promoting(trials=12))[-1] == Over(trained=12, exhausted=False)
    entries = read_history(path).entries
    assert trained(entries) == 12
    assert all(entry.outcome for entry in entries)


@pytest.mark.parametrize("trials", [1, 2, 3, 5])
def test_where_trials_are_few_the_best_of_them_is_trained_in_full(path: Path, trials: int) -> None:
    halving = Halving((100, 200), eta=3, promotes=True)
    run(path, **promoting(trials=trials, halving=halving))
    entries = [entry for entry in read_history(path).entries if not entry.is_baseline]
    whole = [e for e in entries if e.outcome is not None and e.outcome.state == "complete"]
    assert len(whole) == 1
    first = [report.scores["ap"] for entry in entries for report in entry.reports[:1]]
    assert whole[0].reports[0].scores["ap"] == max(first)


@pytest.mark.parametrize("halving", [None, Halving((100, 200), eta=2)], ids=["none", "stop"])
def test_trials_that_an_edit_of_halving_leaves_paused_are_told(
    path: Path, halving: Halving | None
) -> None:
    run(path, **promoting(trials=6))
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"event": "pause"' in line)
    path.write_bytes(b"".join(lines[: last + 1]))
    left = {one.number for one in read_history(path).entries if one.paused}
    assert left
    run(path, **promoting(trials=6, halving=halving, accept_drift=True))
    entries = read_history(path).entries
    assert all(one.outcome is not None for one in entries)
    assert {"stopped"} == {o.state for one in entries if one.number in left and (o := one.outcome)}
