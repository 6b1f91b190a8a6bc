"""What the words of ``necks/fusion.py``, ``necks/upsample.py`` and ``necks/esd.py`` cost."""

import math

from nas_fpn.language.use import Use

__all__ = [
    "asff_cost",
    "asff_inside",
    "carafe_cost",
    "cat_cost",
    "cat_inside",
    "deconv_cost",
    "esd1_cost",
    "esd2_cost",
    "psum_cost",
]


def asff_cost(use: Use) -> tuple[int, int]:
    """Embeddings to ``compress`` channels, each with its norm, and the weights' convolution."""
    operands, compress = len(use.inputs), int(use.arguments["compress"])
    kernels = sum(use.inputs) * compress + operands * compress * operands
    params = kernels + operands * 2 * compress + operands
    return params, kernels * use.after[0] * use.after[1]


def asff_inside(use: Use) -> int:
    """All embeddings, and once more side by side; what it gives is made after them."""
    embedded = 2 * len(use.inputs) * int(use.arguments["compress"])
    return max(0, embedded - use.channels) * use.after[0] * use.after[1]


def psum_cost(use: Use) -> tuple[int, int]:
    """One weight for each channel of each operand."""
    return sum(use.inputs), 0


def cat_cost(use: Use) -> tuple[int, int]:
    """A norm, and a kernel of as many numbers as channels come in."""
    kernel = sum(use.inputs)
    return 2 * kernel + kernel, kernel * use.after[0] * use.after[1]


def cat_inside(use: Use) -> int:
    """All operands side by side, and their norm; what it gives is made after them."""
    return (2 * sum(use.inputs) - use.channels) * use.after[0] * use.after[1]


def deconv_cost(use: Use) -> tuple[int, int]:
    """A step multiplies every value that it takes by the whole kernel."""
    params, macs, channels, (high, wide) = 0, 0, use.inputs[0], use.before
    side = int(use.arguments["kernel"])
    for left in range(use.steps - 1, -1, -1):
        kernel = side * side * channels * use.channels
        params += kernel + (use.bias or left > 0) * use.channels
        macs += kernel * high * wide
        high = min(2 * high, -(-use.after[0] >> left))
        wide = min(2 * wide, -(-use.after[1] >> left))
        channels = use.channels
    return params, macs


def carafe_cost(use: Use) -> tuple[int, int]:
    """Both convolutions that predict; the reassembly is a weighted sum."""
    channels, given = use.inputs[0], {name: int(value) for name, value in use.arguments.items()}
    groups = math.gcd(given["groups"], channels)
    weights = groups * given["kernel"] ** 2 * 4**use.steps
    kernels = given["mid"] * (channels + given["encoder"] ** 2 * weights)
    return kernels + given["mid"] + weights, kernels * use.before[0] * use.before[1]


def esd1_cost(use: Use) -> tuple[int, int]:
    """A 3x3 convolution a step, and the 1x1 where channels neither stay nor double."""
    fits = use.channels in (use.inputs[0], 2 * use.inputs[0])
    return _esd(use, 0 if fits else 2 * use.inputs[0], 0)


def esd2_cost(use: Use) -> tuple[int, int]:
    """A 3x3 convolution a step, and the 1x1 of all branches."""
    return _esd(use, 2 * use.inputs[0] + use.channels, 3 * use.channels)


def _esd(use: Use, first: int, later: int) -> tuple[int, int]:
    """``first`` and ``later`` are the inputs of the 1x1 convolution in the steps, 0 for none."""
    params, macs, channels, (high, wide) = 0, 0, use.inputs[0], use.before
    for step in range(use.steps):
        high, wide = (high + 1) // 2, (wide + 1) // 2
        kernels = (9 * channels + (later if step else first)) * use.channels
        params += kernels + 2 * use.channels
        macs += kernels * high * wide
        channels = use.channels
    return params, macs
