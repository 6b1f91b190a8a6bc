"""The CSP stage against plain torch written from its formula, and the published sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.language.cost import cost
from nas_fpn.necks import Neck
from nas_fpn.necks.csp import Csp

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"
EPS = 1e-3

YOLOX = """
width 256
p5 = c5 -> conv1[512] bn[eps=0.001, momentum=0.03] silu
p4 = concat[plain](p5, c4) -> csp[512, depth=3, eps=0.001, momentum=0.03]
p4 = p4 -> conv1[256] bn[eps=0.001, momentum=0.03] silu
p3 = concat[plain](p4, c3) -> csp[256, depth=3, eps=0.001, momentum=0.03]
p4 = concat[plain](p3 -> stride[256] bn[eps=0.001, momentum=0.03] silu, p4) -> csp[512, depth=3]
p5 = concat[plain](p4 -> stride[512] bn[eps=0.001, momentum=0.03] silu, p5) -> csp[1024, depth=3]
p3..p5 = p3..p5 -> conv1 bn[eps=0.001, momentum=0.03] silu
"""


def with_statistics(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with norms and statistics that do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return module.eval()


class Oracle:
    """A convolution and a norm by name, as one weighted sum each."""

    def __init__(self, module: nn.Module) -> None:
        self.state = module.state_dict()

    def pair(self, x: Tensor, conv: str, norm: str) -> Tensor:
        """The convolution with the norm folded into it."""
        weight = self.state[f"{conv}.weight"]
        scale = self.state[f"{norm}.weight"] / (self.state[f"{norm}.running_var"] + EPS).sqrt()
        shift = self.state[f"{norm}.bias"] - self.state[f"{norm}.running_mean"] * scale
        side = weight.shape[-1]
        return F.conv2d(x, weight * scale[:, None, None, None], shift, padding=side // 2)

    def cb(self, x: Tensor, name: str) -> Tensor:
        x = self.pair(x, f"{name}.conv", f"{name}.norm")
        return x * x.sigmoid()

    def rep(self, x: Tensor, name: str) -> Tensor:
        x = sum(self.pair(x, f"{name}.conv{k}", f"{name}.norm{k}") for k in (1, 3))
        return x * x.sigmoid()


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("shortcut", [False, True])
@pytest.mark.parametrize("inner", ["plain", "rep"])
@pytest.mark.parametrize("gather", ["last", "all"])
def test_csp(depth: int, shortcut: bool, inner: str, gather: str) -> None:
    torch.manual_seed(0)
    block = Csp(6, 8, depth=depth, shortcut=shortcut, inner=inner, gather=gather, eps=EPS)
    with_statistics(block)
    oracle, x = Oracle(block), torch.randn(2, 6, 7, 5)
    made = [oracle.cb(x, "enter")]
    for i in range(depth):
        name = f"bottlenecks.{i}"
        first = oracle.rep if inner == "rep" else oracle.cb
        worked = oracle.cb(first(made[-1], f"{name}.first"), f"{name}.second")
        made.append(worked + made[-1] if shortcut else worked)
    bypass = oracle.cb(x, "bypass")
    taken = (bypass, *made[1:]) if gather == "all" else (made[-1], bypass)
    wanted = oracle.cb(torch.cat(taken, 1), "leave")
    torch.testing.assert_close(block(x), wanted, atol=1e-5, rtol=1e-5)


def test_every_norm_has_the_eps_and_the_momentum() -> None:
    block = Csp(6, 8, depth=2, inner="rep", eps=0.25, momentum=0.5)
    norms = [part for part in block.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 3 + 2 * 3
    assert {(norm.eps, norm.momentum) for norm in norms} == {(0.25, 0.5)}


def test_the_neck_of_yolox_has_the_published_size() -> None:
    counted = cost(parse(YOLOX), {3: 256, 4: 512, 5: 1024}, image_size=64)
    assert counted.params == 19_983_360


def test_a_stage_of_odd_channels_is_refused() -> None:
    with pytest.raises(ValueError) as caught:
        Neck(parse("width 16\np3 = c3 -> csp conv1").with_width(7), (4,))
    assert f"{caught.value}\n" == (GOLDEN / "parts_csp.txt").read_text()
