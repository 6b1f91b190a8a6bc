"""ASPP and AugFPN's residual augmentation against plain torch, written from their formulas."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.language.cost import cost
from nas_fpn.necks import Neck
from nas_fpn.necks.context import Aspp, ResidualAugmentation

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"


def test_aspp() -> None:
    block, x = Aspp(6, 8), torch.randn(2, 6, 9, 7)
    state = block.state_dict()
    views = [
        F.conv2d(x, state["point.weight"], state["point.bias"]),
        F.conv2d(x, state["near.weight"], state["near.bias"], padding=3, dilation=3),
        F.conv2d(x, state["far.weight"], state["far.bias"], padding=6, dilation=6),
    ]
    mean = x.flatten(2).sum(2) / (9 * 7)  # [B, 6]
    whole = mean @ state["whole.weight"].flatten(1).T + state["whole.bias"]
    views.append(whole[:, :, None, None].expand(2, 2, 9, 7))
    wanted = torch.cat([view.clamp(min=0) for view in views], 1)
    torch.testing.assert_close(block(x), wanted)


def resized(context: Tensor, high: int, wide: int) -> Tensor:
    """Bilinear with corners aligned, by the weights of each row and column."""

    def weights(before: int, after: int) -> Tensor:
        at = torch.arange(after) * ((before - 1) / max(after - 1, 1))
        return (1 - (at[:, None] - torch.arange(before)[None]).abs()).clamp(min=0)

    rows, columns = weights(context.shape[-2], high), weights(context.shape[-1], wide)
    return torch.einsum("ih,bchw,jw->bcij", rows, context, columns)


def averaged(x: Tensor, high: int, wide: int) -> Tensor:
    """The mean of each cell; a cell reaches from the floor to the ceiling of its borders."""

    def spans(side: int, cells: int) -> list[slice]:
        return [slice(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]

    rows = [
        torch.stack([x[..., r, c].mean((2, 3)) for c in spans(x.shape[-1], wide)], -1)
        for r in spans(x.shape[-2], high)
    ]
    return torch.stack(rows, -2)


@pytest.mark.parametrize("side", [(21, 34), (9, 12), (1, 3)])
def test_rfa(side: tuple[int, int]) -> None:
    block, x = ResidualAugmentation(6, 5), torch.randn(2, 6, *side)
    state, contexts = block.state_dict(), []
    for i, tenths in enumerate((1, 2, 3)):
        cells = [max(1, n * tenths // 10) for n in side]
        reduced = F.conv2d(
            averaged(x, *cells), state[f"reduce.{i}.weight"], state[f"reduce.{i}.bias"]
        )
        contexts.append(resized(reduced, *side))
    hidden = F.conv2d(torch.cat(contexts, 1), state["mix.weight"], state["mix.bias"]).clamp(min=0)
    maps = F.conv2d(hidden, state["weigh.weight"], state["weigh.bias"], padding=1)
    weights = 1 / (1 + (-maps).exp())  # a sigmoid: the weights need not sum to 1
    assert maps.shape == (2, 3, *side)
    wanted = sum(weights[:, [i]] * contexts[i] for i in range(3))
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize(
    ("channels", "width", "params"), [(2048, 256, 1_777_411), (512, 64, 112_579)]
)
def test_published_parameters_of_rfa(channels: int, width: int, params: int) -> None:
    architecture = parse(f"width {width}\np5 = c5 -> rfa")
    assert cost(architecture, {5: channels}, image_size=64).params == params
    assert sum(p.numel() for p in Neck(architecture, (channels,)).parameters()) == params


def test_the_top_of_augfpn_is_a_program() -> None:
    neck = Neck(parse("width 8\np5 = sum(c5 -> conv1, c5 -> rfa)"), (6,)).eval()
    x = torch.randn(1, 6, 13, 10)
    cell = neck.get_submodule("p5")
    wanted = cell.operand1.get_submodule("0")(x) + cell.operand2.get_submodule("0")(x)
    torch.testing.assert_close(neck([x])[0], wanted)


def test_channels_that_are_no_four_parts() -> None:
    with pytest.raises(ValueError) as caught:
        Neck(parse("width 16\np3 = c3 -> aspp conv1").with_width(18), (4,))
    assert f"{caught.value}\n" == (GOLDEN / "parts_aspp.txt").read_text()
