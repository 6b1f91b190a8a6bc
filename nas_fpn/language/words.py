"""The words of the language: one row each, and what follows from a row.

A row says the kind, how many operands, whether they commute, the arguments that brackets may
give, and the cost from shapes. An operation of the same name stands in a dict of
``nas_fpn.necks``; a test holds the two sets equal. Its paper and formula stand in its docstring.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nas_fpn.language.block_costs import (
    aspp_cost,
    features_inside,
    gsconv_cost,
    gsconve1_cost,
    gsconve2_cost,
    gsconvns_cost,
    ihp_cost,
    ihp_inside,
    repconv_cost,
    rfa_cost,
    vovgscsp_cost,
)
from nas_fpn.language.fusion_costs import (
    asff_cost,
    asff_inside,
    carafe_cost,
    cat_cost,
    cat_inside,
    deconv_cost,
    esd1_cost,
    esd2_cost,
    psum_cost,
)
from nas_fpn.language.stage_costs import csp_cost, csp_inside
from nas_fpn.language.use import Cost, Use
from nas_fpn.language.word import Value, Word

__all__ = [
    "BIAS",
    "CHANNELS",
    "KINDS",
    "WORDS",
    "Argument",
    "Kind",
    "Row",
    "Use",
    "full_arguments",
    "gives",
    "joins",
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
_DEPTH = Argument("depth", 1, least=1, most=16)
_SHUFFLE = Argument("shuffle", "interleave", options=("interleave", "deinterleave"))
_ACTIVATION = Argument("activation", "silu", options=("silu", "mish"))
_PLAIN = Argument("plain", False)
_EPS = Argument("eps", 1e-5, most=1.0)
_MOMENTUM = Argument("momentum", 0.1, most=1.0)
_POOL_PAD = Argument("pad", "ceil", options=("ceil", "zero"))


def _kernel(default: int) -> Argument:
    """The side of the convolution that a block's docstring names: 1 or 3."""
    return Argument("kernel", default, least=1, most=3, odd=True)


def _merge_weights(use: Use) -> tuple[int, int]:
    return len(use.inputs), 0


def _norm(use: Use) -> tuple[int, int]:
    return 2 * use.channels, 0


def _dense(side: int) -> Cost:
    def cost(use: Use) -> tuple[int, int]:
        kernel = side * side * sum(use.inputs) * use.channels
        return kernel + use.bias * use.channels, kernel * use.after[0] * use.after[1]

    return cost


def _mixed(use: Use) -> tuple[int, int]:
    return (0, 0) if use.arguments["plain"] else _dense(1)(use)


def _depthwise(use: Use) -> tuple[int, int]:
    kernel = 9 * use.channels
    return kernel + use.bias * use.channels, kernel * use.after[0] * use.after[1]


def _separable(side: int) -> Cost:
    def cost(use: Use) -> tuple[int, int]:
        kernel = (side * side + use.channels) * use.inputs[0]
        return kernel + use.bias * use.channels, kernel * use.after[0] * use.after[1]

    return cost


def _strided(use: Use) -> tuple[int, int]:
    params, macs, channels, (high, wide) = 0, 0, use.inputs[0], use.before
    for step in range(use.steps):
        kernel = 9 * channels * use.channels
        high, wide, channels = (high + 1) // 2, (wide + 1) // 2, use.channels
        params += kernel + (use.bias or step < use.steps - 1) * channels
        macs += kernel * high * wide
    return params, macs


def _block(*arguments: Argument, norm: bool = False) -> Row:
    return Row("block", arguments, norm=norm, cost=_norm if norm else _free)


def _convolution(cost: Cost, kind: Kind = "block") -> Row:
    return Row(kind, (CHANNELS, BIAS), gives=True, bias=True, cost=cost)


WORDS: dict[str, Row] = {
    # merges
    "sum": Row("merge", commutes=True),
    "mean": Row("merge", commutes=True),
    "max": Row("merge", commutes=True),
    "fast": Row("merge", (Argument("eps", 1e-4, most=1.0),), cost=_merge_weights),
    "softmax": Row("merge", cost=_merge_weights),
    "weighted": Row("merge", cost=_merge_weights),
    "gp": Row("merge", (Argument("pool", "max", options=("max", "mean")),), operands=(2, 2)),
    "concat": Row(
        "merge", (CHANNELS, BIAS, _PLAIN), gives=True, bias=True, mixes=True, cost=_mixed
    ),
    "asff": Row(
        "merge",
        (
            Argument("compress", 16, least=1, most=4096),
            Argument("act", "leaky", options=("leaky", "relu6")),
        ),
        cost=asff_cost,
        inside=asff_inside,
    ),
    "psum": Row("merge", cost=psum_cost),
    "cat": Row("merge", cost=cat_cost, inside=cat_inside),
    # up
    "nearest": Row("up"),
    "bilinear": Row("up"),
    "sni": Row(
        "up",
        (
            Argument("mode", "nearest", options=("nearest", "bilinear")),
            Argument("alpha", "ratio", options=("ratio",), most=1.0),
        ),
    ),
    "deconv": Row(
        "up",
        (CHANNELS, BIAS, Argument("kernel", 2, least=2, most=8)),
        gives=True,
        bias=True,
        cost=deconv_cost,
    ),
    "carafe": Row(
        "up",
        (
            Argument("mid", 64, least=1, most=4096),
            Argument("encoder", 3, least=1, most=9, odd=True),
            Argument("kernel", 5, least=1, most=9, odd=True),
            Argument("groups", 1, least=1, most=4096),
        ),
        cost=carafe_cost,
    ),
    # down
    "maxpool": Row("down", (_POOL_PAD,)),
    "maxpool3": Row("down", (Argument("pad", "one", options=("one", "same")),)),
    "avgpool": Row("down"),
    "stride": _convolution(_strided, "down"),
    "subsample": Row("down"),
    "esd1": Row("down", (CHANNELS,), gives=True, cost=esd1_cost),
    "esd2": Row("down", (CHANNELS,), gives=True, cost=esd2_cost),
    # blocks that give channels
    "conv1": _convolution(_dense(1)),
    "conv3": _convolution(_dense(3)),
    "conv5": _convolution(_dense(5)),
    "sep3": _convolution(_separable(3)),
    "sep5": _convolution(_separable(5)),
    "gsconv": Row(
        "block",
        (CHANNELS, _kernel(1), _SHUFFLE, _ACTIVATION),
        gives=True,
        parts=2,
        cost=gsconv_cost,
    ),
    "gsconve1": Row(
        "block",
        (CHANNELS, _kernel(3)),
        gives=True,
        parts=2,
        cost=gsconve1_cost,
        inside=features_inside(1),
    ),
    "gsconve2": Row("block", (CHANNELS, _kernel(3)), gives=True, parts=4, cost=gsconve2_cost),
    "gsconvns": Row(
        "block",
        (CHANNELS, _kernel(1), _ACTIVATION),
        gives=True,
        parts=2,
        cost=gsconvns_cost,
    ),
    "vovgscsp": Row(
        "block",
        (CHANNELS, _DEPTH, _SHUFFLE, _ACTIVATION),
        gives=True,
        parts=4,
        cost=vovgscsp_cost,
        inside=features_inside(2),
    ),
    "csp": Row(
        "block",
        (
            CHANNELS,
            _DEPTH,
            Argument("shortcut", False),
            Argument("inner", "plain", options=("plain", "rep")),
            _kernel(1),
            Argument("gather", "last", options=("last", "all")),
            _ACTIVATION,
            _EPS,
            _MOMENTUM,
        ),
        gives=True,
        parts=2,
        cost=csp_cost,
        inside=csp_inside,
    ),
    "ihp": Row(
        "block",
        (CHANNELS, _DEPTH, _kernel(3)),
        gives=True,
        parts=2,
        cost=ihp_cost,
        inside=ihp_inside,
    ),
    "aspp": Row("block", (CHANNELS,), gives=True, parts=4, cost=aspp_cost),
    "rfa": Row("block", (CHANNELS,), gives=True, cost=rfa_cost, inside=features_inside(6)),
    "repconv": Row(
        "block",
        (CHANNELS, Argument("identity", "bn", options=("bn", "none"))),
        gives=True,
        cost=repconv_cost,
        inside=features_inside(2),
    ),
    # blocks that keep channels
    "dw3": Row("block", (BIAS,), bias=True, cost=_depthwise),
    "bn": _block(_EPS, _MOMENTUM, norm=True),
    "gn": _block(Argument("groups", 32, least=1, most=4096), norm=True),
    "relu": _block(),
    "relu6": _block(),
    "silu": _block(),
    "swish": _block(),
    "gelu": _block(),
    "leaky": _block(Argument("slope", 0.01, most=1.0)),
    "mish": _block(),
    "id": _block(),
}


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
