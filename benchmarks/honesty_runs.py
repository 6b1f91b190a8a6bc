"""One simulated run from its first proposal to its verdict, in a world whose truth is known.

It is what a user starts: a real controller in the real loop proposes necks, each scored once with
noise; the best are screened with new seeds; each finalist has to beat the best baseline on test
scores, as it was searched and then at its cost, seed by seed, until the decision falls. Screen and
decision are those of `nas-fpn confirm`, with its default settings. Only trainings are replaced, by
a truth and a noise.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Report
from nas_fpn.report import (
    Decision,
    Next,
    ScreeningPlan,
    VerdictPlan,
    decide,
    screen,
)
from nas_fpn.report.student import student_quantile
from nas_fpn.run.confirm_settings import ConfirmSettings
from nas_fpn.search import (
    Baseline,
    Due,
    Loop,
    NeckFacts,
    Plan,
    Problem,
    find_controller,
    load_controller,
    search_here,
)
from nas_fpn.search.bench import centred, read_table
from nas_fpn.search.memory import MemoryRecord

TABLE = Path(__file__).parent / "neckbench" / "shapes.parquet"
TRIALS = 100
FREE = 20  # proposals of known necks after which a search ends; a user's run takes 200
BASELINES = ("fpn", "panet", "bifpn")
RESIZED = " at the cost of "  # between a baseline and the finalist whose cost it has
SETTINGS = ConfirmSettings()  # of a run that sets nothing under [confirm]
SCREENING = ScreeningPlan(keep=SETTINGS.screened, finalists=SETTINGS.finalists)
LUCK = 1.0  # noise units: sd of what all necks of a seed share, as in NeckBench

Draw = Callable[[random.Random], float]  # noise of one training, in noise units


@dataclass(frozen=True)
class Case:
    """A world and what is asked of it.

    Necks are the genotypes of ``counts``. Their true scores are ``necks`` noise units above the
    baselines', one of them, drawn by the seed, ``planted`` above. A baseline re-sized to the cost
    of a neck found is ``resized`` above the baseline. ``noise`` is "normal", or
    "measured": what the seeds of a neck differ by in NeckBench. A training of a neck found has
    ``unrest`` times the noise of a baseline's.
    """

    name: str
    counts: tuple[int, ...] = (4, 4, 4)
    necks: float = 0.0
    planted: float | None = None
    resized: float = 0.0
    noise: str = "measured"
    unrest: float = 1.0
    controller: str = "random_search"
    runs: int = 1000
    seeds: tuple[int, int] = (SETTINGS.min_seeds, SETTINGS.max_seeds)


@dataclass(frozen=True)
class Result:
    """One run: the decision, the finalists, and the trainings that screen and verdict took.

    ``naive`` says whether the usual shortcut would have called a neck better: the first of the
    list against the first baseline, tested at 5 % after every seed until it is significant.
    """

    decision: Decision
    planted: str | None
    finalists: tuple[str, ...]
    screened: int
    confirmed: int
    naive: bool

    @property
    def winners(self) -> tuple[str, ...]:
        return tuple(neck for neck in self.finalists if self.decision.beats_all(neck))


def run_case(case: Case, seed: int) -> Result:
    """One run from its first proposal to its verdict."""
    world = _World(case, seed)
    record = _searched(case, world, seed)
    found = {neck: [score] for neck, score in record.items() if neck not in BASELINES}
    finalists = _screened(found, SCREENING, world)
    controls = sorted(BASELINES, key=lambda neck: -record[neck])[: SETTINGS.controls]

    least, most = case.seeds
    pairs = tuple(
        (neck, control)
        for neck in finalists
        for control in (*controls, *(f"{one}{RESIZED}{neck}" for one in controls))
    )
    plan = VerdictPlan(pairs=pairs, min_seeds=least, max_seeds=most)
    scores: dict[str, list[float]] = {neck: [] for pair in pairs for neck in pair}
    while due := decide(scores, plan).due:
        _train(scores, due, partial(world.score, split="test"))
    return Result(
        decide(scores, plan),
        world.planted,
        finalists,
        screened=sum(len(some) - 1 for some in found.values()),
        confirmed=sum(map(len, scores.values())),
        naive=_naive(record, world, plan),
    )


class _World:
    """Truth and noise of one run, all of it by the seed; equal questions have equal answers."""

    def __init__(self, case: Case, seed: int) -> None:
        self._case = case
        self._seed = seed
        self._draw = DRAWS[case.noise]()
        genotype = tuple(random.Random(f"{seed}/planted").randrange(n) for n in case.counts)
        self.planted = None if case.planted is None else str(genotype)

    def truth(self, neck: str) -> float:
        baseline, resized, _ = neck.partition(RESIZED)
        if baseline in BASELINES:
            return self._case.resized if resized else 0.0
        return self._case.planted or 0.0 if neck == self.planted else self._case.necks

    def score(self, neck: str, place: int, *, split: str = "val") -> float:
        """The score of a training with the seed at this place; 0 is the search's own."""
        common = random.Random(f"{self._seed}/{split}/{place}").gauss(0, LUCK)
        own = self._draw(random.Random(f"{self._seed}/{split}/{place}/{neck}"))
        scale = 1.0 if neck.partition(RESIZED)[0] in BASELINES else self._case.unrest
        return self.truth(neck) + common + scale * own


def _searched(case: Case, world: _World, seed: int) -> dict[str, float]:
    """The scores on val of a search, by neck."""
    choices = tuple(Choice(f"choice{i}", count) for i, count in enumerate(case.counts))
    problem = Problem(choices, str, _described)

    def facts(genotype: Genotype) -> NeckFacts:
        return NeckFacts(str(genotype), str(genotype))

    def evaluate(due: Due) -> Iterator[Report]:
        yield Report(100, {"ap": world.score(due.neck, 0)})

    plan = Plan(
        problem=problem,
        facts=facts,
        trials=TRIALS,
        free=FREE,
        baselines=tuple(Baseline(name, NeckFacts(name, name)) for name in BASELINES),
    )
    controller = load_controller(find_controller(case.controller), problem, seed=seed, settings={})
    loop = Loop(MemoryRecord(), controller, plan, header={"seed": seed})
    for _ in search_here(loop, evaluate):
        pass
    return {
        entry.neck: entry.outcome.scores["ap"]
        for entry in loop.entries
        if entry.outcome is not None and entry.outcome.state == "complete"
    }


def _described(genotype: Genotype) -> Mapping[str, float]:
    return {f"choice{i}": float(option) for i, option in enumerate(genotype)}


def _screened(
    scores: dict[str, list[float]], plan: ScreeningPlan, world: _World
) -> tuple[str, ...]:
    while due := screen(scores, plan).due:
        _train(scores, due, world.score)
    return screen(scores, plan).left


def _train(
    scores: dict[str, list[float]], due: Sequence[Next], score: Callable[[str, int], float]
) -> None:
    for one in due:
        assert one.place == len(scores[one.neck])
        scores[one.neck].append(score(one.neck, one.place))


def _naive(record: Mapping[str, float], world: _World, plan: VerdictPlan) -> bool:
    found = max((neck for neck in record if neck not in BASELINES), key=record.__getitem__)
    control = max(BASELINES, key=record.__getitem__)
    gaps: list[float] = []
    for place in range(plan.max_seeds):
        ours, theirs = (world.score(neck, place, split="test") for neck in (found, control))
        gaps.append(ours - theirs)
        n = len(gaps)
        if n >= plan.min_seeds:
            error = statistics.stdev(gaps) / math.sqrt(n)
            if statistics.fmean(gaps) > student_quantile(0.025, n - 1) * error:
                return True
    return False


@cache
def residuals() -> tuple[float, ...]:
    """What the seeds of one neck differ by in NeckBench, of all necks, with variance 1."""
    table = centred(read_table(TABLE))
    rest: list[float] = []
    for measured in table.necks.values():
        last = [curve[-1].scores["ap"] for curve in measured.curves.values()]
        rest += [score - statistics.fmean(last) for score in last]
    unit = math.sqrt(statistics.fmean(x * x for x in rest))
    return tuple(x / unit for x in rest)


def _normal() -> Draw:
    return lambda chance: chance.gauss(0, 1)


def _measured() -> Draw:
    drawn = residuals()
    return lambda chance: chance.choice(drawn)


DRAWS: Mapping[str, Callable[[], Draw]] = {"normal": _normal, "measured": _measured}
