"""Random search: genotypes drawn uniformly, necks that were proposed before passed over.

The control that every other controller has to beat (Li and Talwalkar 2019, arXiv:1902.07638).
"""

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem, generator


def controller(problem: Problem, *, seed: int, redraws: int = 100) -> "RandomSearch":
    """Uniform over genotypes.

    ``redraws`` is how often a draw whose neck was proposed before is thrown away; after that it
    is proposed again, and answered from the record. 0 draws with replacement.
    """
    if redraws < 0:
        raise ValueError(f"redraws must be at least 0, but got {redraws}")
    return RandomSearch(problem, seed, redraws)


class RandomSearch:
    """Remembers which necks it has proposed; learns nothing from scores."""

    def __init__(self, problem: Problem, seed: int, redraws: int) -> None:
        self._problem = problem
        self._seed = seed
        self._redraws = redraws
        self._asked = 0
        self._seen: set[str] = set()

    def ask(self) -> Trial:
        """The prior, then draws from the whole space."""
        prior = self._problem.prior
        genotype = prior[self._asked] if self._asked < len(prior) else self._drawn()
        if self._redraws:
            self._seen.add(self._problem.identity(genotype))
        trial = Trial(self._asked, genotype)
        self._asked += 1
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Nothing is learnt."""

    def _drawn(self) -> Genotype:
        chance = generator(self._seed, self._asked)
        genotype: Genotype = ()
        for _ in range(self._redraws + 1):
            genotype = tuple(chance.randrange(choice.count) for choice in self._problem.choices)
            if self._redraws and self._problem.identity(genotype) not in self._seen:
                break
        return genotype
