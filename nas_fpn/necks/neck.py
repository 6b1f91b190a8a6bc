"""A neck: any architecture as a module."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture
from nas_fpn.necks.cell import double, half
from nas_fpn.necks.plan import CellPlan, make_cell, plan_cells

__all__ = ["Neck", "initialise"]


class Neck(nn.Module):
    r"""Turn backbone features into pyramid features, as ``architecture`` says.

    ``in_channels`` has one entry for each level of ``inputs``, finest first. A line ``p4 = …`` is
    the submodule ``p4``, its second assignment ``p4_2``, and inside the first repeat's second
    pass ``repeat1.2.p4``; so are the keys of the state dict. Parameters follow
    :func:`initialise`: from ``seed``, or else from torch's global generator. With a seed
    the global generator is left as it was.

    ``inputs`` are the levels read and ``levels`` those given, finest first; ``strides`` and
    ``out_channels`` go with ``levels``. Raises ValueError for a wrong number of channels, for
    channels below 1, and where a word cannot give the channels asked of it.

    The size of level k is that of ``ck`` where the program reads it, else half the level below,
    rounded up; below the finest ``c`` read, twice the next coarser.

    >>> from nas_fpn.language import parse
    >>> neck = Neck(parse("p3..p4 = c3..c4 -> conv1[64]\np3 = sum(p3, p4)"), (40, 112))
    >>> [tuple(p.shape) for p in neck([torch.zeros(1, 40, 9, 7), torch.zeros(1, 112, 5, 4)])]
    [(1, 64, 9, 7), (1, 64, 5, 4)]
    """

    def __init__(
        self, architecture: Architecture, in_channels: Sequence[int], *, seed: int | None = None
    ) -> None:
        super().__init__()
        graph = lower(architecture)
        if len(in_channels) != len(graph.inputs):
            raise ValueError(
                f"in_channels must have one entry per {_levels(graph.inputs)}, "
                f"but got in_channels={tuple(in_channels)}"
            )
        if any(channels < 1 for channels in in_channels):
            raise ValueError(f"in_channels must be at least 1, but got {tuple(in_channels)}")
        self.architecture = architecture
        self.in_channels = tuple(in_channels)
        self.inputs = graph.inputs
        self.levels = tuple(level for level, _ in graph.outputs)
        self.strides = tuple(2**level for level in self.levels)
        plans = plan_cells(graph, dict(zip(graph.inputs, in_channels, strict=True)))
        channels = {plan.node.key: plan.channels for plan in plans}
        self.out_channels = tuple(channels[value] for _, value in graph.outputs)
        self._outputs = tuple(value for _, value in graph.outputs)
        self._steps = _steps(plans, self._outputs)
        self._used = sorted({*graph.inputs, *(plan.node.level for plan in plans)})
        with torch.random.fork_rng(devices=[]):  # what our words draw here is drawn again below
            if seed is not None:
                torch.default_generator.manual_seed(seed)  # what a user's word draws is its own
            for plan in plans:
                parent: nn.Module = self
                *path, name = plan.node.key.split(".")
                for part in path:
                    if part not in parent._modules:
                        parent.add_module(part, nn.Module())
                    parent = parent.get_submodule(part)
                parent.add_module(name, _cell(plan))
        initialise(self, None if seed is None else torch.Generator().manual_seed(seed))

    def forward(self, features: Sequence[Tensor] | Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Give the pyramid features of ``levels`` [B, out_channels, H, W], finest first.

        ``features`` are the backbone's of the levels ``inputs`` [B, in_channels, H, W], finest
        first: in a sequence, or as the values of a mapping in its order. Sides may be any, from
        1 up. Raises ValueError for a wrong number of features.
        """
        if isinstance(features, Mapping):
            features = tuple(features.values())
        if len(features) != len(self.inputs):
            raise ValueError(
                f"features must have one entry per {_levels(self.inputs)}, "
                f"but got {len(features)} features"
            )
        values = {f"c{k}": feature for k, feature in zip(self.inputs, features, strict=True)}
        sizes = self._sizes(features)
        for key, level, sources, done in self._steps:
            cell = self.get_submodule(key)
            values[key] = cell(sizes[level], *(values[source] for source in sources))
            for source in done:
                del values[source]
        return tuple(values[value] for value in self._outputs)

    def _sizes(self, features: Sequence[Tensor]) -> dict[int, Sequence[int]]:
        sizes: dict[int, Sequence[int]] = {
            k: feature.shape[-2:] for k, feature in zip(self.inputs, features, strict=True)
        }
        for level in range(self.inputs[0] - 1, self._used[0] - 1, -1):
            sizes[level] = double(sizes[level + 1])
        for level in range(self.inputs[0] + 1, self._used[-1] + 1):
            if level not in sizes:
                sizes[level] = half(sizes[level - 1])
        return sizes


def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all convolutions anew by one rule; norms stay at 1 and 0, fusion weights at 1.

    Kernels are uniform with bound ``sqrt(3 / fan_in)`` ("Xavier" in Caffe2, the choice of the FPN
    line of code: torchvision, Detectron), biases 0. A transposed convolution's ``fan_in`` are the
    numbers behind one output: its stride spreads the kernel. Draws come from ``generator``, or from
    torch's global one, in the order of ``module.modules()``.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_uniform_(part.weight, a=1, generator=generator)
        elif isinstance(part, nn.ConvTranspose2d):
            bound = (3 * part.stride[0] * part.stride[1] / part.weight[:, 0].numel()) ** 0.5
            nn.init.uniform_(part.weight, -bound, bound, generator=generator)
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.bias is not None:
            nn.init.zeros_(part.bias)


def _cell(plan: CellPlan) -> nn.Module:
    """The module of one line; an error of a word says which line it is."""
    try:
        return make_cell(plan)
    except ValueError as error:
        raise ValueError(f"{plan.node.key}: {error}") from error


def _steps(
    plans: Sequence[CellPlan], outputs: Sequence[str]
) -> tuple[tuple[str, int, tuple[str, ...], tuple[str, ...]], ...]:
    """List (key, level, sources, values that nothing reads any more) for each cell in order."""
    steps = []
    later = set(outputs)
    for plan in reversed(plans):
        node = plan.node
        sources = (*(edge.source for edge in node.edges), *node.addends)
        done = tuple(sorted(set(sources) - later))
        later.update(sources)
        steps.append((node.key, node.level, sources, done))
    return tuple(reversed(steps))


def _levels(levels: Sequence[int]) -> str:
    if len(levels) > 1 and levels[-1] - levels[0] == len(levels) - 1:
        return f"level {levels[0]}..{levels[-1]}"
    return f"level {', '.join(map(str, levels))}"
