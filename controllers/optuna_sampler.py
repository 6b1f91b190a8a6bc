"""Any Optuna sampler as a controller: TPE, NSGA-II, GP, CMA-ES and the rest, by class name.

Optuna (Akiba et al. 2019, arXiv:1907.10902), asked and told in memory. Where we differ from its
own loop: each ask makes the sampler anew with a seed of its own, so that replay gives the same
proposals; what a sampler remembers between asks, Optuna keeps in the study.
"""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem, generator

Plain = bool | int | float | str | None

# Abstract, or in need of more than a seed; BruteForceSampler is the one that goes through all.
NOT_OFFERED = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler")


def controller(
    problem: Problem,
    *,
    seed: int,
    sampler: str = "TPESampler",
    sampler_settings: Mapping[str, Plain] | None = None,
    integers: bool = False,
) -> "OptunaSampler":
    """The class ``sampler`` of ``optuna.samplers`` with the keyword arguments ``sampler_settings``.

    Every choice is categorical, its options without an order; ``integers`` makes them whole
    numbers, which CmaEsSampler and QMCSampler need (on categories they draw at random).
    Several objectives make a study of several directions.
    """
    settings = dict(sampler_settings or {})
    _check(sampler, settings)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSampler(problem, seed, sampler, settings, integers)


class OptunaSampler:
    """A study in memory; ask number n of ours is a trial of its own there."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        sampler: str,
        settings: dict[str, Plain],
        integers: bool,
    ) -> None:
        self._objectives = problem.objectives
        self._seed = seed
        self._sampler = sampler
        self._settings = settings
        self._space = {
            choice.name: _distribution(choice.count, integers) for choice in problem.choices
        }
        self._study = optuna.create_study(directions=["maximize"] * len(problem.objectives))
        self._asked = 0
        self._open: dict[int, tuple[Genotype, optuna.Trial]] = {}

    def ask(self) -> Trial:
        """What the sampler proposes; asks under way count as running trials."""
        self._study.sampler = self._make(generator(self._seed, self._asked).getrandbits(32))
        asked = self._study.ask(self._space)
        genotype = tuple(int(asked.params[name]) for name in self._space)
        self._open[self._asked] = (genotype, asked)
        trial = Trial(self._asked, genotype)
        self._asked += 1
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """In Optuna's words: complete and repeated are COMPLETE, failed is FAIL.

        Stopped is PRUNED with its score as the value at its steps (of one objective: Optuna
        keeps no intermediate values of several). Rejected is PRUNED without a value, under a
        violated constraint, which TPE ranks below all that is allowed.
        """
        genotype, asked = self._open.pop(trial.number)
        if genotype != trial.genotype:  # a resume with drift: score what was trained instead
            self._study.tell(asked, state=TrialState.FAIL)
            if outcome.state in {"complete", "repeated"}:
                self._study.add_trial(self._trained(trial.genotype, outcome))
            return
        if outcome.state in {"complete", "repeated"}:
            self._study.tell(asked, self._values(outcome))
        elif outcome.state == "failed":
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            if outcome.state == "rejected":
                asked.set_constraint("limits", 1.0)
            elif len(self._objectives) == 1:
                asked.report(self._values(outcome)[0], step=outcome.steps)
            self._study.tell(asked, state=TrialState.PRUNED)

    def _make(self, seed: int) -> optuna.samplers.BaseSampler:
        kind: Any = getattr(optuna.samplers, self._sampler)
        with warnings.catch_warnings():  # who names an experimental sampler or setting wants it
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._made(kind, seed)

    def _made(self, kind: Any, seed: int) -> optuna.samplers.BaseSampler:
        if self._sampler == "QMCSampler":  # its sequence is one sequence only under one seed
            chance = optuna.samplers.RandomSampler(seed=seed)
            made = kind(seed=self._seed, independent_sampler=chance, **self._settings)
        else:
            made = kind(seed=seed, **self._settings)
        assert isinstance(made, optuna.samplers.BaseSampler)
        return made

    def _trained(self, genotype: Genotype, outcome: Outcome) -> optuna.trial.FrozenTrial:
        return create_trial(
            params=dict(zip(self._space, genotype, strict=True)),
            distributions=self._space,
            values=self._values(outcome),
        )

    def _values(self, outcome: Outcome) -> list[float]:
        return [outcome.scores[name] for name in self._objectives]


def _check(sampler: str, settings: Mapping[str, Plain]) -> None:
    offered = {
        name: set(inspect.signature(getattr(optuna.samplers, name)).parameters) - {"seed"}
        for name in optuna.samplers.__all__
        if inspect.isclass(getattr(optuna.samplers, name)) and name not in NOT_OFFERED
    }
    if sampler not in offered:
        raise ValueError(f"sampler must be one of {', '.join(offered)}, but got {sampler!r}")
    unknown = sorted(set(settings) - offered[sampler])
    if unknown:
        there = ", ".join(sorted(offered[sampler])) or "none"
        raise ValueError(f"{sampler} has no setting {', '.join(unknown)}; there are {there}")


def _distribution(count: int, integers: bool) -> BaseDistribution:
    if integers:
        return IntDistribution(0, count - 1)
    return CategoricalDistribution(tuple(range(count)))
