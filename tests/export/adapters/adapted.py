"""What the tests of adapters share: an exported folder, and an interpreter that has only that."""

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nas_fpn.export import Form, export_neck
from nas_fpn.language import find_space, lower, parse, read_neck
from nas_fpn.necks import Neck

RESNET18 = {2: 64, 3: 128, 4: 256, 5: 512}

PROGRAMS = {
    "from c2": """
        width 32
        p2..p5 = c2..c5 -> conv1 bn
        p2 = sum(p2, p3) -> conv3
        p6 = p5 -> maxpool
        """,
    "one level": """
        width 32
        p4 = c4 -> conv1
        """,
    "a gap": """
        width 32
        p3 = c3 -> conv1
        p5 = c5 -> conv1
        p4 = p5 -> nearest
        p5 = sum(p5, p3 -> maxpool)
        """,
    "names that adapters have": """
        width 32
        p3..p5 = c3..c5 -> conv1
        mean_c3@3 = sum(p3, p4)
        body@4 = max(p4, mean_c3)
        neck@4 = sum(body, p4)
        scale@5 = sum(p5, neck)
        init_weights@4 = sum(neck, scale)
        post_init@4 = max(init_weights, p4)
        p4 = sum(neck, post_init)
        p5 = sum(scale, p5)
        p3 = mean_c3
        """,
}

_ALONE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"nas_fpn", "lark", "pydantic"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocker())
import torch
torch.set_num_threads(1)
"""


def neck_of(program: str) -> Neck:
    """A neck for a ResNet-18, by name, whose weights and statistics are none of the first."""
    if program in PROGRAMS:
        architecture = parse(inspect.cleandoc(PROGRAMS[program]) + "\n")
    else:
        architecture = read_neck(find_space(f"baselines/{program}")).with_width(32)
    neck = Neck(architecture, [RESNET18[level] for level in lower(architecture).inputs], seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in neck.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator) / 8)
    return neck.eval()


def statistics(neck: Neck) -> dict[str, Tensor]:
    """What a run's features are scaled by, as its folder has it."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for level, channels in zip(neck.inputs, neck.in_channels, strict=True):
        found[f"mean.c{level}"] = torch.rand(channels, generator=generator)
        found[f"std.c{level}"] = torch.rand(channels, generator=generator) + 0.5
    return found


def scaled(neck: Neck, features: Sequence[Tensor]) -> list[Tensor]:
    """Features as a neck of a run takes them."""
    kept = statistics(neck)
    return [
        (c - kept[f"mean.c{k}"].view(-1, 1, 1)) / kept[f"std.c{k}"].view(-1, 1, 1)
        for k, c in zip(neck.inputs, features, strict=True)
    ]


def adapt(
    neck: Neck, folder: Path, *libraries: str, of_run: bool = False, deploy: bool = False
) -> Path:
    """Export a neck with adapters, as it is or as one of a run."""
    beside = {"features.safetensors": "statistics"} if of_run else {}
    export_neck(neck, folder, beside=beside, form=Form(deploy, adapters=libraries))
    if of_run:
        save_file(statistics(neck), folder / "features.safetensors")
    return folder


def adapter(folder: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The adapter of a folder that has been put into a project: imported as a part of it."""
    monkeypatch.syspath_prepend(folder.parent)
    return importlib.import_module(f"{folder.name}.for_{library}")


def snippet(folder: Path, library: str) -> str:
    """What the README says of a library, in Python."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    found = re.search(
        rf"^## With {library}\n\n```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None, text
    return found[1]


def run_alone(folder: Path, program: str) -> str:
    """What a program prints that runs in the folder and cannot import this package."""
    done = subprocess.run(
        [sys.executable, "-c", _ALONE + program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
