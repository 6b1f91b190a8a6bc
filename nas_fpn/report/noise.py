"""How far one neck's score varies by chance alone, as far as a record knows it."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_fpn.record import Entry, Event
from nas_fpn.report.student import student_quantile

__all__ = ["Noise", "noise_of"]

BAND = 0.95  # of the differences that chance makes lie in the band
NORMAL = statistics.NormalDist().inv_cdf((1 + BAND) / 2)
FEWEST = 5  # trainings with three evaluations each, below which their spread says nothing


@dataclass(frozen=True, slots=True)
class Noise:
    """The standard deviation ``sd`` of one training's score, and what it was taken from.

    ``free`` are its degrees of freedom, None where there are many. ``at_least`` says that it is a
    lower bound: there is more noise than was measured.
    """

    sd: float
    source: str
    free: int | None = None
    at_least: bool = False

    @property
    def band(self) -> float:
        """How far two trainings differ by chance, 95 of 100 times: by Student's t for few seeds."""
        wide = NORMAL if self.free is None else student_quantile((1 - BAND) / 2, self.free)
        return wide * math.sqrt(2) * self.sd


def noise_of(entries: Iterable[Entry], checks: Sequence[Event], objective: str) -> Noise | None:
    """The noise of a score; None where nothing is known of it.

    ``checks`` are the events "verdict" of the record: the spread between the seeds of the last of
    them is the noise of a training, pooled over both necks. Without one it is taken from the last
    three evaluations of the trainings that are complete, where they are equally far apart: how
    far the middle one lies off the line between its neighbours, beyond what is common to all (the
    curve's own bend). That is the noise of an evaluation within one training, and a lower bound.
    """
    for check in reversed(checks):
        both = (check["scores"]["trial"], check["scores"]["control"])
        if check["objective"] == objective and min(map(len, both)) > 1:
            sd = math.sqrt(statistics.fmean(statistics.variance(scores) for scores in both))
            source = f"between {len(both[0])} seeds of both necks, on {check['split']}"
            return Noise(sd, source, free=sum(len(scores) - 1 for scores in both))
    bends = [bend for entry in entries if (bend := _bend(entry, objective)) is not None]
    if len(bends) < FEWEST:
        return None
    common = statistics.median(bends)
    spread = 1.4826 * statistics.median(abs(bend - common) for bend in bends)  # a normal's sd
    source = f"between evaluations of one training, in {len(bends)}; between seeds it is more"
    return Noise(spread / math.sqrt(6), source, at_least=True)  # var(a - 2b + c) = 6 var


def _bend(entry: Entry, objective: str) -> float | None:
    """The second difference of the last three evaluations of a complete training."""
    if entry.outcome is None or entry.outcome.state != "complete" or len(entry.reports) < 3:
        return None
    last = entry.reports[-3:]
    a, b, c = (report.scores.get(objective) for report in last)
    evenly = last[1].steps - last[0].steps == last[2].steps - last[1].steps
    if a is None or b is None or c is None or not evenly:
        return None
    return a - 2 * b + c
