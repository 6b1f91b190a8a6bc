"""The controller of NAS-FPN: an LSTM answers choice by choice, PPO teaches it from the scores.

Ghiasi et al. 2019 (arXiv:1904.07392, section 3) take over the controller of Zoph et al. 2018
(arXiv:1707.07012, appendix): an LSTM as in Zoph and Le 2017 (arXiv:1611.01578, section 3), trained
by proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.advantage import MovingBaseline
from nas_fpn.search.controller import Problem, generator

NEVER = -1e9  # the logit of an option that a choice does not have
FIRST_WEIGHTS = -1  # below the numbers of asks: what the weights are drawn from,
SHUFFLES = -2  # and the mini-batches of update u, from SHUFFLES - u


def controller(
    problem: Problem,
    *,
    seed: int,
    hidden: int = 32,
    reach: float = 0.3,
    learning_rate: float = 0.04,
    batch: int = 4,
    minibatch: int = 4,
    epochs: int = 3,
    clip: float = 0.5,
    entropy_weight: float = 0.1,
    baseline_decay: float = 0.95,
    penalty: float = 1.0,
    stale: int = 20,
    redraws: int = 16,
) -> "PPO":
    """A policy π(a) = Π_i π(a_i | a_1 … a_{i-1}): an LSTM of ``hidden`` units over the choices.

    Every ``batch`` trajectories that were told make an update: ``epochs`` times over them in
    mini-batches, each a step of Adam (``learning_rate``) up the gradient of ::

        mean_i min(r_i A, clip(r_i, 1 − ε, 1 + ε) A) + entropy_weight · mean_i H_i

    with r_i = π(a_i | …) / μ(a_i | …) at choice i, ε = ``clip``, and the same A at every choice, as
    there is one score at the end. μ is the policy that proposed, its probabilities kept since the
    ask: scores may come late and in any order. Trajectories that were proposed more than ``stale``
    updates ago are dropped.

    A = (score − b) / σ, at most 3 either way; b and σ² are the moving mean and variance of the
    scores so far, decaying by ``baseline_decay``, without the bias of their start; a score is
    compared with those before it. Dropped trajectories do not enter.

    A failed or rejected trial has no score: for it A = −``penalty``, in standard deviations, and b
    and σ do not hear of it. A stopped trial teaches nothing. A draw whose neck was proposed before
    is drawn again ``redraws`` times, from flatter and flatter policies, ever nearer to uniform; the
    first new neck is taken, and if there is none, the first draw is proposed again and answered
    from the record. The probabilities kept are those that the policy itself, unflattened, gives to
    what was taken. Priors are learnt from as if the policy had drawn them; a trial that was trained
    with another genotype than asked, as if it had just been drawn.

    Where we differ: Zoph et al. 2018 have 100 hidden units, weights within ± 0.1 (``reach``), a
    learning rate of 0.00035, batches of 20 and an entropy weight of 1e-5, and
    Schulman et al. 2017 a clip of 0.2, all for thousands of trials. The defaults were tuned for
    hundreds, on planted tables (tests/controllers/planted.py). Advantages are scaled by the moving
    σ, not within a batch, which is small here. Chance beside that of the asks (the first weights,
    the order of mini-batches) is drawn from generators below ask 0.

    Raises ValueError for a setting out of its range, and for several objectives: they have to be
    made one score, as MnasNet does.
    """
    if len(problem.objectives) > 1:
        raise ValueError(
            f"PPO learns from one score, but the run has {', '.join(problem.objectives)}; "
            "make one of them with [soft_constraint] target = …, or take surrogate"
        )
    at_least: tuple[tuple[str, float, float], ...] = (
        ("hidden", hidden, 1),
        ("batch", batch, 1),
        ("minibatch", minibatch, 1),
        ("epochs", epochs, 1),
        ("reach", reach, 0),
        ("learning_rate", learning_rate, 0),
        ("clip", clip, 0),
        ("entropy_weight", entropy_weight, 0),
        ("penalty", penalty, 0),
        ("stale", stale, 0),
        ("redraws", redraws, 0),
    )
    for name, value, least in at_least:
        _check(name, value, least, math.inf)
    settings = Settings(
        learning_rate, batch, minibatch, epochs, clip, entropy_weight, penalty, stale, redraws
    )
    counts = [choice.count for choice in problem.choices]
    policy = Policy(counts, hidden, reach=reach, chance=_torch_generator(seed, FIRST_WEIGHTS))
    return PPO(problem, seed, settings, policy, MovingBaseline(baseline_decay))


@dataclass(frozen=True, slots=True)
class Settings:
    """What an update needs; see :func:`controller`."""

    learning_rate: float
    batch: int
    minibatch: int
    epochs: int
    clip: float
    entropy_weight: float
    penalty: float
    stale: int
    redraws: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A proposal in flight: its log-probabilities [choices] under the policy of that update."""

    genotype: Genotype
    log_probabilities: Tensor
    update: int


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A proposal with its advantage, in standard deviations."""

    genotype: Genotype
    log_probabilities: Tensor
    advantage: float


class PPO:
    """The policy, its optimiser, the asks in flight and the trajectories until the next update."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        settings: Settings,
        policy: "Policy",
        baseline: MovingBaseline,
    ) -> None:
        self._problem = problem
        self._seed = seed
        self._settings = settings
        self._policy = policy
        self._baseline = baseline
        self._optimiser = torch.optim.Adam(policy.parameters(), lr=settings.learning_rate)
        self._asked = 0
        self._updates = 0
        self._seen: set[str] = set()
        self._open: dict[int, Asked] = {}
        self._trajectories: list[Trajectory] = []

    def ask(self) -> Trial:
        """A prior while there are any; then a draw from the policy."""
        prior = self._problem.prior
        more = self._asked < len(prior)
        asked = self._as_drawn(prior[self._asked]) if more else self._draw()
        self._seen.add(self._problem.identity(asked.genotype))
        self._open[self._asked] = asked
        trial = Trial(self._asked, asked.genotype)
        self._asked += 1
        return trial

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        """Keep the trajectory; one that completes a batch updates the policy."""
        asked = self._open.pop(trial.number)
        if outcome.state == "stopped" or self._updates - asked.update > self._settings.stale:
            return
        if trial.genotype != asked.genotype:  # a resume with drift
            asked = self._as_drawn(trial.genotype)
        if outcome.state in {"failed", "rejected"}:
            advantage = -self._settings.penalty
        else:
            advantage = self._baseline.advantage(outcome.scores[self._problem.objectives[0]])
        self._trajectories.append(Trajectory(asked.genotype, asked.log_probabilities, advantage))
        if len(self._trajectories) == self._settings.batch:
            self._update()

    def _update(self) -> None:
        chance = generator(self._seed, SHUFFLES - self._updates)
        for _ in range(self._settings.epochs):
            chance.shuffle(self._trajectories)
            for first in range(0, self._settings.batch, self._settings.minibatch):
                self._step(self._trajectories[first : first + self._settings.minibatch])
        self._trajectories = []
        self._updates += 1

    def _step(self, trajectories: list[Trajectory]) -> None:
        genotypes = torch.tensor([one.genotype for one in trajectories])  # [B, choices]
        before = torch.stack([one.log_probabilities for one in trajectories])  # [B, choices]
        advantages = torch.tensor([one.advantage for one in trajectories], dtype=torch.float64)
        table = self._policy(genotypes)  # [B, choices, options]
        gain = clipped_gain(taken(table, genotypes) - before, advantages, self._settings.clip)
        loss = -gain - self._settings.entropy_weight * entropy(table).mean()
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def _draw(self) -> Asked:
        chance = _torch_generator(self._seed, self._asked)
        once = torch.ones(1, dtype=torch.float64)
        again = torch.linspace(1.0, 0.0, self._settings.redraws, dtype=torch.float64)
        drawn: list[Asked] = []
        for sharpness in (once, again):
            genotypes, rows = self._policy.roll(sharpness, chance=chance)
            for genotype, row in zip(genotypes.tolist(), rows, strict=True):
                drawn.append(Asked(tuple(genotype), row, self._updates))
                if self._problem.identity(drawn[-1].genotype) not in self._seen:
                    return drawn[-1]
        return drawn[0]

    @torch.no_grad()
    def _as_drawn(self, genotype: Genotype) -> Asked:
        """A genotype from elsewhere, with the probabilities that the policy gives it now."""
        genotypes = torch.tensor([genotype])
        return Asked(genotype, taken(self._policy(genotypes), genotypes)[0], self._updates)


class Policy(nn.Module):
    """An LSTM over the choices in order (Hochreiter and Schmidhuber 1997), a head for each.

    Its input at choice i is the sum of two embeddings, of the choice and of the answer before.
    In 64-bit floats, so that another machine's rounding hardly ever changes a draw.
    """

    def __init__(
        self, counts: list[int], hidden: int, *, reach: float, chance: torch.Generator
    ) -> None:
        super().__init__()
        options = max(counts, default=1)

        def drawn(*shape: int) -> nn.Parameter:
            empty = torch.empty(shape, dtype=torch.float64)
            return nn.Parameter(empty.uniform_(-reach, reach, generator=chance))

        self.hidden = hidden
        self.choice = drawn(len(counts), hidden)
        self.answer = drawn(len(counts), options, hidden)
        self.input_weight = drawn(4 * hidden, hidden)
        self.hidden_weight = drawn(4 * hidden, hidden)
        self.bias = drawn(4 * hidden)
        self.head_weight = drawn(len(counts), hidden, options)
        self.head_bias = drawn(len(counts), options)
        there = torch.arange(options) < torch.tensor(counts)[:, None]
        self.register_buffer("padding", torch.where(there, 0.0, NEVER).double())

    padding: Tensor

    def forward(self, genotypes: Tensor) -> Tensor:
        """Log-probabilities [B, choices, options] at every choice, given the answers before it.

        ``genotypes`` is [B, choices].
        """
        b, n = genotypes.shape
        answers = self.answer[torch.arange(n - 1), genotypes[:, :-1]]  # [B, choices - 1, hidden]
        start = self.choice[0].expand(b, 1, -1)
        inputs = torch.cat([start, self.choice[1:] + answers], dim=1)
        projected = nn.functional.linear(inputs, self.input_weight, self.bias)
        state = self._start(b)
        hidden = []
        for x in projected.unbind(dim=1):
            state = self._next(x, state)
            hidden.append(state[0])
        # [choices, B, options]
        logits = torch.baddbmm(self.head_bias[:, None], torch.stack(hidden), self.head_weight)
        logits = logits + self.padding[:, None]
        return logits.log_softmax(dim=2).transpose(0, 1)

    @torch.no_grad()
    def roll(self, sharpness: Tensor, *, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw B genotypes [B, choices] and the log-probabilities [B, choices] of their answers.

        Draw b is from the probabilities to the power ``sharpness[b]``, uniform at 0; the
        log-probabilities are the policy's own.
        """
        b, n = len(sharpness), len(self.choice)
        points = torch.rand((n, b, 1), generator=chance, dtype=torch.float64)
        state = self._start(b)
        x = self.choice[:1].expand(b, -1)
        drawn, kept = [], []
        for i in range(n):
            state = self._next(nn.functional.linear(x, self.input_weight, self.bias), state)
            logits = torch.addmm(self.head_bias[i], state[0], self.head_weight[i])
            flat = logits * sharpness[:, None] + self.padding[i]
            upto = flat.softmax(dim=1).cumsum(dim=1)
            answer = (upto <= points[i] * upto[:, -1:]).sum(dim=1)
            drawn.append(answer)
            kept.append(
                (logits + self.padding[i]).log_softmax(dim=1).gather(1, answer[:, None])[:, 0]
            )
            if i + 1 < n:
                x = self.choice[i + 1] + self.answer[i, answer]
        return torch.stack(drawn, dim=1), torch.stack(kept, dim=1)

    def _start(self, b: int) -> tuple[Tensor, Tensor]:
        zero = torch.zeros(b, self.hidden, dtype=torch.float64)
        return zero, zero

    def _next(self, projected: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step of the LSTM; ``projected`` [B, 4 hidden] is its input times its weight."""
        h, c = state
        gates = torch.addmm(projected, h, self.hidden_weight.T)
        take, keep, new, show = gates.chunk(4, dim=1)
        c = keep.sigmoid() * c + take.sigmoid() * new.tanh()
        return show.sigmoid() * c.tanh(), c


def taken(table: Tensor, genotypes: Tensor) -> Tensor:
    """The entries [B, choices] of ``table`` [B, choices, options] for the answers given."""
    return table.gather(2, genotypes[:, :, None])[:, :, 0]


def entropy(table: Tensor) -> Tensor:
    """In nats, [B, choices], of log-probabilities [B, choices, options]."""
    return -(table.exp() * table).sum(dim=2)


def clipped_gain(log_ratios: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """L^CLIP of Schulman et al. 2017, equation 7, a mean over trajectories and choices.

    ``log_ratios`` is [B, choices], ``advantages`` [B]: one score for all choices of a trajectory.
    """
    ratios, gains = log_ratios.exp(), advantages[:, None]
    return torch.minimum(ratios * gains, ratios.clamp(1 - clip, 1 + clip) * gains).mean()


def _torch_generator(seed: int, n: int) -> torch.Generator:
    return torch.Generator().manual_seed(generator(seed, n).getrandbits(63))


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be in [{least:g}, {most:g}], but got {value:g}")
