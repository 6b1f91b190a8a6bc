"""Any Optuna sampler as a controller: TPE, NSGA-II, GP, CMA-ES and the rest, by class name.

Optuna (Akiba et al. 2019, arXiv:1907.10902), asked and told in memory. Which to take: TPESampler
for one objective and up to some thousands of trials; NSGAIISampler (Deb et al. 2002) or
NSGAIIISampler for several objectives and more than five hundred cheap trials; GPSampler for a
few dozen trials of few choices, as an ask takes seconds; CmaEsSampler where options have an order.

Where we differ from Optuna's own loop:

- Each ask makes the sampler anew with a seed of its own, so that replay gives the same
  proposals; what a sampler remembers between asks, Optuna keeps in the study.
- A neck that was asked for before is not asked for again (``redraws``): Optuna does not know that
  genotypes may be equal necks, and a converged sampler proposes the same one for ever.
- The sampler does not go through all trials at each ask to find which parameters they share.
"""

import inspect
import random
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem, generator

Plain = bool | int | float | str | None
PLAIN = {"bool", "int", "float", "str", "None"}  # what a setting may be, as annotations name it

# Abstract, or in need of more than a seed; BruteForceSampler is the one that goes through all.
NOT_OFFERED = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler")
# These learn from every trial; the others from those that they have marked as they proposed them.
BY_VALUE = ("TPESampler", "GPSampler")
STEPS = 100  # of the walk to a new neck


def controller(
    problem: Problem,
    *,
    seed: int,
    sampler: str = "TPESampler",
    sampler_settings: Mapping[str, Plain] | None = None,
    integers: bool = False,
    redraws: int = 10,
) -> "OptunaController":
    """The class ``sampler`` of ``optuna.samplers`` with the keyword arguments ``sampler_settings``.

    Every choice is categorical, its options without an order; ``integers`` makes them whole
    numbers, which CmaEsSampler needs. Several objectives make a study of several directions;
    TPE is then multivariate unless told otherwise, as it is for one.

    A proposal whose neck was asked for before is drawn again up to ``redraws`` times, then walks
    to a new neck by changing one choice after another at random; only where the walk meets none
    is it asked again, and answered from the record. Of proposals passed over Optuna is told that
    they failed, of which no sampler learns. 0 takes what the sampler says.
    """
    settings = dict(sampler_settings or {})
    if sampler == "TPESampler" and len(problem.objectives) > 1:
        settings.setdefault("multivariate", True)
    if redraws < 0:
        raise ValueError(f"redraws must be at least 0, but got {redraws}")
    _check(sampler, settings)
    if sampler == "CmaEsSampler":
        _check_cma_es(problem, settings, integers)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaController(problem, seed, sampler, settings, integers, redraws)


class OptunaController:
    """A study in memory; ask number n of ours is a trial of its own there."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        sampler: str,
        settings: dict[str, Plain],
        integers: bool,
        redraws: int,
    ) -> None:
        self._problem = problem
        self._seed = seed
        self._sampler = sampler
        self._settings = settings
        self._redraws = redraws
        self._space = {
            choice.name: _distribution(choice.count, integers) for choice in problem.choices
        }
        self._study = optuna.create_study(directions=["maximize"] * len(problem.objectives))
        self._shared: dict[str, BaseDistribution] = {}
        self._asked = 0
        self._seen: set[str] = set()
        self._open: dict[int, tuple[Genotype, optuna.Trial]] = {}
        try:
            self._make(seed)
        except ValueError as error:
            raise ValueError(f"{sampler} refuses {settings}: {error}") from error

    def ask(self) -> Trial:
        """What the sampler proposes; asks under way count as running trials."""
        number = self._asked
        if number < len(self._problem.prior):
            asked = self._fixed(self._problem.prior[number])
        else:
            asked = self._proposal(generator(self._seed, number))
        genotype = self._genotype(asked)
        if self._redraws:
            self._seen.add(self._problem.identity(genotype))
        self._open[number] = (genotype, asked)
        self._asked += 1
        return Trial(number, genotype)

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """In Optuna's words: complete and repeated are COMPLETE, failed is FAIL.

        Stopped is PRUNED with its score as the value at its steps (of one objective: Optuna
        keeps no intermediate values of several). TPE ranks the pruned by their steps, then by
        their score there, and below all that are complete; the other samplers pass them over.
        Rejected is PRUNED without a value, under a violated constraint, which TPE ranks below all
        that is allowed.
        """
        genotype, asked = self._open.pop(trial.number)
        if genotype != trial.genotype:  # a resume with drift: score what was trained instead
            self._study.tell(asked, state=TrialState.FAIL)
            if self._redraws:
                self._seen.add(self._problem.identity(trial.genotype))
            if outcome.scores:
                self._study.add_trial(self._trained(trial.genotype, outcome))
            return
        if outcome.state in {"complete", "repeated"}:
            self._study.tell(asked, self._values(outcome))
        elif outcome.state == "failed":
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            if outcome.state == "rejected":
                if self._sampler != "CmaEsSampler":  # it warns that it heeds no constraint
                    asked.set_constraint("limits", 1.0)
            else:
                for step, score in self._reached(outcome).items():
                    asked.report(score, step=step)
            self._study.tell(asked, state=TrialState.PRUNED)

    def _proposal(self, chance: random.Random) -> optuna.Trial:
        """A trial of the study whose neck is new, where one is found.

        What is passed over stays under way until then, so that samplers that keep away from
        trials under way go elsewhere.
        """
        asked = self._sampled(chance)
        passed: list[optuna.Trial] = []
        while self._redraws and self._is_old(self._genotype(asked)):
            passed.append(asked)
            if len(passed) > self._redraws:
                asked = self._fixed(self._walk(self._genotype(asked), chance))
                break
            asked = self._sampled(chance)
        for trial in passed:
            self._study.tell(trial, state=TrialState.FAIL)
        return asked

    def _sampled(self, chance: random.Random) -> optuna.Trial:
        self._study.sampler = self._make(chance.getrandbits(32))
        return self._study.ask(self._space)

    def _fixed(self, genotype: Genotype) -> optuna.Trial:
        if self._sampler in BY_VALUE:  # spare them a proposal that is not used
            self._study.sampler = optuna.samplers.RandomSampler(seed=self._seed)
        else:
            self._study.sampler = self._make(self._seed)
        self._study.enqueue_trial(dict(zip(self._space, genotype, strict=True)))
        return self._study.ask(self._space)

    def _walk(self, genotype: Genotype, chance: random.Random) -> Genotype:
        for _ in range(STEPS):
            place = chance.randrange(len(genotype))
            option = chance.randrange(self._problem.choices[place].count)
            genotype = (*genotype[:place], option, *genotype[place + 1 :])
            if not self._is_old(genotype):
                break
        return genotype

    def _is_old(self, genotype: Genotype) -> bool:
        return self._problem.identity(genotype) in self._seen

    def _genotype(self, asked: optuna.Trial) -> Genotype:
        params = asked.params
        return tuple(int(params[name]) for name in self._space)

    def _make(self, seed: int) -> BaseSampler:
        kind: Any = getattr(optuna.samplers, self._sampler)
        with warnings.catch_warnings():  # who names an experimental sampler or setting wants it
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made = self._made(kind, seed)
        # Grouped TPE finds its groups while it looks for what trials share: let it.
        return made if self._settings.get("group") else _Knowing(made, self._shared)

    def _made(self, kind: Any, seed: int) -> BaseSampler:
        if self._sampler == "QMCSampler":  # its sequence is one sequence only under one seed
            chance = optuna.samplers.RandomSampler(seed=seed)
            made = kind(seed=self._seed, independent_sampler=chance, **self._settings)
        else:
            made = kind(seed=seed, **self._settings)
        assert isinstance(made, BaseSampler)
        return made

    def _trained(self, genotype: Genotype, outcome: Outcome) -> FrozenTrial:
        stopped = outcome.state == "stopped"
        return create_trial(
            state=TrialState.PRUNED if stopped else TrialState.COMPLETE,
            params=dict(zip(self._space, genotype, strict=True)),
            distributions=self._space,
            values=None if stopped else self._values(outcome),
            intermediate_values=self._reached(outcome) if stopped else None,
        )

    def _reached(self, outcome: Outcome) -> dict[int, float]:
        """The score of a stopped trial by the steps that it was measured at."""
        values = self._values(outcome)
        return {outcome.steps: values[0]} if len(values) == 1 else {}

    def _values(self, outcome: Outcome) -> list[float]:
        return [outcome.scores[name] for name in self._problem.objectives]


class _Knowing(BaseSampler):
    """A sampler that keeps in ``shared`` which parameters all trials have in common.

    They are the same at every ask from the first on at which there are any, as every trial has
    every choice; samplers would else compare the parameters of all trials at each ask.
    """

    def __init__(self, sampler: BaseSampler, shared: dict[str, BaseDistribution]) -> None:
        self._sampler = sampler
        self._shared = shared

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        if not self._shared:
            self._shared.update(self._sampler.infer_relative_search_space(study, trial))
        return dict(self._shared)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        # It would stop the study once it has gone through all; a search ends by itself.
        if not isinstance(self._sampler, optuna.samplers.BruteForceSampler):
            self._sampler.after_trial(study, trial, state, values)


def _check(sampler: str, settings: Mapping[str, Plain]) -> None:
    offered = {
        name: inspect.signature(getattr(optuna.samplers, name)).parameters
        for name in optuna.samplers.__all__
        if inspect.isclass(getattr(optuna.samplers, name)) and name not in NOT_OFFERED
    }
    if sampler not in offered:
        raise ValueError(f"sampler must be one of {', '.join(offered)}, but got {sampler!r}")
    known = {
        name: kinds
        for name, parameter in offered[sampler].items()
        if name != "seed" and (kinds := _kinds(parameter)) <= PLAIN
    }
    unknown = sorted(set(settings) - set(known))
    if unknown:
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{sampler} has no setting {', '.join(unknown)}; there are {there}")
    for name, value in settings.items():
        kind = "None" if value is None else type(value).__name__
        if kind not in known[name] and not (kind == "int" and "float" in known[name]):
            wanted = " or ".join(sorted(known[name] - {"None"}))
            raise ValueError(f"{name} of {sampler} must be {wanted}, but got {value!r}")


def _kinds(parameter: inspect.Parameter) -> set[str]:
    """The names in an annotation, which Optuna writes as text: {"float", "None"}."""
    return set(re.findall(r"\w+", inspect.formatannotation(parameter.annotation)))


def _check_cma_es(problem: Problem, settings: Mapping[str, Plain], integers: bool) -> None:
    if not integers:
        raise ValueError(
            "CmaEsSampler needs integers = true: of categories it would draw at random"
        )
    if settings.get("consider_pruned_trials"):
        raise ValueError(
            "consider_pruned_trials = true would mix scores of different budgets: leave it out"
        )
    if len(problem.objectives) > 1:
        raise ValueError(
            f"CmaEsSampler has one objective, but the run has {', '.join(problem.objectives)}; "
            "make one of them with [soft_constraint] target = …, or take TPESampler or "
            "NSGAIISampler"
        )


def _distribution(count: int, integers: bool) -> BaseDistribution:
    if integers:
        return IntDistribution(0, count - 1)
    return CategoricalDistribution(tuple(range(count)))
