"""The GSConv family against plain torch written from its formulas, and published numbers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.language.cost import cost
from nas_fpn.necks import Neck
from nas_fpn.necks.slim import GSConv, GSConvE1, GSConvE2, deinterleave, interleave
from nas_fpn.necks.strides import StrideGSConvE1

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"
PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
GSCONVE1 = {
    f"gsconve1_{case}_{mode}": stride
    for case, stride in (("k1s1", 1), ("k3s1_odd", 1), ("k3s2_odd", 2))
    for mode in ("eval", "train")
}
NAMES = {
    "cv1.conv.": "first.conv.",
    "cv1.bn.": "first.norm.",
    "cv2.0.": "dense.",
    "cv2.1.": "depthwise.",
}


def unlike_torch(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with norms and statistics that do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module.eval()


def cb(x: Tensor, state: dict[str, Tensor], name: str, act: str) -> Tensor:
    """Convolution, norm, activation, written out."""
    w = state[f"{name}.conv.weight"]
    x = F.conv2d(x, w, padding=w.shape[-1] // 2, groups=x.shape[1] // w.shape[1])
    mean, var, scale, shift = (
        state[f"{name}.norm.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    x = (x - mean) / (var + 1e-5).sqrt() * scale + shift
    return x * {"silu": x.sigmoid(), "mish": F.softplus(x).tanh(), "none": torch.ones(())}[act]


def dealt(x: Tensor, y: Tensor) -> Tensor:
    """Channels of x and y in turn."""
    return torch.stack([c for pair in zip(x.unbind(1), y.unbind(1), strict=True) for c in pair], 1)


def test_the_two_shuffles_are_inverse() -> None:
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert torch.equal(deinterleave(*interleave(*x.chunk(2, 1)).chunk(2, 1)), x)
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert interleave(*x.chunk(2, 1)).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert deinterleave(*x.chunk(2, 1)).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(deinterleave(*interleave(*x.chunk(2, 1)).chunk(2, 1)), x)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("shuffle", ["interleave", "deinterleave"])
@pytest.mark.parametrize("activation", ["silu", "mish"])
def test_gsconv(kernel: int, shuffle: str, activation: str) -> None:
    block = unlike_torch(GSConv(6, 8, kernel=kernel, shuffle=shuffle, activation=activation))
    state, x = block.state_dict(), torch.randn(2, 6, 7, 5)
    first = cb(x, state, "dense", activation)
    second = cb(first, state, "depthwise", activation)
    assert first.shape[1] == second.shape[1] == 4
    if shuffle == "interleave":
        wanted = dealt(first, second)
    else:
        both = torch.cat((first, second), 1)
        wanted = torch.cat((both[:, 0::2], both[:, 1::2]), 1)
    torch.testing.assert_close(block(x), wanted)


def test_gsconve1() -> None:
    block = unlike_torch(GSConvE1(6, 8))
    state, x = block.state_dict(), torch.randn(2, 6, 7, 5)
    first = cb(x, state, "first", "silu")
    second = F.conv2d(first, state["dense.weight"], padding=1)
    second = F.conv2d(second, state["depthwise.weight"], padding=1, groups=4)
    second = second * (1 + torch.erf(second / 2**0.5)) / 2
    torch.testing.assert_close(block(x), dealt(first, second))


def test_gsconve2() -> None:
    block = unlike_torch(GSConvE2(6, 8))
    state, x = block.state_dict(), torch.randn(2, 6, 7, 5)
    x1 = cb(x, state, "first", "silu")
    x2, x3, x4 = (cb(x1, state, name, "silu") for name in ("small", "medium", "large"))
    sides = [state[f"{name}.conv.weight"].shape[-1] for name in ("small", "medium", "large")]
    assert sides == [9, 13, 17]
    torch.testing.assert_close(block(x), dealt(torch.cat((x1, x2), 1), torch.cat((x3, x4), 1)))


@pytest.mark.parametrize(
    ("word", "params"),
    [
        ("gsconv[kernel=3]", {16: 1_384, 32: 5_072, 64: 19_360, 256: 298_624}),
        ("gsconve1", {16: 1_816, 32: 7_088, 64: 28_000, 256: 443_776}),
        ("gsconve2", {16: 2_764, 32: 6_680, 64: 17_968, 256: 182_464}),
    ],
)
def test_published_parameters(word: str, params: dict[int, int]) -> None:
    for width, wanted in params.items():
        architecture = parse(f"width {width}\np3 = c3 -> {word}")
        assert cost(architecture, {3: width}, image_size=64).params == wanted
        assert sum(p.numel() for p in Neck(architecture, (width,)).parameters()) == wanted


@pytest.mark.parametrize(("word", "width"), [("gsconv", 15), ("gsconve1", 7), ("gsconve2", 10)])
def test_channels_that_cannot_be_cut(word: str, width: int) -> None:
    with pytest.raises(ValueError) as caught:
        Neck(parse(f"width 16\np3 = c3 -> {word}").with_width(width), (4,))
    assert f"{caught.value}\n" == (GOLDEN / f"parts_{word}.txt").read_text()


parity = pytest.mark.skipif(
    not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not there"
)


@parity
def test_every_case_of_gsconve1_is_here() -> None:
    assert {path.stem for path in PARITY.glob("gsconve1_*.json")} == GSCONVE1.keys()


@parity
@pytest.mark.parametrize("name", GSCONVE1)
def test_gsconve1_is_the_published_one(name: str) -> None:
    """Outputs, the running statistics after a training pass, and the gradient of the input."""
    about = json.loads((PARITY / f"{name}.json").read_text())
    tensors = load_file(PARITY / f"{name}.safetensors")
    config = about["config"]
    assert config["stride"] == GSCONVE1[name]
    if config["stride"] == 1:
        block = GSConvE1(config["c_in"], config["c_out"], kernel=config["k"])
    else:  # the word stride[conv=gsconve1]
        (block,) = StrideGSConvE1(config["c_in"], config["c_out"], ratio=2)
    block.load_state_dict({ours(k[2:]): v for k, v in tensors.items() if k.startswith("w.")})
    block.train(about["mode"] == "train")
    near = {"atol": about["tolerance"]["float32_atol"], "rtol": about["tolerance"]["float32_rtol"]}
    x = tensors["in.0"].requires_grad_()
    out = block(x)
    torch.testing.assert_close(out, tensors["out.0"], **near)
    (out * torch.arange(out.numel()).float().cos().reshape(out.shape)).sum().backward()
    torch.testing.assert_close(x.grad, tensors["grad_in.0"], **near)
    after = {ours(k[6:]): v for k, v in tensors.items() if k.startswith("after.")}
    assert bool(after) == block.training
    for key, value in after.items():
        torch.testing.assert_close(block.state_dict()[key], value, **near)


def ours(name: str) -> str:
    (there,) = [prefix for prefix in NAMES if name.startswith(prefix)]
    return NAMES[there] + name.removeprefix(there)
