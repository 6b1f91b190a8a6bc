"""Controllers by name against a table of measured necks: what `nas-fpn simulate` does."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.language import parse_space
from nas_fpn.run.question import make_problem
from nas_fpn.search.bench import Table, centred, read_table
from nas_fpn.search.controller import Controller, Problem
from nas_fpn.search.halving import Halving
from nas_fpn.search.loading import find_controller, load_controller
from nas_fpn.search.simulate import Replayed, replay

__all__ = ["Bench", "open_bench", "simulate"]


@dataclass(frozen=True, slots=True)
class Bench:
    """A table, what its seeds' common luck is taken off, and its space as controllers see it."""

    table: Table
    problem: Problem

    @property
    def best(self) -> float:
        """The highest true score of a neck of the table: its mean over seeds."""
        return self.table.best(self.problem.objectives[0]).mean(self.problem.objectives[0])

    def halving(self, *, eta: int = 2, promotes: bool = False) -> Halving:
        """Rungs at those measured steps that are a power of ``eta`` below the last.

        Raises RunError where there are none.
        """
        curve = next(iter(next(iter(self.table.necks.values())).curves.values()))
        powers = {curve[-1].steps / eta**power for power in range(1, 32)}
        rungs = tuple(report.steps for report in curve if report.steps in powers)
        if not rungs:
            steps = ", ".join(str(report.steps) for report in curve)
            raise RunError(f"eta = {eta}: the table has no rungs; it is measured at {steps} steps")
        return Halving(rungs, eta, promotes)


def open_bench(path: Path, *, objective: str = "ap") -> Bench:
    """Read a table. Raises RunError for a file that is none, or has no such score."""
    table = centred(read_table(path))
    curve = next(iter(next(iter(table.necks.values())).curves.values()))
    if objective not in curve[-1].scores:
        there = ", ".join(curve[-1].scores)
        raise RunError(f"objective = {objective!r}: {path} has no such score; there are {there}")
    problem = make_problem(
        parse_space(table.space, file=f"the space of {path}"),
        table.in_channels,
        image_size=table.image_size,
        objectives=(objective,),
    )
    return Bench(table, problem)


def simulate(
    bench: Bench,
    controller: str,
    *,
    settings: Mapping[str, object],
    workers: int,
    trials: int,
    seeds: Iterable[int],
    failures: float = 0.0,
    halving: Halving | None = None,
) -> Iterator[Replayed]:
    """Search the table once for each seed, which is that of the controller and of all chance.

    ``controller`` is a shipped name or a path. Raises RunError for one that is not found, and for
    its settings.
    """
    file = find_controller(controller)

    def make(problem: Problem, seed: int) -> Controller:
        return load_controller(file, problem, seed=seed, settings=settings)

    for seed in seeds:
        yield replay(
            bench.table,
            bench.problem,
            make,
            workers=workers,
            trials=trials,
            seed=seed,
            failures=failures,
            halving=halving,
        )
