"""A state dict of a public neck becomes one of ours, by the tables of ``references.py``."""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor

from nas_fpn.export.references import REFERENCES, Facts
from nas_fpn.language.graph import Node, Op
from nas_fpn.language.layout import near
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture
from nas_fpn.language.words import WORDS
from nas_fpn.necks.neck import Neck

__all__ = ["REFERENCES", "from_published", "name_here", "published_names"]

# How TensorFlow calls what torch calls otherwise; all other last parts are torch's.
_TENSORS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


# The convolution that ends a word of several parts.
_LAST = {"sep3": ".pointwise", "sep5": ".pointwise", "deform3": ".convolution"}


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
    facts = Facts(graph.inputs, tuple(f"repeat1.{n + 1}." for n in range(len(passes))))
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
    last = _LAST.get(op.name, "")
    if op.name == "stride":
        last = f".{abs(op.level - op.source) - 1}"
    return f"{op.key}{last}"
