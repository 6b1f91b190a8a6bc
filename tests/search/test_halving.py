"""Promotion is Algorithm 2 of Li et al., read literally; who is cut could never have gone on."""

import random

import pytest

from nas_fpn.search.halving import Halving, Rungs, rung_steps


def promotable_literally(
    rungs: list[list[tuple[int, float]]], promoted: list[set[int]], eta: int
) -> tuple[int, int] | None:
    """``get_job`` of Algorithm 2 (arXiv:1810.05934), line by line; trials as (number, score).

    Which rung the promotable trial waits at, and its number.
    """
    for k in reversed(range(len(rungs))):
        size = len(rungs[k]) // eta
        candidates = sorted(rungs[k], key=lambda one: one[1], reverse=True)[:size]
        promotables = [number for number, _ in candidates if number not in promoted[k]]
        if promotables:
            return k, promotables[0]
    return None


@pytest.mark.parametrize("eta", [2, 3, 4])
@pytest.mark.parametrize("workers", [1, 5])
@pytest.mark.parametrize("seed", range(8))
def test_who_is_promoted_is_what_the_paper_says(eta: int, workers: int, seed: int) -> None:
    chance = random.Random(f"{eta}/{workers}/{seed}")
    halving = Halving((1, eta, eta**2), eta, promotes=True)
    mine = Rungs(halving)
    literal: list[list[tuple[int, float]]] = [[] for _ in halving.rungs]
    promoted: list[set[int]] = [set() for _ in halving.rungs]
    under_way: list[tuple[int, int]] = []  # number and the rung that it trains to
    asked = promotions = 0
    while asked < 150 or under_way:
        if asked < 150 and len(under_way) < workers:
            expected = promotable_literally(literal, promoted, eta)
            assert mine.promotable() == (None if expected is None else expected[1])
            if expected is None:
                under_way.append((asked, 0))
                asked += 1
            else:
                rung, number = expected
                promoted[rung].add(number)
                mine.promote(number)
                promotions += 1
                if rung + 1 < len(halving.rungs):
                    under_way.append((number, rung + 1))
        else:
            number, rung = under_way.pop(chance.randrange(len(under_way)))
            score = chance.randrange(40) / 40  # ties are common
            literal[rung].append((number, score))
            mine.enter(number, halving.rungs[rung], score)
    assert promotions > 150 // eta / 2


@pytest.mark.parametrize("seed", range(20))
def test_who_is_called_hopeless_would_never_be_promoted(seed: int) -> None:
    """Rungs that lose the hopeless promote the same trials as rungs that keep them."""
    chance = random.Random(seed)
    eta, trials, workers = chance.choice([2, 3]), chance.randrange(1, 60), chance.choice([1, 4])
    halving = Halving((1, eta, eta**2), eta, promotes=True)
    cutting, keeping = Rungs(halving), Rungs(halving)
    under_way: list[tuple[int, int]] = []
    reached: dict[int, int] = {}
    asked, cut = 0, set()
    while True:
        while (number := cutting.hopeless(trials)) is not None:
            cutting.leave(number)
            cut.add(number)
        number = keeping.promotable()
        assert cutting.promotable() == number
        if number is not None and len(under_way) < workers:
            cutting.promote(number)
            keeping.promote(number)
            if reached[number] + 1 < len(halving.rungs):
                under_way.append((number, reached[number] + 1))
        elif asked < trials and len(under_way) < workers:
            under_way.append((asked, 0))
            asked += 1
        elif under_way:
            number, rung = under_way.pop(chance.randrange(len(under_way)))
            if chance.random() < 0.9:  # else the training failed
                score = chance.randrange(20) / 20
                reached[number] = rung
                for rungs in (cutting, keeping):
                    rungs.enter(number, halving.rungs[rung], score)
        else:
            break
    if trials >= 12:
        assert cut


def test_one_rung_is_told_from_another_by_its_steps() -> None:
    rungs = Rungs(Halving((10, 20), eta=2, promotes=True))
    rungs.enter(0, 10, 0.1)
    rungs.enter(1, 20, 0.9)
    rungs.enter(2, 15, 0.9)  # no rung
    assert rungs.promotable() is None
    rungs.enter(3, 10, 0.2)
    assert rungs.promotable() == 3


def test_the_stopping_form_keeps_the_best_of_those_before() -> None:
    rungs = Rungs(Halving((100,)))
    stopped = []
    for number, score in enumerate((0.5, 0.4, 0.3, 0.45, 0.6)):
        rungs.enter(number, 100, score)
        stopped.append(rungs.stops(number, 100))
    assert stopped == [False, True, True, False, False]
    assert not rungs.stops(0, 200)


@pytest.mark.parametrize(
    ("steps", "eta", "count", "rungs"),
    [(300, 3, 1, (100,)), (300, 3, 2, (33, 100)), (8, 2, 2, (2, 4)), (1000, 10, 2, (10, 100))],
)
def test_rungs_part_the_steps_by_eta(
    steps: int, eta: int, count: int, rungs: tuple[int, ...]
) -> None:
    assert rung_steps(steps, eta=eta, count=count) == rungs


@pytest.mark.parametrize(("steps", "eta", "count"), [(1, 3, 1), (2, 3, 2), (8, 2, 4), (300, 3, 9)])
def test_rungs_without_room_are_refused(steps: int, eta: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"{steps} steps have no room for {count} rung"):
        rung_steps(steps, eta=eta, count=count)


@pytest.mark.parametrize("rungs", [(), (0, 3), (3, 3), (5, 3)])
def test_rungs_that_do_not_rise_are_refused(rungs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rungs must be steps that rise from 1, but got"):
        Halving(rungs)


def test_an_eta_that_cuts_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="eta must be at least 2, but got 1"):
        Halving((10,), eta=1)
