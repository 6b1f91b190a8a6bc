"""A training put aside: what it takes to go on as if nothing had been, in one small file.

The weights and buffers of neck and head, the state of the optimiser, and the position. All else
follows from the settings: rate and data order are functions of the step. A safetensors file holds
numbers and text, and nothing in it is run when it is read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

__all__ = ["Checkpoint", "checkpoint_file", "keep_only", "restore", "store"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training of ``trial`` is put aside, and from where it goes on.

    It goes on after ``begin`` steps, 0 is the start, and ends after ``pause`` (None: at the end).
    ``of`` says which training it is: the file of another one is not taken.
    """

    folder: Path
    trial: int
    of: str
    begin: int = 0
    pause: int | None = None


def checkpoint_file(folder: Path, trial: int, steps: int) -> Path:
    """The file of a trial after so many steps."""
    return folder / f"{trial}-{steps}.safetensors"


def store(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    *,
    steps: int,
    seconds: float,
) -> None:
    """Write the file of a training after ``steps``; a killed writer leaves none, or the whole.

    Raises OSError, with the path, where the disk takes no more; nothing is left of the file then.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items() if v is not None}
    data = save(
        # Copies: parts of a neck may share a weight, which the format does not know.
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
        {"of": checkpoint.of, "steps": str(steps), "seconds": repr(seconds)},
    )
    path = checkpoint_file(checkpoint.folder, checkpoint.trial, steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as fault:
        partial.unlink(missing_ok=True)
        raise OSError(fault.errno, fault.strerror, str(path)) from None


def restore(
    checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[int, float]:
    """Bring model and optimiser to where they were; return the steps done and their seconds.

    (0, 0.0), and nothing changed, where the file is gone, cut short or of another training: the
    training then starts anew, and whoever has its earlier reports sees that it repeats them.
    """
    path = checkpoint_file(checkpoint.folder, checkpoint.trial, checkpoint.begin)
    if checkpoint.begin == 0 or not path.is_file():
        return 0, 0.0
    try:
        with safe_open(path, framework="pt") as file:
            known = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return 0, 0.0
    if (known.get("of"), known.get("steps")) != (checkpoint.of, str(checkpoint.begin)):
        return 0, 0.0
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    for parameter, its in optimiser.state.items():
        for key, value in its.items():  # laid out as its weight: a fused step walks both as one
            if value.shape == parameter.shape:
                its[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return checkpoint.begin, float(known["seconds"])


def keep_only(folder: Path, needed: Sequence[tuple[int, int]]) -> None:
    """Remove the checkpoints in ``folder`` save those of ``needed``, pairs of trial and steps."""
    kept = {checkpoint_file(folder, *pair) for pair in needed}
    for path in [*folder.glob("*-*.safetensors"), *folder.glob("*-*.partial")]:
        if path not in kept:
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
