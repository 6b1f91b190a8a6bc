"""Time of the shipped necks: against the references that pip installs, and against one another.

    python benchmarks/necks.py [--rounds 15] [--write]

Each pair has the same weights and inputs and must give the same numbers before it is timed. One
process and one thread; a round runs both once, the order changing from round to round; times are
of the process. The result is the median of the rounds' ratios, which a busy machine moves little.
``--write`` puts the tables into ``benchmarks/results/necks.md``.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import torch
from effdet import get_efficientdet_config
from effdet.config.fpn_config import get_fpn_config
from effdet.efficientdet import BiFpn
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from nas_fpn.export import from_published
from nas_fpn.language import find_neck, parse, read_neck
from nas_fpn.language.listing import IN_CHANNELS, list_necks
from nas_fpn.language.lower import lower
from nas_fpn.necks import Neck

sys.path.append(str(Path(__file__).parent))
from machine import processor
from mmdet_necks import mmdet_neck

RESULTS = Path(__file__).parent / "results" / "necks.md"
COMMAND = "python benchmarks/necks.py --write"
SMALL = (40, 112, 320)  # EfficientNet-B0 at levels 3 to 5
WIDTH = 64  # of the necks that are compared with FPN

Run = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A shipped neck (its text changed, if need be), and who makes the reference."""

    name: str
    against: str
    reference: str  # its name in nas_fpn.export.published
    channels: tuple[int, ...]
    make: Callable[[], nn.Module]
    change: tuple[str, str] = ("", "")
    mapping: bool = False  # torchvision's wants names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--image-size", type=int, default=256, help="pixels")
    parser.add_argument("--only", help="this pair alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*against_references(given.rounds, given.image_size, given.only or "")]
    if not given.only:
        rows += ["", *against_fpn(given.rounds, given.image_size)]
    text = "\n".join([*rows, ""])
    if given.write:
        RESULTS.write_text(
            f"# Time of the necks\n\n`{COMMAND}` wrote this file, with torch {torch.__version__} "
            f"and Python {platform.python_version()} on one thread of {processor()}.\n\n{text}",
            encoding="utf-8",
        )


def against_references(rounds: int, image_size: int, only: str) -> Iterator[str]:
    yield from said(
        f"Ours over theirs, features of a {image_size} px image, batch 1 forward and 2 in training "
        "(forward, backward); below 1 we are faster. Medians, and the middle half of the rounds. "
        "mmdetection's necks run without the compiled operations of mmcv, which these do not use.",
        "",
        "| neck | reference | forward | training step | ours, forward ms |",
        "| --- | --- | ---: | ---: | ---: |",
    )
    for pair in pairs(image_size):
        if only not in ("", pair.name):
            continue
        try:
            theirs = pair.make()
        except ImportError as fault:
            yield from said(f"| {pair.name} | {pair.against} | not run: {fault} | | |")
            continue
        torch.manual_seed(0)
        text = find_neck(pair.name).read_text(encoding="utf-8").replace(*pair.change)
        ours = Neck(parse(text), pair.channels)
        randomise(theirs)
        ours.load_state_dict(from_published(pair.reference, theirs.state_dict(), ours))
        cells = []
        for training in (False, True):
            inputs = features(ours, pair.channels, image_size, batch=1 + training)
            here = runner(ours, inputs, training=training, mapping=False)
            there = runner(theirs, inputs, training=training, mapping=pair.mapping)
            if not training:
                for one, other in zip(here(), there(), strict=True):
                    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
            mine, others = times([here, there], rounds)
            cells.append((ratios(mine, others), statistics.median(mine) * 1e3))
        (forward, ms), (step, _) = cells
        yield from said(f"| {pair.name} | {pair.against} | {forward} | {step} | {ms:.0f} |")


def against_fpn(rounds: int, image_size: int) -> Iterator[str]:
    channels = ", ".join(map(str, IN_CHANNELS.values()))
    yield from said(
        f"Each shipped neck over `fpn`, all at width {WIDTH} behind {channels} channels, as above.",
        "",
        "| neck | forward | training step | parameters M |",
        "| --- | ---: | ---: | ---: |",
    )
    fpn = build("fpn")
    for listed in list_necks():
        neck = build(listed.name)
        cells = []
        for training in (False, True):
            runs = []
            for one in (neck, fpn):
                given = tuple(IN_CHANNELS[k] for k in one.inputs)
                inputs = features(one, given, image_size, batch=1 + training)
                runs.append(runner(one, inputs, training=training, mapping=False))
            cells.append(ratios(*times(runs, max(3, rounds // 3))))
        params = sum(parameter.numel() for parameter in neck.parameters()) / 1e6
        yield from said(f"| {listed.name} | {cells[0]} | {cells[1]} | {params:.3f} |")


def pairs(image_size: int) -> Iterator[Pair]:
    top = tuple(IN_CHANNELS.values())
    three = top[1:]
    tv, effdet, mmdet = "torchvision", "effdet 0.4.1", "mmdet 3.3.0"
    yield Pair(
        "fpn",
        tv,
        "torchvision.fpn",
        three,
        lambda: FeaturePyramidNetwork(list(three), 256, LastLevelP6P7(256, 256)),
        mapping=True,
    )
    yield Pair(
        "fpn_maxpool",
        tv,
        "torchvision.fpn",
        top,
        lambda: FeaturePyramidNetwork(list(top), 256, LastLevelMaxPool()),
        mapping=True,
    )
    for name, fusion in (("bifpn", "fa"), ("bifpn_softmax", "attn"), ("bifpn_sum", "sum")):
        yield Pair(
            name,
            effdet,
            "effdet.bifpn",
            SMALL,
            lambda fusion=fusion: EffdetBiFpn(fusion, image_size),
        )
    yield Pair(
        "panet",
        mmdet,
        "mmdet.pafpn",
        three,
        lambda: mmdet_neck("pafpn", "PAFPN")(list(three), 256, 5),
    )
    yield Pair(
        "nas_fpn_mmdet",
        f"{mmdet}, 3 cells",
        "mmdet.nas_fpn",
        three,
        lambda: mmdet_neck("nas_fpn", "NASFPN")(
            list(three), 256, 5, stack_times=3, norm_cfg={"type": "BN"}
        ),
        change=("repeat 7:", "repeat 3:"),
    )
    yield Pair(
        "nas_fcos",
        f"{mmdet}, plain convolutions",
        "mmdet.nas_fcos",
        three,
        lambda: BesideC2(
            mmdet_neck("nasfcos_fpn", "NASFCOS_FPN")(
                list(top), 256, 5, start_level=1, norm_cfg={"type": "BN"}, conv_cfg=None
            )
        ),
        change=("deform3[groups=2]", "conv3"),
    )
    yield Pair(
        "hrfpn",
        mmdet,
        "mmdet.hrfpn",
        (32, 64, 128, 256),
        lambda: mmdet_neck("hrfpn", "HRFPN")([32, 64, 128, 256], 256),
    )
    yield Pair("fpg", mmdet, "mmdet.fpg", three, lambda: fpg(three))
    yield Pair(
        "yolox",
        f"{mmdet}, all channels 128",
        "mmdet.yolox",
        (128, 128, 128),
        lambda: mmdet_neck("yolox_pafpn", "YOLOXPAFPN")([128] * 3, 128, num_csp_blocks=3),
        change=("width 256", "width 128"),
    )


class BesideC2(nn.Module):
    """mmdetection's NAS-FCOS wants the finest level too, which it does not read."""

    def __init__(self, neck: nn.Module) -> None:
        super().__init__()
        self.neck = neck

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return self.neck.state_dict(*args, **kwargs)

    def forward(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        made: Sequence[Tensor] = self.neck([inputs[0], *inputs])
        return made


def fpg(channels: Sequence[int]) -> nn.Module:
    """As configured there, which is the only way that it runs."""
    norm = {"type": "BN"}
    conv = {
        "type": "conv",
        "kernel_size": 1,
        "norm_cfg": norm,
        "inplace": False,
        "order": ("act", "conv", "norm"),
    }
    down = conv | {"type": "interpolation_conv", "mode": "nearest", "kernel_size": 3}
    made: nn.Module = mmdet_neck("fpg", "FPG")(
        list(channels),
        256,
        5,
        stack_times=9,
        paths=["bu"] * 9,
        inter_channels=256,
        same_down_trans=None,
        same_up_trans=conv | {"kernel_size": 3, "stride": 2, "padding": 1},
        across_lateral_trans=conv,
        across_down_trans=down,
        across_up_trans=None,
        across_skip_trans=conv,
        output_trans={
            "type": "last_conv",
            "kernel_size": 3,
            "order": ("act", "conv", "norm"),
            "inplace": False,
        },
        norm_cfg=norm,
        add_extra_convs=True,
        skip_inds=[(0, 1, 2, 3), (0, 1, 2), (0, 1), (0,), ()],
    )
    return made


class EffdetBiFpn(nn.Module):
    """effdet's BiFpn leaves its list of inputs alone."""

    def __init__(self, fusion: str, image_size: int) -> None:
        super().__init__()
        config = get_efficientdet_config("efficientdet_d0")
        config.image_size = (image_size, image_size)
        config.fpn_config = get_fpn_config(f"bifpn_{fusion}")
        info = [{"num_chs": n, "reduction": 8 << i} for i, n in enumerate(SMALL)]
        self.neck = BiFpn(config, info)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return self.neck.state_dict(*args, **kwargs)

    def forward(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        made: Sequence[Tensor] = self.neck(list(inputs))
        return made


def build(name: str) -> Neck:
    architecture = read_neck(find_neck(name)).with_width(WIDTH)
    return Neck(architecture, [IN_CHANNELS[k] for k in lower(architecture).inputs], seed=0)


def randomise(module: nn.Module) -> None:
    """Statistics and fusion weights as after some training, so that equality says something."""
    for key, value in module.state_dict().items():
        if "running" in key or "edge_weights" in key:
            value.uniform_(0.5, 1.5)


def features(neck: Neck, channels: Sequence[int], image_size: int, *, batch: int) -> list[Tensor]:
    sides = [image_size >> level for level in neck.inputs]
    return [torch.randn(batch, n, s, s) for n, s in zip(channels, sides, strict=True)]


def runner(module: nn.Module, inputs: list[Tensor], *, training: bool, mapping: bool) -> Run:
    """What is timed: one forward pass, or one with its gradients."""
    given: Any = {str(i): x for i, x in enumerate(inputs)} if mapping else inputs

    def forward() -> Sequence[Tensor]:
        outputs: Any = module(given)
        return list(outputs.values()) if isinstance(outputs, dict) else outputs

    def infer() -> Sequence[Tensor]:
        module.eval()
        with torch.inference_mode():
            return forward()

    def step() -> Sequence[Tensor]:
        module.train()
        for parameter in module.parameters():
            parameter.grad = None
        outputs = forward()
        torch.stack([y.square().mean() for y in outputs]).sum().backward()
        return outputs

    return step if training else infer


def times(runs: Sequence[Run], rounds: int) -> list[list[float]]:
    """Seconds of each run in each round; the order turns round every round."""
    taken: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for i in sorted(range(len(runs)), reverse=bool(number % 2)):
            start = process_time()
            runs[i]()
            if number:  # the first warms up
                taken[i].append(process_time() - start)
    return taken


def ratios(mine: Sequence[float], others: Sequence[float]) -> str:
    each = [one / other for one, other in zip(mine, others, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def said(*rows: str) -> Iterator[str]:
    for row in rows:
        print(row, flush=True)
        yield row


if __name__ == "__main__":
    main()
