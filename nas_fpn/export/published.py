"""The parameter names of public necks, and how a state dict of theirs becomes one of ours.

A table has rows ``(theirs, line, place)``: the prefix in the reference, the module of a line of
the shipped program, and a place in it, written in words (``conv1``, ``operand2.stride``,
``merge``), so that a norm or an activation more moves nothing. A row whose place the program
does not have is passed over: one table serves every configuration of a reference.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from nas_fpn.language.graph import Node, Op
from nas_fpn.language.layout import near
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture
from nas_fpn.language.words import WORDS
from nas_fpn.necks.neck import Neck

__all__ = ["REFERENCES", "from_published", "name_here", "published_names"]

Rows = Iterator[tuple[str, str, str]]

# How TensorFlow calls what torch calls otherwise; all other last parts are torch's.
_TENSORS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_NORMS = ("bn", "gn")  # as mmcv names a norm by its kind


def from_published(
    reference: str, state: Mapping[str, Tensor], neck: Neck, *, prefix: str = ""
) -> dict[str, Tensor]:
    """Turn a published neck's state dict into one that ``neck.load_state_dict`` takes whole.

    ``reference`` is one of :data:`REFERENCES`; ``neck`` has the program of that name in its
    configuration (shipped, or a variation: levels, extra levels, norms, passes). Of ``state`` only
    what begins with ``prefix`` is the neck's ("neck." in a detector of mmdetection, "fpn." in
    EfficientDet, "backbone.fpn." in torchvision's). Kernels are laid out as torch has them,
    [out, in, h, w].

    A bias in front of batch normalisation, which several references keep and our programs do
    not, goes into the running mean: the same numbers in evaluation, and in training, where it
    does nothing. Raises ValueError for an unknown reference, for a published tensor without a
    place, one of ours that nothing fills, and unequal shapes.
    """
    own = neck.state_dict()
    norms = _norms_behind(neck.architecture)
    names = published_names(reference, neck.architecture)
    given: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    idle: list[tuple[str, Tensor]] = []
    for whole, value in state.items():
        if not whole.startswith(prefix):
            continue
        name = whole.removeprefix(prefix)
        here = name_here(name, names)
        behind = None if here is None else norms.get(here.removesuffix(".bias"))
        if here in own:
            if value.shape != own[here].shape:
                raise ValueError(
                    f"{reference}: {name!r} has shape {tuple(value.shape)}, but {here!r}, its "
                    f"place here, has {tuple(own[here].shape)}\n"
                    "give the neck the reference's width and in_channels"
                )
            given[here], origin[here] = value, name
        elif here is not None and here.endswith(".bias") and f"{behind}.running_mean" in own:
            idle.append((f"{behind}.running_mean", value))
        else:
            raise ValueError(
                f"{reference}: {name!r} has no place in this neck, whose lines are "
                f"{', '.join(node.key for node in lower(neck.architecture).nodes)}\n"
                f"is the program of the same configuration, and prefix={prefix!r} right?"
            )
    theirs = {here: there for there, here in names.items()}
    for here, value in own.items():
        if here.endswith("num_batches_tracked"):
            given.setdefault(here, value)
        elif here not in given:
            line, _, last = here.rpartition(".")
            there = theirs.get(here) or (f"{theirs[line]}.{last}" if line in theirs else None)
            raise ValueError(
                f"{reference}: nothing in the state dict is for {here!r}"
                + ("" if there is None else f", which is {there!r} there")
                + f"\nis the program of the same configuration, and prefix={prefix!r} right?"
            )
    for here, value in idle:
        given[here] = given[here] - value
    return {here: given[here] for here in own}


def published_names(reference: str, architecture: Architecture) -> dict[str, str]:
    r"""The reference's prefixes and ours, for those places that this program has.

    >>> from nas_fpn.language import parse
    >>> published_names("mmdet.fpn", parse("p5 = c5 -> conv1\np5 = p5 -> relu conv3 bn"))
    {'lateral_convs.0.conv': 'p5.0', 'fpn_convs.0.conv': 'p5_2.1', 'fpn_convs.0.bn': 'p5_2.2'}
    """
    if reference not in REFERENCES:
        raise ValueError(
            f"unknown reference {reference!r}\nthere are {', '.join(REFERENCES)}"
            + near(reference, list(REFERENCES))
        )
    graph = lower(architecture)
    nodes = {node.key: node for node in graph.nodes}
    passes = {key.split(".")[1] for key in nodes if key.startswith("repeat1.")}
    facts = _Facts(graph.inputs, tuple(f"repeat1.{n + 1}." for n in range(len(passes))))
    names = {}
    for theirs, line, place in REFERENCES[reference](facts):
        here = _place(nodes[line], place) if line in nodes else None
        if here is not None:
            names[theirs] = here
    return names


def name_here(name: str, names: Mapping[str, str]) -> str | None:
    """Our name of a published tensor, by the longest prefix in ``names``; None without one.

    >>> name_here("conv2d.kernel", {"conv2d": "p3.0"})
    'p3.0.weight'
    """
    prefix, rest = name, ""
    while prefix and prefix not in names:
        prefix, _, last = prefix.rpartition(".")
        rest = f".{_TENSORS.get(last, last)}{rest}"
    return names[prefix] + rest if prefix else None


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the tables want to know: the levels read, and the prefixes of the repeat's passes."""

    levels: tuple[int, ...]
    passes: tuple[str, ...]

    @property
    def top(self) -> int:
        return self.levels[-1]

    def convolved(self, level: int) -> str:
        """The line that convolves a level after the way down of an FPN."""
        return f"p{level}_2" if level == self.top else f"p{level}_3"


def _torchvision_fpn(facts: _Facts) -> Rows:
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


def _mmdet_fpn(facts: _Facts) -> Rows:
    for i, level in enumerate(facts.levels):
        yield from _mmcv(f"lateral_convs.{i}", f"p{level}", "conv1")
        yield from _mmcv(f"fpn_convs.{i}", facts.convolved(level), "conv3")
    for extra in range(1, 4):
        line = f"p{facts.top + extra}"
        yield from _mmcv(f"fpn_convs.{len(facts.levels) + extra - 1}", line, "stride")


def _mmdet_pafpn(facts: _Facts) -> Rows:
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


def _effdet_bifpn(facts: _Facts) -> Rows:
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


def _mmdet_nas_fpn(facts: _Facts) -> Rows:
    for i, level in enumerate(facts.levels):
        yield from _mmcv(f"lateral_convs.{i}", f"p{level}", "conv1")
    for i in range(2):
        yield from _mmcv(f"extra_downsamples.{i}.0", f"p{facts.top + 1 + i}", "conv1")
    for stage, here in enumerate(facts.passes):
        for cell, line in _NAS_FPN_MMDET.items():
            yield from _mmcv(f"fpn_stages.{stage}.{cell}.out_conv", f"{here}{line}", "conv3")


def _tensorflow_nas_fpn(facts: _Facts) -> Rows:
    """Keras numbers the layers as they are made: laterals, then each cell in its order."""
    lines = [(f"p{level}", "conv1") for level in facts.levels]
    for here in facts.passes:
        lines += [(f"{here}{line}", "conv3") for line in _NAS_FPN_MMDET.values()]
    for i, (line, conv) in enumerate(lines):
        number = f"_{i}" if i else ""
        yield f"conv2d{number}", line, conv
        yield f"batch_normalization{number}", line, "norm"


REFERENCES: dict[str, Callable[[_Facts], Rows]] = {
    "torchvision.fpn": _torchvision_fpn,
    "mmdet.fpn": _mmdet_fpn,
    "mmdet.pafpn": _mmdet_pafpn,
    "mmdet.nas_fpn": _mmdet_nas_fpn,
    "effdet.bifpn": _effdet_bifpn,
    "tensorflow.nas_fpn": _tensorflow_nas_fpn,
}


def _mmcv(theirs: str, line: str, place: str) -> Rows:
    """A convolution of mmcv and the norm behind it."""
    yield f"{theirs}.conv", line, place
    operand, dot, _ = place.rpartition(".")
    for norm in _NORMS:
        yield f"{theirs}.{norm}", line, f"{operand}{dot}{norm}"


def _place(node: Node, place: str) -> str | None:
    """The module prefix of a place in a line, or None if the line has no such word."""
    first, _, rest = place.partition(".")
    ops = node.ops
    if first == "merge":
        return f"{node.key}.{place}" if node.merge is not None else None
    if first.startswith("operand"):
        number = int(first.removeprefix("operand"))
        ops = node.edges[number - 1].ops if number <= len(node.edges) else ()
        first, _, rest = rest.partition(".")
    for op in ops:
        if op.name == first or (first == "norm" and WORDS[op.name].norm):
            parts = (node.key, op.key, *(("0",) if op.name == "stride" else ()), rest)
            return ".".join(part for part in parts if part)
    return None


def _norms_behind(architecture: Architecture) -> dict[str, str]:
    """The norm directly behind each convolution, both as module prefixes."""
    behind = {}
    for node in lower(architecture).nodes:
        for ops in (node.ops, *(edge.ops for edge in node.edges)):
            for op, following in pairwise(ops):
                if WORDS[following.name].norm:
                    behind[f"{node.key}.{_ending(op)}"] = f"{node.key}.{following.key}"
    return behind


def _ending(op: Op) -> str:
    """Below its line, the convolution that a word ends in."""
    last = {"sep3": ".pointwise", "sep5": ".pointwise"}.get(op.name, "")
    if op.name == "stride":
        last = f".{abs(op.level - op.source) - 1}"
    return f"{op.key}{last}"
