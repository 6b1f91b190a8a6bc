"""Text in a drawing: words in brief or in full, numbers, how wide a text is, what XML can hold."""

import re
from collections.abc import Iterable
from xml.sax import saxutils

from nas_fpn.language.graph import Op
from nas_fpn.language.program import Word
from nas_fpn.language.words import full_arguments

__all__ = ["brief", "escape", "label", "number", "stack", "text_width", "words"]

_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def text_width(text: str, size: float = 11.0) -> float:
    """A little more than what common sans-serif fonts take."""
    return 0.58 * size * len(text)


def number(value: float) -> str:
    """At most one decimal, as short as it goes."""
    return f"{round(value, 1) + 0.0:g}"


def escape(text: str) -> str:
    """Text for the inside of an element; what XML cannot hold becomes U+FFFD."""
    return saxutils.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def label(word: Word | Op) -> str:
    """The word with those arguments that are not its row's default, bias and channels aside."""
    given = tuple((k, v) for k, v in word.arguments if k not in {"bias", "channels"})
    if isinstance(word, Op):
        default = full_arguments(Word(word.name), word.row)
        given = tuple((k, v) for k, v in given if v != default[k])
    return str(Word(word.name, given))


def words(ops: Iterable[Word | Op]) -> tuple[str, ...]:
    """The labels of some words, ``id`` left out."""
    return tuple(label(op) for op in ops if op.name != "id")


def brief(ops: Iterable[Word | Op]) -> tuple[str, ...]:
    """Those words without their arguments, which the tooltip and the legend give."""
    return tuple(word.partition("[")[0] for word in words(ops))


def stack(labels: tuple[str, ...]) -> tuple[str, ...]:
    """One word a row; of more than four words, as many a row as keep it to four rows."""
    each = -(-len(labels) // 4)
    return tuple(" ".join(labels[k : k + each]) for k in range(0, len(labels), max(1, each)))
