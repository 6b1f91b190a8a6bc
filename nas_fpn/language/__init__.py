"""The neck language: a program of merge cells over pyramid levels, with or without holes.

No torch, ray or optuna here. ``docs/language.md`` is the guide.
"""

from nas_fpn.language.canonical import canonical, identity
from nas_fpn.language.cost import Cost, cost
from nas_fpn.language.encode import encode
from nas_fpn.language.files import (
    find_neck,
    find_space,
    parse,
    parse_space,
    read,
    read_neck,
    shipped_folder,
)
from nas_fpn.language.fit import fit
from nas_fpn.language.graph import Edge, Graph, Node, Op
from nas_fpn.language.lower import lower
from nas_fpn.language.own_words import SHIPPED, Words, load_words
from nas_fpn.language.program import Architecture, Line, Operand, Repeat, Word
from nas_fpn.language.resize import resized
from nas_fpn.language.space import Choice, Space
from nas_fpn.language.walk import choices, decode, explain, sample, size, walk
from nas_fpn.language.words import BIAS, CHANNELS, Argument, Row, Use

__all__ = [
    "BIAS",
    "CHANNELS",
    "SHIPPED",
    "Architecture",
    "Argument",
    "Choice",
    "Cost",
    "Edge",
    "Graph",
    "Line",
    "Node",
    "Op",
    "Operand",
    "Repeat",
    "Row",
    "Space",
    "Use",
    "Word",
    "Words",
    "canonical",
    "choices",
    "cost",
    "decode",
    "encode",
    "explain",
    "find_neck",
    "find_space",
    "fit",
    "identity",
    "load_words",
    "lower",
    "parse",
    "parse_space",
    "read",
    "read_neck",
    "resized",
    "sample",
    "shipped_folder",
    "size",
    "walk",
]
