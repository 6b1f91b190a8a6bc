"""FPN, PANet, BiFPN and NAS-FPN against plain torch; and every shipped neck has an oracle."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.necks import test_baselines, test_grids, test_searched, test_yolo_family
from tests.necks.formulas import Level, Weights, assert_equals_formula, build, double, sni
from tests.necks.zoo import SHIPPED

Oracle = Callable[[Weights, Level], Level]


def none(w: Weights, c: Level) -> Level:
    return {k: w.conv(c[k], f"p{k}.0") for k in c}


def fpn(up: Callable[[Tensor, Tensor], Tensor], extra: str) -> Oracle:
    """``extra``: what P6 comes from, "p5" or "c5" with a P7, or "pool"."""

    def formula(w: Weights, c: Level) -> Level:
        m, p = none(w, c), dict[int, Tensor]()
        for k in sorted(c, reverse=True):
            m[k] = m[k] + up(m[k + 1], m[k]) if k < 5 else m[k]
            p[k] = w.conv(m[k], f"p{k}_{2 if k == 5 else 3}.0")
        if extra == "pool":
            return p | {6: p[5][..., ::2, ::2]}
        p[6] = w.conv(p[5] if extra == "p5" else c[5], "p6.0.0", stride=2)
        p[7] = w.conv(p[6].relu(), "p7.1.0", stride=2)
        return p

    return formula


def panet(w: Weights, c: Level) -> Level:
    m = none(w, c)
    for k in (4, 3):
        m[k] = m[k] + double(m[k + 1], m[k])
    n = {k: w.conv(m[k], f"p{k}_{2 if k == 5 else 3}.0") for k in c}
    p = {3: n[3]}
    for k, line, last in ((4, "p4_4", "p4_5"), (5, "p5_3", "p5_4")):
        n[k] = n[k] + w.conv(n[k - 1], f"{line}.operand2.0.0", stride=2)
        p[k] = w.conv(n[k], f"{last}.0")
    p[6] = p[5][..., ::2, ::2]
    return p | {7: p[6][..., ::2, ::2]}


def fast(weights: Tensor) -> Tensor:
    return weights.relu() / (weights.relu().sum() + 1e-4)


def softmax(weights: Tensor) -> Tensor:
    return weights.exp() / weights.exp().sum()


EFFICIENT = {"eps": 1e-3, "momentum": 0.01}


def bifpn(rule: Callable[[Tensor], Tensor] | None) -> Oracle:
    def formula(w: Weights, c: Level) -> Level:
        def project(k: int, at: str) -> Tensor:
            return w.norm(w.conv(c[k], f"{at}.0"), f"{at}.1", **EFFICIENT)

        def pool(x: Tensor) -> Tensor:
            return F.max_pool2d(x, 3, 2, padding=1)

        def node(key: str, *features: Tensor) -> Tensor:
            if rule is None:
                total = torch.stack(features).sum(dim=0)
            else:
                shares = rule(w.state[f"{key}.merge.weight"])
                total = torch.einsum("n,nbchw->bchw", shares, torch.stack(features))
            hidden = total * total.sigmoid()
            hidden = w.conv(hidden, f"{key}.1.depthwise", groups=hidden.shape[1])
            return w.norm(w.conv(hidden, f"{key}.1.pointwise"), f"{key}.2", **EFFICIENT)

        x = {6: pool(project(5, "p6"))}
        x[7] = pool(x[6])
        for cell, line in enumerate(("", "repeat1.1.", "repeat1.2.")):
            first = cell == 0
            t = {6: node(f"{line}p6_2" if first else f"{line}p6", x[6], double(x[7], x[6]))}
            for k in (5, 4, 3):
                own = project(k, f"p{k}.operand1") if first else x[k]
                t[k] = node(f"{line}p{k}", own, double(t[k + 1], own))
            p = {3: t[3]}
            for k in (4, 5):
                own = project(k, f"p{k}_2.operand1") if first else x[k]
                p[k] = node(f"{line}p{k}_2", own, t[k], pool(p[k - 1]))
            p[6] = node(f"{line}p6_{3 if first else 2}", x[6], t[6], pool(p[5]))
            p[7] = node(f"{line}p7{'_2' if first else ''}", x[7], pool(p[6]))
            x = p
        return x

    return formula


def nas_fpn(w: Weights, c: Level) -> Level:
    """The authors': the coarse feature gates by its maximum."""

    def gp(coarse: Tensor, fine: Tensor) -> Tensor:
        return coarse + fine * coarse.flatten(2).max(dim=2).values[..., None, None].sigmoid()

    def pool(x: Tensor, ratio: int = 2) -> Tensor:
        return F.max_pool2d(x, ratio, ceil_mode=True)

    p = {k: w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1") for k in c}
    p[6] = pool(p[5])
    p[7] = pool(p[6])
    return nas_cells(w, p, gp, pool)


def nas_fpn_mmdet(w: Weights, c: Level) -> Level:
    """mmdetection's: the fine feature gates by its mean, and extra levels are convolved."""

    def gp(coarse: Tensor, fine: Tensor) -> Tensor:
        return fine + coarse * fine.mean(dim=(2, 3), keepdim=True).sigmoid()

    def pool(x: Tensor, ratio: int = 2) -> Tensor:
        return F.max_pool2d(x, ratio)

    p = {k: w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1") for k in c}
    for k in (6, 7):
        p[k] = pool(w.norm(w.conv(p[k - 1], f"p{k}.0"), f"p{k}.1"))
    return nas_cells(w, p, gp, pool)


def nas_cells(
    w: Weights,
    p: Level,
    gp: Callable[[Tensor, Tensor], Tensor],
    pool: Callable[..., Tensor],
) -> Level:
    def block(x: Tensor, key: str) -> Tensor:
        return w.norm(w.conv(x.relu(), f"{key}.1"), f"{key}.2")

    for number in range(1, 8):
        line = f"repeat1.{number}."
        a = block(gp(double(p[6], p[4]), p[4]), f"{line}a")
        b = block(a + p[4], f"{line}b")
        p3 = block(double(b, p[3]) + p[3], f"{line}p3")
        p4 = block(pool(p3) + b, f"{line}p4")
        p5 = block(gp(pool(p4), pool(p3, 4)) + p[5], f"{line}p5")
        p7 = block(gp(pool(p5, 4), pool(b, 8)) + p[7], f"{line}p7")
        p6 = block(gp(double(p7, p[6]), pool(p5)), f"{line}p6")
        p = {3: p3, 4: p4, 5: p5, 6: p6, 7: p7}
    return p


ORACLES: dict[str, Oracle] = {
    "bifpn": bifpn(fast),
    "bifpn_softmax": bifpn(softmax),
    "bifpn_sum": bifpn(None),
    "fpn": fpn(double, "p5"),
    "fpn_c5": fpn(double, "c5"),
    "fpn_maxpool": fpn(double, "pool"),
    "nas_fpn": nas_fpn,
    "nas_fpn_mmdet": nas_fpn_mmdet,
    "none": none,
    "panet": panet,
    "sni_fpn": fpn(sni, "p5"),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("side", [(128, 256), (200, 136)])
def test_a_shipped_neck_equals_its_formula(name: str, side: tuple[int, int]) -> None:
    if name == "nas_fpn_mmdet" and side[0] % 128:
        side = (256, 128)  # its pools count zeros behind odd sides, as the parity cases have it
    assert_equals_formula(build(name, width=8), ORACLES[name], side)


def test_every_shipped_neck_has_an_oracle() -> None:
    files = (test_baselines, test_grids, test_searched, test_yolo_family)
    known = [*ORACLES, *(name for file in files for name in file.ORACLES)]
    assert sorted(known) == sorted(SHIPPED)
