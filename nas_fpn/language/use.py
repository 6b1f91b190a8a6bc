"""One use of a word in a neck: what its cost depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nas_fpn.language.word import Value

__all__ = ["Cost", "Use"]


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a word, as its cost sees it.

    ``inputs`` are the channels that it takes, an entry for each operand, and ``channels`` those
    that it gives; ``bias`` whether its last convolution has one. It goes from a feature of size
    ``before`` to one of size ``after`` (height, width), over ``steps`` levels. ``arguments`` are
    those of its brackets by name, defaults filled in; ``bias`` and ``channels`` not among them.
    """

    inputs: tuple[int, ...]
    channels: int
    bias: bool
    before: tuple[int, int]
    after: tuple[int, int]
    steps: int
    arguments: Mapping[str, Value] = field(default_factory=dict)


Cost = Callable[[Use], tuple[int, int]]  # parameters, multiply-adds of convolutions
