"""Run by the tests in an interpreter of its own, which cannot import nas_fpn.

The first argument is a package that the necks may import beside torch ("torch": none). For each
folder named behind it: load the neck as its README says, run it on the
features beside it, and print which of the expected answers it does not equal bit for bit.
"""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def answers(neck: nn.Module, given: Sequence[Tensor]) -> dict[str, Tensor]:
    """What a neck gives in both modes, the gradients, and the state it is left in."""
    found: dict[str, Tensor] = {}
    for mode in ("eval", "train"):
        neck.train(mode == "train")
        outputs = neck(given)
        found.update({f"{mode}.{k}": output.detach() for k, output in enumerate(outputs)})
    neck.zero_grad()
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    for name, parameter in neck.named_parameters():
        if parameter.grad is not None:
            found[f"grad.{name}"] = parameter.grad
    found.update({f"state.{name}": value for name, value in neck.state_dict().items()})
    return {name: value.clone() for name, value in found.items()}


def load(folder: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location(f"neck{folder.name}", folder / "neck.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    neck = module.Neck(**json.loads((folder / "config.json").read_text()))
    neck.load_state_dict(load_file(folder / "model.safetensors"))
    return neck


def differing(folder: Path) -> list[str]:
    given = load_file(folder / "features.safetensors")
    expected = load_file(folder / "answers.safetensors")
    found = answers(load(folder), [given[name] for name in sorted(given)])
    unequal = [n for n in expected.keys() & found if not torch.equal(expected[n], found[n])]
    return sorted([*(expected.keys() ^ found.keys()), *unequal])


class Blocker:
    """Refuses this package and what it brings with it."""

    def __init__(self, allowed: str) -> None:
        self.refused = {"nas_fpn", "lark", "pydantic", "torchvision", "timm"} - {allowed}

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.refused:
            raise ImportError(f"{name} is blocked")


if __name__ == "__main__":
    assert not {"nas_fpn", "lark"} & set(sys.modules)
    sys.meta_path.insert(0, Blocker(sys.argv[1]))
    torch.set_num_threads(1)
    print(json.dumps({folder: differing(Path(folder)) for folder in sys.argv[2:]}))
