"""RepConv: its three branches, and the one convolution that they become."""

import pytest
import torch
from torch.nn import functional as F

from nas_fpn.necks.repconv import RepConv, fuse_repconv


def trained(in_channels: int, out_channels: int, identity: str) -> RepConv:
    """A block with norms and statistics that do something."""
    generator = torch.Generator().manual_seed(4)
    block = RepConv(in_channels, out_channels, identity=identity)
    with torch.no_grad():
        for name, value in block.state_dict().items():
            if "norm" in name and value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return block


KINDS = pytest.mark.parametrize(
    ("in_channels", "out_channels", "identity", "branches"),
    [(6, 6, "bn", 3), (6, 6, "none", 2), (6, 8, "bn", 2), (1, 1, "bn", 3)],
)


@KINDS
def test_the_training_form_sums_its_branches(
    in_channels: int, out_channels: int, identity: str, branches: int
) -> None:
    block, x = (
        trained(in_channels, out_channels, identity).train(),
        torch.randn(2, in_channels, 5, 4),
    )
    state, total = block.state_dict(), torch.zeros(())
    given = [F.conv2d(x, state["conv3.weight"], padding=1), F.conv2d(x, state["conv1.weight"]), x]
    for name, value in zip(("norm3", "norm1", "norm0")[:branches], given, strict=False):
        mean = value.mean((0, 2, 3), keepdim=True)
        deviation = (value.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        scale, shift = (state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias"))
        total = total + (value - mean) / deviation * scale + shift
    assert sum("running_mean" in key for key in state) == branches
    torch.testing.assert_close(block(x), total, atol=1e-5, rtol=1e-5)


@KINDS
def test_the_deployed_form_is_equal(
    in_channels: int, out_channels: int, identity: str, branches: int
) -> None:
    del branches
    block = trained(in_channels, out_channels, identity).eval()
    fused = fuse_repconv(block)
    assert type(fused) is torch.nn.Conv2d
    assert sum(p.numel() for p in fused.parameters()) == out_channels * (9 * in_channels + 1)
    for side in ((1, 1), (1, 4), (7, 6)):
        x = torch.randn(2, in_channels, *side)
        torch.testing.assert_close(fused(x), block(x), atol=1e-5, rtol=1e-5)


def test_the_deployed_form_keeps_the_type_of_the_weights() -> None:
    assert fuse_repconv(trained(4, 4, "bn").double()).weight.dtype == torch.float64
