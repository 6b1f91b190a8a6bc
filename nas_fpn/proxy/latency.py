"""How long a neck takes: the median of warm forward passes over one image's features."""

import statistics
from collections.abc import Mapping
from time import perf_counter

import torch

from nas_fpn.necks import Neck

__all__ = ["latency_ms"]

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
    training = neck.training
    neck.eval()
    seconds = []
    with torch.inference_mode():
        for _ in range(WARM + PASSES):
            began = perf_counter()
            neck(features)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(perf_counter() - began)
    neck.train(training)
    return 1000 * statistics.median(seconds[WARM:])
