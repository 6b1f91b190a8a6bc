"""Necks of many pathways against plain torch: FPG, GFPN, OPANAS."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import find_neck, parse, read_neck
from nas_fpn.necks import Neck
from tests.necks.formulas import Level, Weights, assert_equals_formula, build, double


def fpg(w: Weights, c: Level) -> Level:
    """By pathways; a level joins at the pathway 7 - k."""
    made = dict.fromkeys(range(3, 8), 1)  # how often a level was assigned before the repeat
    entry = {k: w.conv(c[k], f"p{k}.0") for k in c}
    entry[6] = w.conv(entry[5], "p6.0.0", stride=2)
    entry[7] = w.conv(entry[6], "p7.0.0", stride=2)
    before = entry
    for pathway in range(9):
        now: Level = {}
        for k in range(3, 8):
            if k < 7 - pathway:
                now[k] = before[k]
                continue
            made[k] += 1
            line = f"p{k}_{made[k]}" if pathway < 4 else f"repeat1.{pathway - 3}.p{k}"
            edges = []
            if k > 3:
                edges.append((now[k - 1], 2))
            edges.append((before[k], 1))
            if k < 7:
                edges.append((double(before[k + 1], before[k]), 1))
            edges.append((entry[k], 1))
            total = torch.zeros(())
            for i, (x, stride) in enumerate(edges, start=1):
                up = k < 7 and i == len(edges) - 1
                key = f"{line}.operand{i}.{2 if up else 1}"
                conv = f"{key}.0" if stride == 2 else key
                norm = f"{line}.operand{i}.{3 if up else 2}"
                total = total + w.norm(w.conv(x.relu(), conv, stride=stride), norm)
            now[k] = total
        before = now
    # the repeat ends the names: outside it one more assignment each
    last = {3: "p3_2", 4: "p4_3", 5: "p5_4", 6: "p6_5", 7: "p7_6"}
    return {k: w.conv(before[k].relu(), f"{last[k]}.1") for k in before}


def gfpn(w: Weights, c: Level) -> Level:
    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, padding=1)

    first = {k: w.norm(w.conv(c[k], f"p{k}.0"), f"p{k}.1") for k in c}
    first[6] = pool(w.norm(w.conv(c[5], "p6.0"), "p6.1"))
    first[7] = pool(first[6])
    layers = [first]
    for number in range(1, 8):
        before, now = layers[-1], dict[int, Tensor]()
        down = number % 2 == 1
        for k in range(7, 2, -1) if down else range(3, 8):
            parts = [layers[number - n][k] for n in (1, 2, 4) if n <= number]
            if k > 3:
                parts.append(pool(before[k - 1]))
            if k < 7:
                parts.append(double(before[k + 1], before[k]))
            if down and k < 7:
                parts.append(double(now[k + 1], before[k]))
            if not down and k > 3:
                parts.append(pool(now[k - 1]))
            line = f"p{k}_{number + 1}"
            mixed = w.conv(torch.cat(parts, dim=1), f"{line}.merge")
            now[k] = w.norm(w.conv(F.silu(mixed), f"{line}.1"), f"{line}.2")
        layers.append(now)
    return layers[-1]


def opanas(w: Weights, c: Level) -> Level:
    """Edges as functions of pyramids; ``number`` counts how often the program assigned a level."""
    number = dict.fromkeys(range(2, 6), 1)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, ceil_mode=True)

    def d(x: Tensor, key: str, *, stride: int = 1) -> Tensor:
        if f"{key}.offset.weight" in w.state:
            return w.deform(x, key, stride=stride)
        return w.conv(x, key, stride=stride)

    def line(k: int) -> str:
        number[k] += 1
        return f"p{k}_{number[k]}"

    def top_down(x: Level) -> Level:
        t = {5: d(x[5], f"{line(5)}.0")}
        for k in (4, 3, 2):
            t[k] = d(x[k] + double(t[k + 1], x[k]), f"{line(k)}.0")
        return t

    def bottom_up(x: Level) -> Level:
        b = {2: d(x[2], f"{line(2)}.0")}
        for k in (3, 4, 5):
            b[k] = d(x[k] + pool(b[k - 1]), f"{line(k)}.0")
        return b

    def fusing_splitting(x: Level, fine: str, coarse: str) -> Level:
        a, b = x[3] + pool(x[2]), x[4] + double(x[5], x[4])
        u = d(torch.cat((a, double(b, a)), dim=1), f"{fine}.0")
        v = d(torch.cat((pool(a), b), dim=1), f"{coarse}.0")
        return {2: double(u, x[2]), 3: u, 4: v, 5: pool(v)}

    def scale_equalising(x: Level) -> Level:
        made = {}
        for k in (2, 3, 4, 5):
            key = line(k)
            total, at = d(x[k], f"{key}.operand1.0"), 2
            if k > 2:
                total = total + d(x[k - 1], f"{key}.operand{at}.0.0", stride=2)
                at += 1
            if k < 5:
                total = total + double(d(x[k + 1], f"{key}.operand{at}.0"), x[k])
            made[k] = total.relu()
        return made

    def add(*pyramids: Level) -> Level:
        return {k: torch.stack([p[k] for p in pyramids]).sum(dim=0) for k in range(2, 6)}

    x = {k: w.conv(c[k], f"p{k}.0") for k in (2, 3, 4)}
    context = w.conv(c[5].mean((2, 3), keepdim=True), "p5.operand2.1")
    x[5] = w.conv(c[5], "p5.operand1.0") + context
    one = top_down(x)
    two = add(top_down(x), top_down(one))
    three = add(fusing_splitting(x, "u", "v"), two)
    four = add(bottom_up(x), one, top_down(three))
    first = bottom_up(x)
    five = [first, fusing_splitting(two, "t", "w"), scale_equalising(three), bottom_up(four)]
    out = add(one, two, three, four, *five)
    return out | {6: out[5][..., ::2, ::2]}


ORACLES: dict[str, Callable[[Weights, Level], Level]] = {
    "fpg": fpg,
    "gfpn": gfpn,
    "opanas": opanas,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("side", [(256, 128), (200, 168)])
def test_a_shipped_neck_equals_its_formula(name: str, side: tuple[int, int]) -> None:
    assert_equals_formula(build(name, width=8), ORACLES[name], side)


@pytest.mark.parametrize("width", [256, 128])
def test_the_published_numbers_of_parameters_of_fpg(width: int) -> None:
    """At 128 inside, the last convolutions give 256."""
    text = find_neck("fpg").read_text(encoding="utf-8")
    text = text.replace("-> relu conv3\n", "-> relu conv3[256]\n")
    neck = Neck(parse(text).with_width(width), (512, 1024, 2048))
    wanted = {256: 42_731_008, 128: 11_666_816}
    assert sum(parameter.numel() for parameter in neck.parameters()) == wanted[width]


@pytest.mark.parametrize(
    ("lines", "params"),
    [
        # there the finest level has offsets too, which nothing uses
        (("p2_2", "p3_2", "p4_2", "p5_2"), 524_680 - 18_162),
        (("u", "v"), 2 * 262_210),  # there one convolution for both
        (("p3_8",), 393_510),  # there the same at all levels
    ],
    ids=["TD", "FS", "SE at one level"],
)
def test_the_published_numbers_of_parameters_of_opanas(lines: tuple[str, ...], params: int) -> None:
    neck = Neck(read_neck(find_neck("opanas")), (256, 512, 1024, 2048))
    parts = [neck.get_submodule(line) for line in lines]
    assert sum(p.numel() for part in parts for p in part.parameters()) == params
