"""Laws of every neck: each shipped one, and programs that use each word, pass by being listed."""

import copy
import io
import pickle
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_fpn.language import Architecture, parse
from nas_fpn.language.lower import lower
from nas_fpn.necks import Neck, initialise
from tests.necks.zoo import CHANNELS, SHIPPED, ZOO

GOLDEN = Path(__file__).parents[1] / "golden" / "necks"

every_neck = pytest.mark.parametrize("name", ZOO)


def build(architecture: Architecture, *, seed: int = 0) -> Neck:
    return Neck(architecture, [CHANNELS[k] for k in lower(architecture).inputs], seed=seed)


def features(neck: Neck, side: tuple[int, int], *, batch: int = 2, seed: int = 0) -> list[Tensor]:
    """Features as a backbone gives them, ``side`` being the size at level 3."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for level in neck.inputs:
        size = [-(-n * 8 // 2**level) for n in side]
        made.append(torch.randn(batch, CHANNELS[level], *size, generator=generator))
    return made


def size_at(side: tuple[int, int], level: int, neck: Neck) -> tuple[int, ...]:
    if level < neck.inputs[0]:
        return tuple(n * 2 ** (neck.inputs[0] - level) for n in side)
    return tuple(-(-n * 8 // 2**level) for n in side)


@every_neck
@pytest.mark.parametrize("side", [(16, 16), (13, 21), (1, 1), (1, 6), (3, 2)])
def test_every_level_has_its_size_and_channels(name: str, side: tuple[int, int]) -> None:
    neck = build(ZOO[name]).eval()
    with torch.inference_mode():
        outputs = neck(features(neck, side, batch=1))
    assert len(outputs) == len(neck.levels) == len(neck.strides) == len(neck.out_channels)
    assert neck.levels == tuple(sorted(neck.levels))
    for output, level, stride, channels in zip(
        outputs, neck.levels, neck.strides, neck.out_channels, strict=True
    ):
        assert output.shape == (1, channels, *size_at(side, level, neck))
        assert stride == 2**level
        assert output.isfinite().all()


@every_neck
def test_a_backbone_that_rounds_down_is_met(name: str) -> None:
    neck = build(ZOO[name]).eval()
    given = [torch.randn(1, CHANNELS[k], 15 * 8 // 2**k, 13 * 8 // 2**k) for k in neck.inputs]
    with torch.inference_mode():
        outputs = dict(zip(neck.levels, neck(given), strict=True))
    for level, feature in zip(neck.inputs, given, strict=True):
        if level in outputs:
            assert outputs[level].shape[-2:] == feature.shape[-2:]


@every_neck
def test_features_come_as_a_list_or_in_a_mapping_and_are_left_alone(name: str) -> None:
    neck = build(ZOO[name]).eval()
    given = features(neck, (13, 21))
    before = [feature.clone() for feature in given]
    named = OrderedDict((f"feature{i}", feature) for i, feature in enumerate(given))
    with torch.inference_mode():
        assert_equal(neck(given), neck(named))
    assert_equal(given, before)


@every_neck
def test_every_parameter_learns(name: str) -> None:
    neck = build(ZOO[name]).train()
    outputs = neck(features(neck, (24, 20), batch=3))
    generator = torch.Generator().manual_seed(1)
    loss = sum((y * torch.randn(y.shape, generator=generator)).sum() for y in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()
    for key, parameter in neck.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero() > 0, key


@every_neck
def test_the_seed_alone_decides_the_weights(name: str) -> None:
    state = torch.random.get_rng_state()
    first, same, other = (build(ZOO[name], seed=seed) for seed in (3, 3, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    assert_equal(first.state_dict().values(), same.state_dict().values())
    named = first.named_parameters()
    drawn = [k for k, p in named if p.dim() == 4 and ".offset." not in k]  # they begin at zero
    mine, others = first.state_dict(), other.state_dict()
    for key in drawn:
        assert not torch.equal(mine[key], others[key])


@every_neck
def test_weights_go_round(name: str) -> None:
    first, second = build(ZOO[name], seed=1).eval(), build(ZOO[name], seed=2).eval()
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second.load_state_dict(torch.load(stream, weights_only=True))
    given = features(first, (9, 7))
    with torch.inference_mode():
        wanted = first(given)
        assert_equal(second(given), wanted)
        assert_equal(copy.deepcopy(first)(given), wanted)
        assert_equal(pickle.loads(pickle.dumps(first))(given), wanted)


@every_neck
def test_autocast_and_half_weights_work(name: str) -> None:
    neck = build(ZOO[name]).eval()
    given = features(neck, (9, 7))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(output.isfinite().all() for output in neck(given))
    with torch.inference_mode():
        half = neck.to(torch.bfloat16)([feature.to(torch.bfloat16) for feature in given])
    assert {output.dtype for output in half} == {torch.bfloat16}


@every_neck
def test_keys_begin_with_a_line_of_the_text(name: str) -> None:
    keys = {node.key for node in lower(ZOO[name]).nodes}
    for parameter in build(ZOO[name]).state_dict():
        assert any(parameter.startswith(f"{key}.") for key in keys), parameter


def test_keys_follow_the_text() -> None:
    neck = build(
        parse("""
width 8
p3..p4 = c3..c4 -> conv1
p4 = fast(p4, p3 -> relu stride bn) -> silu sep3 bn
repeat 2:
    x@4 = sum(p3, p4)
    p4 = concat(p4, x)
""")
    )
    assert [key for key in neck.state_dict() if "running" not in key and "tracked" not in key] == [
        "p3.0.weight",
        "p3.0.bias",
        "p4.0.weight",
        "p4.0.bias",
        "p4_2.operand2.1.0.weight",
        "p4_2.operand2.2.weight",
        "p4_2.operand2.2.bias",
        "p4_2.merge.weight",
        "p4_2.1.depthwise.weight",
        "p4_2.1.pointwise.weight",
        "p4_2.2.weight",
        "p4_2.2.bias",
        "repeat1.1.p4.merge.weight",
        "repeat1.1.p4.merge.bias",
        "repeat1.2.p4.merge.weight",
        "repeat1.2.p4.merge.bias",
    ]


def test_only_live_lines_are_built() -> None:
    neck = build(parse("p3 = c3 -> conv1\np4 = c4 -> conv1\np4 = p3 -> conv3 maxpool"))
    assert neck.inputs == (3,)
    assert {name for name, _ in neck.named_children()} == {"p3", "p4_2"}


def test_the_rule_of_initialisation() -> None:
    neck = build(ZOO["bifpn"])
    for part in neck.modules():
        if isinstance(part, nn.Conv2d):
            bound = (3 / part.weight[0].numel()) ** 0.5
            assert 0.5 * bound < part.weight.abs().max() <= bound
            assert part.bias is None or not part.bias.any()
        elif isinstance(part, nn.BatchNorm2d):
            assert (part.weight == 1).all()
            assert not part.bias.any()
    assert (neck.get_parameter("p4.merge.weight") == 1).all()


def test_without_a_seed_the_global_generator_decides() -> None:
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        made.append(Neck(ZOO["fpn"], (8, 12, 20)).get_parameter("p3.0.weight"))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    neck = build(ZOO["fpn"], seed=9)
    again = build(ZOO["fpn"], seed=1)
    initialise(again, torch.Generator().manual_seed(9))
    assert_equal(neck.state_dict().values(), again.state_dict().values())


def test_values_that_nothing_reads_any_more_are_let_go() -> None:
    neck = build(parse("width 8\np3 = c3 -> conv1\np3 = p3 -> conv3\np3 = p3 -> conv3")).eval()
    first: list[weakref.ref[Tensor]] = []
    gone: list[bool] = []
    neck.get_submodule("p3").register_forward_hook(
        lambda module, given, value: first.append(weakref.ref(value))
    )
    neck.get_submodule("p3_3").register_forward_pre_hook(
        lambda module, given: gone.append(first[0]() is None)
    )
    with torch.inference_mode():
        neck(features(neck, (4, 4)))
    assert gone == [True]


@pytest.mark.parametrize(
    ("golden", "channels", "given"),
    [
        ("in_channels", (512, 1024), 3),
        ("features", (512, 1024, 2048), 2),
        ("no_channels", (512, 0, 2048), 3),
    ],
)
def test_messages(golden: str, channels: tuple[int, ...], given: int) -> None:
    architecture = parse("width 8\np3..p5 = c3..c5 -> conv1")
    with pytest.raises(ValueError) as caught:
        Neck(architecture, channels)([torch.zeros(1, 1, 1, 1)] * given)
    assert f"{caught.value}\n" == (GOLDEN / f"{golden}.txt").read_text()


def test_message_names_levels_with_a_gap() -> None:
    with pytest.raises(ValueError, match=r"one entry per level 3, 5, but got in_channels=\(8,\)"):
        Neck(parse("p3..p5 = c3 -> conv1".replace("..p5", "") + "\np4 = c5 -> conv1"), (8,))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if len(lower(ZOO[name]).nodes) > 24 else ())
        for name in SHIPPED
    ],
)
def test_a_neck_can_be_traced_for_export(name: str) -> None:
    neck = build(ZOO[name]).eval()
    given = features(neck, (16, 16), batch=1)
    program = torch.export.export(neck, (given,))
    with torch.inference_mode():
        for got, wanted in zip(program.module()(given), neck(given), strict=True):
            torch.testing.assert_close(got, wanted)


def assert_equal(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one, other)
