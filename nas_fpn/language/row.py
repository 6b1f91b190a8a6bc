"""What a row of the words says, and what follows from a row and a word's arguments.

A word whose arguments make it another operation (``concat[plain]``, ``stride[conv=gsconv]``) can
differ from its row; the functions below say how.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nas_fpn.language.use import Cost, Use
from nas_fpn.language.word import Value, Word

__all__ = [
    "BIAS",
    "CHANNELS",
    "KINDS",
    "Argument",
    "Kind",
    "Row",
    "full_arguments",
    "gives",
    "joins",
    "needless",
    "parts",
]

Kind = Literal["merge", "up", "down", "block"]
KINDS: tuple[Kind, ...] = ("merge", "up", "down", "block")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a word: its name, its default and what it may be.

    ``options`` lists the names it may be; else it is a number of the default's type in
    ``least .. most``, and odd where ``odd`` says so. ``bias`` is written ``bias`` or ``nobias``
    (default: by the rule that a norm right behind makes it needless), ``channels`` as a bare
    whole number; one whose default is False is a flag, written bare where it is set.
    """

    name: str
    default: Value | None
    options: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 999_999.0
    odd: bool = False


def _free(use: Use) -> tuple[int, int]:
    del use
    return 0, 0


def _little(use: Use) -> int:
    del use
    return 0


@dataclass(frozen=True, slots=True)
class Row:
    """What the checks, the cost and the search need to know of a word."""

    kind: Kind
    arguments: tuple[Argument, ...] = ()
    operands: tuple[int, int] = (2, 64)  # of a merge: at least, at most
    commutes: bool = False
    gives: bool = False  # takes any channels and gives `channels` or `width`
    norm: bool = False  # makes the bias of a convolution before it needless
    bias: bool = False  # ends in a convolution whose bias follows the rule
    mixes: bool = False  # a merge whose operands may differ in channels
    parts: int = 1  # what it gives is made in so many equal parts: must divide its channels
    cost: Cost = _free
    inside: Callable[[Use], int] = _little  # numbers alive beside those that it takes and gives
    operation: Callable[..., object] | None = None  # of a user's own word; never called here


CHANNELS = Argument("channels", None, least=1, most=4096)
BIAS = Argument("bias", None, options=("bias", "nobias"))


def gives(word: Word, row: Row) -> bool:
    """Whether the word gives channels of its own: those of its brackets, or the width."""
    return row.gives and not joins(word)


def joins(word: Word) -> bool:
    """Whether the word is a merge that gives all channels of its operands: ``concat[plain]``."""
    return word.name == "concat" and ("plain", True) in word.arguments


def full_arguments(word: Word, row: Row) -> dict[str, Value | None]:
    """Every argument of the word by name, defaults filled in (None: to be resolved)."""
    given = dict(word.arguments)
    return {a.name: given.get(a.name, a.default) for a in row.arguments}


def parts(word: Word, row: Row) -> int:
    """In how many equal parts the word makes its channels."""
    halves = word.name == "stride" and dict(word.arguments).get("conv") in ("gsconv", "gsconve1")
    return 2 if halves else row.parts


def needless(name: str, given: Mapping[str, Value]) -> tuple[str, str, str] | None:
    """The argument that another makes needless: that other as text, it, and how to mend it."""
    if name == "concat" and given.get("plain") and len(given) > 1:
        other = next(key for key in given if key != "plain")
        return "concat[plain]", other, "put a block behind the merge: concat[plain](…) -> conv1[96]"
    if name == "stride" and given.get("conv") in ("gsconv", "gsconve1") and "bias" in given:
        return f"stride[conv={given['conv']}]", "bias", "remove it: norms follow its convolutions"
    return None
