"""A training put aside: weights, averaged weights, optimiser and position, in one small file.

All else follows from seed and position. A safetensors file holds numbers and text, and nothing in
it is run when it is read.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Checkpoint", "restore", "store", "write_tensors"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The file of a training; ``of`` says which: that of another one is not taken."""

    path: Path
    of: str


def store(
    checkpoint: Checkpoint,
    model: nn.Module,
    average: nn.Module,
    optimiser: Optimizer,
    *,
    steps: int,
    seconds: float,
) -> None:
    """Write the file after ``steps``; a killed writer leaves the one before it."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items() if v is not None}
    notes = {"of": checkpoint.of, "steps": str(steps), "seconds": repr(seconds)}
    write_tensors(checkpoint.path, tensors, notes)


def restore(
    checkpoint: Checkpoint, model: nn.Module, average: nn.Module, optimiser: Optimizer
) -> tuple[int, float]:
    """Bring all of it to where it was; return the steps done and their seconds.

    (0, 0.0), and nothing changed, where the file is gone, cut short or of another training.
    """
    if not checkpoint.path.is_file():
        return 0, 0.0
    try:
        with safe_open(checkpoint.path, framework="pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return 0, 0.0
    if known.get("of") != checkpoint.of:
        return 0, 0.0
    model.load_state_dict(_below("model.", tensors))
    average.load_state_dict(_below("average.", tensors))
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimiser.", tensors).items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = _laid_out(tensor, parameters[int(index)])
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(known["steps"]), float(known["seconds"])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write a safetensors file; a killed writer leaves none, or the whole, or the one before."""
    # Copies: parts of a neck may share a weight, which the format does not know.
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    data = save(whole, dict(notes))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Moments in the memory layout of their parameter: a fused optimiser reads both in one go."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, device=tensor.device).copy_(tensor)
