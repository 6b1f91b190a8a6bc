"""SAC: against plain torch written from its formula, and what converting leaves unchanged."""

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.necks import SwitchableConv2d, convert_convolutions

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"


def stirred(module: nn.Module, seed: int = 3) -> nn.Module:
    """Weights and buffers drawn anew, so that every term of the formula counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(torch.rand(value.shape, generator=generator) - 0.4)
    return module


def averaged(x: Tensor) -> Tensor:
    """Average over 5x5, by indices that turn around at the border."""

    def turned(side: int) -> list[list[int]]:
        last = side - 1
        return [[last - abs(last - abs(i + d)) for d in range(-2, 3)] for i in range(side)]

    rows = torch.stack([x[:, :, at].mean(2) for at in turned(x.shape[2])], 2)
    return torch.stack([rows[..., at].mean(-1) for at in turned(x.shape[3])], 3)


def oracle(
    state: dict[str, Tensor], x: Tensor, *, stride: int, dilation: int, groups: int
) -> Tensor:
    def point(name: str, given: Tensor) -> Tensor:  # a 1x1 convolution
        kernel = state[f"{name}.weight"][:, :, 0, 0]
        return torch.einsum("oc,bchw->bohw", kernel, given) + state[f"{name}.bias"][:, None, None]

    def mean(given: Tensor) -> Tensor:
        return given.sum((2, 3), keepdim=True) / (given.shape[2] * given.shape[3])

    rows = state["weight"].flatten(1)  # [out, in / groups * 9]
    centred = rows - rows.mean(1, keepdim=True)
    variance = (centred**2).sum(1, keepdim=True) / (rows.shape[1] - 1)
    rows = state["gamma"].flatten(1) * centred / (variance + 1e-5).sqrt()
    weight = (rows + state["beta"].flatten(1)).view_as(state["weight"])

    x = x + point("pre", mean(x))
    switch = point("switch", averaged(x)[:, :, ::stride, ::stride])
    small = F.conv2d(
        x, weight, state.get("bias"), stride, padding=dilation, dilation=dilation, groups=groups
    )
    large = F.conv2d(
        x,
        weight + state["weight_diff"],
        state.get("bias"),
        stride,
        padding=3 * dilation,
        dilation=3 * dilation,
        groups=groups,
    )
    y = large + switch * (small - large)
    return y + point("post", mean(y))


@pytest.mark.parametrize(
    ("stride", "dilation", "groups", "bias"),
    [(1, 1, 1, False), (2, 1, 1, True), (1, 2, 2, False), (2, 2, 4, True), (3, 1, 2, False)],
)
@pytest.mark.parametrize("side", [(3, 3), (8, 5), (4, 9)])
def test_the_formula(
    stride: int, dilation: int, groups: int, bias: bool, side: tuple[int, int]
) -> None:
    block = stirred(
        SwitchableConv2d(4, 8, stride=stride, dilation=dilation, groups=groups, bias=bias).double()
    )
    x = torch.randn(2, 4, *side, dtype=torch.float64)
    wanted = oracle(block.state_dict(), x, stride=stride, dilation=dilation, groups=groups)
    assert block(x).shape == (2, 8, *(-(-s // stride) for s in side))
    torch.testing.assert_close(block(x), wanted)


def test_it_starts_as_the_small_branch_of_the_standardised_weight() -> None:
    block, x = SwitchableConv2d(4, 6).double(), torch.randn(2, 4, 7, 6, dtype=torch.float64)
    variance, mean = torch.var_mean(block.weight, (1, 2, 3), keepdim=True)
    weight = (block.weight - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(block(x), F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(),
        lambda: torchvision.models.resnext50_32x4d(
            replace_stride_with_dilation=[False, True, True]
        ),
        lambda: timm.create_model("resnet18d"),
        lambda: timm.create_model("mobilenetv2_050"),
        lambda: torchvision.models.vgg11().features[:11],
    ],
    ids=["resnet18", "resnext50 dilated", "resnet18d", "mobilenetv2 (depthwise)", "vgg11 (biases)"],
)
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_converted_network_is_the_same_function(make, train: bool) -> None:
    net = make().double()
    if not train:
        net.eval()
    x = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    wanted = net(x)
    plain = {name: part for name, part in net.named_modules() if type(part) is nn.Conv2d}
    names = convert_convolutions(net)
    assert set(names) == {name for name, part in plain.items() if part.kernel_size == (3, 3)}
    for name in names:
        made = net.get_submodule(name)
        assert isinstance(made, SwitchableConv2d)
        assert made.weight is plain[name].weight
        assert made.bias is plain[name].bias
        assert made.training is train
        for setting in ("stride", "dilation", "groups", "padding", "kernel_size"):
            assert getattr(made, setting) == getattr(plain[name], setting)
    torch.testing.assert_close(net(x), wanted, rtol=1e-8, atol=1e-8)


def test_what_is_not_converted() -> None:
    kept = (
        nn.Conv2d(3, 3, 1),
        nn.Conv2d(3, 3, 3),
        nn.Conv2d(3, 3, 3, padding="same"),
        nn.Conv2d(3, 3, 3, padding=1, dilation=2),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 3, 5, padding=2),
        nn.ConvTranspose2d(3, 3, 3, padding=1),
        SwitchableConv2d(3, 3),
    )
    net = nn.Sequential(*kept, nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)))
    assert convert_convolutions(net) == ("8.0",)
    assert all(a is b for a, b in zip(net, kept, strict=False))


def test_one_convolution_in_two_places_stays_one() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(shared, nn.Sequential(shared), shared)
    assert convert_convolutions(net) == ("0", "2", "1.0")
    assert net[0] is net[2] is net[1][0]


def test_converting_keeps_type_and_frozen_weights_and_the_global_generator() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).to(torch.bfloat16)
    net[0].weight.requires_grad_(False)
    before = torch.get_rng_state()
    convert_convolutions(net)
    assert torch.equal(torch.get_rng_state(), before)
    assert {value.dtype for value in net.state_dict().values()} == {torch.bfloat16}
    assert not net[0].weight.requires_grad


def test_every_parameter_gets_a_finite_gradient() -> None:
    block = stirred(SwitchableConv2d(4, 6, stride=2, bias=True))
    block(torch.randn(2, 4, 9, 7)).square().sum().backward()
    for name, value in block.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().sum() > 0, name
    assert not {"gamma", "beta"} & {name for name, _ in block.named_parameters()}


def test_the_state_dict_brings_the_function_along() -> None:
    torch.manual_seed(0)
    trained = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, bias=False))
    convert_convolutions(trained)
    other = nn.Sequential(SwitchableConv2d(4, 6))
    x = torch.randn(1, 4, 6, 6)
    assert not torch.allclose(other(x), trained(x))
    other.load_state_dict(trained.state_dict())
    assert torch.equal(other(x), trained(x))
    assert set(other.state_dict()) == {
        *(f"0.{name}" for name in ("weight", "weight_diff", "gamma", "beta")),
        *(f"0.{name}.{kind}" for name in ("switch", "pre", "post") for kind in ("weight", "bias")),
    }


def too_small() -> None:
    SwitchableConv2d(4, 6)(torch.zeros(1, 4, 2, 4))


def nothing_to_convert() -> None:
    convert_convolutions(nn.Conv2d(4, 4, 3, padding=1))


@pytest.mark.parametrize(
    ("golden", "fault"),
    [("switchable_too_small", too_small), ("switchable_nothing", nothing_to_convert)],
)
def test_messages(golden: str, fault) -> None:
    with pytest.raises(ValueError) as caught:
        fault()
    assert f"{caught.value}\n" == (GOLDEN / f"{golden}.txt").read_text()
