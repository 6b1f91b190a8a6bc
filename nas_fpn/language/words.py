"""The words of the language: one row each, and what follows from a row.

A row says the kind, how many operands, whether they commute, the arguments that brackets may
give, and the cost from shapes. An operation of the same name stands in a dict of
``nas_fpn.necks``; a test holds the two sets equal. Its paper and formula stand in its docstring.
"""

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
from nas_fpn.language.conv_costs import (
    concat_cost,
    concat_inside,
    deform_cost,
    deform_inside,
    dense,
    depthwise_cost,
    dyhead_cost,
    dyhead_inside,
    separable,
    stride_cost,
    stride_inside,
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
from nas_fpn.language.row import (
    BIAS,
    CHANNELS,
    KINDS,
    Argument,
    Kind,
    Row,
    full_arguments,
    gives,
    joins,
)
from nas_fpn.language.stage_costs import csp_cost, csp_inside
from nas_fpn.language.use import Cost, Use

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


def _block(*arguments: Argument, norm: bool = False) -> Row:
    return Row("block", arguments, norm=norm, cost=_norm) if norm else Row("block", arguments)


def _convolution(cost: Cost) -> Row:
    return Row("block", (CHANNELS, BIAS), gives=True, bias=True, cost=cost)


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
        "merge",
        (CHANNELS, BIAS, _PLAIN),
        gives=True,
        bias=True,
        mixes=True,
        cost=concat_cost,
        inside=concat_inside,
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
    "dyhead": Row(
        "merge",
        (Argument("groups", 16, least=1, most=4096),),
        cost=dyhead_cost,
        inside=dyhead_inside,
    ),
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
    "maxpool3": Row(
        "down",
        (
            Argument("pad", "one", options=("one", "same")),
            Argument("window", "halving", options=("halving", "once", "wide")),
        ),
    ),
    "avgpool": Row("down"),
    "stride": Row(
        "down",
        (
            CHANNELS,
            BIAS,
            Argument("conv", "dense", options=("dense", "sep", "gsconv", "gsconve1", "deform")),
        ),
        gives=True,
        bias=True,
        cost=stride_cost,
        inside=stride_inside,
    ),
    "subsample": Row("down"),
    "interpolate": Row("down", (Argument("mode", "bilinear", options=("bilinear", "nearest")),)),
    "esd1": Row("down", (CHANNELS,), gives=True, cost=esd1_cost),
    "esd2": Row("down", (CHANNELS,), gives=True, cost=esd2_cost),
    # blocks that give channels
    "conv1": _convolution(dense(1)),
    "conv3": _convolution(dense(3)),
    "conv5": _convolution(dense(5)),
    "sep3": _convolution(separable(3)),
    "sep5": _convolution(separable(5)),
    "deform3": Row(
        "block",
        (
            CHANNELS,
            BIAS,
            Argument("groups", 1, least=1, most=4096),
            Argument("mask", "sigmoid", options=("sigmoid", "none")),
        ),
        gives=True,
        bias=True,
        cost=deform_cost,
        inside=deform_inside,
    ),
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
    "dw3": Row("block", (BIAS,), bias=True, cost=depthwise_cost),
    "bn": _block(_EPS, _MOMENTUM, norm=True),
    "gn": _block(Argument("groups", 32, least=1, most=4096), norm=True),
    "gap": _block(),
    "relu": _block(),
    "relu6": _block(),
    "silu": _block(),
    "swish": _block(),
    "gelu": _block(),
    "leaky": _block(Argument("slope", 0.01, most=1.0)),
    "mish": _block(),
    "id": _block(),
}
