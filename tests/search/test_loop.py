"""The laws of the loop: asks, answers, rejections, and a killed search that resumes as it was."""

import random
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import Record, Report, read_history
from nas_fpn.search.controller import Problem
from nas_fpn.search.halving import Halving
from nas_fpn.search.header import budget_on_record
from nas_fpn.search.local import advance, search_here
from nas_fpn.search.loop import Loop
from nas_fpn.search.outcomes import trained
from nas_fpn.search.progress import Asked, Over, Progress, Reported, Told
from tests.search.fakes import BASELINES, HEADER, Scripted, plan, random_search, table, with_loop


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


def test_baselines_come_first_then_the_controllers_trials(path: Path) -> None:
    run(path)
    entries = read_history(path).entries
    assert [entry.source for entry in entries[:3]] == [
        "baseline:none",
        "baseline:fpn",
        "controller",
    ]
    assert entries[0].genotype is None
    assert trained(entries) == 12
    assert all(entry.outcome for entry in entries)


def test_progress_follows_the_record(path: Path) -> None:
    progress = run(path)
    kinds = {Asked: "ask", Reported: "report", Told: "tell"}
    events = [event["event"] for event in read_history(path).events[1:]]
    assert [kinds[type(step)] for step in progress[:-1]] == events  # type: ignore[index]
    assert progress[-1] == Over(trained=12, exhausted=False)


def test_a_search_killed_after_any_line_resumes_to_the_same_record(tmp_path: Path) -> None:
    proposals = [(0, 1, 2, 3), (1, 3, 2, 3), (0, 3, 1, 2), (0, 1, 1, 0), (1, 1, 1, 2)]

    def search(path: Path) -> None:
        limits = {"params_m": 0.7}
        halving = Halving((100, 200))
        controller = Scripted(proposals)
        run(path, fault="raise", controller=controller, limits=limits, halving=halving, trials=3)

    whole = tmp_path / "whole.jsonl"
    search(whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    assert set(states(whole)) == {"complete", "stopped", "failed", "rejected", "repeated"}
    chance = random.Random(0)
    for count in range(len(lines)):
        path = tmp_path / f"{count}.jsonl"
        torn = lines[count][: chance.randrange(len(lines[count]))]
        path.write_bytes(b"".join(lines[:count]) + torn)
        search(path)
        assert path.read_bytes() == whole.read_bytes(), f"killed after line {count}"


def test_a_finished_search_has_nothing_to_do(path: Path) -> None:
    run(path)
    before = path.read_bytes()
    assert run(path) == [Over(trained=12, exhausted=False)]
    assert path.read_bytes() == before


def test_a_finished_search_is_extended_and_remembers_its_new_budget(path: Path) -> None:
    run(path)
    assert run(path, trials=15)[-1] == Over(trained=15, exhausted=False)
    assert budget_on_record(read_history(path)) == 15
    longer = path.with_name("longer.jsonl")
    run(longer, trials=15)
    shorter, longer_rows = (p.read_text().splitlines() for p in (path, longer))
    assert sorted(shorter) == sorted(longer_rows)
    assert longer_rows[1] == '{"event": "budget", "trials": 15}'


def test_a_known_neck_is_answered_from_the_record(path: Path) -> None:
    same = Scripted([(0, 0, 1, 1), (1, 0, 1, 1), (0, 1, 2, 3), (0, 2, 2, 3)])
    run(path, controller=same, trials=2)
    entries = read_history(path).entries
    assert states(path) == ["complete", "complete", "complete", "repeated", "repeated", "complete"]
    first, second, third = entries[2].outcome, entries[3].outcome, entries[4].outcome
    assert first and second and third
    assert (second.of, second.scores, second.steps) == (2, first.scores, 300)
    assert third.of == 1  # the baseline fpn is a member of the space
    assert [trial.number for trial, _ in same.told] == [0, 1, 2, 3]
    assert same.told[1][1].scores == {"ap": first.scores["ap"]}


def test_a_neck_in_training_is_waited_for_not_trained_twice(path: Path) -> None:
    def act(loop: Loop) -> None:
        first = loop.next()
        assert first is not None
        assert loop.next() is None or loop.entries[-1].neck != first.text
        assert [entry.outcome for entry in loop.entries[:2]] == [None, None]
        loop.report(first.number, Report(300, {"ap": 0.5}))
        loop.finish(first.number)
        assert [e.outcome and e.outcome.state for e in loop.entries[:2]] == ["complete", "repeated"]

    same = Scripted([(0, 0, 1, 1), (1, 0, 1, 1), (0, 2, 2, 2)])
    with_loop(path, act, controller=same, baselines=(), trials=3)


def test_a_neck_whose_training_failed_is_trained_for_the_next_that_waits(path: Path) -> None:
    def act(loop: Loop) -> None:
        first, second = loop.next(), loop.next()
        assert first is not None
        assert second is None
        loop.finish(first.number, failure="the worker died")
        again = loop.next()
        assert again is not None
        assert (again.number, again.text) == (1, first.text)

    same = Scripted([(0, 0, 1, 1), (1, 0, 1, 1)])
    with_loop(path, act, controller=same, baselines=(), trials=2)


def test_a_controller_that_proposes_nothing_new_ends_the_search(path: Path) -> None:
    progress = run(path, controller=Scripted([(0, 0, 1, 1), (1, 2, 0, 0)]), trials=9, free=20)
    assert progress[-1] == Over(trained=2, exhausted=True)
    assert states(path).count("repeated") == 20


def test_what_is_beyond_a_limit_is_rejected_before_training(path: Path) -> None:
    run(path, limits={"params_m": 0.55}, controller=random_search(redraws=0))
    for entry in read_history(path).entries[2:]:
        assert entry.outcome
        beyond = entry.cost["params_m"] > 0.55
        assert (entry.outcome.state == "rejected") == beyond
        if beyond:
            what = f"params_m {entry.cost['params_m']:g} is above the limit 0.55"
            assert entry.outcome.reason == what
            assert entry.reports == ()


def test_baselines_train_whatever_they_cost(path: Path) -> None:
    run(path, limits={"params_m": 0.0}, free=3)
    assert states(path) == ["complete", "complete", "rejected", "rejected", "rejected"]


def test_a_limit_on_what_is_no_cost_is_an_error(path: Path) -> None:
    with pytest.raises(RunError, match="limits: 'gmac' is no cost of a neck; there are params_m"):
        run(path, limits={"gmac": 1.0})


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raise", "RuntimeError: no memory left"), ("nan", "the score ap is nan at step 200")],
)
def test_a_failed_trial_is_recorded_with_its_reason_and_the_search_goes_on(
    path: Path, fault: str, reason: str
) -> None:
    run(path, fault=fault)
    failed = [e for e in read_history(path).entries if e.outcome and e.outcome.state == "failed"]
    assert failed
    for entry in failed:
        assert entry.outcome is not None
        assert (entry.outcome.reason, entry.outcome.scores) == (reason, {})
        assert entry.outcome.steps == 100
    assert "complete" in states(path)


def test_a_training_without_a_report_fails(path: Path) -> None:
    with_loop(path, lambda loop: list(search_here(loop, lambda due: iter(()))), trials=1)
    first = read_history(path).entries[0].outcome
    assert first is not None
    assert (first.state, first.reason) == ("failed", "the training gave no report")


def test_a_score_that_the_objective_lacks_fails_the_trial(path: Path) -> None:
    given = plan().problem
    wanted = Problem(given.choices, given.identity, given.describe, ("ap", "-latency_ms"))
    run(path, problem=wanted, trials=1)
    first = read_history(path).entries[0].outcome
    assert first is not None
    assert first.reason == "no score latency_ms at step 100"


def test_poor_trials_are_stopped_and_told_with_their_steps(path: Path) -> None:
    controller = Scripted([(0, 1 + i % 3, i % 3, i % 4) for i in range(12)])
    run(path, controller=controller, halving=Halving((100, 200), eta=2), trials=9)
    assert {"complete", "stopped"} <= set(states(path)[2:])
    assert states(path)[:2] == ["complete", "complete"]
    for trial, outcome in controller.told:
        if outcome.state == "stopped":
            entry = read_history(path).entries[trial.number + 2]
            assert outcome.steps == entry.reports[-1].steps < 300
            assert outcome.scores == {"ap": entry.reports[-1].scores["ap"]}


def test_a_proposal_that_differs_from_the_record_stops_the_resume(path: Path) -> None:
    run(path)
    with pytest.raises(RunError) as caught:
        run(path, controller=random_search(seed=1))
    message = str(caught.value)
    assert message.startswith(f"{path}: trial 2: the record has the genotype [")
    assert "but the controller now proposes [" in message
    assert message.endswith("put it back, or go on with --accept-drift")


def test_accepted_drift_tells_the_record_as_it_stands(path: Path) -> None:
    run(path, trials=4)
    recorded = [entry.genotype for entry in read_history(path).entries[2:]]
    other = Scripted([(1, 3, 2, 3), (1, 3, 2, 2), (1, 3, 2, 1), (1, 3, 2, 0), (1, 3, 1, 1)])
    run(path, controller=other, trials=5, accept_drift=True)
    assert [trial.genotype for trial, _ in other.told] == [*recorded, (1, 3, 1, 1)]
    again = Scripted(other.genotypes)
    run(path, controller=again, trials=5)  # what was accepted once is not asked about again
    assert again.told == other.told


def test_another_question_is_refused_with_every_difference(path: Path) -> None:
    run(path, trials=1)
    other = {
        **HEADER,
        "space": "0000",
        "settings": {"proxy": {"steps": 600}, "ray": {"workers": 2}},
    }
    with pytest.raises(RunError) as caught:
        run(path, header=other)
    assert str(caught.value) == (
        f"{path}:1: this run was begun as another\n"
        '  space was "5ace" and is now "0000"\n'
        "  settings.proxy.steps was 300 and is now 600\n"
        "put it back, start a run in another folder, or go on with --accept-drift"
    )
    run(path, header=other, trials=2, accept_drift=True)
    run(path, header=other, trials=3)


def test_machine_packages_and_budget_may_change(path: Path) -> None:
    run(path, trials=1)
    settings = {"proxy": {"steps": 300}, "budget": {"trials": 2}, "ray": {"workers": 4}}
    run(path, header={**HEADER, "settings": settings, "machine": {}, "packages": {}}, trials=2)
    assert trained(read_history(path).entries) == 2


def test_a_report_that_does_not_repeat_is_an_error_and_named(path: Path) -> None:
    with_loop(path, lambda loop: loop.report(loop.next().number, Report(100, {"ap": 0.5})))
    before = path.read_bytes()
    with pytest.raises(RunError, match="trial 0: at step 100 the record has"):
        run(path)
    assert path.read_bytes() == before
    run(path, accept_drift=True)
    assert read_history(path).entries[0].reports[0].scores == {"ap": 0.5}


@pytest.mark.parametrize("workers", [3, 40])
def test_trials_in_flight_at_a_kill_run_again_under_their_numbers(path: Path, workers: int) -> None:
    def start(loop: Loop) -> None:
        due = [loop.next() for _ in range(workers)]
        for one in due[1:5:2]:
            assert one is not None
            for report in table()(one):
                loop.report(one.number, report)
            loop.finish(one.number)

    with_loop(path, start, trials=30)
    asked = [(e.number, e.neck) for e in read_history(path).entries]
    run(path, trials=30)
    entries = read_history(path).entries
    assert [(e.number, e.neck) for e in entries][: len(asked)] == asked
    assert all(entry.outcome for entry in entries)
    assert trained(entries) == 30


def test_asks_never_run_past_the_budget(path: Path) -> None:
    def act(loop: Loop) -> None:
        due = [one for one in (loop.next() for _ in range(20)) if one is not None]
        assert len(due) == len(BASELINES) + 5
        assert not loop.over
        for one in due:
            loop.report(one.number, Report(300, {"ap": 0.1}))
            loop.finish(one.number)
        assert loop.over
        assert loop.next() is None

    controller = Scripted([(0, 1 + i % 3, i % 3, i % 4) for i in range(12)])
    with_loop(path, act, trials=5, controller=controller)


@pytest.mark.parametrize("genotype", [(0, 1, 2), (0, 1, 2, 4), (0, -1, 2, 3)])
def test_a_proposal_outside_the_space_is_an_error(path: Path, genotype: tuple[int, ...]) -> None:
    with pytest.raises(RunError, match=r"the controller proposes .*, but the options of the 4"):
        run(path, controller=Scripted([genotype]))


def test_an_interrupt_leaves_a_record_that_resumes(path: Path) -> None:
    def interrupted(loop: Loop) -> None:
        for step in search_here(loop, table()):
            if isinstance(step, Reported) and step.entry.number == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_loop(path, interrupted)
    run(path)
    whole = path.with_name("whole.jsonl")
    run(whole)
    assert path.read_bytes() == whole.read_bytes()


def test_one_driver_at_a_time(path: Path) -> None:
    with Record(path), pytest.raises(RunError, match="another process"):
        run(path)


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
