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
from nas_fpn.search.local import search_here
from nas_fpn.search.loop import Loop
from nas_fpn.search.outcomes import check_report, trained
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


def test_limits_that_are_loosened_begin_a_search_anew_that_had_ended_by_them(path: Path) -> None:
    assert run(path, limits={"params_m": 0.0}, free=3)[-1] == Over(trained=0, exhausted=True)
    assert run(path, free=3, trials=2, accept_drift=True)[-1] == Over(trained=2, exhausted=False)
    before = path.read_bytes()
    assert run(path, free=3, trials=2) == [Over(trained=2, exhausted=False)]
    assert path.read_bytes() == before


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


def test_a_record_from_before_steps_were_captured_goes_on(path: Path) -> None:
    run(path, trials=1)
    settings = {"proxy": {"steps": 300, "graphs": True}, "budget": {"trials": 12}}
    run(path, header={**HEADER, "settings": settings}, trials=2)
    assert trained(read_history(path).entries) == 2


def test_how_many_steps_were_replayed_need_not_repeat(path: Path) -> None:
    before, now = ({"ap": 0.5, "replayed": part} for part in (0.98, 0.0))
    check_report(path, 0, Report(100, before), Report(100, now))
    with pytest.raises(RunError, match="go on with --accept-drift"):
        check_report(path, 0, Report(100, before), Report(100, {**now, "ap": 0.6}))


def test_a_report_that_does_not_repeat_is_an_error_and_named(path: Path) -> None:
    with_loop(path, lambda loop: loop.report(loop.next().number, Report(100, {"ap": 0.5})))
    before = path.read_bytes()
    with pytest.raises(RunError, match="trial 0: at step 100 the record has"):
        run(path)
    assert path.read_bytes() == before
    run(path, accept_drift=True)
    assert read_history(path).entries[0].reports[0].scores == {"ap": 0.5}


def test_where_trainings_do_not_repeat_the_report_on_record_stays(path: Path) -> None:
    with_loop(path, lambda loop: loop.report(loop.next().number, Report(100, {"ap": 0.5})))
    run(path, repeats=False)
    entry = read_history(path).entries[0]
    assert entry.reports[0].scores == {"ap": 0.5}
    assert entry.outcome is not None
    assert entry.outcome.state == "complete"


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
