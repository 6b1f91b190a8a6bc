"""What oracles are written with: the formulas of convolutions and norms over a neck's weights.

An oracle is a function of :class:`Weights` and the backbone's features by level. It knows no word
of the language, only the names of weights. :func:`assert_equals_formula` compares a neck with it
in evaluation and in training: outputs, running statistics, the gradients of every parameter and
input. Everything is in double precision, so that a difference is one of the formula.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nas_fpn.language import find_neck, parse
from nas_fpn.necks import Neck

CHANNELS = {2: 6, 3: 10, 4: 12, 5: 20}
Level = dict[int, Tensor]


class Weights:
    """The weights of a neck by the name of a convolution or norm, applied as formulas.

    In training a norm uses the batch, and ``after`` has the running statistics that follow.
    """

    def __init__(self, state: dict[str, Tensor], *, training: bool) -> None:
        self.state = state
        self.training = training
        self.after: dict[str, Tensor] = {}

    def conv(self, x: Tensor, key: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.state[f"{key}.weight"]
        bias = self.state.get(f"{key}.bias")
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=groups)

    def norm(self, x: Tensor, key: str, *, eps: float = 1e-5, momentum: float = 0.1) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, gain, shift = (self.state[f"{key}.{n}"][:, None, None] for n in names)
        if self.training:
            count = x.numel() / x.shape[1]
            batch = x.mean((0, 2, 3), keepdim=True)[0]
            spread = (x - batch).square().mean((0, 2, 3), keepdim=True)[0]
            for n, old, new in (("mean", mean, batch), ("var", var, spread * count / (count - 1))):
                kept = (1 - momentum) * old + momentum * new
                self.after[f"{key}.running_{n}"] = kept[:, 0, 0].detach()
            mean, var = batch, spread
        return (x - mean) / (var + eps).sqrt() * gain + shift

    def deform(self, x: Tensor, key: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        """A deformable 3x3 convolution tap by tap; with masks, where its offsets have them."""
        weight = self.state[f"{key}.convolution.weight"]
        bias = self.state.get(f"{key}.convolution.bias")
        places = self.conv(x, f"{key}.offset", stride=stride)
        high, wide = places.shape[-2:]
        taps = 9 * groups
        rows = torch.arange(high)[:, None] * stride - 1
        columns = torch.arange(wide)[None, :] * stride - 1
        total = torch.zeros(())
        for group, (part, kernel) in enumerate(
            zip(x.chunk(groups, dim=1), weight.chunk(groups, dim=1), strict=True)
        ):
            for tap in range(9):
                at = 2 * (9 * group + tap)
                y = places[:, at] + rows + tap // 3
                x_ = places[:, at + 1] + columns + tap % 3
                grid = torch.stack(
                    ((2 * x_ + 1) / x.shape[-1] - 1, (2 * y + 1) / x.shape[-2] - 1), dim=-1
                )
                read = F.grid_sample(part, grid, align_corners=False)
                if places.shape[1] == 3 * taps:
                    at = 2 * taps + 9 * group + tap
                    read = read * places[:, at : at + 1].sigmoid()
                total = total + torch.einsum("oi,bihw->bohw", kernel[..., tap // 3, tap % 3], read)
        return total if bias is None else total + bias[:, None, None]

    def cb(self, x: Tensor, key: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        """A convolution and its norm, as the stages name them."""
        return self.norm(self.conv(x, f"{key}.conv", stride=stride, groups=groups), f"{key}.norm")


def double(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="nearest")


def sni(x: Tensor, like: Tensor) -> Tensor:
    return double(x, like) * (x[0, 0].numel() / like[0, 0].numel())


def build(name: str, change: dict[str, str] | None = None, *, width: int = 16) -> Neck:
    """The shipped neck, its text changed if asked, with numbers as after some training."""
    text = find_neck(name).read_text(encoding="utf-8")
    for old, new in (change or {}).items():
        assert old in text, old
        text = text.replace(old, new)
    architecture = parse(text).with_width(width)
    levels = [k for k in CHANNELS if f"c{k}" in str(architecture)]
    neck = Neck(architecture, [CHANNELS[k] for k in levels], seed=1)
    assert list(neck.inputs) == levels
    generator = torch.Generator().manual_seed(2)
    for key, value in neck.state_dict().items():
        if value.dim() == 1 and value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif not value.any():  # zeros hide what they multiply
            value.copy_(torch.randn(value.shape, generator=generator) / 4)
        assert value.isfinite().all(), key
    return neck.double()


def features(neck: Neck, side: tuple[int, int]) -> Level:
    """Features as a backbone gives them for images of ``side`` pixels."""
    generator = torch.Generator().manual_seed(3)
    return {
        k: torch.randn(2, channels, *(-(-n >> k) for n in side), generator=generator).double()
        for k, channels in zip(neck.inputs, neck.in_channels, strict=True)
    }


def assert_equals_formula(
    neck: Neck, oracle: Callable[[Weights, Level], Level], side: tuple[int, int]
) -> None:
    """Raise AssertionError where the neck differs from the oracle, in either mode."""
    given = features(neck, side)
    for training in (False, True):
        neck.train(training)
        mine = {k: x.clone().requires_grad_() for k, x in given.items()}
        theirs = {k: x.clone().requires_grad_() for k, x in given.items()}
        state = {key: value.detach().clone() for key, value in neck.state_dict().items()}
        learned = {key: state[key].requires_grad_() for key, _ in neck.named_parameters()}
        weights = Weights(state, training=training)
        got = dict(zip(neck.levels, neck(list(mine.values())), strict=True))
        wanted = oracle(weights, theirs)
        assert got.keys() == wanted.keys()
        for level, feature in got.items():
            close(feature, wanted[level], f"p{level}")
        after = neck.state_dict()
        for key, value in weights.after.items():
            close(after[key], value, key)
        named = dict(neck.named_parameters())
        if training:
            assert len(weights.after) == sum("running" in key for key in state)
        for outputs in (got, wanted):
            generator = torch.Generator().manual_seed(4)
            losses = [
                (outputs[k] * torch.randn(outputs[k].shape, generator=generator)).sum()
                for k in neck.levels
            ]
            neck.zero_grad()
            torch.stack(losses).sum().backward()
            if outputs is got:
                gradients = {key: p.grad for key, p in named.items()}
        for key, value in learned.items():
            close(gradients[key], value.grad, f"the gradient of {key}")
        for level, feature in mine.items():
            close(feature.grad, theirs[level].grad, f"the gradient of c{level}")


def close(got: Tensor | None, wanted: Tensor | None, what: str) -> None:
    assert got is not None, what
    assert wanted is not None, what
    scale = max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(
        got, wanted, atol=1e-8 * scale, rtol=1e-6, msg=lambda said: f"{what}: {said}"
    )
