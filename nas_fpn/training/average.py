"""Averaged weights: an exponential moving average of a training, which is what is kept of it."""

import copy
from typing import TypeVar

import torch
from torch import nn

__all__ = ["follow", "make_average"]

Model = TypeVar("Model", bound=nn.Module)


def make_average(model: Model) -> Model:
    """A copy of ``model`` in evaluation mode and without gradients, for :func:`follow`."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, *, decay: float, step: int) -> None:
    """Move ``average`` towards ``model`` after ``step`` steps: a = d a + (1 - d) m.

    Parameters and running statistics move alike: the statistics of a batch norm belong to the
    weights that made them, so neither the latest nor a mean over other weights would do. What only
    counts, integers, is copied. Early on the decay is smaller, (1 + step) / (10 + step), as in
    TensorFlow's ``ExponentialMovingAverage``, so that the first weights are soon forgotten.
    """
    rate = 1 - min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floats = [(a, m) for a, m in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [m for _, m in floats], rate)
    for a, m in pairs:
        if not a.is_floating_point():
            a.copy_(m)
