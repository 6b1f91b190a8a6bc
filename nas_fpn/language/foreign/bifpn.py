"""BiFPN as mmdetection's EfficientDet and effdet configure it, as a program.

The shape of `bifpn.neck`: the first cell projects c4 twice and c5 three times.
"""

from nas_fpn.language.foreign.conv_block import norm_of
from nas_fpn.language.foreign.fields import (
    check_keys,
    choice,
    counts,
    fail,
    flag,
    number,
    optional_table,
    required,
    whole,
)
from nas_fpn.language.foreign.fpn import finest_of
from nas_fpn.language.foreign.imported import Imported, Options, call
from nas_fpn.language.foreign.literals import Table

__all__ = ["effdet_bifpn", "mmdet_bifpn"]

_BIASES = "a bias stood before each norm, where it does nothing: left out"
_MMDET = (
    "type num_stages in_channels out_channels start_level epsilon apply_bn_for_resampling "
    "conv_bn_act_pattern norm_cfg init_cfg"
)
_EFFDET = (
    "image_size in_channels fpn_channels fpn_cell_repeats weight_method pad_type redundant_bias "
    "act_type norm_kwargs separable_conv apply_resample_bn conv_bn_relu_pattern downsample_type "
    "upsample_type min_level max_level num_levels nodes fpn_name fpn_config conv_after_downsample"
)
_BESIDE = (  # of a whole model of effdet: the rest of the detector
    "name backbone_name backbone_args backbone_indices url num_classes head_act_type "
    "head_bn_level_first box_class_repeats num_scales aspect_ratios anchor_scale "
    "fpn_drop_path_rate alpha gamma label_smoothing legacy_focal jit_loss delta "
    "box_loss_weight soft_nms max_detection_points max_det_per_image norm_layer"
)
_ACTS = {"swish": "swish", "silu": "silu", "relu": "relu", "relu6": "relu6"}
_MERGES = {"fastattn": "fast", "attn": "softmax", "sum": "sum"}


def mmdet_bifpn(neck: Table, options: Options, doc: str) -> Imported:
    """``BiFPN`` of mmdetection's EfficientDet project."""
    notes: list[str] = []
    check_keys(neck, _MMDET, what="BiFPN")
    required(neck, "num_stages", what="BiFPN")
    required(neck, "out_channels", what="BiFPN")
    start = whole(neck, "start_level", 0, most=8)
    given = counts(neck, "in_channels", what="BiFPN")
    finest = finest_of(len(given), options, notes, "in_channels")
    channels = given[start:]
    if finest + start != 3 or len(channels) != 3:
        fail(
            neck,
            "in_channels",
            "BiFPN reads c3, c4 and c5",
            "give three numbers from start_level on; --finest is the level of the first of all",
        )
    bn = call("bn", eps=0.001, momentum=0.01)
    norm = norm_of(neck, notes, default=bn)
    if norm.partition("[")[0] != "bn":
        fail(neck, "norm_cfg", "BiFPN has batch norms", "write norm_cfg=dict(type='BN')")
    resampled = norm if flag(neck, "apply_bn_for_resampling", True) else ""
    epsilon = number(neck, "epsilon", 1e-4)
    notes += [_BIASES, "it enlarges by the factor 2: here to the exact size, odd sizes too"]
    if neck.values.get("init_cfg") is not None:
        notes.append("init_cfg: the program does not say how weights begin")
    conv_first = flag(neck, "conv_bn_act_pattern", False)
    text = _program(
        width=whole(neck, "out_channels", 64, least=1),
        cells=whole(neck, "num_stages", 3, least=1, most=65),
        merge=call("fast", eps=None if epsilon == 1e-4 else epsilon),
        after=f"sep3 {norm} swish" if conv_first else f"swish sep3 {norm}",
        project=f"conv1 {resampled}".rstrip(),
        pool="maxpool3[pad=same]",
    )
    notes.append("no table names its published weights; effdet's has one")
    return Imported(f"{doc}\n{text}", tuple(notes), None, channels)


def effdet_bifpn(neck: Table, options: Options, doc: str) -> Imported:
    """``BiFpn`` by effdet's configuration: ``fpn_channels``, ``fpn_cell_repeats`` and others."""
    notes: list[str] = []
    check_keys(neck, f"type {_EFFDET} {_BESIDE}", what="BiFPN of effdet")
    beside = [key for key in neck.values if key in _BESIDE.split()]
    if beside:
        notes.append(f"not the neck's, left out: {', '.join(beside)}")
    for key, wanted in (("min_level", 3), ("max_level", 7), ("num_levels", 5)):
        if neck.values.get(key, wanted) != wanted:
            fail(
                neck, key, f"{key} is {neck.values[key]!r}", f"BiFPN is written for {key}={wanted}"
            )
    if flag(neck, "conv_after_downsample", False):
        fail(neck, "conv_after_downsample", "projections behind the pools", "write False")
    choice(neck, "upsample_type", "nearest", ("nearest",))
    choice(neck, "downsample_type", "max", ("max",))
    _check_layout(neck)
    width = whole(neck, "fpn_channels", 64, least=1)
    channels = counts(neck, "in_channels", what="BiFPN") if "in_channels" in neck.values else None
    if channels is not None and (len(channels) != 3 or width in channels):
        fail(
            neck,
            "in_channels",
            f"in_channels is {list(channels)}",
            "BiFPN reads c3, c4, c5, each of another width than its own: there a feature of "
            "fpn_channels passes without a projection, which the language cannot say",
        )
    norm = _norm(neck)
    biased = flag(neck, "redundant_bias", False)
    project = f"conv1 {norm}"
    if not flag(neck, "apply_resample_bn", True):
        project = "conv1" if biased else "conv1[nobias]"
    if biased:
        notes.append(_BIASES)
    if "image_size" in neck.values:
        notes.append("image_size: there all sizes are fixed; here any goes")
    act = _ACTS[choice(neck, "act_type", "swish", tuple(_ACTS))]
    conv = "sep3" if flag(neck, "separable_conv", True) else "conv3"
    conv_first = flag(neck, "conv_bn_relu_pattern", False)
    merge = "sum" if neck.values.get("fpn_name") == "bifpn_sum" else "fast"
    if "weight_method" in neck.values:
        merge = _MERGES[choice(neck, "weight_method", "fastattn", tuple(_MERGES))]
    text = _program(
        width=width,
        cells=whole(neck, "fpn_cell_repeats", 3, least=1, most=65),
        merge=merge,
        after=f"{conv} {norm} {act}" if conv_first else f"{act} {conv} {norm}",
        project=project,
        pool=_POOLS[choice(neck, "pad_type", "", tuple(_POOLS))],
    )
    return Imported(f"{doc}\n{text}", tuple(notes), "effdet.bifpn", channels)


_POOLS = {"": "maxpool3", "same": "maxpool3[pad=same]"}
_NODES = (
    (6, [3, 4]),
    (5, [2, 5]),
    (4, [1, 6]),
    (3, [0, 7]),
    (4, [1, 7, 8]),
    (5, [2, 6, 9]),
    (6, [3, 5, 10]),
    (7, [4, 11]),
)


def _check_layout(neck: Table) -> None:
    names = ("bifpn_sum", "bifpn_fa", "bifpn_attn")
    if neck.values.get("fpn_name") is not None:
        choice(neck, "fpn_name", "bifpn_fa", names)
        if neck.values["fpn_name"] == "bifpn_attn" and "weight_method" not in neck.values:
            fail(neck, "fpn_name", "bifpn_attn without weight_method", "write weight_method='attn'")
    if neck.values.get("fpn_config") is not None:
        fail(neck, "fpn_config", "a layout of its own", "write its program; see bifpn.neck")
    nodes = neck.values.get("nodes")
    if nodes is None:
        return
    every = nodes if isinstance(nodes, list) else []
    layouts = [node.values for node in every if isinstance(node, Table)]
    given = tuple(
        (node.get("level", node.get("feat_level")), node.get("inputs_offsets")) for node in layouts
    )
    if given != _NODES:
        fail(neck, "nodes", "these nodes are not BiFPN's", "write the program; see bifpn.neck")


def _norm(neck: Table) -> str:
    given = optional_table(neck, "norm_kwargs")
    eps, momentum = 1e-3, 0.01
    if given is not None:
        check_keys(given, "eps momentum", what="norm_kwargs")
        eps, momentum = number(given, "eps", 1e-5), number(given, "momentum", 0.1)
    return call(
        "bn", eps=eps if eps != 1e-5 else None, momentum=momentum if momentum != 0.1 else None
    )


def _program(*, width: int, cells: int, merge: str, after: str, project: str, pool: str) -> str:
    lines = [
        f"width {width}",
        f"then {after}",
        f"down {pool}",
        "",
        f"p6 = c5 -> {project} {pool}",
        f"p7 = p6 -> {pool}",
        "a = p6",
        f"p6 = {merge}(p6, p7)",
        f"p5..p3 = {merge}(c5..c3 -> {project}, p6..p4)",
        f"p4..p5 = {merge}(c4..c5 -> {project}, p4..p5, p3..p4)",
        f"p6 = {merge}(a, p6, p5)",
        f"p7 = {merge}(p7, p6)",
    ]
    if cells > 1:
        lines += [
            f"repeat {cells - 1}:",
            "    x4..x6 = p4..p6",
            f"    p6..p3 = {merge}(p6..p3, p7..p4)",
            f"    p4..p6 = {merge}(x4..x6, p4..p6, p3..p5)",
            f"    p7 = {merge}(p7, p6)",
        ]
    return "\n".join([*lines, ""])
