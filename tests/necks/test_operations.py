"""Each word has its operation: it stands alone, takes the word's arguments, obeys its formula."""

import inspect
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from nas_fpn.export.operations import definitions
from nas_fpn.language import parse
from nas_fpn.language.lower import lower
from nas_fpn.language.words import WORDS
from nas_fpn.necks import BLOCKS, MERGES, RESAMPLERS, Cell, Chain, Neck, plan_cells
from nas_fpn.necks.cell import double, half
from nas_fpn.necks.merges import Concat, Fast, Softmax, Weighted, global_mean, global_pool
from nas_fpn.necks.plan import OPERATIONS, VARIANTS
from nas_fpn.necks.resample import (
    AvgPool,
    Interpolate,
    MaxPool,
    MaxPool3,
    Sni,
    Stride,
    Subsample,
    maxpool_zero,
    nearest,
)
from nas_fpn.necks.strides import STRIDES
from tests.necks.zoo import CHANNELS, ZOO


def test_words_and_operations_are_the_same_set() -> None:
    kinds = {"merge": MERGES, "up": RESAMPLERS, "down": RESAMPLERS, "block": BLOCKS}
    assert len(OPERATIONS) == len(MERGES) + len(RESAMPLERS) + len(BLOCKS)
    assert set(OPERATIONS) == set(WORDS)
    for word, row in WORDS.items():
        assert word in kinds[row.kind]


@pytest.mark.parametrize("word", WORDS)
def test_an_operation_takes_the_arguments_of_its_word(word: str) -> None:
    row, operation = WORDS[word], OPERATIONS[word]
    if not isinstance(operation, type):
        assert all((word, argument.name) in {c[:2] for c in VARIANTS} for argument in row.arguments)
        return
    parameters = inspect.signature(operation).parameters
    for argument in row.arguments:
        if argument.name == "channels":
            assert "out_channels" in parameters
        elif any(chosen[:2] == (word, argument.name) for chosen in VARIANTS):
            continue
        else:
            assert argument.name in parameters
            if argument.name != "bias":
                assert parameters[argument.name].default == argument.default


def test_every_value_of_an_argument_that_chooses_has_its_operation() -> None:
    for word, name in {chosen[:2] for chosen in VARIANTS}:
        (argument,) = [one for one in WORDS[word].arguments if one.name == name]
        values = {*argument.options, True} if argument.default is False else {*argument.options}
        assert {v for w, n, v in VARIANTS if (w, n) == (word, name)} == values - {argument.default}


@pytest.mark.parametrize(
    "operation", [*OPERATIONS.values(), *VARIANTS.values()], ids=[*OPERATIONS, *map(str, VARIANTS)]
)
def test_an_operation_stands_alone_and_says_what_it_is(operation: Callable[..., object]) -> None:
    assert operation.__doc__
    there = {
        "torch": torch,
        "nn": nn,
        "F": F,
        "Tensor": Tensor,
        "math": math,
        "Callable": Callable,
        "Sequence": Sequence,
        "deform_conv2d": deform_conv2d,
    }
    for source in definitions([operation]).sources:  # with what it uses
        exec(source, there)
    rebuilt = there[operation.__name__]
    functions = [rebuilt] if not isinstance(rebuilt, type) else [*vars(rebuilt).values()]
    for function in functions:
        if inspect.isfunction(function):
            names = set(function.__code__.co_names) - set(dir(nn.ModuleList)) - set(dir(Tensor))
            free = {name for name in names if name in vars(inspect.getmodule(operation))}
            assert free <= there.keys()


@pytest.mark.parametrize("source", [Chain, Cell, half, double])
def test_a_cell_stands_alone_too(source: object) -> None:
    there = {"nn": nn, "F": F, "Tensor": Tensor, "Callable": Callable, "Sequence": Sequence}
    exec(inspect.getsource(Chain), there)
    exec(inspect.getsource(source), there)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ZOO)
def test_a_plan_names_every_argument(name: str) -> None:
    graph = lower(ZOO[name])
    for plan, node in zip(plan_cells(graph, CHANNELS), graph.nodes, strict=True):
        assert plan.node == node
        calls = [*plan.chain.calls, *(c for chain in plan.operands for c in chain.calls)]
        for call in calls:
            if call.arguments is None:
                assert not isinstance(call.target, type)
            else:
                assert isinstance(call(), call.target)


def two() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 5, 4, generator=generator), torch.randn(
        2, 3, 5, 4, generator=generator
    )


def test_plain_merges() -> None:
    x, y = two()
    torch.testing.assert_close(MERGES["sum"](x, y, x), 2 * x + y)
    torch.testing.assert_close(MERGES["mean"](x, y, x), (2 * x + y) / 3)
    assert torch.equal(MERGES["max"](x, y, x), torch.where(x > y, x, y))


@pytest.mark.parametrize("word", [word for word, row in WORDS.items() if row.commutes])
def test_merges_that_commute(word: str) -> None:
    x, y = two()
    assert torch.equal(MERGES[word](x, y), MERGES[word](y, x))


def test_weighted_merges() -> None:
    x, y = two()
    given = torch.tensor([0.5, -2.0])
    for merge, weights in (
        (Fast(2, eps=0.1), (0.5 / 0.6, 0.0)),
        (Softmax(2), given.softmax(0).tolist()),
        (Weighted(2), (0.5, -2.0)),
    ):
        assert torch.equal(merge.weight, torch.ones(2))
        merge.weight.data.copy_(given)
        torch.testing.assert_close(merge(x, y), weights[0] * x + weights[1] * y)


def test_the_first_operand_of_gp_gates() -> None:
    x, y = two()
    largest = x.flatten(2).max(2).values[:, :, None, None]
    average = x.flatten(2).mean(2)[:, :, None, None]
    torch.testing.assert_close(global_pool(x, y), x + y * largest.sigmoid())
    torch.testing.assert_close(global_mean(x, y), x + y * average.sigmoid())


def test_concat_mixes_unequal_channels() -> None:
    x, y = two()
    merge = Concat(5, 4, bias=True)
    torch.testing.assert_close(
        merge(x, y[:, :2]), F.conv2d(torch.cat((x, y[:, :2]), 1), merge.weight, merge.bias)
    )


def test_a_plain_concat_is_the_operands_side_by_side() -> None:
    text = "width 4\np3 = c3 -> conv1\np4 = c4 -> conv1[6]\np3 = concat[plain](p3, p4, p3)"
    neck = Neck(parse(text), (3, 5), seed=0)
    c3, c4 = torch.randn(2, 3, 5, 7), torch.randn(2, 5, 3, 4)
    p3, p4 = neck.get_submodule("p3")((5, 7), c3), neck.get_submodule("p4")((3, 4), c4)
    wanted = torch.cat((p3, F.interpolate(p4, (5, 7)), p3), 1)
    assert torch.equal(neck((c3, c4))[0], wanted)
    assert neck.out_channels == (4 + 6 + 4, 6)
    assert not list(neck.get_submodule("p3_2").parameters())


RATIOS = pytest.mark.parametrize("ratio", [2, 4, 32])
SIDES = pytest.mark.parametrize("side", [(1, 1), (1, 9), (3, 2), (7, 6), (8, 16), (33, 50)])


@RATIOS
@SIDES
def test_down_ends_at_the_ceiling(ratio: int, side: tuple[int, int]) -> None:
    feature = torch.randn(1, 4, *side) - 5
    size = (-(-side[0] // ratio), -(-side[1] // ratio))
    for down in (
        MaxPool(ratio),
        maxpool_zero,
        MaxPool3(ratio),
        MaxPool3(ratio, pad="same"),
        AvgPool(ratio),
        Subsample(ratio),
        Stride(4, 4, bias=True, ratio=ratio),
        MaxPool3(ratio, window="once"),
        MaxPool3(ratio, window="once", pad="same"),
        MaxPool3(ratio, window="wide"),
        MaxPool3(ratio, window="wide", pad="same"),
        Interpolate(),
        Interpolate(mode="nearest"),
        STRIDES["sep"](4, 4, bias=True, ratio=ratio),
        STRIDES["gsconv"](4, 4, ratio=ratio).eval(),
        STRIDES["gsconve1"](4, 4, ratio=ratio).eval(),
        STRIDES["deform"](4, 4, bias=True, ratio=ratio),
    ):
        moved = down(feature, size)
        assert moved.shape == (1, 4, *size)
        assert moved.isfinite().all()


@SIDES
def test_pools_against_their_definitions(side: tuple[int, int]) -> None:
    feature = torch.randn(1, 2, *side) - 5
    high, wide = (-(-side[0] // 2), -(-side[1] // 2))
    largest, average, centred = MaxPool(2), AvgPool(2), MaxPool3(2)
    for i in range(high):
        for j in range(wide):
            window = feature[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            around = feature[..., max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            size = (high, wide)
            assert torch.equal(largest(feature, size)[..., i, j], window.amax((2, 3)))
            assert torch.equal(centred(feature, size)[..., i, j], around.amax((2, 3)))
            torch.testing.assert_close(average(feature, size)[..., i, j], window.mean((2, 3)))


def test_zeros_of_mmcv_take_part_in_the_maximum() -> None:
    feature = torch.full((1, 1, 3, 3), -1.0)
    zeros = maxpool_zero(feature, (2, 2))
    assert zeros.flatten().tolist() == [-1.0, 0.0, 0.0, 0.0]
    assert MaxPool(2)(feature, (2, 2)).flatten().tolist() == [-1.0] * 4


def test_paddings_of_maxpool3_differ_at_even_sizes_only() -> None:
    even, odd = torch.randn(1, 2, 8, 6), torch.randn(1, 2, 7, 5)
    one, same = MaxPool3(2), MaxPool3(2, pad="same")
    assert torch.equal(one(odd, (4, 3)), same(odd, (4, 3)))
    assert not torch.equal(one(even, (4, 3)), same(even, (4, 3)))
    assert torch.equal(same(even, (4, 3))[..., 0, 0], even[..., :3, :3].amax((2, 3)))


@SIDES
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_one_window_at_the_whole_stride(side: tuple[int, int], ratio: int) -> None:
    """Against TensorFlow's SAME and half a window, from their definitions."""
    feature = torch.randn(1, 2, *side) - 5
    size = (-(-side[0] // ratio), -(-side[1] // ratio))
    for window, k in (("once", 3), ("wide", ratio + 1)):
        begins = {"one": [k // 2, k // 2]}
        begins["same"] = [
            max((o - 1) * ratio + k - n, 0) // 2 for o, n in zip(size, side, strict=True)
        ]
        for pad, (top, left) in begins.items():
            pooled = MaxPool3(ratio, pad=pad, window=window)(feature, size)
            for i in range(size[0]):
                for j in range(size[1]):
                    y, x = i * ratio - top, j * ratio - left
                    seen = feature[..., max(y, 0) : y + k, max(x, 0) : x + k]
                    assert torch.equal(pooled[..., i, j], seen.amax((2, 3)))
            if ratio == 2:
                assert torch.equal(pooled, MaxPool3(2, pad=pad)(feature, size))


def test_interpolate_is_bilinear_between_the_centres_of_pixels() -> None:
    feature = torch.randn(1, 2, 6, 8)
    halved = Interpolate()(feature, (3, 4))
    torch.testing.assert_close(halved, F.avg_pool2d(feature, 2))  # half-way between two centres
    nearest_of = Interpolate(mode="nearest")(feature, (3, 4))
    assert torch.equal(nearest_of, feature[..., ::2, ::2])


def test_alpha_of_sni_follows_the_true_sizes() -> None:
    feature = torch.randn(1, 2, 5, 7)
    torch.testing.assert_close(
        Sni()(feature, (9, 13)), nearest(feature, (9, 13)) * (5 * 7) / (9 * 13)
    )
    torch.testing.assert_close(Sni(alpha=0.25)(feature, (9, 13)), nearest(feature, (9, 13)) * 0.25)


def test_stride_has_a_convolution_for_each_halving() -> None:
    stride = Stride(3, 5, bias=False, ratio=8)
    shapes = [tuple(convolution.weight.shape) for convolution in stride]
    assert shapes == [(5, 3, 3, 3), (5, 5, 3, 3), (5, 5, 3, 3)]
    assert [convolution.bias is not None for convolution in stride] == [True, True, False]


def test_group_norm_meets_any_channels() -> None:
    for channels, groups in ((32, 32), (48, 16), (7, 1)):
        norm = BLOCKS["gn"](channels)
        assert norm.num_groups == groups
        assert norm(torch.randn(1, channels, 1, 1)).isfinite().all()
