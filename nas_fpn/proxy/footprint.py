"""What memory a forward pass takes: weights, inputs, and the most that lives at a time between."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["memory_mb"]


def memory_mb(module: nn.Module, inputs: Sequence[Tensor], forward: Callable[[], object]) -> float:
    """Memory of ``forward()`` of ``module`` on ``inputs``, in 1e6 bytes.

    Evaluation mode, no gradients. On a CPU it is counted, and the same each time: weights, inputs
    and the tensors that live at once, without what libraries take inside an operation. On CUDA it
    is the peak of torch's allocator. The module is left in the mode it was in.
    """
    held = [*module.parameters(), *module.buffers(), *inputs]
    own = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}.values())
    was, device = module.training, held[0].device
    module.eval()
    with torch.inference_mode():
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            forward()
            between = torch.cuda.max_memory_allocated(device) - before
        else:
            with _Living(held) as living:
                forward()
            between = living.most
    module.train(was)
    return (own + between) / 1e6


class _Living(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they live."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = {tensor.untyped_storage().data_ptr() for tensor in held}
        self._living: dict[int, int] = {}
        self._now = 0
        self.most = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                self._take(one.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place == 0 or place in self._held or place in self._living:
            return
        self._living[place] = storage.nbytes()
        self._now += storage.nbytes()
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._leave, place)

    def _leave(self, place: int) -> None:
        self._now -= self._living.pop(place, 0)
