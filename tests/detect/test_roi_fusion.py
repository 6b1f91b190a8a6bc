"""Adaptive feature pooling and soft RoI selection against plain formulas; sizes as published."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_fpn.detect import (
    AdaptivePooling,
    SoftSelection,
    adaptive_convs,
    adaptive_linear,
    pool_rois_from_all,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
HEADS: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda seed: adaptive_linear(6, 3, width=64, seed=seed),
    "linear, no norm": lambda seed: adaptive_linear(6, 3, width=64, norm=False, seed=seed),
    "convs": lambda seed: adaptive_convs(6, 3, width=64, depth=2, linear=32, seed=seed),
    "convs, no norm": lambda seed: adaptive_convs(
        6, 3, width=8, depth=2, linear=32, norm=False, seed=seed
    ),
    "mask branch": lambda seed: adaptive_convs(6, 3, width=64, linear=None, seed=seed),
    "one conv": lambda seed: adaptive_convs(6, 3, width=64, depth=1, linear=None, seed=seed),
    "soft selection": lambda seed: SoftSelection(6, 3, seed=seed),
}


def make_pooled(count: int = 4, channels: int = 6, size: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(count, channels, size, size, generator=generator).requires_grad_()
        for _ in range(3)
    ]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shake(module: nn.Module) -> dict[str, Tensor]:
    """Move every parameter off its first value, biases and norms too."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return dict(module.state_dict())


def group_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    grouped = x.reshape(len(x), 32, -1)
    mean = grouped.mean(2, keepdim=True)
    variance = grouped.var(2, keepdim=True, unbiased=False)
    normal = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(x.shape)
    ones = [1] * (x.dim() - 2)
    return normal * weight.view(1, -1, *ones) + bias.view(1, -1, *ones)


def conv3(x: Tensor, weight: Tensor) -> Tensor:
    columns = functional.unfold(x, 3, padding=1)  # [n, C*9, h*w]
    return (weight.flatten(1) @ columns).view(len(x), len(weight), *x.shape[2:])


def test_linear_head_is_the_formula() -> None:
    head = adaptive_linear(6, 3, width=64)
    w, pooled = shake(head), make_pooled()

    def layer(x: Tensor, name: str, first: int) -> Tensor:
        linear, norm = f"{name}.{first}", f"{name}.{first + 1}"
        z = x @ w[f"{linear}.weight"].T + w[f"{linear}.bias"]
        return group_norm(z, w[f"{norm}.weight"], w[f"{norm}.bias"]).clamp(min=0)

    own = [layer(x.reshape(4, -1), f"first.{k}", 1) for k, x in enumerate(pooled)]
    expected = layer(torch.stack(own).max(dim=0).values, "rest", 0)
    torch.testing.assert_close(head(pooled), expected)
    assert head(pooled).shape == (4, 64)


def test_linear_head_without_norm_is_the_formula() -> None:
    head = adaptive_linear(6, 3, width=64, norm=False)
    w, pooled = shake(head), make_pooled()
    own = [
        (x.reshape(4, -1) @ w[f"first.{k}.1.weight"].T + w[f"first.{k}.1.bias"]).relu()
        for k, x in enumerate(pooled)
    ]
    merged = torch.stack(own).max(dim=0).values
    expected = (merged @ w["rest.0.weight"].T + w["rest.0.bias"]).relu()
    torch.testing.assert_close(head(pooled), expected)


def test_convolutional_head_is_the_formula() -> None:
    head = adaptive_convs(6, 3, width=64, depth=3, linear=16)
    w, pooled = shake(head), make_pooled()

    def layer(x: Tensor, name: str) -> Tensor:
        z = conv3(x, w[f"{name}.0.weight"])
        return group_norm(z, w[f"{name}.1.weight"], w[f"{name}.1.bias"]).clamp(min=0)

    own = [layer(x, f"first.{k}") for k, x in enumerate(pooled)]
    merged = torch.stack(own).max(dim=0).values
    shared = layer(layer(merged, "rest.0"), "rest.1").reshape(4, -1)
    expected = (shared @ w["rest.2.1.weight"].T + w["rest.2.1.bias"]).relu()
    torch.testing.assert_close(head(pooled), expected, atol=1e-4, rtol=1e-4)


def test_mask_branch_keeps_the_grid() -> None:
    head = adaptive_convs(6, 3, width=64, linear=None)
    assert head(make_pooled(size=14)).shape == (4, 64, 14, 14)


def test_soft_selection_is_the_formula() -> None:
    selection = SoftSelection(6, 3)
    w, pooled = shake(selection), make_pooled()
    together = torch.cat(pooled, dim=1)
    squeezed = torch.einsum("nchw,oc->nohw", together, w["squeeze.weight"][..., 0, 0])
    squeezed = (squeezed + w["squeeze.bias"].view(1, -1, 1, 1)).clamp(min=0)
    logits = conv3(squeezed, w["weigh.weight"]) + w["weigh.bias"].view(1, -1, 1, 1)
    weights = 1 / (1 + torch.exp(-logits))
    expected = torch.einsum("nlhw,lnchw->nchw", weights, torch.stack(pooled))
    torch.testing.assert_close(selection(pooled), expected)


def test_soft_weights_do_not_add_up_to_one() -> None:
    """All logits zero: each level counts half, whatever the number of levels."""
    selection, pooled = SoftSelection(6, 3), make_pooled()
    nn.init.zeros_(selection.weigh.weight)
    torch.testing.assert_close(selection(pooled), sum(pooled) / 2)


def test_the_maximum_stands_behind_each_level_s_own_layer() -> None:
    """With identities for first layers it is the maximum of the features: not the same module."""
    pooled = make_pooled()
    plain = AdaptivePooling([nn.Identity()] * 3, nn.Identity())(pooled)
    assert torch.equal(plain, torch.stack(pooled).amax(dim=0))
    head = adaptive_convs(6, 3, width=64, depth=1, linear=None)
    assert not torch.equal(head(pooled), head.first[0](plain))


@pytest.mark.parametrize(("channels", "count"), [(256, 271_620), (64, 18_756)])
def test_soft_selection_has_the_published_parameters(channels: int, count: int) -> None:
    assert parameters(SoftSelection(channels, 4)) == count


def test_each_further_level_costs_12_85_million_parameters() -> None:
    with torch.device("meta"):
        one, four = (parameters(adaptive_linear(256, levels)) for levels in (1, 4))
    assert four - one == 3 * (7 * 7 * 256 * 1024 + 1024 + 2 * 1024) == 38_544_384


@pytest.mark.parametrize("name", HEADS)
def test_the_seed_alone_makes_the_weights(name: str) -> None:
    torch.manual_seed(1)
    one = HEADS[name](5).state_dict()
    torch.manual_seed(2)
    two, other = HEADS[name](5).state_dict(), HEADS[name](6).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    weights = [key for key in one if one[key].dim() > 1]
    assert not any(torch.equal(one[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_and_level_gets_a_gradient(name: str) -> None:
    head, pooled = HEADS[name](0), make_pooled()
    out = head(pooled)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out * weights).sum().backward()
    for tensor in (*head.parameters(), *pooled):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize("name", HEADS)
def test_no_rois_give_no_rows(name: str) -> None:
    assert len(HEADS[name](0)(make_pooled(count=0))) == 0


@pytest.mark.parametrize("name", HEADS)
def test_each_roi_is_for_itself(name: str) -> None:
    head, pooled = HEADS[name](0), make_pooled()
    alone = head([feature[2:3] for feature in pooled])
    torch.testing.assert_close(head(pooled)[2:3], alone)


def test_heads_take_what_pooling_gives() -> None:
    features = [torch.randn(2, 6, 64 >> k, 64 >> k) for k in (3, 4, 5)]
    boxes = torch.tensor([[[4.0, 4, 30, 40]], [[0.0, 0, 64, 64]]])
    pooled = pool_rois_from_all(features, boxes, levels=(3, 4, 5))
    assert adaptive_linear(6, 3, width=64)(pooled).shape == (2, 64)
    assert SoftSelection(6, 3)(pooled).shape == (2, 6, 7, 7)


FAULTS: dict[str, Callable[[], object]] = {
    "roi_fusion_count": lambda: SoftSelection(6, 4)(make_pooled()),
    "roi_fusion_none": lambda: adaptive_linear(6, 0),
    "roi_fusion_depth": lambda: adaptive_convs(6, 3, depth=0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_messages(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        FAULTS[name]()
    assert f"{caught.value}\n" == (GOLDEN / f"{name}.txt").read_text()
