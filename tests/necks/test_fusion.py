"""Merges and resamplers with weights of their own, against their formulas in plain torch."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.necks import Neck
from nas_fpn.necks.esd import Esd1, Esd2
from nas_fpn.necks.fusion import Asff, GroupedConcat, PerChannel
from nas_fpn.necks.upsample import Carafe, Deconv


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with all weights and statistics drawn anew, none of them a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    return module


def features(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(*shape, generator=generator) for _ in range(count)]


def normalised(norm: nn.Module, feature: Tensor) -> Tensor:
    """Batch normalisation in evaluation mode, from its definition."""
    assert isinstance(norm, nn.BatchNorm2d)
    mean, var, weight, bias = (
        tensor.detach()[None, :, None, None]
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        if tensor is not None
    )
    return (feature - mean) / (var + norm.eps).sqrt() * weight + bias


# merges


@pytest.mark.parametrize("operands", [2, 4])
@pytest.mark.parametrize("act", ["leaky", "relu6"])
def test_asff_weighs_each_pixel(operands: int, act: str) -> None:
    merge = drawn(Asff(6 * operands, operands, compress=5, act=act)).eval()
    given = features(operands, 2, 6, 4, 3)
    embedded = []
    for k, feature in enumerate(given):
        kernel = merge.get_parameter(f"embeddings.{k}.weight")[:, :, 0, 0]
        mapped = torch.einsum("oc,bchw->bohw", kernel, feature)
        mapped = normalised(merge.get_submodule(f"norms.{k}"), mapped)
        if act == "leaky":
            mapped = torch.where(mapped > 0, mapped, 0.1 * mapped)
        else:
            mapped = mapped.clamp(0, 6)
        embedded.append(mapped)
    kernel = merge.get_parameter("weights.weight")[:, :, 0, 0]
    bias = merge.get_parameter("weights.bias")[:, None, None]
    logits = torch.einsum("oc,bchw->bohw", kernel, torch.cat(embedded, 1)) + bias
    weights = logits.exp() / logits.exp().sum(1, keepdim=True)
    wanted = sum(weights[:, k, None] * feature for k, feature in enumerate(given))
    torch.testing.assert_close(merge(*given), wanted)


def test_asff_of_one_feature_is_that_feature() -> None:
    (feature,) = features(1, 2, 4, 3, 3)
    merge = drawn(Asff(12, 3)).eval()
    torch.testing.assert_close(merge(feature, feature, feature), feature)


def test_psum_weighs_each_channel_and_begins_as_a_sum() -> None:
    x, y, z = features(3, 2, 5, 4, 3)
    merge = PerChannel(15, 3)
    torch.testing.assert_close(merge(x, y, z), x + y + z)
    weights = drawn(merge).get_parameter("weight")
    wanted = torch.empty_like(x)
    for channel in range(5):
        terms = zip(weights[:, channel], (x, y, z), strict=True)
        wanted[:, channel] = sum(weight * term[:, channel] for weight, term in terms)
    torch.testing.assert_close(merge(x, y, z), wanted)


@pytest.mark.parametrize("operands", [2, 3])
def test_cat_reads_neighbours_of_what_stands_one_behind_the_other(operands: int) -> None:
    merge = drawn(GroupedConcat(6 * operands, operands)).eval()
    given = features(operands, 2, 6, 4, 3)
    joined = normalised(merge.get_submodule("norm"), torch.cat(given, 1)).clamp(min=0)
    kernel = merge.get_parameter("convolution.weight")
    assert kernel.shape == (6, operands, 1, 1)
    wanted = torch.empty_like(given[0])
    for channel in range(6):
        read = joined[:, operands * channel : operands * (channel + 1)]
        wanted[:, channel] = (read * kernel[channel]).sum(1)
    torch.testing.assert_close(merge(*given), wanted)


def test_cat_of_two_does_not_mix_them() -> None:
    x, y = features(2, 1, 6, 2, 2)
    merge = drawn(GroupedConcat(12, 2)).eval()
    before, without = merge(x, y), merge(x, torch.zeros_like(y))
    assert torch.equal(before[:, :3], without[:, :3])
    assert not torch.equal(before[:, 3:], without[:, 3:])


# up

SIZES = pytest.mark.parametrize("size", [(1, 1), (8, 12), (7, 9), (5, 16)])
RATIOS = pytest.mark.parametrize("ratio", [2, 4, 8])


def coarse(size: tuple[int, int], ratio: int, channels: int = 3) -> Tensor:
    """A feature of the level ``ratio`` coarser than ``size``, halved by rounding up."""
    (feature,) = features(1, 2, channels, -(-size[0] // ratio), -(-size[1] // ratio))
    return feature


@SIZES
@RATIOS
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_deconv_ends_at_the_size(size: tuple[int, int], ratio: int, kernel: int) -> None:
    module = Deconv(3, 4, bias=False, ratio=ratio, kernel=kernel)
    assert module(coarse(size, ratio), size).shape == (2, 4, *size)
    assert [step.bias is not None for step in module] == [True] * (len(module) - 1) + [False]


@SIZES
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_deconv_spreads_each_value_by_its_kernel(size: tuple[int, int], kernel: int) -> None:
    module = drawn(Deconv(3, 4, bias=True, ratio=2, kernel=kernel))
    feature = coarse(size, 2)
    weight, bias = module.get_parameter("0.weight"), module.get_parameter("0.bias")
    wanted = bias[None, :, None, None].repeat(2, 1, *size)
    for y in range(feature.shape[2]):
        for x in range(feature.shape[3]):
            for i in range(kernel):
                for j in range(kernel):
                    row, column = (2 * n + m - (kernel - 1) // 2 for n, m in ((y, i), (x, j)))
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        wanted[:, :, row, column] += feature[:, :, y, x] @ weight[:, :, i, j]
    torch.testing.assert_close(module(feature, size), wanted)


def test_the_usual_deconv_is_torchs_with_padding_one() -> None:
    module = Deconv(3, 4, bias=True, ratio=2, kernel=4)
    feature = coarse((8, 12), 2)
    weight, bias = module.get_parameter("0.weight"), module.get_parameter("0.bias")
    wanted = F.conv_transpose2d(feature, weight, bias, stride=2, padding=1)
    torch.testing.assert_close(module(feature, (8, 12)), wanted)


def test_a_transposed_convolution_keeps_the_variance_as_a_convolution_does() -> None:
    neck = Neck(parse("width 64\np4 = c4 -> conv1\np3 = p4 -> deconv[kernel=4]"), (64,), seed=0)
    (feature,) = features(1, 1, 64, 16, 16)
    with torch.inference_mode():
        fine, lateral = neck([feature])
    assert 0.9 < fine[..., 2:-2, 2:-2].std() / lateral.std() < 1.1
    assert not neck.get_parameter("p3.0.0.bias").any()


@SIZES
@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize(("encoder", "kernel", "groups"), [(3, 5, 1), (1, 3, 2), (5, 1, 4)])
def test_carafe_reassembles_what_is_around(
    size: tuple[int, int], ratio: int, encoder: int, kernel: int, groups: int
) -> None:
    module = Carafe(4, ratio, mid=6, encoder=encoder, kernel=kernel, groups=groups)
    feature = coarse(size, ratio, 4)
    made = {name: module.get_submodule(name) for name in ("compress", "encode")}
    hidden = torch.einsum("oc,bchw->bohw", made["compress"].weight[:, :, 0, 0], feature)
    hidden = hidden + made["compress"].bias[:, None, None]
    logits = F.conv2d(hidden, made["encode"].weight, made["encode"].bias, padding=encoder // 2)
    logits = F.pixel_shuffle(logits, ratio)  # [B, G * kernel^2, ratio * h, ratio * w]
    wanted = torch.zeros(2, 4, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row // ratio, column // ratio
            for channel in range(4):
                group = channel * groups // 4
                here = logits[:, group * kernel**2 : (group + 1) * kernel**2, row, column]
                weights = here.exp() / here.exp().sum(1, keepdim=True)
                for n in range(kernel**2):
                    i, j = y + n // kernel - kernel // 2, x + n % kernel - kernel // 2
                    if 0 <= i < feature.shape[2] and 0 <= j < feature.shape[3]:
                        wanted[:, channel, row, column] += weights[:, n] * feature[:, channel, i, j]
    torch.testing.assert_close(module(feature, size), wanted)


def test_carafe_has_the_published_size() -> None:
    assert sum(p.numel() for p in Carafe(256, 2).parameters()) == 74_148
    assert Carafe(6, 2, groups=4).groups == math.gcd(6, 4)


# down


def branches(feature: Tensor) -> tuple[Tensor, Tensor]:
    """The average and the maximum of ESD, window by window."""
    high, wide = feature.shape[2:]
    size = (feature.shape[0], feature.shape[1], (high + 1) // 2, (wide + 1) // 2)
    average, largest = torch.zeros(size), torch.zeros(size)
    for y in range(size[2]):
        for x in range(size[3]):
            top, left = 2 * y - 1, 2 * x - 1
            window = feature[:, :, max(top, 0) : top + 4, max(left, 0) : left + 4]
            counted = (min(top + 4, high + 1) - top) * (min(left + 4, wide + 1) - left)
            average[:, :, y, x] = window.sum((2, 3)) / counted
            largest[:, :, y, x] = window.amax((2, 3))
    return average, largest


def dense(module: nn.Module, step: int, feature: Tensor) -> Tensor:
    """The third branch of ESD in evaluation mode."""
    kernel = module.get_parameter(f"convolutions.{step}.weight")
    mapped = normalised(
        module.get_submodule(f"norms.{step}"), F.conv2d(feature, kernel, stride=2, padding=1)
    )
    return mapped * mapped.sigmoid()


SIDES = pytest.mark.parametrize("side", [(1, 1), (2, 2), (10, 14), (9, 6), (5, 7)])


@SIDES
@pytest.mark.parametrize("channels", [4, 8, 6, 2])
def test_esd1_is_the_published_sum_where_that_is_defined(
    side: tuple[int, int], channels: int
) -> None:
    module = drawn(Esd1(4, channels, ratio=2)).eval()
    (feature,) = features(1, 2, 4, *side)
    average, largest = branches(feature)
    if channels == 4:
        wanted = average + largest
    else:
        wanted = torch.cat((average, largest), 1)
        if channels != 8:
            wanted = F.conv2d(wanted, module.get_parameter("fits.0.weight"))
    wanted = wanted + dense(module, 0, feature)
    assert len(list(module.parameters())) == (3 if channels in (4, 8) else 4)
    torch.testing.assert_close(module(feature, wanted.shape[2:]), wanted)


@SIDES
@pytest.mark.parametrize("channels", [4, 8, 6])
def test_esd2_mixes_all_branches(side: tuple[int, int], channels: int) -> None:
    module = drawn(Esd2(4, channels, ratio=2)).eval()
    (feature,) = features(1, 2, 4, *side)
    joined = torch.cat((*branches(feature), dense(module, 0, feature)), 1)
    wanted = F.conv2d(joined, module.get_parameter("mixers.0.weight"))
    torch.testing.assert_close(module(feature, wanted.shape[2:]), wanted)


@SIDES
@pytest.mark.parametrize("esd", [Esd1, Esd2])
def test_esd_repeats_until_its_level(esd: type[nn.Module], side: tuple[int, int]) -> None:
    module = drawn(esd(4, 6, ratio=8)).eval()
    (feature,) = features(1, 2, 4, *side)
    size = (-(-side[0] // 8), -(-side[1] // 8))
    assert module(feature, size).shape == (2, 6, *size)


@pytest.mark.parametrize(
    ("module", "params"),
    [
        (Esd1(16, 16, ratio=2), 2_336),
        (Esd1(32, 32, ratio=2), 9_280),
        (Esd2(16, 32, ratio=2), 6_720),
        (Esd2(32, 64, ratio=2), 26_752),
        (Esd2(64, 128, ratio=2), 106_752),
    ],
)
def test_esd_has_the_published_size(module: nn.Module, params: int) -> None:
    assert sum(parameter.numel() for parameter in module.parameters()) == params
