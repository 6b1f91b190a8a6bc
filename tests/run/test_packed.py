"""How many trials at a time: measured once, kept by the record, and never a guess."""

import json
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import parse
from nas_fpn.proxy.packing import Died, Packing
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.record import Event, History
from nas_fpn.run import Run, Step, read_run
from nas_fpn.run import packed as packed_module
from nas_fpn.run.clock import RunClock
from nas_fpn.run.machine import Machine
from nas_fpn.run.packed import ON_CPU, Packed, pack, workers_of
from nas_fpn.run.prepare import Prepared, prepare
from nas_fpn.run.question import read_question
from tests.run.packings import outcome, run_of, shares
from tests.run.smallest import SMALLEST

NECK = parse("p3 = c3 -> conv1")
TWO = Machine(2)
ON_GPU = Machine(8, gpus=1)
GOLDEN = Path(__file__).parents[1] / "golden" / "run"
RATES = {(2, 1): 11.21, (1, 2): 8.9}


def trying(rates: dict[tuple[int, int], float]) -> tuple[list[Packing], Callable[..., Packing]]:
    seen: list[Packing] = []

    def measure(one: Packing) -> Packing:
        seen.append(one)
        return replace(one, steps_per_second=rates[one.workers, one.threads])

    return seen, measure


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


def packed_at(spent: float, how: Callable[[Packing], Packing]) -> Packed:
    """Decided when so many of a run's 100 seconds are spent."""
    clock = RunClock(100.0, began=0.0, now=lambda: spent)
    steps = pack(
        run_of(),
        lambda: NECK,
        Path("bank"),
        History(),
        machine=TWO,
        timed=True,
        clock=clock,
        try_out=how,
    )
    return outcome(steps)[1]


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


def test_without_time_for_the_rest_the_first_is_taken_and_that_is_said() -> None:
    seen, measure = trying(RATES)
    found = packed_at(71.0, measure)
    assert [one.workers for one in seen] == [2]
    assert found.text == (
        "2 trials at a time on 1 thread each: 11.2 steps a second; "
        "there was no time to try the rest"
    )


def test_trying_ends_with_the_time() -> None:
    def hangs(one: Packing) -> Packing:
        time.sleep(60.0)
        raise AssertionError("it was not ended")

    with pytest.raises(RunError, match="trying how many trials at a time are fastest had not"):
        packed_at(96.0, hangs)


def test_processes_that_die_are_no_choice_unless_all_do() -> None:
    def measure(one: Packing) -> Packing:
        if one.workers > 1:
            raise Died("exit code -9")
        return replace(one, steps_per_second=5.0)

    def dies(one: Packing) -> Packing:
        raise Died("exit code -9")

    def steps(how: Callable[[Packing], Packing]) -> Generator[Step, None, tuple[Run, Packed]]:
        nothing = History()
        return pack(run_of(), lambda: NECK, Path(), nothing, machine=TWO, timed=False, try_out=how)

    found = outcome(steps(measure))[1]
    assert found.workers == 1
    assert found.text == (
        "1 trial at a time on 2 threads: 5.0 steps a second; 2 on 1 thread each: died, exit code -9"
    )
    assert found.line is not None
    assert [one.get("died") for one in found.line["measured"]] == ["exit code -9", None]
    with pytest.raises(RunError) as fault:
        outcome(steps(dies))
    assert f"{fault.value}\n" == (GOLDEN / "packing_died.txt").read_text("utf-8")


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
    decided = run_of(workers=2, gpus_per_trial=0.0)  # there are none here
    run, found, seen = packed(run_of(workers=2), RATES)
    assert (run, seen, found.text, found.line) == (decided, [], None, None)
    _, found, seen = packed(run_of(workers=2), RATES, timed=True)
    assert [(one.workers, one.threads) for one in seen] == [(2, 1)]
    assert (found.text, found.line, found.neck) == (None, None, NECK)
    assert not packed(run_of(workers=1), RATES, timed=True)[2], "one is as fast as by itself"


def test_trials_share_a_gpu_as_is_fastest_or_as_is_asked() -> None:
    rates = {(1, 1): 10.0, (2, 1): 18.0, (4, 1): 20.0, (8, 1): 0.0}
    run, found, _ = packed(run_of(), rates, machine=ON_GPU)
    assert shares(run) == (4, 0.25, "auto")
    assert found.text is not None
    assert "8 on 1 thread each: no room" in found.text
    run, _, seen = packed(run_of(gpus_per_trial=0.5), rates, machine=ON_GPU)
    assert (shares(run), seen) == ((2, 0.5, "auto"), [])
    for share, gpus, workers in ((0.3, 1, 3), (0.4, 2, 4), (2.0, 3, 1), (2.0, 4, 2)):
        run, found, _ = packed(run_of(gpus_per_trial=share), {}, machine=Machine(8, gpus))
        assert shares(run) == (workers, share, "auto"), "what is written stays"
        assert found.line is not None
        assert (found.line["gpus_per_trial"], found.line["gpus_asked"]) == (share, share)


def test_so_many_workers_share_the_gpus_that_there_are_and_that_is_said() -> None:
    for workers, gpus, share in (
        (1, 4, 1.0),
        (2, 1, 0.5),
        (3, 2, 0.5),
        (4, 4, 1.0),
        (7, 1, 0.1428),
    ):
        for device in ("auto", "cuda"):
            asked = run_of(device, workers=workers)
            run, found, _ = packed(asked, {}, machine=Machine(8, gpus))
            assert shares(run) == (workers, share, device)
            assert found.text is not None
            assert found.text.endswith(f", {share:g} GPU each")
            assert found.line is None, "the settings say it"
    _, _, seen = packed(run_of(workers=3), {(3, 1): 9.0}, machine=Machine(8, 2), timed=True)
    assert [one.gpus for one in seen] == [2]


def test_more_workers_than_their_gpus_are_not_planned_for() -> None:
    asked = run_of(workers=4, gpus_per_trial=0.5)
    run, found, seen = packed(asked, {(2, 1): 18.0}, machine=ON_GPU, timed=True)
    assert [(one.workers, one.gpus) for one in seen] == [(2, 1)]
    assert (shares(run), found.workers) == ((2, 0.5, "auto"), 2)
    assert found.text == (
        "2 trials at a time on 1 thread each, 0.5 GPU each: there are no GPUs for [ray] workers = 4"
    )


def test_more_gpus_a_trial_than_there_are_is_wrong_now() -> None:
    for workers in (2, "auto"):
        with pytest.raises(RunError, match=r"gpus_per_trial = 2, but torch finds 1 CUDA device"):
            packed(run_of(workers=workers, gpus_per_trial=2), {}, machine=ON_GPU)
    run, _, _ = packed(run_of("cpu", workers=2, gpus_per_trial=2), {})
    assert shares(run) == (2, 0.0, "cpu"), "on the CPU nobody takes one"


def test_trials_without_a_gpu_are_measured_where_they_train(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, int]] = []

    def measure(
        bank: Path, text: str, settings: ProxySettings, *, candidates: Any, seed: int
    ) -> tuple[Packing, ...]:
        seen.append((settings.device, candidates[0].gpus))
        return tuple(replace(one, steps_per_second=1.0) for one in candidates)

    monkeypatch.setattr(packed_module, "measure_packing", measure)
    for workers in (2, "auto"):
        asked = run_of(workers=workers, gpus_per_trial=0)
        steps = pack(asked, lambda: NECK, Path(), History(), machine=Machine(2, gpus=1), timed=True)
        run, found = outcome(steps)
        assert shares(run) == (2, 0.0, "cpu")
        assert found.text is not None
        assert found.text.split("\n")[-1] == ON_CPU
    assert seen == [("cpu", 0)] * 3
    run, found, _ = packed(run_of(workers=2, gpus_per_trial=0), {})
    assert (shares(run), found.text) == ((2, 0.0, "auto"), None), "nothing is hidden from them"


def test_other_gpus_a_trial_are_asked_for_and_what_is_on_record_is_not_kept() -> None:
    rates = {(1, 1): 10.0, (2, 1): 18.0, (4, 1): 20.0, (8, 1): 0.0}
    begun: Event = {"event": "run"}
    _, first, _ = packed(run_of(), rates, machine=ON_GPU)
    assert first.line is not None
    run, found, seen = packed(run_of(), {}, begun, first.line, machine=ON_GPU)
    assert (shares(run), found.line, seen) == ((4, 0.25, "auto"), None, [])
    assert found.text is not None and found.text.endswith(", 0.25 GPU each, as on record")
    run, second, seen = packed(run_of(gpus_per_trial=0.5), {}, begun, first.line, machine=ON_GPU)
    assert (shares(run), seen) == ((2, 0.5, "auto"), [])
    assert second.line is not None
    run, found, _ = packed(run_of(gpus_per_trial=0.5), {}, begun, second.line, machine=ON_GPU)
    assert (shares(run), found.line) == ((2, 0.5, "auto"), None)
    run, found, seen = packed(run_of(), rates, begun, second.line, machine=ON_GPU)
    assert shares(run) == (4, 0.25, "auto") and seen
    run, found, _ = packed(
        run_of(gpus_per_trial=0), {(8, 1): 3.0}, begun, first.line, machine=ON_GPU
    )
    assert shares(run) == (8, 0.0, "cpu")
    assert found.line is not None


def test_without_gpus_it_is_no_matter_how_they_are_asked_for() -> None:
    _, first, _ = packed(run_of(), RATES)
    assert first.line is not None
    for asked in (run_of(gpus_per_trial=0), run_of("cpu"), run_of("cpu", gpus_per_trial=1)):
        run, found, seen = packed(asked, {}, {"event": "run"}, first.line)
        assert (run.settings.ray.workers, found.line, seen) == (2, None, [])


def test_files_and_records_from_before_auto_go_on_as_they_did() -> None:
    rates = {(1, 1): 10.0, (2, 1): 18.0, (4, 1): 20.0, (8, 1): 0.0}
    _, first, _ = packed(run_of(), rates, machine=ON_GPU)
    assert first.line is not None
    older = {key: value for key, value in first.line.items() if key != "gpus_asked"}
    for share in (0.0, "auto", 0.25):  # 0 is what nas-fpn init wrote, and measured meanwhile
        asked = run_of(gpus_per_trial=share)
        run, found, seen = packed(asked, {}, {"event": "run"}, older, machine=ON_GPU)
        assert (shares(run), found.line, seen) == ((4, 0.25, "auto"), None, [])
    asked = run_of(gpus_per_trial=0.5)
    run, found, _ = packed(asked, {}, {"event": "run"}, older, machine=ON_GPU)
    assert shares(run) == (2, 0.5, "auto")
    run, _, _ = packed(run_of("cuda", gpus_per_trial=0.0), rates, machine=ON_GPU)
    assert shares(run) == (4, 0.25, "cuda"), "that trials are on a GPU is said"


def test_cores_of_a_trial_that_are_asked_for_otherwise_are_tried_anew() -> None:
    _, first, _ = packed(run_of(), RATES)
    assert first.line is not None
    asked, rates = run_of(cpus_per_trial=2.0), {(1, 1): 5.0}
    run, found, _ = packed(asked, rates, {"event": "run"}, first.line)
    assert run.settings.ray.workers == 1
    assert found.line is not None
    assert found.line["cpus_asked"] == 2.0
    _, found, seen = packed(asked, {}, {"event": "run"}, first.line, found.line)
    assert (found.line, seen) == (None, [])
    older = {key: value for key, value in first.line.items() if key != "cpus_asked"}
    assert packed(asked, {}, {"event": "run"}, older)[1].line is None, "nobody knows"


def test_more_trials_than_cores_are_said() -> None:
    assert packed(run_of(workers=3), {})[1].text == (
        "3 trials at a time on 1 thread each: they share 2 cores, which makes each slower"
    )


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
