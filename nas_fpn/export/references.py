"""The parameter names of public necks, one small table each.

A table has rows ``(theirs, line, place)``: the prefix in the reference, the module of a line of
the shipped program, and a place in it, written in words (``conv1``, ``operand2.stride``,
``merge``), so that a norm or an activation more moves nothing. A row whose place the program
does not have is passed over: one table serves every configuration of a reference.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["REFERENCES", "Facts"]

Rows = Iterator[tuple[str, str, str]]

_NORMS = ("bn", "gn")  # as mmcv names a norm by its kind


@dataclass(frozen=True, slots=True)
class Facts:
    """What the tables want to know: the levels read, and the prefixes of the repeat's passes."""

    levels: tuple[int, ...]
    passes: tuple[str, ...]

    @property
    def top(self) -> int:
        """The coarsest level read."""
        return self.levels[-1]

    def convolved(self, level: int) -> str:
        """The line that convolves a level after the way down of an FPN."""
        return f"p{level}_2" if level == self.top else f"p{level}_3"


def _torchvision_fpn(facts: Facts) -> Rows:
    """``FeaturePyramidNetwork``; checkpoints of its first version lack the ``.0``."""
    for i, level in enumerate(facts.levels):
        for blocks, line, conv in (
            ("inner_blocks", f"p{level}", "conv1"),
            ("layer_blocks", facts.convolved(level), "conv3"),
        ):
            yield f"{blocks}.{i}", line, conv
            yield f"{blocks}.{i}.0", line, conv
            yield f"{blocks}.{i}.1", line, "norm"
    for level in (facts.top + 1, facts.top + 2):
        yield f"extra_blocks.p{level}", f"p{level}", "stride"


def _mmdet_fpn(facts: Facts) -> Rows:
    for i, level in enumerate(facts.levels):
        yield from _mmcv(f"lateral_convs.{i}", f"p{level}", "conv1")
        yield from _mmcv(f"fpn_convs.{i}", facts.convolved(level), "conv3")
    for extra in range(1, 4):
        line = f"p{facts.top + extra}"
        yield from _mmcv(f"fpn_convs.{len(facts.levels) + extra - 1}", line, "stride")


def _mmdet_pafpn(facts: Facts) -> Rows:
    yield from _mmdet_fpn(facts)
    for i, level in enumerate(facts.levels[1:]):
        after = 3 if level == facts.top else 4
        yield from _mmcv(f"downsample_convs.{i}", f"p{level}_{after}", "operand2.stride")
        yield from _mmcv(f"pafpn_convs.{i}", f"p{level}_{after + 1}", "conv3")


# The lines of a cell in the order of effdet's nodes 0 to 7, and what the first cell projects:
# a node, and the offset of the input. Line 6 of the first cell is preceded by p6's own.
_BIFPN = ("p6", "p5", "p4", "p3", "p4_2", "p5_2", "p6_2", "p7")
_BIFPN_FIRST = ("p6_2", "p5", "p4", "p3", "p4_2", "p5_2", "p6_3", "p7_2")
_BIFPN_PROJECTIONS = ((1, 2), (2, 1), (3, 0), (4, 1), (5, 2))


def _effdet_bifpn(facts: Facts) -> Rows:
    """``BiFpn`` over levels 3 to 7 of three features, its fusion by any of the three rules."""
    yield "resample.3.conv.conv", "p6", "conv1"
    yield "resample.3.conv.bn", "p6", "norm"
    cells = [_BIFPN_FIRST, *(tuple(f"{n}{line}" for line in _BIFPN) for n in facts.passes)]
    for cell, lines in enumerate(cells):
        for node, line in enumerate(lines):
            there = f"cell.{cell}.fnode.{node}"
            yield f"{there}.combine.edge_weights", line, "merge.weight"
            yield f"{there}.after_combine.conv.conv_dw", line, "sep3.depthwise"
            yield f"{there}.after_combine.conv.conv_pw", line, "sep3.pointwise"
            yield f"{there}.after_combine.conv.bn", line, "norm"
    for node, offset in _BIFPN_PROJECTIONS:
        there = f"cell.0.fnode.{node}.combine.resample.{offset}.conv"
        yield f"{there}.conv", _BIFPN_FIRST[node], "operand1.conv1"
        yield f"{there}.bn", _BIFPN_FIRST[node], "operand1.norm"


_NAS_FPN_MMDET = {
    "gp_64_4": "a",
    "sum_44_4": "b",
    "sum_43_3": "p3",
    "sum_34_4": "p4",
    "sum_55_5": "p5",
    "sum_77_7": "p7",
    "gp_75_6": "p6",
}


def _mmdet_nas_fpn(facts: Facts) -> Rows:
    for i, level in enumerate(facts.levels):
        yield from _mmcv(f"lateral_convs.{i}", f"p{level}", "conv1")
    for i in range(2):
        yield from _mmcv(f"extra_downsamples.{i}.0", f"p{facts.top + 1 + i}", "conv1")
    for stage, here in enumerate(facts.passes):
        for cell, line in _NAS_FPN_MMDET.items():
            yield from _mmcv(f"fpn_stages.{stage}.{cell}.out_conv", f"{here}{line}", "conv3")


def _tensorflow_nas_fpn(facts: Facts) -> Rows:
    """Keras numbers the layers as they are made: laterals, then each cell in its order."""
    lines = [(f"p{level}", "conv1") for level in facts.levels]
    for here in facts.passes:
        lines += [(f"{here}{line}", "conv3") for line in _NAS_FPN_MMDET.values()]
    for i, (line, conv) in enumerate(lines):
        number = f"_{i}" if i else ""
        yield f"conv2d{number}", line, conv
        yield f"batch_normalization{number}", line, "norm"


def _mmdet_bfp(facts: Facts) -> Rows:
    """A detector's list of necks: FPN, then BFP with a convolution."""
    for theirs, line, place in _mmdet_fpn(facts):
        yield f"0.{theirs}", line, place
    yield from _mmcv("1.refine", "m", "conv3")


def _mmdet_hrfpn(facts: Facts) -> Rows:
    yield "reduction_conv.conv", "t", "merge"
    for i in range(facts.top + 2 - facts.levels[0]):
        yield from _mmcv(f"fpn_convs.{i}", f"p{facts.levels[0] + i}", "conv3")


_NAS_FCOS = {
    "c22_1": "a",
    "c22_2": "b",
    "c32": "e",
    "c02": "f",
    "c42": "p5",
    "c36": "d",
    "c61": "p3",
}


def _mmdet_nas_fcos(facts: Facts) -> Rows:
    """``NASFCOS_FPN``, with its deformable convolutions or with plain ones."""
    for i, level in enumerate(facts.levels):
        yield from _mmcv(f"adapt_convs.{i}", f"x{level}", "conv1")
    for cell, line in _NAS_FCOS.items():
        yield f"fpn.{cell}.out_conv.conv", line, "merge.convolution"
        yield f"fpn.{cell}.out_conv.bn", line, "merge.norm"
        for n in (1, 2):
            there = f"fpn.{cell}.input{n}_conv"
            yield from _mmcv(there, line, f"operand{n}.conv3")
            yield f"{there}.conv", line, f"operand{n}.deform3.convolution"
            yield f"{there}.conv.conv_offset", line, f"operand{n}.deform3.offset"
    for i in range(2):
        yield from _mmcv(f"extra_downsamples.{i}", f"p{facts.top + 1 + i}", "stride")


def _mmdet_yolox(facts: Facts) -> Rows:
    """``YOLOXPAFPN`` with any number of bottlenecks, over three levels."""
    fine, middle, top = (f"p{level}" for level in facts.levels)
    for i, line in enumerate((top, f"{middle}_2")):
        yield from _mmcv(f"reduce_layers.{i}", line, "conv1")
    for i, line in enumerate((f"{middle}_3", f"{top}_2")):
        yield from _mmcv(f"downsamples.{i}", line, "operand1.stride")
        yield from _mmdet_csp(f"bottom_up_blocks.{i}", line)
    for i, line in enumerate((middle, fine)):
        yield from _mmdet_csp(f"top_down_blocks.{i}", line)
    for i, line in enumerate((f"{fine}_2", f"{middle}_4", f"{top}_3")):
        yield from _mmcv(f"out_convs.{i}", line, "conv1")


def _mmdet_csp(theirs: str, line: str) -> Rows:
    parts = {"main_conv": "enter", "short_conv": "bypass", "final_conv": "leave"}
    for i in range(16):
        for there, here in (("conv1", "first"), ("conv2", "second")):
            parts[f"blocks.{i}.{there}"] = f"bottlenecks.{i}.{here}"
    for there, here in parts.items():
        yield f"{theirs}.{there}.conv", line, f"csp.{here}.conv"
        yield f"{theirs}.{there}.bn", line, f"csp.{here}.norm"


def _mmdet_fpg(facts: Facts) -> Rows:
    """``FPG`` as configured there: five levels, all pathways up, the first four not whole."""
    levels = range(facts.levels[0], facts.levels[0] + 5)
    for i, level in enumerate(levels):
        yield f"lateral_convs.{i}", f"p{level}", "conv1"
        yield from _mmcv(f"lateral_convs.{i}", f"p{level}", "conv1")
        yield from _mmcv(f"extra_downsamples.{i - len(facts.levels)}", f"p{level}", "stride")
        yield f"extra_downsamples.{i - len(facts.levels)}", f"p{level}", "stride"
        yield from _mmcv(f"output_transition.{i}.conv_out", f"p{level}_{i + 2}", "conv3")
    for pathway in range(4 + len(facts.passes)):
        for i, level in enumerate(levels):
            if pathway < 4:
                # a level joins at the pathway 4 - i, as its second assignment
                line = f"p{level}_{2 + pathway - (4 - i)}"
            else:
                line = f"{facts.passes[pathway - 4]}p{level}"
            edges = [("same_up", "stride")] if i > 0 else []
            edges += [("across_lateral", "conv1")]
            edges += [("across_down.conv", "conv3")] if i < 4 else []
            edges += [("across_skip", "conv1")]
            for n, (edge, conv) in enumerate(edges, start=1):
                there = f"fpn_transitions.{pathway}.{i}.{edge}"
                if pathway >= 4 - i:
                    yield from _mmcv(there, line, f"operand{n}.{conv}")


REFERENCES: dict[str, Callable[[Facts], Rows]] = {
    "torchvision.fpn": _torchvision_fpn,
    "mmdet.fpn": _mmdet_fpn,
    "mmdet.pafpn": _mmdet_pafpn,
    "mmdet.nas_fpn": _mmdet_nas_fpn,
    "mmdet.bfp": _mmdet_bfp,
    "mmdet.fpg": _mmdet_fpg,
    "mmdet.hrfpn": _mmdet_hrfpn,
    "mmdet.nas_fcos": _mmdet_nas_fcos,
    "mmdet.yolox": _mmdet_yolox,
    "effdet.bifpn": _effdet_bifpn,
    "tensorflow.nas_fpn": _tensorflow_nas_fpn,
}


def _mmcv(theirs: str, line: str, place: str) -> Rows:
    """A convolution of mmcv and the norm behind it."""
    yield f"{theirs}.conv", line, place
    operand, dot, _ = place.rpartition(".")
    for norm in _NORMS:
        yield f"{theirs}.{norm}", line, f"{operand}{dot}{norm}"
