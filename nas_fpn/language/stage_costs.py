"""What the words of ``necks/csp.py`` and ``necks/deform.py`` cost, from shapes."""

from nas_fpn.language.use import Use

__all__ = ["csp_cost", "csp_inside"]


def csp_cost(use: Use) -> tuple[int, int]:
    """Two 1x1 in; in each bottleneck a window (or a 3x3 and a 1x1) and a 3x3; a 1x1 out."""
    half, depth = use.channels // 2, int(use.arguments["depth"])
    side = int(use.arguments["kernel"])
    first, norms = (10, 3) if use.arguments["inner"] == "rep" else (side * side, 2)
    kernel = 2 * use.inputs[0] * half + depth * (first + 9) * half * half
    kernel += _joined(use) * half * use.channels
    numbers = kernel + 2 * ((2 + norms * depth) * half + use.channels)
    return numbers, kernel * use.after[0] * use.after[1]


def csp_inside(use: Use) -> int:
    """All that is joined, and once more side by side, while the last 1x1 runs."""
    return 2 * _joined(use) * (use.channels // 2) * use.after[0] * use.after[1]


def _joined(use: Use) -> int:
    """How many halves the last 1x1 sees."""
    return 1 + (int(use.arguments["depth"]) if use.arguments["gather"] == "all" else 1)
