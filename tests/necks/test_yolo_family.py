"""The necks of the YOLO family against plain torch, and their published sizes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import cost, parse
from tests.necks.formulas import Level, Weights, assert_equals_formula, build, double, sni

YOLOX = {"eps": 1e-3, "momentum": 0.03}


def cbs(w: Weights, x: Tensor, line: str, at: int, *, stride: int = 1, **norm: float) -> Tensor:
    """Convolution, norm and SiLU from the place ``at`` of a line on."""
    conv = f"{line}.{at}.0" if stride == 2 else f"{line}.{at}"
    return F.silu(w.norm(w.conv(x, conv, stride=stride), f"{line}.{at + 1}", **norm))


def stage(
    w: Weights, x: Tensor, key: str, depth: int, *, rep: bool = False, **norm: float
) -> Tensor:
    """C3 of YOLOv5 and YOLOX, or with ``rep`` the stage of DAMO-YOLO."""

    def cb(x: Tensor, name: str) -> Tensor:
        return F.silu(w.norm(w.conv(x, f"{name}.conv"), f"{name}.norm", **norm))

    views = [cb(x, f"{key}.enter")]
    bypass = cb(x, f"{key}.bypass")
    for i in range(depth):
        name = f"{key}.bottlenecks.{i}"
        if rep:
            first = f"{name}.first"
            branches = [
                w.norm(w.conv(views[-1], f"{first}.conv{n}"), f"{first}.norm{n}") for n in (3, 1)
            ]
            hidden = F.silu(branches[0] + branches[1])
            views.append(views[-1] + cb(hidden, f"{name}.second"))
        else:
            views.append(cb(cb(views[-1], f"{name}.first"), f"{name}.second"))
    joined = [bypass, *views[1:]] if rep else [views[-1], bypass]
    return cb(torch.cat(joined, dim=1), f"{key}.leave")


def cat(*features: Tensor) -> Tensor:
    return torch.cat(features, dim=1)


def two_ways(w: Weights, c: Level, depth: int, **norm: float) -> Level:
    """The two ways of YOLOv5 and YOLOX."""
    r5 = cbs(w, c[5], "p5", 0, **norm)
    p4 = stage(w, cat(double(r5, c[4]), c[4]), "p4.0", depth, **norm)
    r4 = cbs(w, p4, "p4_2", 0, **norm)
    p3 = stage(w, cat(double(r4, c[3]), c[3]), "p3.0", depth, **norm)
    d3 = cbs(w, p3, "p4_3.operand1", 0, stride=2, **norm)
    p4 = stage(w, cat(d3, r4), "p4_3.0", depth, **norm)
    d4 = cbs(w, p4, "p5_2.operand1", 0, stride=2, **norm)
    return {3: p3, 4: p4, 5: stage(w, cat(d4, r5), "p5_2.0", depth, **norm)}


def yolo_pan(w: Weights, c: Level) -> Level:
    return two_ways(w, c, 1)


def yolox(w: Weights, c: Level) -> Level:
    p = two_ways(w, c, 3, **YOLOX)
    lines = {3: "p3_2", 4: "p4_4", 5: "p5_3"}
    return {k: cbs(w, p[k], line, 0, **YOLOX) for k, line in lines.items()}


def repgfpn(w: Weights, c: Level) -> Level:
    def up(x: Tensor, key: str) -> Tensor:
        return cbs(w, x, key, 0, stride=2)

    def m(key: str, *features: Tensor) -> Tensor:
        return stage(w, cat(*features), key, 3, rep=True)

    x3 = m("a.0", c[5], up(c[4], "a.operand2"))
    x4 = m("b.0", c[4], up(c[3], "b.operand2"), double(x3, c[4]))
    x5 = m("p3.0", c[3], double(x4, c[3]))
    x7 = m("p4.0", x4, up(x5, "p4.operand2"))
    return {3: x5, 4: x7, 5: m("p5.0", x3, up(x4, "p5.operand2"), up(x7, "p5.operand3"))}


def gsconve1(w: Weights, x: Tensor, key: str, *, stride: int = 1) -> Tensor:
    one = F.silu(w.cb(x, f"{key}.first", stride=stride))
    two = F.gelu(w.conv(w.conv(one, f"{key}.dense"), f"{key}.depthwise", groups=one.shape[1]))
    return torch.stack((one, two), dim=2).reshape(len(x), -1, *one.shape[-2:])


def ihp(w: Weights, c: Level) -> Level:
    p = {}
    for depth, k in enumerate((3, 4, 5), start=1):
        z = gsconve1(w, c[k], f"p{k}.0.spread")
        worked = F.silu(w.cb(z, f"p{k}.0.enter"))
        for i in range(depth):
            for n in (0, 1):
                worked = F.silu(w.cb(worked, f"p{k}.0.bottlenecks.{i}.{n}"))
        p[k] = F.silu(w.cb(cat(worked, F.silu(w.cb(z, f"p{k}.0.bypass"))), f"p{k}.0.leave"))
    return p


def gsconv(w: Weights, x: Tensor, key: str, *, stride: int = 1, bare: bool = False) -> Tensor:
    act = (lambda y: y) if bare else F.silu
    one = act(w.cb(x, f"{key}.dense", stride=stride))
    two = act(w.cb(one, f"{key}.depthwise", groups=one.shape[1]))
    return torch.stack((one, two), dim=2).reshape(len(x), -1, *one.shape[-2:])


def vovgscsp(w: Weights, x: Tensor, key: str) -> Tensor:
    hidden, inner = F.silu(w.cb(x, f"{key}.enter")), f"{key}.bottlenecks.0"
    worked = gsconv(w, gsconv(w, hidden, f"{inner}.first"), f"{inner}.second", bare=True)
    worked = worked + w.cb(hidden, f"{inner}.shortcut")
    return F.silu(w.cb(cat(F.silu(w.cb(x, f"{key}.bypass")), worked), f"{key}.leave"))


def slimneck(w: Weights, c: Level) -> Level:
    r5 = gsconv(w, c[5], "p5.0")
    r4 = gsconv(w, vovgscsp(w, cat(double(r5, c[4]), c[4]), "p4.0"), "p4_2.0")
    p3 = vovgscsp(w, cat(double(r4, c[3]), c[3]), "p3.0")
    d3 = gsconv(w, p3, "p4_3.operand1.0.0", stride=2)
    p4 = vovgscsp(w, cat(d3, r4), "p4_3.0")
    d4 = gsconv(w, p4, "p5_2.operand1.0.0", stride=2)
    return {3: p3, 4: p4, 5: vovgscsp(w, cat(d4, r5), "p5_2.0")}


def slimneck_v2(w: Weights, c: Level) -> Level:
    r5 = cbs(w, c[5], "p5", 0)
    p4 = stage(w, cat(sni(r5, c[4]), c[4]), "p4.0", 1)
    r4 = cbs(w, p4, "p4_2", 0)
    p3 = stage(w, cat(sni(r4, c[3]), c[3]), "p3.0", 1)
    d3 = gsconve1(w, p3, "p4_3.operand1.0.0", stride=2)
    p4 = stage(w, cat(d3, r4), "p4_3.0", 1)
    d4 = gsconve1(w, p4, "p5_2.operand1.0.0", stride=2)
    return {3: p3, 4: p4, 5: stage(w, cat(d4, r5), "p5_2.0", 1)}


ORACLES: dict[str, Callable[[Weights, Level], Level]] = {
    "ihp": ihp,
    "repgfpn": repgfpn,
    "slimneck": slimneck,
    "slimneck_v2": slimneck_v2,
    "yolo_pan": yolo_pan,
    "yolox": yolox,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("side", [(64, 128), (120, 72)])
def test_a_shipped_neck_equals_its_formula(name: str, side: tuple[int, int]) -> None:
    assert_equals_formula(build(name), ORACLES[name], side)


NANO = """
p5 = c5 -> conv1[128] bn silu
p4 = concat[plain](p5, c4) -> csp[128{more}]
p4 = p4 -> conv1[64] bn silu
p3 = concat[plain](p4, c3) -> csp[64{more}]
p4 = concat[plain](p3 -> stride[64] bn silu, p4) -> csp[128{more}]
p5 = concat[plain](p4 -> stride[128] bn silu, p5) -> csp[256{more}]
"""
X = "eps=1e-3, momentum=0.03"
LARGE = f"""
p5 = c5 -> conv1[512] bn silu
p4 = concat[plain](p5, c4) -> csp[512, depth=3, {X}]
p4 = p4 -> conv1[256] bn silu
p3 = concat[plain](p4, c3) -> csp[256, depth=3, {X}]
p4 = concat[plain](p3 -> stride[256] bn silu, p4) -> csp[512, depth=3, {X}]
p5 = concat[plain](p4 -> stride[512] bn silu, p5) -> csp[1024, depth=3, {X}]
p3..p5 = p3..p5 -> conv1 bn silu
"""
IHP_NANO = "p3 = c3 -> ihp[64]\np4 = c4 -> ihp[128, depth=2]\np5 = c5 -> ihp[256, depth=3]"


@pytest.mark.parametrize(
    ("text", "channels", "params"),
    [
        (NANO.format(more=", kernel=3"), (64, 128, 256), 915_584),
        (LARGE, (256, 512, 1024), 19_983_360),
        (IHP_NANO, (64, 128, 256), 1_809_696),
    ],
    ids=["YOLOv5n", "YOLOX-L", "IHP of YOLOv5n"],
)
def test_the_published_numbers_of_parameters(
    text: str, channels: tuple[int, ...], params: int
) -> None:
    given = dict(zip((3, 4, 5), channels, strict=True))
    assert cost(parse(text), given, image_size=64).params == params
