"""Dynamic head against plain torch written from its formula."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.necks.dyhead import DynamicHead, DynamicRelu
from tests.necks.test_deform import sampled


def hard(x: Tensor) -> Tensor:
    return ((x + 3) / 6).clamp(0, 1)


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A 1x1 convolution of means [B, C] as a matrix."""
    return x @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]


def unlike_the_start(module: torch.nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value) / 4)
    return module.state_dict()


def dynamic_relu(state: dict[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    context = linear(state, f"{prefix}squeeze", x.mean((2, 3))).clamp(min=0)
    values = hard(linear(state, f"{prefix}excite", context)) - 0.5
    a1, b1, a2, b2 = (v[:, :, None, None] for v in values.split(x.shape[1], 1))
    return torch.where(
        (1 + 2 * a1) * x + b1 > 2 * a2 * x + b2, (1 + 2 * a1) * x + b1, 2 * a2 * x + b2
    )


def test_dynamic_relu() -> None:
    torch.manual_seed(0)
    block, x = DynamicRelu(8), torch.randn(3, 8, 4, 5)
    state = unlike_the_start(block)
    torch.testing.assert_close(block(x), dynamic_relu(state, "", x))


@pytest.mark.parametrize("operands", [2, 3])
@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (6, 4)])
def test_dynamic_head(operands: int, channels: int, groups: int) -> None:
    torch.manual_seed(1)
    merge = DynamicHead(operands * channels, operands, groups=groups)
    state = unlike_the_start(merge)
    features = [torch.randn(2, channels, 4, 5) for _ in range(operands)]
    said = F.conv2d(features[0], state["offset.weight"], state["offset.bias"], padding=1)
    total = torch.zeros_like(features[0])
    for n, feature in enumerate(features):
        kernel = state[f"convolutions.{n}.weight"]
        moved = torch.zeros_like(feature)
        for b in range(2):
            for i in range(4):
                for j in range(5):
                    for tap in range(9):
                        y = i - 1 + tap // 3 + float(said[b, 2 * tap, i, j])
                        z = j - 1 + tap % 3 + float(said[b, 2 * tap + 1, i, j])
                        seen = sampled(feature[b], y, z) * said[b, 18 + tap, i, j].sigmoid()
                        moved[b, :, i, j] += kernel[:, :, tap // 3, tap % 3] @ seen
        parts = moved.reshape(2, {8: 4, 6: 2}[channels], -1)
        mean, var = parts.mean(2, keepdim=True), parts.var(2, keepdim=True, correction=0)
        moved = ((parts - mean) / (var + 1e-5).sqrt()).reshape(moved.shape)
        moved = moved * state[f"norms.{n}.weight"][:, None, None]
        moved = moved + state[f"norms.{n}.bias"][:, None, None]
        share = hard(linear(state, "share", moved.mean((2, 3))).clamp(min=0))
        total = total + share[:, :, None, None] * moved
    wanted = dynamic_relu(state, "relu.", total / operands)
    torch.testing.assert_close(merge(*features), wanted, atol=1e-5, rtol=1e-4)


def test_the_places_begin_regular_and_come_from_the_first_operand() -> None:
    merge = DynamicHead(16, 2)
    assert not any(value.any() for value in merge.offset.parameters())
    with torch.no_grad():
        merge.offset.weight.normal_()
    x, y = torch.randn(2, 1, 8, 5, 4).unbind(0)
    places: list[Tensor] = []
    merge.offset.register_forward_hook(lambda *args: places.append(args[1][0]))
    merge(x, y)
    assert places[0] is x
    assert len(places) == 1
