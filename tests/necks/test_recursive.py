"""RFP: against plain torch written from its formula, and what holds before it has learnt."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from nas_fpn.language import parse
from nas_fpn.necks import FeedbackResNet, Neck, RecursiveNeck, convert_convolutions

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"
PROGRAM = """width 8
p2..p5 = c2..c5 -> conv1
p4..p2 = sum(p4..p2, p5..p3)
p2..p5 = p2..p5 -> conv3
p6 = p5 -> maxpool
"""
CHANNELS = {2: 4, 3: 6, 4: 8, 5: 10}


class Tiny(nn.Module):
    """A backbone of four strided stages; feedback is added before the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, padding=1)
        before = 4
        for level, channels in CHANNELS.items():
            self.add_module(f"stage{level}", nn.Conv2d(before, channels, 3, 2, padding=1))
            before = channels

    def forward(self, images: Tensor, feedback: Mapping[int, Tensor]) -> dict[int, Tensor]:
        x, features = self.stem(images), {}
        for level in CHANNELS:
            x = self.get_submodule(f"stage{level}")(x)
            if level in feedback:
                assert feedback[level].shape == x.shape
                x = x + feedback[level]
            features[level] = x = x.relu()
        return features


def small_neck() -> Neck:
    return Neck(parse(PROGRAM), tuple(CHANNELS.values()), seed=1)


def build(*, steps: int = 2, shared: bool = False, fed: tuple[int, ...] = (3, 4, 5)):
    torch.manual_seed(5)
    feedback = {level: CHANNELS[level] for level in fed}
    return RecursiveNeck(
        Tiny(),
        small_neck(),
        feedback_channels=feedback,
        steps=steps,
        width=12,
        shared=shared,
        seed=2,
    )


def stirred(module: nn.Module) -> nn.Module:
    """Copies, gate and feedback that differ from their start."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.parameters():
            value += (torch.rand(value.shape, generator=generator) - 0.5) * 0.3
    return module


def oracle(state: Mapping[str, Tensor], images: Tensor, *, steps: int, shared: bool):
    """The loop of the paper with convolutions by their weights; FPN is the library's own."""
    neck = small_neck()
    neck.load_state_dict(
        {k.removeprefix("neck."): v for k, v in state.items() if k.startswith("neck.")}
    )

    def conv(name: str, x: Tensor, dilation: int = 1, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, state[f"{name}.bias"], stride, padding, dilation)

    def aspp(x: Tensor) -> Tensor:
        pooled = conv("aspp.whole", x.mean((2, 3), keepdim=True)).relu()
        return torch.cat(
            [
                conv("aspp.point", x).relu(),
                conv("aspp.near", x, 3).relu(),
                conv("aspp.far", x, 6).relu(),
                pooled + torch.zeros(1, 1, *x.shape[2:]),
            ],
            1,
        )

    def backbone(index: int, fed: Mapping[int, Tensor]) -> list[Tensor]:
        x, features = conv(f"backbones.{index}.stem", images, stride=2), []
        for level in (2, 3, 4, 5):
            x = conv(f"backbones.{index}.stage{level}", x, stride=2)
            if level in fed:
                x = x + conv(f"feed.{0 if shared else index - 1}.{level}", fed[level])
            x = x.clamp(min=0)
            features.append(x)
        return features

    pyramid = list(neck(backbone(0, {})))  # p2..p6
    for step in range(1, steps):
        fed = {level: aspp(pyramid[level - 2]) for level in (3, 4, 5)}
        again = neck(backbone(0 if shared else step, fed))
        for i, y in enumerate(again):
            a = 1 / (1 + torch.exp(-conv("gate", y)))
            pyramid[i] = a * y + (1 - a) * pyramid[i]
    return pyramid


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("shared", [False, True], ids=["copies", "shared"])
@pytest.mark.parametrize("side", [(64, 64), (71, 45)])
def test_the_formula(steps: int, shared: bool, side: tuple[int, int]) -> None:
    neck = stirred(build(steps=steps, shared=shared))
    images = torch.randn(2, 3, *side)
    wanted = oracle(neck.state_dict(), images, steps=steps, shared=shared)
    given = neck(images)
    assert len(given) == len(neck.levels) == 5
    for mine, theirs in zip(given, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shared", [False, True], ids=["copies", "shared"])
def test_before_it_has_learnt_it_is_backbone_and_neck_alone(shared: bool) -> None:
    neck, images = build(steps=3, shared=shared), torch.randn(1, 3, 50, 64)
    alone = neck.neck(neck.backbones[0](images, {}))
    for mine, theirs in zip(neck(images), alone, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_gate_that_is_shut_gives_the_first_pyramid() -> None:
    neck, images = stirred(build()), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        neck.gate.weight.zero_()
        neck.gate.bias.fill_(-200.0)
    first = neck.neck(neck.backbones[0](images, {}))
    for mine, theirs in zip(neck(images), first, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_it_says_of_itself() -> None:
    neck = build(fed=(4,))
    assert neck.levels == (2, 3, 4, 5, 6)
    assert neck.strides == (4, 8, 16, 32, 64)
    assert neck.out_channels == (8,) * 5
    assert sum(key.startswith("feed.") for key in neck.state_dict()) == 2
    assert len(build(steps=3).backbones) == len(build(steps=3).feed) + 1 == 3
    assert len(build(steps=3, shared=True).backbones) == len(build(steps=3, shared=True).feed) == 1


def test_aspp_starts_as_in_the_official_code_and_the_rest_at_zero() -> None:
    torch.manual_seed(0)
    neck = RecursiveNeck(
        Tiny(), small_neck(), feedback_channels={3: 6}, width=4 * 512, seed=0
    ).state_dict()
    for name, side in (("point", 1), ("near", 3), ("far", 3), ("whole", 1)):
        wanted = (2 / (side * side * 512)) ** 0.5
        assert neck[f"aspp.{name}.weight"].std().item() == pytest.approx(wanted, rel=0.1)
        assert not neck[f"aspp.{name}.bias"].any()
    for name in ("gate", "feed.0.3"):
        assert not neck[f"{name}.weight"].any()
        assert not neck[f"{name}.bias"].any()


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator() -> None:
    backbone, neck = Tiny(), small_neck()
    before = torch.get_rng_state()
    first, second = (
        RecursiveNeck(backbone, neck, feedback_channels={3: 6}, seed=7).state_dict()
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("shared", [False, True], ids=["copies", "shared"])
def test_every_parameter_gets_a_finite_gradient(shared: bool) -> None:
    neck = stirred(build(steps=3, shared=shared))
    sum(p.square().sum() for p in neck(torch.randn(2, 3, 64, 64))).backward()
    for name, value in neck.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().sum() > 0, name


def test_the_state_dict_brings_the_function_along() -> None:
    neck, other = stirred(build(steps=3)), build(steps=3)
    images = torch.randn(1, 3, 64, 64)
    other.load_state_dict(neck.state_dict())
    for mine, theirs in zip(other(images), neck(images), strict=True):
        assert torch.equal(mine, theirs)


RESNETS = pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet18(),
        lambda: torchvision.models.resnet50(width_per_group=16),
        lambda: timm.create_model("resnet18"),
        lambda: timm.create_model("seresnet50", base_width=16),
        lambda: timm.create_model("resnet18d"),
    ],
    ids=["torchvision 18", "torchvision 50", "timm 18", "timm se 50", "timm 18d"],
)


def stages(net: nn.Module, images: Tensor, fed: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Features by hooks: the last activation of a fed stage's first block gets the feedback."""
    seen, handles = {}, []
    for level in (2, 3, 4, 5):
        stage = net.get_submodule(f"layer{level - 1}")
        handles.append(
            stage.register_forward_hook(lambda _, __, out, k=level: seen.update({k: out}))
        )
        if level in fed:
            first = stage[0]
            last = max(name for name, _ in first.named_children() if name[:3] in ("act", "rel"))
            uses = 1 if last != "relu" else 3 if hasattr(first, "conv3") else 2
            count = iter(range(uses))

            def add(_, given, level=level, uses=uses, count=count):
                return (given[0] + fed[level],) if next(count) == uses - 1 else None

            handles.append(first.get_submodule(last).register_forward_pre_hook(add))
    net(images)
    for handle in handles:
        handle.remove()
    return seen


@RESNETS
def test_a_resnet_adds_feedback_before_the_last_activation(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make().double().eval()
    fed_net, images = FeedbackResNet(net), torch.randn(1, 3, 64, 96, dtype=torch.float64)
    fed = {}
    for answer in range(2):
        given, wanted = fed_net(images, fed), stages(net, images, fed)
        assert tuple(given) == (2, 3, 4, 5)
        for level, feature in given.items():
            torch.testing.assert_close(feature, wanted[level])
        fed = {k: torch.randn_like(given[k]) for k in (3, 4, 5)} if answer == 0 else {}
        assert {k: v.shape[1] for k, v in fed.items()} in ({}, fed_net.feedback_channels)
    for level, feature in fed_net(images, {}).items():  # nothing of the feedback stays
        torch.testing.assert_close(feature, stages(net, images, {})[level])
    assert set(fed_net.state_dict()) <= set(net.state_dict())


def test_detectors_as_published_learns() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    for stage in (net.layer2, net.layer3, net.layer4):
        convert_convolutions(stage)
    backbone = FeedbackResNet(net)
    neck = RecursiveNeck(
        backbone,
        Neck(parse(PROGRAM), (64, 128, 256, 512), seed=0),
        feedback_channels=backbone.feedback_channels,
        seed=0,
    )
    images = torch.randn(2, 3, 97, 96)
    pyramid = neck(images)
    assert [p.shape[-2:] for p in pyramid] == [(25, 24), (13, 12), (7, 6), (4, 3), (2, 2)]
    sum(p.square().sum() for p in pyramid).backward()
    assert all(v.grad is not None and v.grad.isfinite().all() for v in neck.parameters())
    feed = [value.grad.abs().sum() for name, value in neck.named_parameters() if "feed" in name]
    assert len(feed) == 6
    assert all(feed), "what starts at zero moves with the first step"


def one_step() -> None:
    build(steps=1)


def uneven() -> None:
    program = "p3 = c3 -> conv1[8]\np4 = c4 -> conv1[16]"
    RecursiveNeck(Tiny(), Neck(parse(program), (6, 8)), feedback_channels={3: 6})


def unread() -> None:
    RecursiveNeck(Tiny(), small_neck(), feedback_channels={5: 10, 6: 10})


def parts() -> None:
    RecursiveNeck(Tiny(), small_neck(), feedback_channels={5: 10}, width=18)


def no_resnet() -> None:
    FeedbackResNet(torchvision.models.mobilenet_v3_small())


def no_shortcut() -> None:
    net = torchvision.models.resnet18()
    net.layer3[0].downsample = None
    FeedbackResNet(net)


def other_level() -> None:
    FeedbackResNet(torchvision.models.resnet18())(
        torch.zeros(1, 3, 64, 64), {2: torch.zeros(1, 64, 16, 16)}
    )


@pytest.mark.parametrize(
    "fault", [one_step, uneven, unread, parts, no_resnet, no_shortcut, other_level]
)
def test_messages(fault: Callable[[], None]) -> None:
    with pytest.raises(ValueError) as caught:
        fault()
    golden = GOLDEN / f"recursive_{fault.__name__}.txt"
    assert f"{caught.value}\n" == golden.read_text()
