"""SlimNeck's stages against plain torch written from their formulas, and published sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.language.cost import cost
from nas_fpn.necks import Neck
from nas_fpn.necks.stages import GSConvNs, Ihp, VovGscsp

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"


def unlike_torch(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with norms and statistics that do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module.eval()


class Oracle:
    """The formulas, with weights by name."""

    def __init__(self, module: nn.Module, activation: str = "silu") -> None:
        self.state = module.state_dict()
        self.activation = activation

    def cb(self, x: Tensor, name: str, *, act: bool = True) -> Tensor:
        w = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, w, padding=w.shape[-1] // 2, groups=x.shape[1] // w.shape[1])
        mean, var, scale, shift = (
            self.state[f"{name}.norm.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
        if not act:
            return x
        return x * (x.sigmoid() if self.activation == "silu" else F.softplus(x).tanh())

    def gsconv(self, x: Tensor, name: str, shuffle: str, *, act: bool = True) -> Tensor:
        first = self.cb(x, f"{name}.dense", act=act)
        y = torch.cat((first, self.cb(first, f"{name}.depthwise", act=act)), 1)
        half = first.shape[1]
        if shuffle == "interleave":
            order = [i // 2 + (i % 2) * half for i in range(2 * half)]
        else:
            order = [*range(0, 2 * half, 2), *range(1, 2 * half, 2)]
        return y[:, order]


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("activation", ["silu", "mish"])
def test_gsconvns(kernel: int, activation: str) -> None:
    block = unlike_torch(GSConvNs(6, 8, kernel=kernel, activation=activation))
    oracle, x = Oracle(block, activation), torch.randn(2, 6, 7, 5)
    first = oracle.cb(x, "dense")
    both = torch.cat((first, oracle.cb(first, "depthwise")), 1)
    wanted = F.conv2d(both, oracle.state["mix.weight"]).clamp(min=0)
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("shuffle", ["interleave", "deinterleave"])
@pytest.mark.parametrize("activation", ["silu", "mish"])
def test_vovgscsp(depth: int, shuffle: str, activation: str) -> None:
    block = unlike_torch(VovGscsp(6, 12, depth=depth, shuffle=shuffle, activation=activation))
    oracle, x = Oracle(block, activation), torch.randn(2, 6, 7, 5)
    z = oracle.cb(x, "enter")
    for i in range(depth):
        name = f"bottlenecks.{i}"
        inner = oracle.gsconv(z, f"{name}.first", shuffle)
        inner = oracle.gsconv(inner, f"{name}.second", shuffle, act=False)
        z = inner + oracle.cb(z, f"{name}.shortcut", act=False)
    wanted = oracle.cb(torch.cat((oracle.cb(x, "bypass"), z), 1), "leave")
    torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_ihp(depth: int, kernel: int) -> None:
    block = unlike_torch(Ihp(6, 8, depth=depth, kernel=kernel))
    oracle, x = Oracle(block), torch.randn(2, 6, 7, 5)
    first = oracle.cb(x, "spread.first")
    second = F.conv2d(first, oracle.state["spread.dense.weight"], padding=1)
    second = F.conv2d(second, oracle.state["spread.depthwise.weight"], padding=1, groups=3)
    second = second * (1 + torch.erf(second / 2**0.5)) / 2
    z = torch.cat((first, second), 1)[:, [0, 3, 1, 4, 2, 5]]
    worked = oracle.cb(z, "enter")
    for i in range(depth):
        assert block.state_dict()[f"bottlenecks.{i}.0.conv.weight"].shape[-1] == kernel
        worked = oracle.cb(oracle.cb(worked, f"bottlenecks.{i}.0"), f"bottlenecks.{i}.1")
    wanted = oracle.cb(torch.cat((worked, oracle.cb(z, "bypass")), 1), "leave")
    torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("word", "params"),
    [
        # the published sizes, less the 3x3 convolution that is declared and never used
        ("vovgscsp", {32: 6_544 - 2_336, 64: 24_864 - 9_280}),
        ("ihp", {16: 3_576, 32: 13_936, 64: 55_008, 256: 871_296}),
        ("gsconvns", {32: 32 * 16 + 25 * 16 + 4 * 16 + 32 * 32}),
    ],
)
def test_published_parameters(word: str, params: dict[int, int]) -> None:
    for width, wanted in params.items():
        architecture = parse(f"width {width}\np3 = c3 -> {word}")
        assert cost(architecture, {3: width}, image_size=64).params == wanted
        assert sum(p.numel() for p in Neck(architecture, (width,)).parameters()) == wanted


def test_the_published_pyramid_is_a_program() -> None:
    """The neck of YOLOv5n in SlimNeckV2, whose every level stands alone."""
    text = "p3 = c3 -> ihp[64]\np4 = c4 -> ihp[128, depth=2]\np5 = c5 -> ihp[256, depth=3]"
    counted = cost(parse(text), {3: 64, 4: 128, 5: 256}, image_size=64)
    assert counted.params == 1_809_696


@pytest.mark.parametrize(
    ("golden", "word", "width", "channels"),
    [
        ("parts_gsconvns", "gsconvns", 9, 4),
        ("parts_vovgscsp", "vovgscsp", 6, 4),
        ("parts_ihp", "ihp", 7, 4),
        ("ihp_of_odd_channels", "ihp", 16, 5),
    ],
)
def test_channels_that_cannot_be_cut(golden: str, word: str, width: int, channels: int) -> None:
    with pytest.raises(ValueError) as caught:
        Neck(parse(f"width 16\np3 = c3 -> {word} conv1").with_width(width), (channels,))
    assert f"{caught.value}\n" == (GOLDEN / f"{golden}.txt").read_text()
