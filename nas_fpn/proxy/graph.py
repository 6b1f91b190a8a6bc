"""A step captured as a CUDA graph: its hundreds of small kernels are launched as one.

On a fast device a small neck's step is over sooner than its kernels can be launched one by one. So
the first steps of a training are made as they come, then one is captured (Nguyen et al. 2021,
"Accelerating PyTorch with CUDA Graphs"), which does nothing, and replayed from there on. Only
forward and backward are captured: clipping, the optimiser and the check for numbers that are not
finite follow each replay.

What is captured reads and writes the same memory at every replay. So what differs between steps
must be copied there before (the rows of the bank), no value may be read back, and no gradient may
be set to None in between, for it lives in the graph's own memory.
"""

import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["WARM", "CudaRecorder", "Recorder", "Recording", "give_back"]

WARM = 3  # steps before a capture, as torch asks: libraries choose algorithms, buffers are made
OWN = frozenset({"aten", "prim", "prims", "profiler"})  # operations that are torch's
AGREE = 0.01  # of the gradients' norm, that a replay may be off: some sums are in no fixed order

Run = Callable[[], Tensor]

_ONE_AT_A_TIME = threading.Lock()  # captures of a process; replays run side by side


class Recorder(Protocol):
    """What captures: CUDA, or a test's stand-in."""

    def eager(self, run: Run) -> Tensor:
        """``run()``, where and as a capture of it would run."""

    def record(self, run: Run) -> Run:
        """Capture ``run()`` without doing it; give what does the same whenever it is called.

        It may be gone through before, to see whether it can be: gradients and buffers are then
        no longer what they were. Raises RuntimeError where it cannot be captured.
        """


class CudaRecorder:
    """Captures on a stream beside the current one, or on that where it is no default stream.

    A step that calls an operation of another library than torch stays where it is, and is not
    captured: that may launch its kernels on the default stream whatever the current one is, as
    torchvision's ``deform_conv2d`` did until the summer of 2026 (github.com/pytorch/vision/issues/
    9513). Beside it they would be in nobody's order, and a capture would leave them out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._foreign: frozenset[str] | None = None  # None: no step was looked at

    def eager(self, run: Run) -> Tensor:
        """``run()`` on the stream that is captured on, between what was asked before and after.

        The first is made on the current stream, to see what it calls.
        """
        if self._foreign is None:
            with _Called() as called:
                value = run()
            self._foreign = frozenset(called.foreign)
            return value
        return run() if self._foreign else self._beside(run)

    def record(self, run: Run) -> Run:
        """Capture ``run()``; its gradients and its value stay where the capture put them."""
        if self._foreign:
            raise RuntimeError(f"it calls {', '.join(sorted(self._foreign))}, not of torch itself")
        here, side = self._streams()
        if side != here:  # a stream of its own is one of several, and the mode would be all theirs
            self._rehearse(run)
        graph = torch.cuda.CUDAGraph()
        # Only calls of this thread can spoil it: other threads may train at the same time.
        captured = torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local")
        with _ONE_AT_A_TIME:
            try:
                with captured:
                    value = run()
            finally:
                torch.cuda.set_stream(here)  # where ending fails, older torch stays on the other

        def replay() -> Tensor:
            graph.replay()
            return value

        return replay

    def _beside(self, run: Run) -> Tensor:
        here, side = self._streams()
        side.wait_stream(here)
        try:
            with torch.cuda.stream(side):
                return run()
        finally:
            here.wait_stream(side)

    def _rehearse(self, run: Run) -> None:
        """``run()`` where to wait for the device is an error.

        A capture that such a wait breaks is worse than none: older torch, as 2.11, then takes one
        to be under way for ever, keeps its memory, and gives none that is unused back for the rest
        of the process (github.com/pytorch/pytorch/pull/180395 and 190348).
        """
        before = torch.cuda.get_sync_debug_mode()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, that it does not know all waits
                torch.cuda.set_sync_debug_mode("error")
            self._beside(run)
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def _streams(self) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        here = torch.cuda.current_stream(self._device)
        default = torch.cuda.default_stream(self._device)
        return here, _side_stream(self._device) if here == default else here


class _Called(TorchDispatchMode):
    """Notes the operations of other libraries that are called meanwhile, backward included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.foreign: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.namespace not in OWN:
            self.foreign.add(func.name())
        return func(*args, **(kwargs or {}))


def give_back() -> None:
    """Give the device the memory that nothing holds, while no other thread captures."""
    with _ONE_AT_A_TIME:
        torch.cuda.empty_cache()


class Recording:
    """Makes the gradients of a training's steps: of the first as they come, of others by replay.

    ``model`` is what is trained. The first replay is of a step that was just made without, and is
    held against it; only one that gives the same gradients is gone on with. Where there is none
    the training goes on as it began, with the same numbers, and one RuntimeWarning says why.
    """

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        self._model = model
        self._recorder = recorder
        self._warm = 0
        self._replay: Run | None = None
        self._refused = False
        self._replayed = 0

    @property
    def replays(self) -> bool:
        """Whether the next step is a replay."""
        return self._replay is not None

    def __call__(self, run: Run) -> Tensor:
        """Leave with the parameters the gradients that ``run()`` would; give its value, a scalar.

        ``run()`` begins by setting all gradients to None, and depends on the step by the contents
        of tensors alone, which are the same tensors each time.
        """
        if self._replay is not None:
            self._replayed += 1
            return self._replay()
        if self._refused:
            return run()
        drawn = _random_state(self._model)
        value = self._recorder.eager(run)
        self._warm += 1
        return value if self._warm < WARM else self._captured(run, value, drawn)

    def replayed(self) -> int:
        """How many steps were replays since this was asked last."""
        count, self._replayed = self._replayed, 0
        return count

    def restart(self) -> None:
        """What ``run()`` does is another thing from now on: capture it anew."""
        self._warm = 0
        with _ONE_AT_A_TIME:
            self._replay = None

    def close(self) -> None:
        """Let go of the graph and of the gradients, which lie in its memory."""
        with _ONE_AT_A_TIME:
            self._replay = None
        for parameter in self._model.parameters():
            parameter.grad = None

    def refuse(self, why: str) -> None:
        """Let go of the graph, make all further steps without, and say ``why``."""
        self.close()
        self._refused = True
        warnings.warn(
            "the steps of this training are not replayed from a CUDA graph, which makes them "
            f"slower and changes no number: {why}",
            RuntimeWarning,
            stacklevel=2,
        )

    def _captured(self, run: Run, value: Tensor, drawn: Tensor) -> Tensor:
        """Capture the step that was just made, replay it once, and compare.

        The replay draws the random numbers that the step drew, which began at ``drawn``; whatever
        becomes of it, the next step goes on where this one ended.
        """
        parameters = list(self._model.parameters())
        drawn_after = _random_state(self._model)
        made = [parameter.grad for parameter in parameters]
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        try:
            replay = self._recorder.record(run)
            _draw_from(self._model, drawn)
            again = replay()
        except RuntimeError as fault:
            said = str(fault).strip() or type(fault).__name__
            why = f"it cannot be captured ({said.splitlines()[0]})"
        else:
            _put_back(buffers)
            _draw_from(self._model, drawn_after)
            now = [parameter.grad for parameter in parameters]
            if _agree([value, *made], [again, *now]):
                self._replay = replay
                return again
            why = "its first replay gives other gradients than the step itself"
        _put_back(buffers)
        _draw_from(self._model, drawn_after)
        self.refuse(why)
        for parameter, gradient in zip(parameters, made, strict=True):
            parameter.grad = gradient
        return value


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all trainings of a process: libraries keep some memory for each that they see."""
    return torch.cuda.Stream(device)


def _random_state(model: nn.Module) -> Tensor:
    """Of the generator that the steps of ``model`` draw from: its device's."""
    device = next(model.parameters()).device
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _draw_from(model: nn.Module, state: Tensor) -> None:
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@torch.no_grad()
def _put_back(buffers: list[tuple[Tensor, Tensor]]) -> None:
    """A step moves statistics of norms once, however often it was made."""
    for buffer, before in buffers:
        buffer.copy_(before)


@torch.no_grad()
def _agree(made: list[Tensor | None], now: list[Tensor | None]) -> bool:
    """Whether each tensor list is the other, but for the order of sums."""
    pairs = [(a, b) for a, b in zip(made, now, strict=True) if a is not None and b is not None]
    if any((a is None) != (b is None) for a, b in zip(made, now, strict=True)):
        return False
    (value, again), gradients = pairs[0], pairs[1:]
    whole = nn.utils.get_total_norm([a for a, _ in gradients])
    apart = nn.utils.get_total_norm([a - b for a, b in gradients])
    close = (apart <= AGREE * whole) & ((value - again).abs() <= AGREE * value.abs())
    return bool(close)
