"""How many trials at a time: measured once, kept by the record, and never a guess."""

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import parse
from nas_fpn.proxy.packing import Packing
from nas_fpn.record import Event, History
from nas_fpn.run import Run, RunSettings, Step, on_ray, read_run
from nas_fpn.run.packed import Machine, Packed, pack, settle, this_machine, workers_of
from nas_fpn.run.prepare import Prepared, prepare
from nas_fpn.run.question import read_question
from tests.run.smallest import SMALLEST

NECK = parse("p3 = c3 -> conv1")
TWO = Machine(2)
RATES = {(2, 1): 11.21, (1, 2): 8.9}


def run_of(**ray: Any) -> Run:
    given = {"ray": {"workers": "auto", **ray}}
    settings = RunSettings.model_validate(given)
    return Run(Path("runs/mine"), settings, settings.data, settings.backbone)


def trying(rates: dict[tuple[int, int], float]) -> tuple[list[Packing], Callable[..., Packing]]:
    seen: list[Packing] = []

    def measure(one: Packing) -> Packing:
        seen.append(one)
        return replace(one, steps_per_second=rates[one.workers, one.threads])

    return seen, measure


def outcome(steps: Generator[Step, None, tuple[Run, Packed]]) -> tuple[Run, Packed]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: tuple[Run, Packed] = end.value
            return result


def packed(
    run: Run,
    rates: dict[tuple[int, int], float],
    *events: Event,
    machine: Machine = TWO,
    timed: bool = False,
) -> tuple[Run, Packed, list[Packing]]:
    seen, measure = trying(rates)
    steps = pack(
        run,
        lambda: NECK,
        Path("bank"),
        History(events),
        machine=machine,
        timed=timed,
        try_out=measure,
    )
    return *outcome(steps), seen


def test_the_fastest_is_taken_and_all_are_told() -> None:
    run, found, _ = packed(run_of(), RATES)
    assert (run.settings.ray.workers, run.settings.proxy.threads, found.workers) == (2, 1, 2)
    assert found.text == (
        "2 trials at a time on 1 thread each: 11.2 steps a second; 1 on 2 threads: 8.9"
    )
    assert found.step_s == pytest.approx(2 / 11.21)
    run, found, _ = packed(run_of(), {(2, 1): 8.0, (1, 2): 9.0})
    assert (run.settings.ray.workers, run.settings.proxy.threads) == (1, 2)
    assert found.text == (
        "1 trial at a time on 2 threads: 9.0 steps a second; 2 on 1 thread each: 8.0"
    )


def test_what_is_clearly_worse_is_the_last_that_is_tried() -> None:
    rates = {(16, 1): 10.0, (8, 2): 12.0, (4, 4): 9.0, (2, 8): 99.0, (1, 16): 99.0}
    _, found, seen = packed(run_of(), rates, machine=Machine(16))
    assert [one.workers for one in seen] == [16, 8, 4]
    assert found.workers == 8


def test_processes_that_die_are_no_choice_unless_all_do() -> None:
    def measure(one: Packing) -> Packing:
        if one.workers > 1:
            raise RunError("a training that was to be timed died: exit code -9")
        return replace(one, steps_per_second=5.0)

    def dies(one: Packing) -> Packing:
        raise RunError("a training that was to be timed died: exit code -9")

    def steps(how: Callable[[Packing], Packing]) -> Generator[Step, None, tuple[Run, Packed]]:
        nothing = History()
        return pack(run_of(), lambda: NECK, Path(), nothing, machine=TWO, timed=False, try_out=how)

    assert outcome(steps(measure))[1].workers == 1
    with pytest.raises(RunError, match="exit code -9"):
        outcome(steps(dies))


def test_a_run_that_goes_on_takes_what_is_on_record() -> None:
    run, first, _ = packed(run_of(), {(2, 1): 8.0, (1, 2): 9.0})
    assert first.line is not None
    again = run_of()
    proxy = again.settings.proxy.model_copy(update={"threads": 2})  # as read_run has it
    again = replace(again, settings=again.settings.model_copy(update={"proxy": proxy}))
    assert workers_of(again, History((first.line,))) == 1
    run, found, seen = packed(again, {}, {"event": "run"}, first.line)
    assert not seen, "nothing is measured again"
    assert found.line is None
    assert (run.settings.ray.workers, run.settings.proxy.threads) == (1, 2)
    assert found.text == "1 trial at a time on 2 threads, as on record"
    run, found, seen = packed(again, {}, {"event": "run"}, first.line, machine=Machine(8))
    assert not seen, "with as many threads there is one choice"
    assert (run.settings.ray.workers, run.settings.proxy.threads) == (4, 2)
    assert found.line is not None


def test_a_record_keeps_its_threads_and_settings_lose_theirs(tmp_path: Path) -> None:
    text = "[ray]\nworkers = {}\n[proxy]\nthreads = 1\n"
    (tmp_path / "run.toml").write_text(text.format('"auto"'))
    header = '{{"event": "run", "version": 1, "settings": {{"proxy": {{"threads": 2}}}}, '
    header += '"machine": {{"ray": {{"workers": {}}}}}}}\n'
    for asked, threads in (('"auto"', 2), ("2", 1)):
        (tmp_path / "history.jsonl").write_text(header.format(asked))
        assert read_run(tmp_path).settings.proxy.threads == threads


def test_threads_that_were_measured_do_not_warm_the_backbone_up_anew(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SMALLEST)
    first, stages = prepared(read_run(tmp_path))
    assert "warming up the backbone" in stages
    header = {
        "event": "run",
        "version": 1,
        "settings": {"proxy": {"threads": 2}},
        "machine": {"ray": {"workers": "auto"}},
    }
    (tmp_path / "history.jsonl").write_text(json.dumps(header) + "\n")
    run = read_run(tmp_path)
    assert run.settings.proxy.threads == 2
    again, stages = prepared(run)
    assert "warming up the backbone" not in stages
    assert again == first, "and the features are those of the record"


def prepared(run: Run) -> tuple[Prepared, list[str]]:
    question = read_question(run)
    steps = prepare(run, question.levels, warmup_neck=question.warmup_neck)
    stages = []
    while True:
        try:
            stages.append(next(steps).stage)
        except StopIteration as end:
            return end.value, stages


def test_numbers_are_taken_as_they_are_and_measured_for_a_plan_only() -> None:
    run, found, seen = packed(run_of(workers=2), RATES)
    assert (run, seen, found.text, found.line) == (run_of(workers=2), [], None, None)
    _, found, seen = packed(run_of(workers=2), RATES, timed=True)
    assert [(one.workers, one.threads) for one in seen] == [(2, 1)]
    assert (found.text, found.line, found.neck) == (None, None, NECK)
    assert not packed(run_of(workers=1), RATES, timed=True)[2], "one is as fast as by itself"


def test_trials_share_a_gpu_as_is_fastest_or_as_is_asked() -> None:
    on_gpu = Machine(8, gpus=1)
    rates = {(1, 1): 10.0, (2, 1): 18.0, (4, 1): 20.0, (8, 1): 0.0}
    run, found, _ = packed(run_of(), rates, machine=on_gpu)
    assert (run.settings.ray.workers, run.settings.ray.gpus_per_trial) == (4, 0.25)
    assert found.text is not None
    assert "8 on 1 thread each: no room" in found.text
    _, _, seen = packed(run_of(workers=4, gpus_per_trial=0.5), rates, machine=on_gpu, timed=True)
    assert [one.gpus for one in seen] == [1], "those that there are"
    run, _, seen = packed(run_of(gpus_per_trial=0.5), rates, machine=on_gpu)
    assert (run.settings.ray.workers, run.settings.ray.gpus_per_trial, seen) == (2, 0.5, [])


def test_a_trial_that_takes_several_cores_leaves_room_for_fewer() -> None:
    rates = {(4, 2): 5.0, (2, 4): 6.0, (1, 8): 1.0}
    run, _, seen = packed(run_of(cpus_per_trial=2.0), rates, machine=Machine(8))
    assert [one.workers for one in seen] == [4, 2, 1]
    assert run.settings.ray.workers == 2
    run, _, seen = packed(run_of(cpus_per_trial=16.0), rates, machine=Machine(8))
    assert (run.settings.ray.workers, seen) == (1, []), "more than there are"


def test_a_run_that_goes_on_on_a_gpu_keeps_its_threads_and_tries_its_room() -> None:
    asked = run_of()
    proxy = asked.settings.proxy.model_copy(update={"threads": 2})
    asked = replace(asked, settings=asked.settings.model_copy(update={"proxy": proxy}))
    rates = {(1, 2): 10.0, (2, 2): 12.0, (4, 2): 0.0}
    run, _, seen = packed(asked, rates, {"event": "run"}, machine=Machine(64, gpus=1))
    assert [one.workers for one in seen] == [1, 2, 4]
    assert (run.settings.ray.workers, run.settings.proxy.threads) == (2, 2)


@contextmanager
def room_for_five(run: Run) -> Iterator[int]:
    yield 5


def test_a_cluster_takes_as_many_as_it_has_room_for_now() -> None:
    def settled(run: Run) -> tuple[Run, Packed]:
        with ExitStack() as sessions:
            steps = settle(
                run,
                read_question(run),
                Path("bank"),
                History(),
                started=room_for_five,
                sessions=sessions,
                timed=True,
            )
            return outcome(steps)

    run, found = settled(run_of(address="auto", gpus_per_trial=0.5))
    assert (run.settings.ray.workers, run.settings.ray.gpus_per_trial) == (5, 0.5)
    assert found.text is not None
    assert found.text.endswith("as many as the cluster has room for")
    assert settled(run_of(address="auto", workers=3))[1].workers == 3


def test_no_cluster_is_a_message_for_whoever_plans_or_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def none_there(*where: Any, **how: Any) -> Iterator[None]:
        raise ConnectionError("Could not find any running Ray instance.\nmore of it")
        yield

    monkeypatch.setattr(on_ray, "session", none_there)
    with (
        pytest.raises(RunError, match=r"address = auto: no cluster answers: Could not find .*\nis"),
        on_ray.ray_started(run_of(address="auto")),
    ):
        pass


def test_this_machine_has_a_core() -> None:
    machine = this_machine(run_of())
    assert machine.cores >= 1
    assert machine.gpus == 0, "trials train on the CPU where nobody says otherwise"
