"""A small space, a table of scores, and a recorded history: what the tests of the loop share."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, Record, Report, Trial
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.loading import find_controller, load_controller
from nas_fpn.search.loop import Loop
from nas_fpn.search.plan import Baseline, Due, Evaluate, NeckFacts, Plan

COUNTS = (2, 4, 3, 4)


def neck(genotype: Genotype) -> str:
    """The first choice is idle where the second is 0: two genotypes, one neck."""
    return "".join(map(str, genotype if genotype[1] else (0, *genotype[1:])))


def facts(genotype: Genotype) -> NeckFacts:
    return NeckFacts(neck(genotype), f"cell {neck(genotype)}\n", {"params_m": sum(genotype) / 10})


PROBLEM = Problem(
    choices=tuple(Choice(f"a.choice{i}", count) for i, count in enumerate(COUNTS)),
    identity=neck,
    describe=lambda genotype: {"sum": float(sum(genotype))},
)
BASELINES = (
    Baseline("none", NeckFacts("none", "none\n", {"params_m": 0.1})),
    Baseline("fpn", facts((0, 1, 2, 3)), (0, 1, 2, 3)),
)
HEADER: Mapping[str, Any] = {
    "seed": 0,
    "space": "5ace",
    "controller": "c0de",
    "settings": {"proxy": {"steps": 300}, "budget": {"trials": 12}},
    "packages": {"nas_fpn": "0.1.0"},
    "machine": {"cpus": 2},
}


def plan(**changes: Any) -> Plan:
    given = {"problem": PROBLEM, "facts": facts, "trials": 12, "baselines": BASELINES}
    return Plan(**{**given, **changes})


def random_search(seed: int = 0, **settings: object) -> Controller:
    path = find_controller("random_search")
    return load_controller(path, PROBLEM, seed=seed, settings=settings)


def table(fault: str = "") -> Evaluate:
    """Scores looked up by text, at 100, 200 and 300 steps; some necks fail in the way named.

    A trial that was paused starts anew, as one does whose checkpoint is lost.
    A function within a function, so that Ray carries it to its workers by value.
    """

    def evaluate(due: Due) -> Iterator[Report]:
        digits = [int(c) for c in due.text if c.isdigit()] or [1]
        final = (sum((i + 2) * d for i, d in enumerate(digits)) % 17) / 20
        for steps in (100, 200, 300):
            if sum(digits) % 4 == 1 and steps == 200:
                if fault == "raise":
                    raise RuntimeError("no memory\nleft")
                if fault == "nan":
                    yield Report(steps, {"ap": float("nan")}, steps / 100)
            yield Report(steps, {"ap": final * steps / 300, "ap50": final}, steps / 100)

    return evaluate


class Scripted:
    """A controller that proposes what it is given, and remembers what it is told."""

    def __init__(self, genotypes: list[Genotype]) -> None:
        self.genotypes = genotypes
        self.asked = 0
        self.told: list[tuple[Trial, Outcome]] = []

    def ask(self) -> Trial:
        trial = Trial(self.asked, self.genotypes[self.asked % len(self.genotypes)])
        self.asked += 1
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        self.told.append((trial, outcome))


def with_loop(
    path: Path,
    act: Callable[[Loop], object],
    *,
    controller: Controller | None = None,
    header: Mapping[str, Any] = HEADER,
    **changes: Any,
) -> Any:
    """Open the record at ``path``, act on a loop over it, and close the record."""
    with Record(path) as record:
        return act(Loop(record, controller or random_search(), plan(**changes), header=header))
