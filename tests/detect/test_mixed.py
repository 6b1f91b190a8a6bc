"""bfloat16 where it can be trusted: gradients of narrow features too, and float32 as ever."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator

from nas_fpn.detect.mixed import HEADS, mixed_precision, whole_boxes

CPU = torch.device("cpu")
NARROW = "narrower than its stride computes in float32"


def dirty() -> None:
    """Leave memory behind in which nobody can take what lies there for a gradient."""
    rows = [torch.full((64 * 64 * 9 // part,), torch.nan) for part in (1, 1, 2, 2, 4)]
    del rows


def gradients(
    make: Callable[[], nn.Module], feature: Tensor, precision: Literal["float32", "bfloat16"]
) -> list[Tensor]:
    """The result, and the gradients of weights and feature, in float32."""
    torch.manual_seed(0)
    part = make()
    given = feature.clone().requires_grad_()
    dirty()
    with mixed_precision(CPU, precision):
        result = part(given)
    dirty()
    result.backward(torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result))
    assert given.grad is not None
    learnt = [one.grad for one in part.parameters() if one.grad is not None]
    return [result.detach().float(), given.grad, *learnt]


class Named(nn.Conv2d):
    """A convolution that names its arguments, as own words may."""

    def forward(self, feature: Tensor) -> Tensor:
        own = {"weight": self.weight, "bias": self.bias}
        return torch.conv2d(input=feature, **own, stride=self.stride, padding=1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: nn.Conv2d(64, 64, 3, 2, padding=1), (1, 1)),
        (lambda: nn.Conv2d(64, 64, 3, 2, padding=1, bias=False), (4, 1)),
        (lambda: nn.Conv2d(64, 64, 5, (1, 2), padding=2), (2, 1)),
        (lambda: nn.Conv2d(64, 64, 3, 4, padding=1), (3, 3)),
        (lambda: nn.ConvTranspose2d(64, 64, 3, 2, padding=1), (3, 1)),
        (lambda: Named(64, 64, 3, 2), (1, 1)),
    ],
)
def test_gradients_of_a_feature_narrower_than_the_stride_are_right(
    make: Callable[[], nn.Module], size: tuple[int, int], layout: torch.memory_format
) -> None:
    feature = torch.linspace(-2, 2, 2 * 64 * size[0] * size[1]).view(2, 64, *size)
    feature = feature.contiguous(memory_format=layout)
    expected = gradients(make, feature, "float32")
    for _ in range(3):  # what lies in the memory is not ours to say
        with pytest.warns(RuntimeWarning, match=NARROW):
            found = gradients(make, feature, "bfloat16")
        for one, other in zip(found, expected, strict=True):
            near = 0.02 * float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=0, atol=near)


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (5, 3)])
def test_others_compute_as_torch_has_them(size: tuple[int, int]) -> None:
    feature = torch.linspace(-2, 2, 2 * 64 * size[0] * size[1]).view(2, 64, *size)
    part = nn.Conv2d(64, 64, 3, 2, padding=1)
    with mixed_precision(CPU, "bfloat16"):
        one = part(feature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = part(feature)
    assert one.dtype == torch.bfloat16
    assert torch.equal(one, other)


def test_float32_is_left_alone() -> None:
    feature, part = torch.linspace(-2, 2, 128).view(2, 64, 1, 1), nn.Conv2d(64, 64, 3, 2, padding=1)
    with mixed_precision(CPU, "float32"):
        one = part(feature)
        assert not torch.overrides._get_current_function_mode_stack()
    assert one.dtype == torch.float32 and torch.equal(one, part(feature))


def test_the_result_is_of_the_same_type_and_the_warning_comes_once() -> None:
    part = nn.Conv2d(16, 16, 3, 2, padding=1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        with mixed_precision(CPU, "bfloat16"):
            results = [part(torch.ones(1, 16, 1, 1)) for _ in range(3)]
    assert {one.dtype for one in results} == {torch.bfloat16}
    assert [NARROW in str(one.message) for one in said] == [True]


def tensors(value: Any) -> list[Tensor]:
    """The tensors in dicts, lists and tuples, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in tensors(part)]


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "ssd", "faster_rcnn", "fast_rcnn"])
def test_boxes_are_reckoned_in_float32(
    make: Callable[..., Any], batch: Callable[..., Any], kind: str
) -> None:
    model, (images, targets) = make(kind=kind), batch(kind)
    anchors: list[list[Tensor]] = []
    given: list[Tensor] = []
    parts = dict(model.named_modules())
    for part in parts.values():
        if isinstance(part, AnchorGenerator | DefaultBoxGenerator):
            part.register_forward_hook(lambda _, __, made: anchors.append(tensors(made)))
    model(images, targets)
    with mixed_precision(CPU, "bfloat16"), whole_boxes(model):
        for name in {*HEADS} & {*parts}:
            parts[name].register_forward_hook(lambda _, __, told: given.extend(tensors(told)))
        if "roi_heads" in parts:
            model.roi_heads.box_roi_pool.register_forward_pre_hook(
                lambda _, asked: given.extend(asked[1])
            )
        model(images, targets)
    assert given and {one.dtype for one in given} == {torch.float32}
    assert len(anchors) == (0 if kind == "fast_rcnn" else 2)
    for one, other in zip(*anchors, strict=True) if anchors else ():
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_outside_of_the_block_a_head_is_as_it_was(make: Callable[..., Any]) -> None:
    model = make(kind="fcos")
    features = [torch.rand(1, 32, 4, 4)]
    with mixed_precision(CPU, "bfloat16"):
        with whole_boxes(model):
            whole = tensors(model.head(features))
        plain = tensors(model.head(features))
    assert {one.dtype for one in plain} == {torch.bfloat16}
    assert all(torch.equal(a, b.float()) for a, b in zip(whole, plain, strict=True))
