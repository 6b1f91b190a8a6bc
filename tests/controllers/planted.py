"""Three planted tables of necks whose best is known, and a race of controllers on them.

A neck has four merge cells of two operands, a merge and a block each, the last two of which may
be left out, and repeats: 19 choices, 3e10 genotypes. A neck's true AP is a sum of parts of a
cell and of parts of neighbouring cells, so that the best is found exactly, cell by cell.

- additive: every choice speaks for itself.
- pairwise: no option is good by itself, on average over the others; pairs of them are.
- deceptive: in each cell one pair of merge and block is very good, and either half of it alone
  is bad, by so much that whoever takes the better option choice by choice ends far from the best.

Random necks have a mean of 0.30 AP and a standard deviation of 0.02, measurements one of 0.005:
what the proxy showed on hand-made necks (benchmarks/results/shapes.md).
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Controller, Problem

MEAN, SPREAD, NOISE = 0.30, 0.02, 0.005  # AP
CELLS = "abcd"
OPERANDS = (3, 4, 5, 6)  # features that cell a, b, c, d may take
MERGES, BLOCKS, REPEATS = 3, 4, 3
SUM = 0  # the merge that does not mind the order of its operands
GOOD, HALF = 0.8, -1.0  # of the deceptive pair, and of either half without the other; unscaled

CHOICES = (
    *(
        Choice(f"{cell}.{what}", count)
        for cell, operands in zip(CELLS, OPERANDS, strict=True)
        for what, count in (
            ("operand1", operands),
            ("operand2", operands),
            ("merge", MERGES),
            ("block", BLOCKS),
        )
    ),
    Choice("c.use", 2),
    Choice("d.use", 2),
    Choice("repeats", REPEATS),
)

Cell = tuple[int, int, int, int] | None  # operands, merge and block; None where it is left out
Neck = tuple[Cell, Cell, Cell, Cell, int]  # and repeats
Make = Callable[[Problem, int], Controller]


def canonical(genotype: Genotype) -> Neck:
    """The neck of a genotype: without what is idle, operands of a sum in order."""
    use = (1, 1, genotype[16], genotype[17])
    cells: list[Cell] = []
    for i in range(4):
        first, second, merge, block = genotype[4 * i : 4 * i + 4]
        if merge == SUM:
            first, second = sorted((first, second))
        cells.append((first, second, merge, block) if use[i] else None)
    return (cells[0], cells[1], cells[2], cells[3], genotype[18])


def identity(genotype: Genotype) -> str:
    return str(canonical(genotype))


def describe(genotype: Genotype) -> Mapping[str, float]:
    """True of the neck, but not all that matters: counts, cost and depth, no pairs of words."""
    *cells, repeats = canonical(genotype)
    live = [cell for cell in cells if cell is not None]
    assert isinstance(repeats, int)
    features = {
        "cells": float(len(live)),
        "repeats": float(repeats + 1),
        "depth": float(sum(max(cell[:2]) for cell in live)),
        "gmacs": (repeats + 1) * sum(1.0 + 0.5 * cell[3] + 0.25 * cell[2] for cell in live),
    }
    for merge in range(MERGES):
        features[f"merge{merge}"] = float(sum(cell[2] == merge for cell in live))
    for block in range(BLOCKS):
        features[f"block{block}"] = float(sum(cell[3] == block for cell in live))
    for operand in range(max(OPERANDS)):
        features[f"fan_out{operand}"] = float(sum(cell[:2].count(operand) for cell in live))
    return features


PROBLEM = Problem(CHOICES, identity, describe)


@dataclass(frozen=True)
class Table:
    """A planted truth: ``cell`` and ``pair`` give AP by position, ``repeats`` by its option.

    ``shift`` and ``scale`` put random necks at the mean and spread of the module's docstring.
    """

    name: str
    cell: Callable[[int, Cell], float]
    pair: Callable[[int, Cell, Cell], float]
    repeats: tuple[float, ...]
    shift: float = 0.0
    scale: float = 1.0

    def truth(self, genotype: Genotype) -> float:
        """AP without noise."""
        *cells, repeats = canonical(genotype)
        assert isinstance(repeats, int)
        value = self.repeats[repeats] + sum(self.cell(i, one) for i, one in enumerate(cells))
        value += sum(self.pair(i, cells[i], cells[i + 1]) for i in range(3))
        return self.shift + self.scale * value

    def measured(self, genotype: Genotype, seed: int) -> float:
        """AP of one training; in a run of one seed equal necks score equally."""
        noise = random.Random(f"{seed}/{identity(genotype)}").gauss(0, NOISE)
        return self.truth(genotype) + noise

    def best(self) -> tuple[float, Genotype]:
        """The largest true AP and a genotype that has it, by going from cell to cell."""
        # By what the next cell can see, merge and block: the best value so far and its cells.
        ahead: dict[tuple[int, int] | None, tuple[float, tuple[Cell, ...]]] = {}
        for i, operands in enumerate(OPERANDS):
            here: dict[tuple[int, int] | None, tuple[float, tuple[Cell, ...]]] = {}
            options: list[Cell] = list(
                product(range(operands), range(operands), range(MERGES), range(BLOCKS))
            )
            for one in options if i < 2 else [*options, None]:
                if one is not None and one[2] == SUM and one[0] > one[1]:
                    continue
                seen = one and one[2:]
                alone = self.cell(i, one)
                for before, cells in ahead.values() or [(0.0, ())]:
                    value = before + alone
                    value += self.pair(i - 1, cells[-1], one) if cells else 0.0
                    if seen not in here or value > here[seen][0]:
                        here[seen] = (value, (*cells, one))
            ahead = here
        value, cells = max(ahead.values(), key=lambda pair: pair[0])
        repeats = max(range(REPEATS), key=self.repeats.__getitem__)
        genotype = [x for one in cells for x in one or (0, 0, 0, 0)]
        use = [int(one is not None) for one in cells[2:]]
        return self.shift + self.scale * (value + self.repeats[repeats]), (
            *genotype,
            *use,
            repeats,
        )


def sample(chance: random.Random) -> Genotype:
    return tuple(chance.randrange(choice.count) for choice in CHOICES)


def additive() -> Table:
    chance = random.Random("additive")
    operand = [[chance.gauss(0, 1) for _ in range(n)] for n in OPERANDS]
    merge = [[chance.gauss(0, 1) for _ in range(MERGES)] for _ in CELLS]
    block = [[chance.gauss(0, 1) for _ in range(BLOCKS)] for _ in CELLS]

    def cell(i: int, one: Cell) -> float:
        if one is None:
            return 0.0
        words = merge[i][one[2]] + block[i][one[3]]
        return 2.0 + operand[i][one[0]] + operand[i][one[1]] + words

    return _scaled(Table("additive", cell, _no_pair, (0.0, 0.7, 1.0)))


def pairwise() -> Table:
    chance = random.Random("pairwise")
    operands = [_centred(chance, n, n, symmetrical=True) for n in OPERANDS]
    inside = [_centred(chance, MERGES, BLOCKS) for _ in CELLS]
    merges = [_centred(chance, MERGES, MERGES) for _ in range(3)]
    blocks = [_centred(chance, BLOCKS, BLOCKS) for _ in range(3)]

    def cell(i: int, one: Cell) -> float:
        if one is None:
            return 0.0
        return operands[i][one[0]][one[1]] + inside[i][one[2]][one[3]]

    def pair(i: int, one: Cell, after: Cell) -> float:
        if one is None or after is None:
            return 0.0
        return merges[i][one[2]][after[2]] + blocks[i][one[3]][after[3]]

    return _scaled(Table("pairwise", cell, pair, (0.0, 0.0, 0.0)))


def deceptive() -> Table:
    chance = random.Random("deceptive")
    operand = [[chance.gauss(0, 0.4) for _ in range(n)] for n in OPERANDS]
    lures = [(1 + chance.randrange(MERGES - 1), chance.randrange(BLOCKS)) for _ in CELLS]

    def cell(i: int, one: Cell) -> float:
        if one is None:
            return 0.0
        halves = (one[2] == lures[i][0]) + (one[3] == lures[i][1])
        return operand[i][one[0]] + operand[i][one[1]] + (0.0, HALF, GOOD)[halves]

    return _scaled(Table("deceptive", cell, _no_pair, (0.0, 0.2, 0.4)))


@cache
def tables() -> tuple[Table, ...]:
    return (additive(), pairwise(), deceptive())


def race(make: Make, table: Table, *, seed: int, trials: int, workers: int) -> list[float]:
    """The true AP of the neck that measured best, after each of ``trials`` trainings.

    Trainings last 0.5 to 1.5 hours each, ``workers`` at a time. As in a search, a neck that was
    scored before is told as repeated and costs nothing; one that equals a neck in training
    waits for it.
    """
    controller = make(PROBLEM, seed)
    clock = random.Random(f"hours/{seed}")
    training: list[tuple[float, int, Trial]] = []
    waiting: dict[str, deque[Trial]] = {}
    scored: dict[str, tuple[int, float]] = {}
    incumbent: list[float] = []
    highest, now, asked = -math.inf, 0.0, 0
    while len(incumbent) < trials:
        while len(training) < workers and asked < 20 * trials:
            trial = controller.ask()
            asked += 1
            neck = identity(trial.genotype)
            if neck in scored:
                of, score = scored[neck]
                controller.tell(trial, Outcome("repeated", {"ap": score}, 300, of=of))
            elif neck in waiting:
                waiting[neck].append(trial)
            else:
                waiting[neck] = deque()
                heapq.heappush(training, (now + clock.uniform(0.5, 1.5), trial.number, trial))
        if not training:
            break
        now, _, trial = heapq.heappop(training)
        neck, score = identity(trial.genotype), table.measured(trial.genotype, seed)
        scored[neck] = (trial.number, score)
        controller.tell(trial, Outcome("complete", {"ap": score}, 300))
        for follower in waiting.pop(neck):
            controller.tell(follower, Outcome("repeated", {"ap": score}, 300, of=trial.number))
        better = score > highest
        highest = max(highest, score)
        incumbent.append(table.truth(trial.genotype) if better else incumbent[-1])
    return incumbent + [incumbent[-1]] * (trials - len(incumbent))


def students_t(differences: list[float]) -> float:
    """How many standard errors the mean of paired differences is above 0."""
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((one - mean) ** 2 for one in differences) / (n - 1)
    return mean / math.sqrt(variance / n) if variance else math.copysign(math.inf, mean)


def _no_pair(i: int, one: Cell, after: Cell) -> float:
    return 0.0


def _centred(
    chance: random.Random, rows: int, columns: int, *, symmetrical: bool = False
) -> list[list[float]]:
    """A table of normal numbers in which every row and every column has the mean 0."""
    table = [[chance.gauss(0, 1) for _ in range(columns)] for _ in range(rows)]
    if symmetrical:
        table = [[(table[r][c] + table[c][r]) / 2 for c in range(columns)] for r in range(rows)]
    by_row = [sum(row) / columns for row in table]
    by_column = [sum(column) / rows for column in zip(*table, strict=True)]
    whole = sum(by_row) / rows
    return [
        [table[r][c] - by_row[r] - by_column[c] + whole for c in range(columns)]
        for r in range(rows)
    ]


def _scaled(table: Table) -> Table:
    chance = random.Random(f"scale of {table.name}")
    drawn = [table.truth(sample(chance)) for _ in range(4000)]
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((one - mean) ** 2 for one in drawn) / len(drawn))
    scale = SPREAD / spread
    return Table(table.name, table.cell, table.pair, table.repeats, MEAN - scale * mean, scale)
