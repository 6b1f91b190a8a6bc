"""The decision of a verdict: after each new seed, which necks found are better than a control.

What is compared is a pair: a neck that the search found and a control (a hand-designed neck), each
trained with the same seeds and scored on the same test images, which nothing was chosen on. Its
difference of a seed is what both scored with that seed; luck that both share (the order of the
images, the head's first weights) is gone from it. The test is Student's t on these differences,
after each seed from ``min_seeds`` to ``max_seeds``, against the bounds of
:mod:`nas_fpn.report.boundaries`. ``error`` is shared among the necks found by Bonferroni, and half
of a share stands on either side.

**Several controls.** A neck found wins only if it beats every control that it is paired with (an
intersection-union test: Berger 1982, Technometrics 24), one after the other in the order of the
plan, and stops at the first that it is not shown to beat: what comes later is not trained for it.
Since a later control counts only where the earlier ones are beaten, none needs a share of the error
(a fixed sequence: Maurer, Hothorn and Lehmacher 1995), and what was shown against the earlier ones
stands.

**The guarantee.** The probability that any neck found is called better than any control while it
is not is at most half of ``error``, however many necks, controls and looks there are and whenever
the budget ends. "Worse" is said of a pair wrongly with at most half the share of its neck. The
intervals of one control of each neck found hold their true differences at all looks at once with
probability 1 - ``error`` (the repeated confidence intervals of Jennison and Turnbull 1989, JRSS B
51). Exact for one pair up to the side that is crossed first; Bonferroni's bound for several necks.

**What it rests on.** Differences by seed are independent and normal; nothing about their standard
deviation, which each pair has its own of. The true difference is the mean over all seeds on these
test images: what other images would say is :mod:`nas_fpn.report.bootstrap`. Pairs and seeds are
fixed before the first score is seen, and the pairs are chosen on other images or other trainings.

Why t and not a bootstrap over seeds: of three to ten values a bootstrap's interval is far too
narrow. Why no pooled variance of all necks, as in Dunnett's test: it would need fewer seeds, but
one neck whose training is unstable would lend its noise to the others and borrow their calm.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nas_fpn.errors import RunError
from nas_fpn.report.boundaries import bounds
from nas_fpn.report.student import student_power

__all__ = ["Decision", "Next", "PairDecision", "Saying", "VerdictPlan", "decide", "detectable"]

Saying = Literal["better", "worse", "not shown", "continue", "not reached"]

MIN_SEEDS, MAX_SEEDS = 3, 10  # unless a plan says otherwise
FEWEST = 2  # pairs of scores that have a standard deviation
HOPE = 2.0  # standard errors above the mean that a difference is still thought to be capable of
HALVINGS = 40  # of a bracket of differences


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictPlan:
    """What is compared, fixed before the first training.

    ``pairs`` are (neck found, control), by any names; those of a neck found are taken in their
    order. A look is taken when a pair has ``min_seeds`` … ``max_seeds`` seeds. ``error`` is that
    of all necks found together, two-sided.
    ``give_up`` ends a pair early that has next to no hope left to be shown better; that makes no
    wrong statement more likely, but leaves "worse" mostly unsaid.
    """

    pairs: tuple[tuple[str, str], ...]
    min_seeds: int = MIN_SEEDS
    max_seeds: int = MAX_SEEDS
    error: float = 0.05
    give_up: bool = True

    def __post_init__(self) -> None:
        if not self.pairs or len(set(self.pairs)) < len(self.pairs):
            raise RunError(f"pairs must be one or more, each once, but got {self.pairs}")
        if any(found == control for found, control in self.pairs):
            raise RunError(f"a neck cannot be compared with itself, but got pairs={self.pairs}")
        if not FEWEST <= self.min_seeds <= self.max_seeds:
            raise RunError(
                f"seeds must be {FEWEST} <= min_seeds <= max_seeds, but got "
                f"min_seeds={self.min_seeds}, max_seeds={self.max_seeds}"
            )
        if not 0 < self.error < 1:
            raise RunError(f"error must lie between 0 and 1, but got error={self.error}")

    @property
    def bounds(self) -> tuple[float, ...]:
        """The |t| to exceed, by look, from ``min_seeds`` on."""
        return bounds(self.min_seeds, self.max_seeds, self.error / (2 * len(self.found)))

    @property
    def found(self) -> tuple[str, ...]:
        """The necks found, each once."""
        return tuple(dict.fromkeys(found for found, _ in self.pairs))


@dataclass(frozen=True, slots=True)
class PairDecision:
    """What is said of one pair, and the differences by seed that it is said from.

    "not reached" is a pair before which the neck found has not beaten all controls, or not yet;
    its differences are not looked at. ``half`` is that of the interval ``mean`` ± ``half``, which
    holds for all looks and necks found at once, and leaves 0 out exactly where ``outcome`` is
    "better" or "worse"; infinite before ``min_seeds``. ``sd`` is the standard deviation of a
    difference, NaN for fewer than two.
    """

    found: str
    control: str
    outcome: Saying
    differences: tuple[float, ...]
    mean: float
    sd: float
    half: float

    @property
    def seeds(self) -> int:
        """How many seeds it is said from."""
        return len(self.differences)


@dataclass(frozen=True, slots=True)
class Next:
    """A training that is due: of this neck, with the seed at this place of the seeds' list."""

    neck: str
    place: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of each pair, in the order of the plan; ``due`` are trainings to a next look."""

    pairs: tuple[PairDecision, ...]
    due: tuple[Next, ...]

    @property
    def better(self) -> tuple[PairDecision, ...]:
        """The pairs in which the neck found is better."""
        return tuple(pair for pair in self.pairs if pair.outcome == "better")

    def beats_all(self, found: str) -> bool:
        """Whether a neck is better than every control that it was paired with."""
        own = [pair.outcome == "better" for pair in self.pairs if pair.found == found]
        return bool(own) and all(own)


def decide(
    scores: Mapping[str, Sequence[float]], plan: VerdictPlan, *, ended: bool = False
) -> Decision:
    """Say of each pair what its scores so far allow, and which trainings come next.

    ``scores`` are by neck, entry i of each from the same seed; a neck that has none yet may be
    missing. The pairs of a neck found are taken in order, each when all before it are better. A
    training that diverged detects nothing: its score is 0, and leaving it out would be a choice
    made on the result. ``ended`` says that no more will be trained: what would go on is then not
    shown. Seeds beyond the one that decided a pair do not change what is said of it.

    >>> plan = VerdictPlan(pairs=(("mine", "panet"),), max_seeds=4)
    >>> decide({}, plan).due[:2]
    (Next(neck='mine', place=0), Next(neck='panet', place=0))
    >>> said = decide({"mine": [0.31, 0.33, 0.32], "panet": [0.21, 0.22, 0.22]}, plan).pairs[0]
    >>> said.outcome, round(said.mean, 3), round(said.half, 3)
    ('better', 0.103, 0.032)
    """
    beats: dict[str, bool] = dict.fromkeys(plan.found, True)
    rows = []
    for found, control in plan.pairs:
        if beats[found]:
            pair = _decided(found, control, scores.get(found, ()), scores.get(control, ()), plan)
        else:
            pair = PairDecision(found, control, "not reached", (), math.nan, math.nan, math.inf)
        beats[found] = pair.outcome == "better"
        rows.append(_settled(pair) if ended else pair)
    pairs = tuple(rows)
    due: dict[Next, None] = {}
    for pair in pairs:
        if pair.outcome == "continue":
            for place in range(max(plan.min_seeds, pair.seeds + 1)):
                for neck in (pair.found, pair.control):
                    if place >= len(scores.get(neck, ())):
                        due[Next(neck, place)] = None
    return Decision(pairs, tuple(sorted(due, key=lambda one: one.place)))


def detectable(
    plan: VerdictPlan, sd: float, *, seeds: int | None = None, power: float = 0.8
) -> float:
    """The smallest true difference that is called better with probability ``power`` or more.

    ``sd`` is the standard deviation of a difference (√2 times that of one training, where the
    necks of a pair share no luck). ``seeds`` is where a budget ended it, within the plan; else it
    may go to ``max_seeds``. Counts the last look alone: exact for one look, on the safe side for
    several.

    >>> three, ten = (VerdictPlan(pairs=(("a", "b"),), max_seeds=n) for n in (3, 10))
    >>> round(detectable(three, 1.0), 2), round(detectable(ten, 1.0), 2)
    (3.26, 1.1)
    """
    n = plan.max_seeds if seeds is None else seeds
    bound = plan.bounds[n - plan.min_seeds]
    low, high = 0.0, 1.0
    while student_power(high, bound, n - 1) < power:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if student_power(middle, bound, n - 1) < power:
            low = middle
        else:
            high = middle
    return high * sd / math.sqrt(n)


def _decided(
    found: str,
    control: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    plan: VerdictPlan,
) -> PairDecision:
    """What the first look says that decides, or the last one."""
    gaps = [a - b for a, b in zip(ours, theirs, strict=False)][: plan.max_seeds]
    said = _look(found, control, gaps, plan)
    for n in range(plan.min_seeds, len(gaps)):
        earlier = _look(found, control, gaps[:n], plan)
        if earlier.outcome != "continue":
            return earlier
    return said


def _look(found: str, control: str, gaps: Sequence[float], plan: VerdictPlan) -> PairDecision:
    n = len(gaps)
    mean = statistics.fmean(gaps) if gaps else math.nan
    sd = statistics.stdev(gaps) if n >= FEWEST else math.nan
    if n < plan.min_seeds:
        return PairDecision(found, control, "continue", tuple(gaps), mean, sd, math.inf)
    bound = plan.bounds[n - plan.min_seeds]
    error = sd / math.sqrt(n)
    outcome: Saying = "continue"
    if abs(mean) > bound * error:
        outcome = "better" if mean > 0 else "worse"
    elif n == plan.max_seeds or (plan.give_up and _is_hopeless(mean, error, n, plan)):
        outcome = "not shown"
    return PairDecision(found, control, outcome, tuple(gaps), mean, sd, bound * error)


def _is_hopeless(mean: float, error: float, n: int, plan: VerdictPlan) -> bool:
    """Whether even a difference ``HOPE`` standard errors above the mean would miss the last bound.

    A rule of thumb, and free to be one: what it ends is said to be not shown.
    """
    last = error * math.sqrt(n / plan.max_seeds)
    return mean + HOPE * error <= plan.bounds[-1] * last


def _settled(pair: PairDecision) -> PairDecision:
    if pair.outcome != "continue":
        return pair
    return PairDecision(
        pair.found, pair.control, "not shown", pair.differences, pair.mean, pair.sd, pair.half
    )
