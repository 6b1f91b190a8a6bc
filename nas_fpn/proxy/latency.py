"""How long modules take: the medians of warm forward passes, in turns where there are several."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import torch
from torch import nn

from nas_fpn.necks import Neck

__all__ = ["forward_ms", "latency_ms"]

WARM = 3  # passes before the clock starts: allocation, and the choice of algorithms
PASSES = 15


def latency_ms(neck: Neck, channels: Mapping[int, int], *, image_size: int) -> float:
    """Milliseconds of one forward pass of ``neck`` alone, on the device that its weights are on.

    One image of ``image_size`` pixels a side, ``channels`` by level, float32, evaluation mode, no
    gradients, as many threads as torch has here. The median of 15 passes after 3; it is a
    measurement, so that it differs from one time to the next, and more so where the machine
    has other work. The neck is left in the mode it was in.
    """
    device = next((p.device for p in neck.parameters()), torch.device("cpu"))
    sides = {level: -(-image_size // 2**level) for level in neck.inputs}
    features = [torch.zeros(1, channels[k], s, s, device=device) for k, s in sides.items()]
    (median,) = forward_ms([(neck, lambda: neck(features))])
    return median


def forward_ms(passes: Sequence[tuple[nn.Module, Callable[[], object]]]) -> tuple[float, ...]:
    """The median milliseconds of each forward pass, given with its module.

    The passes take turns, 15 times after 3, so that other work on the machine and a clock that
    changes its speed slow all of them alike: their ratio is steadier than each. In evaluation mode,
    without gradients; every module is left in the mode it was in.
    """
    modes = [module.training for module, _ in passes]
    for module, _ in passes:
        module.eval()
    seconds: list[list[float]] = [[] for _ in passes]
    with torch.inference_mode():
        for _ in range(WARM + PASSES):
            for (_, forward), own in zip(passes, seconds, strict=True):
                began = perf_counter()
                forward()
                if torch.cuda.is_initialized():
                    torch.cuda.synchronize()
                own.append(perf_counter() - began)
    for (module, _), mode in zip(passes, modes, strict=True):
        module.train(mode)
    return tuple(1000 * statistics.median(own[WARM:]) for own in seconds)
