"""A stand-in for CUDA graphs on a CPU: the operations of a step, done again on the same memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas_fpn.proxy.graph import Run

__all__ = ["Tape"]


class Tape:
    """Notes every operation that reaches the device while a step is captured, and its tensors.

    A replay does those operations and nothing of Python between them: as a graph it reads and
    writes the memory of the capture, whatever the step would do now. What the capture itself did
    to the model's buffers and gradients is undone, as a capture does nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.replays = 0

    def eager(self, run: Run) -> Tensor:
        return run()

    def record(self, run: Run) -> Run:
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        with _Noting() as noting:
            value = run()
        with torch.no_grad():
            for buffer, was in before:
                buffer.copy_(was)
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(torch.nan)

        def replay() -> Tensor:
            self.replays += 1
            with torch.no_grad():
                for operation in noting.operations:
                    _again(*operation)
            return value

        return replay


class _Noting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out


def _again(func: Callable[..., Any], args: Any, kwargs: Any, out: Any) -> None:
    """Do an operation anew and put what it gives where it was put before."""
    for place, found in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
        if isinstance(place, Tensor) and _memory(place) != _memory(found):  # else a view, in place
            place.copy_(found)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
