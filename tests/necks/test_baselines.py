"""Shipped necks against plain torch: each formula is written once more, over the neck's weights.

What torchvision has is compared with it; the others' sources are the papers and
``../shared/references``. The necks of the YOLO family, the grids and the searched ones stand in
files of their own.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from nas_fpn.export.published import from_published
from nas_fpn.language import find_neck, identity, parse, read_neck
from nas_fpn.necks import Neck
from tests.necks.formulas import (
    Level,
    Weights,
    assert_equals_formula,
    build,
    double,
    features,
    sni,
)


def panet_official(w: Weights, c: Level) -> Level:
    m = {k: w.conv(c[k], f"p{k}.0") for k in c}
    for k in (4, 3, 2):
        m[k] = m[k] + double(m[k + 1], m[k])
    p = {k: w.conv(m[k], "p5_2.0" if k == 5 else f"p{k}_3.0") for k in c}
    n = {2: p[2]}
    for k in (3, 4, 5):
        name = "p5_3" if k == 5 else f"p{k}_4"
        down = w.conv(n[k - 1], f"{name}.operand2.0.0", stride=2)
        n[k] = w.conv(down + p[k], f"{name}.0")
    return n | {6: n[5][..., ::2, ::2]}


def ssd(w: Weights, c: Level) -> Level:
    p = {k: w.conv(c[k], f"p{k}.0") for k in c}
    for k in (6, 7):
        hidden = w.conv(p[k - 1], f"p{k}.0").relu()
        p[k] = w.conv(hidden, f"p{k}.2.0", stride=2).relu()
    return p


def slim_pan(w: Weights, c: Level) -> Level:
    def esd1(x: Tensor, key: str) -> Tensor:
        dense = w.norm(w.conv(x, f"{key}.convolutions.0", stride=2), f"{key}.norms.0")
        return F.avg_pool2d(x, 4, 2, 1) + F.max_pool2d(x, 4, 2, 1) + F.silu(dense)

    def gsconve1(x: Tensor, key: str) -> Tensor:
        one = F.silu(w.norm(w.conv(x, f"{key}.first.conv"), f"{key}.first.norm"))
        two = w.conv(w.conv(one, f"{key}.dense"), f"{key}.depthwise", groups=one.shape[1])
        pairs = zip(one.unbind(1), F.gelu(two).unbind(1), strict=True)
        return torch.stack([channel for pair in pairs for channel in pair], dim=1)

    def merge(x: Tensor, y: Tensor, key: str) -> Tensor:
        mixed = w.conv(torch.cat((x, y), dim=1), f"{key}.merge")
        return gsconve1(F.silu(w.norm(mixed, f"{key}.0")), f"{key}.2")

    p = {k: F.silu(w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1")) for k in c}
    p[4] = merge(p[4], sni(p[5], p[4]), "p4_2")
    p[3] = merge(p[3], sni(p[4], p[3]), "p3_2")
    p[4] = merge(p[4], esd1(p[3], "p4_3.operand2.0"), "p4_3")
    p[5] = merge(p[5], esd1(p[4], "p5_2.operand2.0"), "p5_2")
    return p


def augfpn(w: Weights, c: Level) -> Level:
    side = c[5].shape[-2:]
    views = []
    for i, r in enumerate((0.1, 0.2, 0.3)):
        pooled = F.adaptive_avg_pool2d(c[5], [max(1, int(n * r)) for n in side])
        reduced = w.conv(pooled, f"p5.operand2.0.reduce.{i}")
        views.append(F.interpolate(reduced, side, mode="bilinear", align_corners=True))
    hidden = w.conv(torch.cat(views, dim=1), "p5.operand2.0.mix").relu()
    maps = w.conv(hidden, "p5.operand2.0.weigh").sigmoid()
    context = sum(maps[:, i, None] * view for i, view in enumerate(views))
    m = {k: w.conv(c[k], "p5.operand1.0" if k == 5 else f"p{k}.0") for k in c}
    m[5] = m[5] + context
    for k in (4, 3, 2):
        m[k] = m[k] + double(m[k + 1], m[k])
    p = {k: w.conv(m[k], "p5_2.0" if k == 5 else f"p{k}_3.0") for k in c}
    return p | {6: p[5][..., ::2, ::2]}


def asff(w: Weights, c: Level) -> Level:
    def cbl(x: Tensor, conv: str, norm: str, *, stride: int = 1) -> Tensor:
        return F.leaky_relu(w.norm(w.conv(x, conv, stride=stride), norm), 0.1)

    def fuse(features: tuple[Tensor, ...], key: str) -> Tensor:
        seen = [
            cbl(x, f"{key}.merge.embeddings.{i}", f"{key}.merge.norms.{i}")
            for i, x in enumerate(features)
        ]
        maps = w.conv(torch.cat(seen, dim=1), f"{key}.merge.weights").softmax(dim=1)
        total = sum(maps[:, i, None] * x for i, x in enumerate(features))
        assert isinstance(total, Tensor)
        return cbl(total, f"{key}.0", f"{key}.1")

    x = {k: w.conv(c[k], f"p{k}.0") for k in c}
    x[4] = x[4] + double(x[5], x[4])
    x[3] = x[3] + double(x[4], x[3])
    pooled = F.max_pool2d(x[3], 3, 2, padding=1)

    def stride(y: Tensor, key: str) -> Tensor:
        return cbl(y, f"{key}.0.0", f"{key}.1", stride=2)

    down = stride(x[4], "p5_2.operand2"), stride(pooled, "p5_2.operand3")
    three = double(x[5], x[3]), double(x[4], x[3]), x[3]
    return {
        3: fuse(three, "p3_3"),
        4: fuse((double(x[5], x[4]), x[4], stride(x[3], "p4_3.operand3")), "p4_3"),
        5: fuse((x[5], *down), "p5_2"),
    }


def bfp(w: Weights, c: Level) -> Level:
    m = {k: w.conv(c[k], f"p{k}.0") for k in c}
    for k in (4, 3, 2):
        m[k] = m[k] + double(m[k + 1], m[k])
    p = {k: w.conv(m[k], "p5_2.0" if k == 5 else f"p{k}_3.0") for k in c}
    p[6] = p[5][..., ::2, ::2]
    size = p[4].shape[-2:]
    gathered = [
        F.adaptive_max_pool2d(p[k], size) if k < 4 else double(p[k], p[4]) for k in range(2, 7)
    ]
    mean = torch.stack(gathered).mean(dim=0)
    refined = w.conv(mean, "m.0").relu()
    return {
        k: p[k]
        + (double(refined, p[k]) if k < 4 else F.adaptive_max_pool2d(refined, p[k].shape[-2:]))
        for k in range(2, 7)
    }


def hrfpn(w: Weights, c: Level) -> Level:
    size = c[2].shape[-2:]
    joined = [F.interpolate(c[k], size, mode="bilinear", align_corners=False) for k in (3, 4, 5)]
    t = w.conv(torch.cat((c[2], *joined), dim=1), "t.merge")
    pooled = {k: F.avg_pool2d(t, 2 ** (k - 2)) for k in range(3, 7)}
    return {2: w.conv(t, "p2.0")} | {k: w.conv(pooled[k], f"p{k}.1") for k in pooled}


def fpn_carafe(w: Weights, c: Level) -> Level:
    def carafe(x: Tensor, like: Tensor, key: str) -> Tensor:
        """By places: a weighted sum of the 25 values around each source."""
        high, wide = x.shape[-2:]
        encoded = F.pixel_shuffle(w.conv(w.conv(x, f"{key}.compress"), f"{key}.encode"), 2)
        weights = encoded.softmax(dim=1)  # [B, 25, 2h, 2w]
        around = F.unfold(x, 5, padding=2).view(len(x), x.shape[1], 25, high, wide)
        around = around.repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
        whole = (around * weights[:, None]).sum(dim=2)
        return whole[..., : like.shape[-2], : like.shape[-1]]

    m = {k: w.conv(c[k], f"p{k}.0") for k in c}
    m[6] = w.conv(c[5], "p6.0.0", stride=2)
    for k in (5, 4, 3, 2):
        m[k] = m[k] + carafe(m[k + 1], m[k], f"p{k}_2.operand2.0")
    return {k: w.conv(m[k], "p6_2.0" if k == 6 else f"p{k}_3.0") for k in m}


EVEN = ("bfp", "hrfpn", "slim_pan")  # published for even sides only, or the same only there
ORACLES: dict[str, Callable[[Weights, Level], Level]] = {
    "asff": asff,
    "augfpn": augfpn,
    "bfp": bfp,
    "fpn_carafe": fpn_carafe,
    "hrfpn": hrfpn,
    "panet_official": panet_official,
    "slim_pan": slim_pan,
    "ssd": ssd,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("side", [(64, 128), (200, 168)])
def test_a_shipped_neck_equals_its_formula(name: str, side: tuple[int, int]) -> None:
    if side[0] % 64 and name in EVEN:
        side = (128, 64)
    assert_equals_formula(build(name), ORACLES[name], side)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("fpn", LastLevelP6P7(16, 16)),
        ("fpn_c5", LastLevelP6P7(20, 16)),
        ("fpn_maxpool", LastLevelMaxPool()),
    ],
)
def test_a_shipped_fpn_equals_torchvisions(name: str, extra: torch.nn.Module) -> None:
    neck = build(name).eval()
    theirs = FeaturePyramidNetwork(list(neck.in_channels), 16, extra).double().eval()
    generator = torch.Generator().manual_seed(4)
    for value in theirs.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=generator))
    neck.load_state_dict(from_published("torchvision.fpn", theirs.state_dict(), neck))
    given = features(neck, (200, 168))
    with torch.inference_mode():
        wanted = theirs({str(k): feature for k, feature in given.items()})
        for got, one in zip(neck(list(given.values())), wanted.values(), strict=True):
            torch.testing.assert_close(got, one)


@pytest.mark.parametrize("merge", ["softmax", "sum"])
def test_bifpns_differ_in_their_merge_alone(merge: str) -> None:
    """``bifpn`` itself equals effdet's, by the parity cases."""
    text = find_neck("bifpn").read_text(encoding="utf-8").replace("fast(", f"{merge}(")
    assert identity(read_neck(find_neck(f"bifpn_{merge}"))) == identity(parse(text))


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("fpn_carafe", (256, 512, 1024, 2048), 8_949_904),
        ("hrfpn", (32, 64, 128, 256), 3_073_536),
        ("hrfpn", (256, 512, 1024, 2048), 3_933_696),
        ("bfp", (256, 512, 1024, 2048), 3_344_384 + 590_080),
        ("augfpn", (256, 512, 1024, 2048), 3_344_384 + 1_777_411),
        ("bifpn", (40, 112, 320), 194_361),
        ("bifpn_sum", (40, 112, 320), 194_304),
        ("fpn_c5", (512, 1024, 2048), 7_997_440),
        ("fpn_maxpool", (256, 512, 1024, 2048), 3_344_384),
        ("panet_official", (256, 512, 1024, 2048), 6_884_864),
    ],
)
def test_the_published_numbers_of_parameters(
    name: str, channels: tuple[int, ...], parameters: int
) -> None:
    neck = Neck(read_neck(find_neck(name)), channels)
    assert sum(parameter.numel() for parameter in neck.parameters()) == parameters
