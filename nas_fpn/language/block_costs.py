"""What the larger blocks cost, from shapes: trainable numbers and multiply-adds."""

from collections.abc import Callable

from nas_fpn.language.use import Use

__all__ = [
    "aspp_cost",
    "features_inside",
    "gsconv_cost",
    "gsconve1_cost",
    "gsconve2_cost",
    "gsconvns_cost",
    "ihp_cost",
    "ihp_inside",
    "repconv_cost",
    "rfa_cost",
    "vovgscsp_cost",
]


def gsconv_cost(use: Use) -> tuple[int, int]:
    """Half of the channels by a dense convolution, half by a depthwise 5x5 of those."""
    half, side = use.channels // 2, int(use.arguments["kernel"])
    return _normed(use, side * side * use.inputs[0] * half + 25 * half, norms=2 * half)


def gsconve1_cost(use: Use) -> tuple[int, int]:
    """As ``gsconv``, but the second half by a dense 3x3 and a depthwise 3x3 without norms."""
    half, side = use.channels // 2, int(use.arguments["kernel"])
    return _normed(use, side * side * use.inputs[0] * half + 9 * half * half + 9 * half, norms=half)


def gsconve2_cost(use: Use) -> tuple[int, int]:
    """A quarter by a dense convolution, and one each by depthwise 9x9, 13x13, 17x17 of it."""
    quarter, side = use.channels // 4, int(use.arguments["kernel"])
    kernel = side * side * use.inputs[0] * quarter + (81 + 169 + 289) * quarter
    return _normed(use, kernel, norms=4 * quarter)


def gsconvns_cost(use: Use) -> tuple[int, int]:
    """As ``gsconv``, and a 1x1 over all channels."""
    half, side = use.channels // 2, int(use.arguments["kernel"])
    kernel = side * side * use.inputs[0] * half + 25 * half + use.channels**2
    return _normed(use, kernel, norms=2 * half)


def vovgscsp_cost(use: Use) -> tuple[int, int]:
    """Two 1x1 in; in each bottleneck a ``gsconv`` of 1x1, one of 3x3, a 1x1; a 1x1 out."""
    half, depth = use.channels // 2, int(use.arguments["depth"])
    bottleneck = (1 + 9) * half * (half // 2) + 2 * 25 * (half // 2) + half * half
    kernel = 2 * use.inputs[0] * half + depth * bottleneck + 2 * half * use.channels
    return _normed(use, kernel, norms=(2 + 3 * depth) * half + use.channels)


def ihp_cost(use: Use) -> tuple[int, int]:
    """``gsconve1`` at the channels taken; two 1x1; two windows a bottleneck; a 1x1 out."""
    taken, half = use.inputs[0], use.channels // 2
    depth, side = int(use.arguments["depth"]), int(use.arguments["kernel"])
    spread = 9 * taken * (taken // 2) + 9 * (taken // 2) ** 2 + 9 * (taken // 2)
    stage = 2 * taken * half + depth * (side * side + 9) * half * half + 2 * half * use.channels
    norms = taken // 2 + (2 + 2 * depth) * half + use.channels
    return _normed(use, spread + stage, norms=norms)


def ihp_inside(use: Use) -> int:
    """The feature that ``gsconve1`` gives, while the last 1x1 runs."""
    return (use.inputs[0] + 2 * use.channels) * use.after[0] * use.after[1]


def aspp_cost(use: Use) -> tuple[int, int]:
    """A quarter each by 1x1, two dilated 3x3, and a 1x1 of the mean; all with biases."""
    view = use.inputs[0] * (use.channels // 4)
    slid = 19 * view * use.after[0] * use.after[1]
    return 20 * view + 4 * (use.channels // 4), slid + view


def rfa_cost(use: Use) -> tuple[int, int]:
    """Three 1x1 on coarse cells; then a 1x1 of all three and a 3x3 to three maps."""
    high, wide = use.after
    reduce, mix, weigh = use.inputs[0] * use.channels, 3 * use.channels**2, 27 * use.channels
    cells = sum(max(1, int(high * r)) * max(1, int(wide * r)) for r in (0.1, 0.2, 0.3))
    params = 3 * (reduce + use.channels) + mix + use.channels + weigh + 3
    return params, reduce * cells + (mix + weigh) * high * wide


def features_inside(count: int) -> Callable[[Use], int]:
    """So many features, like the one that it gives, are alive inside a word at most."""

    def inside(use: Use) -> int:
        return count * use.channels * use.after[0] * use.after[1]

    return inside


def repconv_cost(use: Use) -> tuple[int, int]:
    """A 3x3 and a 1x1 with a norm each, in training; a norm more where the channels stay."""
    kept = use.arguments["identity"] == "bn" and use.inputs[0] == use.channels
    return _normed(use, 10 * use.inputs[0] * use.channels, norms=(2 + kept) * use.channels)


def _normed(use: Use, kernel: int, *, norms: int) -> tuple[int, int]:
    """Kernels that slide over the whole feature, and norms over ``norms`` channels."""
    return kernel + 2 * norms, kernel * use.after[0] * use.after[1]
