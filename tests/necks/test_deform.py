"""Deformable convolution, its strides and the other kinds of stride against their formulas."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.language.cost import cost
from nas_fpn.necks import Neck
from nas_fpn.necks.deform import Deformable, Deformable3
from nas_fpn.necks.slim import GSConv, GSConvE1
from nas_fpn.necks.strides import (
    StrideDeformable,
    StrideGSConv,
    StrideGSConvE1,
    StrideSeparable,
)


def sampled(x: Tensor, y: float, z: float) -> Tensor:
    """All channels [C] at row ``y``, column ``z``: bilinear, zero outside."""
    total = torch.zeros(x.shape[0])
    for i in (int(y // 1), int(y // 1) + 1):
        for j in (int(z // 1), int(z // 1) + 1):
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                total = total + x[:, i, j] * (1 - abs(y - i)) * (1 - abs(z - j))
    return total


def oracle(block: Deformable, x: Tensor, stride: int, groups: int, *, masked: bool) -> Tensor:
    """The formula, place by place; offsets and masks in the order of mmcv."""
    state, taps = block.state_dict(), 9 * groups
    said = F.conv2d(x, state["offset.weight"], state["offset.bias"], stride, padding=1)
    weight, bias = state["convolution.weight"], state.get("convolution.bias")
    thirds = said.split(taps, dim=1)
    offsets = torch.cat(thirds[:2], dim=1)  # a row and a column for each tap of each group
    masks = thirds[2].sigmoid() if masked else torch.ones_like(said[:, :taps])
    rows = []
    for b in range(len(x)):
        out = torch.zeros(len(weight), *said.shape[2:])
        for i in range(said.shape[2]):
            for j in range(said.shape[3]):
                for g, part in enumerate(x[b].chunk(groups)):
                    for k in range(9):
                        tap = 9 * g + k
                        y = i * stride - 1 + k // 3 + float(offsets[b, 2 * tap, i, j])
                        z = j * stride - 1 + k % 3 + float(offsets[b, 2 * tap + 1, i, j])
                        kernel = weight.chunk(groups, dim=1)[g][:, :, k // 3, k % 3]
                        out[:, i, j] += kernel @ sampled(part, y, z) * masks[b, tap, i, j]
        rows.append(out if bias is None else out + bias[:, None, None])
    return torch.stack(rows)


def moved(block: Deformable) -> Deformable:
    """The block with offsets that are not zero."""
    with torch.no_grad():
        for value in block.offset.parameters():
            value.copy_(torch.randn_like(value) / 2)
    return block


@pytest.mark.parametrize("mask", ["sigmoid", "none"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_deform3(mask: str, groups: int, bias: bool) -> None:
    torch.manual_seed(0)
    block = moved(Deformable3(4, 3, bias=bias, groups=groups, mask=mask))
    x = torch.randn(2, 4, 5, 4)
    wanted = oracle(block, x, 1, groups, masked=mask == "sigmoid")
    torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-4)


def test_it_begins_as_a_convolution_at_regular_places() -> None:
    x = torch.randn(2, 4, 7, 6)
    for mask, share in (("none", 1.0), ("sigmoid", 0.5)):
        neck = Neck(parse(f"width 8\np3 = c3 -> deform3[nobias, mask={mask}]"), (4,), seed=0)
        kernel = neck.state_dict()["p3.0.convolution.weight"]
        torch.testing.assert_close(neck([x])[0], share * F.conv2d(x, kernel, padding=1))
        assert not neck.state_dict()["p3.0.offset.weight"].any()


def test_groups_meet_any_channels() -> None:
    assert Deformable3(6, 4, bias=True, groups=4).offset.weight.shape[0] == 27 * 2
    assert Deformable3(7, 4, bias=True, groups=4).offset.weight.shape[0] == 27


@pytest.mark.parametrize("side", [(5, 4), (4, 7), (1, 1)])
def test_a_deformable_stride(side: tuple[int, int]) -> None:
    torch.manual_seed(1)
    stride = StrideDeformable(3, 4, bias=False, ratio=4)
    wanted = torch.randn(1, 3, *side)
    given = wanted
    for step in stride:
        wanted = oracle(moved(step), wanted, 2, 1, masked=False)
    torch.testing.assert_close(stride(given, ()), wanted, atol=1e-5, rtol=1e-4)
    assert [step.convolution.bias is not None for step in stride] == [True, False]


def test_a_separable_stride() -> None:
    stride, x = StrideSeparable(3, 5, bias=True, ratio=2), torch.randn(2, 3, 7, 6)
    state = stride.state_dict()
    wanted = F.conv2d(x, state["0.0.weight"], stride=2, padding=1, groups=3)
    wanted = F.conv2d(wanted, state["0.1.weight"], state["0.1.bias"])
    torch.testing.assert_close(stride(x, ()), wanted)
    kept = StrideSeparable(3, 5, bias=False, ratio=4)
    assert [step[1].bias is not None for step in kept] == [True, False]


@pytest.mark.parametrize(
    ("stride", "block"),
    [
        (StrideGSConv(3, 8, ratio=2), GSConv(3, 8, kernel=3)),
        (StrideGSConvE1(3, 8, ratio=2), GSConvE1(3, 8)),
    ],
)
def test_a_stride_of_the_gsconv_family_takes_every_other_value_of_its_first(
    stride: torch.nn.Module, block: torch.nn.Module
) -> None:
    """Its first convolution halves: the block's own, at every other row and column."""
    block.load_state_dict({k.removeprefix("0."): v for k, v in stride.state_dict().items()})
    x = torch.randn(2, 3, 7, 6)
    first = block.dense if isinstance(block, GSConv) else block.first
    hook = first.register_forward_hook(lambda *args: args[2][:, :, ::2, ::2])
    wanted = block.eval()(x)
    hook.remove()
    torch.testing.assert_close(stride.eval()(x, ()), wanted)


@pytest.mark.parametrize(
    ("text", "channels", "params"),
    [
        # references: OPANAS' D at 112 channels, v1 with bias: 9 * 112 * (112 + 18) + 112 + 18;
        # NAS-FCOS' DCNv2 in two groups is 124,470 parameters more than a plain 3x3 with bias
        ("p3 = c3 -> deform3[112, mask=none]", 112, 131_170),
        ("p3 = c3 -> deform3[groups=2]", 256, 590_080 + 124_470),
        ("p4 = c3 -> stride[112, conv=deform]", 112, 131_170),
    ],
)
def test_published_parameters(text: str, channels: int, params: int) -> None:
    assert cost(parse(text), {3: channels}, image_size=64).params == params
