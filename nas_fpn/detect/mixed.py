"""Mixed precision: a block that computes in bfloat16, save for what torch does wrongly in it.

On a CPU (oneDNN, as of torch 2.15) part of a convolution's weight gradient in bfloat16 is memory
that nobody wrote, where the feature is narrower than the convolution's stride: a 3x3 at stride 2
on one cell, as the level beyond a 1x1 has it. The gradient is then sometimes not finite and always
wrong. Such a convolution computes in float32 here.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["mixed_precision"]

TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
CONVOLUTIONS = frozenset((torch.conv1d, torch.conv2d, torch.conv3d, *TRANSPOSED))


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
