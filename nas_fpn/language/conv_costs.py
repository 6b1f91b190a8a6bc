"""What single convolutions cost, also as a stride: dense, separable, deformable."""

import math
from dataclasses import replace

from nas_fpn.language.block_costs import gsconv_cost, gsconve1_cost
from nas_fpn.language.use import Cost, Use
from nas_fpn.language.word import Value

__all__ = [
    "concat_cost",
    "concat_inside",
    "deform_cost",
    "deform_inside",
    "dense",
    "depthwise_cost",
    "dyhead_cost",
    "dyhead_inside",
    "separable",
    "stride_cost",
    "stride_inside",
]


def dense(side: int) -> Cost:
    """A convolution of ``side`` x ``side`` over all that comes in."""

    def cost(use: Use) -> tuple[int, int]:
        return _slid(use, side * side * sum(use.inputs) * use.channels)

    return cost


def separable(side: int) -> Cost:
    """A depthwise convolution of ``side`` x ``side`` without bias, then a 1x1."""

    def cost(use: Use) -> tuple[int, int]:
        return _slid(use, (side * side + use.channels) * use.inputs[0])

    return cost


def concat_cost(use: Use) -> tuple[int, int]:
    """A 1x1 over all operands; nothing where they are only joined."""
    return (0, 0) if use.arguments["plain"] else dense(1)(use)


def concat_inside(use: Use) -> int:
    """All operands side by side, before the 1x1."""
    return 0 if use.arguments["plain"] else sum(use.inputs) * use.after[0] * use.after[1]


def depthwise_cost(use: Use) -> tuple[int, int]:
    """A 3x3 of each channel by itself."""
    return _slid(use, 9 * use.channels)


def deform_cost(use: Use) -> tuple[int, int]:
    """A 3x3, and the 3x3 with bias that says where it reads, and how much of it."""
    spread = 9 * use.inputs[0] * _offsets(use)
    params, macs = dense(3)(use)
    return params + spread + _offsets(use), macs + spread * use.after[0] * use.after[1]


def deform_inside(use: Use) -> int:
    """Offsets and masks; the masks once more."""
    twice = 9 * _groups(use) if use.arguments["mask"] == "sigmoid" else 0
    return (_offsets(use) + twice) * use.after[0] * use.after[1]


def dyhead_cost(use: Use) -> tuple[int, int]:
    """One 3x3 for the places; of each operand a 3x3, a norm, a share; the coefficients at last."""
    operands, channels = len(use.inputs), use.channels
    fewer = max(1, channels // 4)
    window = 9 * channels * (27 + operands * channels)
    params = window + 27 + operands * 2 * channels + channels + 1
    params += channels * fewer + fewer + fewer * 4 * channels + 4 * channels
    points = operands * channels + channels * fewer + fewer * 4 * channels
    return params, window * use.after[0] * use.after[1] + points


def dyhead_inside(use: Use) -> int:
    """Offsets and masks, the sum so far, and one operand before and behind its norm."""
    return (27 + 9 + 2 * use.channels) * use.after[0] * use.after[1]


def stride_cost(use: Use) -> tuple[int, int]:
    """A convolution a step; only the last follows the bias rule."""
    params, macs = 0, 0
    for step in _steps(use):
        more = _STEPS[str(use.arguments["conv"])](step)
        params, macs = params + more[0], macs + more[1]
    return params, macs


def stride_inside(use: Use) -> int:
    """What the first step of a deformable or a GSConvE convolution needs inside."""
    first, kind = _steps(use)[0], use.arguments["conv"]
    if kind == "deform":
        return deform_inside(first)
    return first.channels * first.after[0] * first.after[1] if kind == "gsconve1" else 0


def _slid(use: Use, kernel: int) -> tuple[int, int]:
    return kernel + use.bias * use.channels, kernel * use.after[0] * use.after[1]


def _groups(use: Use) -> int:
    return math.gcd(int(use.arguments["groups"]), use.inputs[0])


def _offsets(use: Use) -> int:
    """A row and a column, and perhaps a mask, of each of 9 taps and each group."""
    return (27 if use.arguments["mask"] == "sigmoid" else 18) * _groups(use)


def _steps(use: Use) -> list[Use]:
    """The uses of one convolution each, with the arguments that those have inside ``stride``."""
    steps, channels, (high, wide) = [], use.inputs[0], use.before
    for left in range(use.steps - 1, -1, -1):
        before, (high, wide) = (high, wide), ((high + 1) // 2, (wide + 1) // 2)
        one = replace(use, inputs=(channels,), bias=use.bias or left > 0, before=before, steps=1)
        steps.append(replace(one, after=(high, wide), arguments=_ARGUMENTS))
        channels = use.channels
    return steps


_ARGUMENTS: dict[str, Value] = {"kernel": 3, "groups": 1, "mask": "none"}
_STEPS: dict[str, Cost] = {
    "dense": dense(3),
    "sep": separable(3),
    "gsconv": gsconv_cost,
    "gsconve1": gsconve1_cost,
    "deform": deform_cost,
}
