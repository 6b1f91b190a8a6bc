"""Necks that a search has found against plain torch: NAS-FPN-lite, NAS-FCOS, MnasFPN."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import find_neck, parse
from nas_fpn.necks import Neck
from tests.necks.formulas import Level, Weights, assert_equals_formula, build, double


def nas_fpn_lite(w: Weights, c: Level) -> Level:
    def gp(coarse: Tensor, fine: Tensor) -> Tensor:
        return coarse + fine * coarse.flatten(2).max(dim=2).values[..., None, None].sigmoid()

    def block(x: Tensor, key: str) -> Tensor:
        x = w.conv(x.clamp(0, 6), f"{key}.1.depthwise", groups=x.shape[1])
        return w.norm(w.conv(x, f"{key}.1.pointwise"), f"{key}.2")

    def pool(x: Tensor, ratio: int = 2) -> Tensor:
        return F.max_pool2d(x, ratio, ceil_mode=True)

    p = {k: w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1") for k in c}
    p[6] = pool(p[5])
    for number in range(1, 8):
        line = f"repeat1.{number}."
        a = block(gp(double(p[6], p[4]), p[4]), f"{line}a")
        b = block(a + p[4], f"{line}b")
        p3 = block(double(b, p[3]) + p[3], f"{line}p3")
        p4 = block(pool(p3) + b, f"{line}p4")
        p5 = block(gp(pool(p4), pool(p3, 4)) + p[5], f"{line}p5")
        p6 = block(gp(pool(p5), pool(b, 4)), f"{line}p6")
        p = {3: p3, 4: p4, 5: p5, 6: p6}
    return p


def nas_fcos(w: Weights, c: Level) -> Level:
    """Cells by their numbers in the authors' order, f0 to f9."""

    def dcn(x: Tensor, key: str) -> Tensor:
        return w.norm(w.deform(x, f"{key}.0", groups=2), f"{key}.1").relu()

    def merge(x: Tensor, y: Tensor, line: str) -> Tensor:
        size = max(x.shape[-2:], y.shape[-2:])
        x, y = (F.interpolate(z, size, mode="nearest") for z in (x, y))
        joined = w.norm(torch.cat((x, y), dim=1), f"{line}.merge.norm").relu()
        return w.conv(joined, f"{line}.merge.convolution", groups=x.shape[1])

    def both(x: Tensor, y: Tensor, line: str) -> Tensor:
        return merge(dcn(x, f"{line}.operand1"), dcn(y, f"{line}.operand2"), line)

    def bilinear(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)

    f = [w.norm(w.conv(c[k], f"x{k}.0"), f"x{k}.1").relu() for k in (3, 4, 5)]
    f.append(both(f[2], f[2], "a"))
    f.append(both(f[2], f[2], "b"))
    f.append(merge(dcn(f[3], "e.operand1"), f[2], "e"))
    f.append(merge(dcn(f[0], "f.operand1"), f[2], "f"))
    f.append(both(f[4], f[2], "p5"))
    f.append(both(f[3], f[6], "d"))
    f.append(both(f[6], f[1], "p3"))
    p = {}
    for k, source in ((3, f[9]), (4, f[8]), (5, f[7])):
        p[k] = bilinear(source + bilinear(f[5], source), c[k])
    p[6] = w.conv(p[5], "p6.0.0", stride=2)
    p[7] = w.conv(p[6].relu(), "p7.1.0", stride=2)
    return p


def mnasfpn(w: Weights, c: Level) -> Level:
    def pool(x: Tensor, stride: int = 2) -> Tensor:
        return F.max_pool2d(x, 3, stride, padding=1)

    def own(x: Tensor, key: str) -> Tensor:
        return w.norm(w.conv(x, f"{key}.0"), f"{key}.1")

    def down(x: Tensor, key: str, stride: int = 2) -> Tensor:
        return w.norm(w.conv(pool(x, stride), f"{key}.1"), f"{key}.2")

    def up(x: Tensor, like: Tensor, key: str) -> Tensor:
        return w.norm(double(w.conv(x, f"{key}.0"), like), f"{key}.2")

    def block(x: Tensor, y: Tensor, line: str) -> Tensor:
        x = w.conv((x + y).clamp(0, 6), f"{line}.1.depthwise", groups=x.shape[1])
        return w.norm(w.conv(x, f"{line}.1.pointwise"), f"{line}.2")

    p = {k: w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1") for k in c}
    p[6] = w.norm(w.conv(pool(c[5]), "p6.1"), "p6.2")
    for number in range(1, 5):
        t, y3, y4, y5, y6 = (f"repeat1.{number}.{line}" for line in ("t", "y3", "y4", "y5", "y6"))
        b0 = block(own(p[4], f"{t}.operand1"), up(p[5], p[4], f"{t}.operand2"), t)
        b1 = block(own(p[3], f"{y3}.operand1"), up(b0, p[3], f"{y3}.operand2"), y3)
        b2 = block(down(b1, f"{y4}.operand1"), own(b0, f"{y4}.operand2"), y4)
        b3 = block(down(b0, f"{y5}.operand1"), up(p[6], p[5], f"{y5}.operand2"), y5)
        b4 = block(down(b0, f"{y6}.operand1", 4), own(p[6], f"{y6}.operand2"), y6)
        p = {k: b + p[k] for k, b in ((3, b1), (4, b2), (5, b3), (6, b4))}
    return p


ORACLES: dict[str, Callable[[Weights, Level], Level]] = {
    "mnasfpn": mnasfpn,
    "nas_fcos": nas_fcos,
    "nas_fpn_lite": nas_fpn_lite,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("side", [(128, 256), (200, 136)])
def test_a_shipped_neck_equals_its_formula(name: str, side: tuple[int, int]) -> None:
    assert_equals_formula(build(name, width=8), ORACLES[name], side)


@pytest.mark.parametrize(
    ("conv", "params"), [("deform3[bias, groups=2]", 10_690_696), ("conv3[bias]", 9_197_056)]
)
def test_the_published_numbers_of_parameters_of_nas_fcos(conv: str, params: int) -> None:
    text = find_neck("nas_fcos").read_text(encoding="utf-8").replace("deform3[groups=2]", conv)
    neck = Neck(parse(text), (512, 1024, 2048))
    assert sum(parameter.numel() for parameter in neck.parameters()) == params
