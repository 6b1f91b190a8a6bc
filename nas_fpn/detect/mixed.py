"""Mixed precision: a block that computes in bfloat16, save for what torch does wrongly in it.

On a CPU (oneDNN, as of torch 2.15) part of a convolution's weight gradient in bfloat16 is memory
that nobody wrote, where the feature is narrower than the convolution's stride: a 3x3 at stride 2
on one cell, as the level beyond a 1x1 has it. The gradient is then sometimes not finite and always
wrong. Such a convolution computes in float32 here.

torchvision's detectors reckon boxes in the type of what their heads give and of the features: in
bfloat16 a corner at 600 px is off by up to 2. So heads give float32, and anchors are of float32.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator

__all__ = ["mixed_precision", "whole_boxes"]

TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
CONVOLUTIONS = frozenset((torch.conv1d, torch.conv2d, torch.conv3d, *TRANSPOSED))
HEADS = ("head", "rpn.head", "roi_heads.box_predictor")  # of torchvision's detectors


@contextmanager
def mixed_precision(
    device: torch.device, precision: Literal["float32", "bfloat16"]
) -> Iterator[None]:
    """What stands in the block computes in ``precision``, by torch's rules of autocast.

    Warns, once, of a convolution that computes in float32 all the same.
    """
    low = precision == "bfloat16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
        if low and device.type == "cpu":
            with _WideEnough():
                yield
        else:
            yield


@contextmanager
def whole_boxes(model: nn.Module) -> Iterator[None]:
    """In the block torchvision's ``model`` reckons its boxes in float32, whatever computes it.

    Heads compute as they would; what they give is made float32. Anchors are made for features of
    float32: torchvision's generators keep their sides in the type of the features, and would keep
    the rounded ones for good. A part that ``model`` has not is passed over.
    """
    parts = dict(model.named_modules())
    handles = [parts[name].register_forward_hook(_give_whole) for name in HEADS if name in parts]
    handles += [
        part.register_forward_pre_hook(_for_whole)
        for part in parts.values()
        if isinstance(part, AnchorGenerator | DefaultBoxGenerator)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _give_whole(module: nn.Module, given: object, output: Any) -> Any:
    """Floats among tensors, in dicts, lists and tuples, as float32; nothing else is changed."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {name: _give_whole(module, given, one) for name, one in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_give_whole(module, given, one) for one in output)
    return output


def _for_whole(module: nn.Module, given: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """Stand-ins for the features, of their shapes: a generator of anchors reads no more."""
    images, features = given
    return images, [torch.zeros((), device=one.device).expand(one.shape) for one in features]


class _WideEnough(TorchFunctionMode):
    """Convolutions of features narrower than their stride are done again, in float32.

    The result stays in bfloat16. The width is that of what the stride steps over: of the result
    where the convolution is transposed. Only the last side matters (random kernels, strides,
    paddings, dilations, groups and sides up to 9 were tried).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        if func not in CONVOLUTIONS or result.dtype != torch.bfloat16:
            return result
        stride = args[3] if len(args) > 3 else named.get("stride", 1)
        wide: Tensor = result if func in TRANSPOSED else (args[0] if args else named["input"])
        if wide.shape[-1] >= (stride if isinstance(stride, int) else stride[-1]):
            return result
        warnings.warn(
            "a convolution whose feature is narrower than its stride computes in float32: on a "
            "CPU torch leaves part of its gradient unwritten in bfloat16",
            RuntimeWarning,
            stacklevel=2,
        )
        with torch.autocast("cpu", enabled=False):
            whole = func(*map(_whole, args), **{name: _whole(one) for name, one in named.items()})
        return whole.to(torch.bfloat16)


def _whole(argument: Any) -> Any:
    return argument.float() if isinstance(argument, Tensor) else argument
