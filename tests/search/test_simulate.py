"""The simulated clock: the loop's own dynamics, told in order of completion, and known regret."""

import heapq
import random
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Report
from nas_fpn.search.bench import Measured, Table, centred
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.halving import Halving
from nas_fpn.search.loading import find_controller, load_controller
from nas_fpn.search.local import search_here
from nas_fpn.search.loop import Loop
from nas_fpn.search.memory import MemoryRecord
from nas_fpn.search.plan import Due, NeckFacts, Plan
from nas_fpn.search.progress import Asked, Over, Told
from nas_fpn.search.simulate import Replayed, TableProxy, replay, search_in_time
from tests.search.fakes import Scripted

COUNTS = (3, 4)
EVERY: list[Genotype] = list(product(*map(range, COUNTS)))
LAST = (10, 20, 30)


def name(genotype: Genotype) -> str:
    return "".join(map(str, genotype))


def seconds(genotype: Genotype) -> float:
    """Of a whole training: no two necks alike."""
    return 3.0 + 1.7 * genotype[0] + 0.45 * genotype[1]


def ap(genotype: Genotype, seed: int) -> float:
    """0.1 … 0.6; the seeds lie 0.02 apart, alike for all necks."""
    return 0.1 + 0.2 * genotype[0] + 0.03 * genotype[1] + (0.01, -0.01)[seed]


def curve(genotype: Genotype, seed: int) -> tuple[Report, ...]:
    return tuple(
        Report(steps, {"ap": ap(genotype, seed) * steps / 30}, seconds(genotype) * steps / 30)
        for steps in LAST
    )


def table(genotypes: list[Genotype] = EVERY, seeds: tuple[int, ...] = (0, 1)) -> Table:
    necks = {
        name(g): Measured(name(g), f"neck {name(g)}", {}, {seed: curve(g, seed) for seed in seeds})
        for g in genotypes
    }
    return Table("a space", {3: 8}, 64, necks, {})


PROBLEM = Problem(
    choices=tuple(Choice(f"a.choice{i}", count) for i, count in enumerate(COUNTS)),
    identity=name,
    describe=lambda genotype: {"sum": float(sum(genotype))},
)


def in_order(problem: Problem, seed: int) -> Controller:
    """Every neck once, the worst first."""
    return Scripted(EVERY)


def search(**changes: Any) -> Replayed:
    given = {"workers": 1, "trials": len(EVERY), "seed": 0, **changes}
    return replay(given.pop("table", table()), PROBLEM, given.pop("make", in_order), **given)


def random_search(problem: Problem, seed: int) -> Controller:
    return load_controller(find_controller("random_search"), problem, seed=seed, settings={})


def loop_of(record: MemoryRecord, make: Any = in_order, **changes: Any) -> Loop:
    def facts(genotype: Genotype) -> NeckFacts:
        return NeckFacts(name(genotype), f"neck {name(genotype)}")

    plan = Plan(problem=PROBLEM, facts=facts, trials=len(EVERY), **changes)
    return Loop(record, make(PROBLEM, 0), plan, header={})


@pytest.mark.parametrize("halving", [None, Halving((10, 20)), Halving((10, 20), promotes=True)])
def test_one_worker_writes_the_record_of_the_runner_in_this_process(
    halving: Halving | None,
) -> None:
    here, there = MemoryRecord(), MemoryRecord()
    proxy = TableProxy(table(), seed=3, failures=0.6)
    list(search_here(loop_of(here, random_search, halving=halving), proxy))
    list(search_in_time(loop_of(there, random_search, halving=halving), proxy, workers=1))
    assert here.events == there.events
    assert any(event["event"] == "tell" and event["state"] == "failed" for event in here.events)


@pytest.mark.parametrize("workers", [1, 2, 5, 12, 40])
def test_the_clock_is_that_of_list_scheduling(workers: int) -> None:
    free = [0.0] * workers
    for genotype in EVERY:
        heapq.heappush(free, heapq.heappop(free) + seconds(genotype))
    assert search(workers=workers).points[-1].seconds == pytest.approx(max(free))


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_trials_are_told_as_they_end_and_never_more_under_way_than_workers(workers: int) -> None:
    under_way, most, ends = 0, 0, []
    for now, progress in search_in_time(
        loop_of(MemoryRecord()), TableProxy(table(), seed=0), workers=workers
    ):
        under_way += isinstance(progress, Asked) - isinstance(progress, Told)
        most = max(most, under_way)
        if isinstance(progress, Told):
            ends.append(now)
    assert most == min(workers, len(EVERY))
    assert ends == sorted(ends) and isinstance(progress, Over)


def test_what_was_found_is_the_true_score_of_the_best_that_was_trained() -> None:
    found = [point.found for point in search().points]
    means = [0.1 + 0.2 * a + 0.03 * b for a, b in EVERY]
    assert found == pytest.approx([means[0], *means])


def test_the_neck_that_looks_best_need_not_be() -> None:
    lucky = table()
    by_luck = tuple(Report(r.steps, {"ap": 0.9}, r.seconds) for r in curve((0, 0), 1))
    lucky.necks["00"].curves[1] = by_luck
    ends = {search(table=lucky, seed=seed).points[-1].found for seed in range(20)}
    means = {round(value, 3) for value in ends}
    assert means == {round(0.1 + 0.4 + 0.09, 3), round((0.11 + 0.9) / 2, 3)}


def test_a_stopped_trial_takes_the_time_to_its_rung() -> None:
    worst_last = Halving((10,), eta=2)
    whole = search(make=lambda problem, seed: Scripted(EVERY[::-1]), halving=worst_last)
    expected = seconds(EVERY[-1]) + sum(seconds(g) / 3 for g in EVERY[:-1])
    assert whole.points[-1].seconds == pytest.approx(expected)


def test_a_paused_trial_goes_on_from_where_it_was() -> None:
    halving = Halving((10,), eta=3, promotes=True)
    record = MemoryRecord()
    proxy = TableProxy(table(), seed=0)
    *_, (end, _) = search_in_time(loop_of(record, halving=halving), proxy, workers=1)
    promoted = {event["trial"] for event in record.events if event["event"] == "promote"}
    assert 0 < len(promoted) < len(EVERY)
    assert end == pytest.approx(
        sum(seconds(g) * (1 if n in promoted else 1 / 3) for n, g in enumerate(EVERY))
    )


def test_failures_come_as_often_as_stated_and_take_their_time() -> None:
    proxy = TableProxy(table(), seed=0, failures=0.25)
    failed = 0
    for number in range(2000):
        reports: Iterator[Report] = proxy(Due(number, "neck 11"))
        try:
            assert [report.steps for report in reports] == list(LAST)
        except RuntimeError:
            failed += 1
    assert 440 < failed < 560
    lost = search(failures=1.0)
    assert [point.found for point in lost.points] == [pytest.approx(0.1)] * (len(EVERY) + 1)
    assert 0 < lost.points[-1].seconds < search().points[-1].seconds


def test_a_neck_outside_the_table_is_rejected_for_free() -> None:
    part = [genotype for genotype in EVERY if genotype[0] != 1]
    found = search(table=table(part), trials=len(EVERY), make=random_search)
    assert found.exhausted and found.points[-1].trials == len(part)


def test_a_seed_draws_controller_curves_and_failures() -> None:
    def settings(seed: int) -> Any:
        return search(make=random_search, workers=3, seed=seed, failures=0.2)

    assert settings(1) == settings(1) != settings(2)


def test_failures_are_a_probability() -> None:
    with pytest.raises(RunError, match=r"failures must be a probability, but got 1\.5"):
        search(failures=1.5)


def test_centred_scores_keep_their_means_and_lose_the_luck_of_a_seed() -> None:
    shuffled = random.Random(0).sample(EVERY, len(EVERY))
    plain, shifted = table(shuffled), centred(table(shuffled))
    for neck, measured in shifted.necks.items():
        assert measured.mean("ap") == pytest.approx(plain.necks[neck].mean("ap"))
        for zero, one in zip(measured.curves[0], measured.curves[1], strict=True):
            assert zero.scores["ap"] == pytest.approx(one.scores["ap"], abs=0.02)
    ends = [
        measured.curves[seed][-1].scores["ap"]
        for seed in (0, 1)
        for measured in shifted.necks.values()
    ]
    assert ends[: len(EVERY)] == pytest.approx(ends[len(EVERY) :])


def test_a_clock_never_goes_back() -> None:
    for workers, promotes in product((1, 4, 16), (False, True)):
        halving = Halving((10, 20), eta=2, promotes=promotes)
        points = search(workers=workers, halving=halving, make=random_search).points
        assert all(a.seconds <= b.seconds and a.trials <= b.trials for a, b in pairwise(points))
