"""The planted tables are what they say: their best is the best, and marginals lead as promised."""

import random
from itertools import product

import pytest

from nas_fpn.record import Genotype, Outcome, Trial
from tests.controllers.planted import (
    BLOCKS,
    CHOICES,
    MEAN,
    MERGES,
    OPERANDS,
    SPREAD,
    Table,
    describe,
    identity,
    race,
    sample,
    students_t,
    tables,
)

DRAWN = [sample(chance) for chance in [random.Random("drawn")] for _ in range(4000)]
ADDITIVE, PAIRWISE, DECEPTIVE = tables()


def greedy(table: Table) -> Genotype:
    """Per choice the option of the best mean over all else."""
    scores = [table.truth(genotype) for genotype in DRAWN]
    best = []
    for i, choice in enumerate(CHOICES):
        means = []
        for option in range(choice.count):
            own = [s for s, genotype in zip(scores, DRAWN, strict=True) if genotype[i] == option]
            means.append(sum(own) / len(own))
        best.append(means.index(max(means)))
    return tuple(best)


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_no_neck_near_or_far_beats_the_known_best(table: Table) -> None:
    value, best = table.best()
    assert table.truth(best) == pytest.approx(value)
    near = [
        (*best[:i], option, *best[i + 1 :])
        for i, choice in enumerate(CHOICES)
        for option in range(choice.count)
    ]
    assert max(map(table.truth, [*DRAWN, *near])) <= value + 1e-12


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_random_necks_score_like_those_of_a_proxy(table: Table) -> None:
    scores = [table.truth(genotype) for genotype in DRAWN]
    mean = sum(scores) / len(scores)
    assert mean == pytest.approx(MEAN, abs=0.002)
    assert sum((s - mean) ** 2 for s in scores) / len(scores) == pytest.approx(SPREAD**2, rel=0.1)


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_equal_necks_have_equal_scores_and_features(table: Table) -> None:
    chance = random.Random(0)
    joined = 0
    for genotype in DRAWN[:500]:
        i = chance.randrange(len(CHOICES))
        other = (*genotype[:i], chance.randrange(CHOICES[i].count), *genotype[i + 1 :])
        if identity(genotype) == identity(other):
            joined += genotype != other
            assert describe(genotype) == describe(other)
            assert table.measured(genotype, 1) == table.measured(other, 1)
    assert joined > 50


def test_measurements_differ_between_seeds() -> None:
    assert ADDITIVE.measured(DRAWN[0], 0) != ADDITIVE.measured(DRAWN[0], 1)


def test_marginals_lead_to_the_best_of_the_additive_table_only() -> None:
    value, _ = ADDITIVE.best()
    assert ADDITIVE.truth(greedy(ADDITIVE)) == pytest.approx(value)
    for table in (PAIRWISE, DECEPTIVE):
        assert table.truth(greedy(table)) < table.best()[0] - 3 * SPREAD


def test_marginals_of_the_deceptive_table_avoid_every_good_pair() -> None:
    best = DECEPTIVE.best()[1]
    for i, operands in enumerate(OPERANDS):
        scores = {
            cell: DECEPTIVE.cell(i, cell)
            for cell in product(range(operands), range(operands), range(MERGES), range(BLOCKS))
        }
        for place, count in ((2, MERGES), (3, BLOCKS)):
            sums = [sum(s for c, s in scores.items() if c[place] == x) for x in range(count)]
            assert best[4 * i + place] == sums.index(min(sums))


def test_a_race_is_won_by_who_knows_the_best() -> None:
    class Oracle:
        def __init__(self) -> None:
            self.asked = 0

        def ask(self) -> Trial:
            self.asked += 1
            return Trial(
                self.asked - 1, PAIRWISE.best()[1] if self.asked == 3 else DRAWN[self.asked]
            )

        def tell(self, trial: Trial, outcome: Outcome) -> None:
            assert trial.number < self.asked

    curve = race(lambda problem, seed: Oracle(), PAIRWISE, seed=0, trials=20, workers=4)
    assert len(curve) == 20
    assert curve[-1] == PAIRWISE.best()[0]
    assert curve == sorted(curve)


def test_students_t_of_a_textbook_sample() -> None:
    assert students_t([1.0, 2.0, 3.0]) == pytest.approx(2.0 * 3**0.5)
