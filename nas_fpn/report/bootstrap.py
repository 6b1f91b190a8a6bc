"""What other images would say: a paired difference under images and seeds drawn anew.

The decision of :mod:`nas_fpn.report.sequential` is about the images of the test set. Other images
of the same kind would give another difference, and 150 of them may leave more room than the seeds
do. So the interval here lets both vary: images are drawn with replacement, the same ones for both
necks and for all seeds, and AP is taken again with every draw's weights; the seeds' part is drawn
from Student's t around each draw's mean, since three to ten values are too few to draw from. The
crossing of images and seeds, both drawn, is the pigeonhole bootstrap (Owen 2007, Annals of Applied
Statistics 1; arXiv:0706.1063); that we draw the second from t is the difference. It is a percentile
interval: BCa's correction has no agreed form where two things are drawn at once.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Spread", "image_weights", "spread_of_gap"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean of paired differences with its interval ``low`` … ``high`` over images and seeds.

    ``seeds_error`` and ``images_error`` are the two standard errors of the mean by themselves:
    of seeds on these images, and of images for these seeds.
    """

    mean: float
    low: float
    high: float
    seeds_error: float
    images_error: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves 0 out, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def image_weights(images: int, *, draws: int, seed: int) -> Array:
    """How often each image stands in each draw, [1 + draws, images]; the first row is all ones.

    Draws are of ``images`` images with replacement. The first row is for the test set as it is.

    >>> image_weights(3, draws=2, seed=0).sum(axis=1).tolist()
    [3.0, 3.0, 3.0]
    """
    chance = np.random.default_rng(seed)
    drawn = chance.multinomial(images, [1 / images] * images, size=draws)
    return np.concatenate((np.ones((1, images)), drawn))


def spread_of_gap(ours: ArrayLike, theirs: ArrayLike, *, seed: int, error: float = 0.05) -> Spread:
    """The interval of the difference of two necks, over images and seeds.

    ``ours`` and ``theirs`` are scores [seeds, 1 + draws], of the same seeds and with the same
    weights of images: those of :func:`image_weights`. A draw without a score (NaN: it holds no
    object) is left out. Raises ValueError for fewer than two seeds: one says nothing of the others.
    """
    gaps = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    count = len(gaps)
    if gaps.ndim != 2 or count < 2:
        raise ValueError(f"scores must be [seeds, 1 + draws] of 2 seeds or more, not {gaps.shape}")
    drawn = gaps[:, 1:][:, ~np.isnan(gaps[:, 1:]).any(0)]
    errors = drawn.std(0, ddof=1) / math.sqrt(count)  # of each draw's mean, by its seeds
    by_seeds = np.random.default_rng(seed).standard_t(count - 1, size=drawn.shape[1])
    low, high = np.quantile(drawn.mean(0) + by_seeds * errors, [error / 2, 1 - error / 2])
    return Spread(
        mean=float(gaps[:, 0].mean()),
        low=float(low),
        high=float(high),
        seeds_error=float(gaps[:, 0].std(ddof=1)) / math.sqrt(count),
        images_error=float(drawn.mean(0).std(ddof=1)),
    )
