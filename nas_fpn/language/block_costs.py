"""What the larger blocks cost, from shapes: trainable numbers and multiply-adds."""

from nas_fpn.language.use import Use

__all__ = ["gsconv_cost", "gsconve1_cost", "gsconve2_cost"]


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


def _normed(use: Use, kernel: int, *, norms: int) -> tuple[int, int]:
    """Kernels that slide over the whole feature, and norms over ``norms`` channels."""
    return kernel + 2 * norms, kernel * use.after[0] * use.after[1]
