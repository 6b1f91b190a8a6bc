"""Exported necks in environments that have one library each, and not this package.

    python benchmarks/export_matrix.py [--path DIR ...] [--write]

Each environment is a fresh one with the named distributions and what they require
(``bare.py``); ``--path`` names more folders to take distributions from. In it each neck is loaded
and run (``export_matrix_alone.py``), and what it gave is held against this package's own neck on
the same features. ``--write`` puts the table into ``benchmarks/results/export_matrix.md``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas_fpn.export import Form, export_neck
from nas_fpn.language import Architecture, find_space, lower, parse, read_neck
from nas_fpn.necks import Neck

sys.path.append(str(Path(__file__).parent))
from bare import installed, make_bare
from machine import processor

RESULTS = Path(__file__).parent / "results" / "export_matrix.md"
ALONE = Path(__file__).parent / "export_matrix_alone.py"
RESNET18 = {2: 64, 3: 128, 4: 256, 5: 512}
SHIPPED = ("panet", "bifpn", "nas_fpn")
WITH_FORMATS = ("panet",)  # writing a file takes longer than all else
OWN = """width 32
p2..p5 = c2..c5 -> conv1 bn
p2 = sum(p2, p3) -> conv3
p6 = p5 -> maxpool
"""
ADAPTERS = ("torchvision", "timm", "transformers", "mmdetection")
SIZES = ((1, 128, 160), (2, 95, 131))  # images, height, width
BOUND = 1e-4  # of a level's largest value


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed in it, what must not be there, and how necks are loaded there."""

    names: tuple[str, ...]
    ways: Mapping[str, str]  # of export_matrix_alone.py: what it says in the table
    absent: tuple[str, ...] = ()


README = "`neck.py` with `model.safetensors`, as the README says"
ENVIRONMENTS = (
    Environment(
        ("torch",),
        {
            "readme": README,
            "torch_file": "`neck.py`, the same weights in a file of `torch.save`",
            "pt2": "`neck.pt2`",
        },
        absent=("torchvision", "safetensors", "timm"),
    ),
    Environment(
        ("torch", "safetensors"),
        {"readme": README, "torch_hub": "`torch.hub.load(…, source='local')`"},
        absent=("torchvision", "timm"),
    ),
    Environment(("onnxruntime",), {"onnx": "`neck.onnx`"}, absent=("torch",)),
    Environment(
        ("torch", "huggingface_hub", "safetensors"),
        {"from_pretrained": "`hub.py`: `from_pretrained`"},
        absent=("torchvision", "timm"),
    ),
    Environment(
        ("torch", "torchvision", "safetensors"),
        {"torchvision": "`for_torchvision.py`: a RetinaNet predicts"},
        absent=("timm",),
    ),
    Environment(("torch", "timm"), {"timm": "`for_timm.py`: a ResNet-18 with the neck"}),
    Environment(
        ("torch", "transformers"),
        {"transformers": "`for_transformers.py`: a Deformable DETR, the README's lines"},
    ),
    Environment(
        (
            *("torch", "torchvision", "safetensors", "setuptools"),
            *("mmdet", "mmengine", "mmcv-lite", "opencv-python-headless"),
        ),
        {"mmdetection": "`for_mmdetection.py`: a RetinaNet, the README's configuration"},
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--path", action="append", default=[], help="more distributions; repeats")
    parser.add_argument("--only", help="environments whose names hold this")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = installed(given.path)
    with tempfile.TemporaryDirectory() as base:
        necks = dict(exported(Path(base)))
        rows = []
        for number, one in enumerate(ENVIRONMENTS):
            if not given.only or given.only in " ".join(one.names):
                for row in measured(one, necks, known, Path(base) / f"environment{number}"):
                    print(row, flush=True)
                    rows.append(row)
        rows.append(f"| detectron2 | not installable here | {detectron2(Path(base))} | | |")
        print(rows[-1])
    if given.write:
        RESULTS.write_text(page(rows, list(necks)), encoding="utf-8")


def exported(base: Path) -> Iterator[tuple[str, Neck]]:
    """Write each neck in both forms, with features beside it; give the folder's name and neck."""
    programs: dict[str, Architecture] = {
        name: read_neck(find_space(f"baselines/{name}")).with_width(32) for name in SHIPPED
    }
    programs["own_levels"] = parse(OWN)
    for name, program in programs.items():
        neck = Neck(program, [RESNET18[level] for level in lower(program).inputs], seed=1).eval()
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for value in neck.state_dict().values():
                if value.is_floating_point():
                    value.add_(torch.rand(value.shape, generator=generator) / 8)
        given = [features(neck, size) for size in SIZES]
        for form in ("plain", "deployed"):
            folder = base / f"{name}_{form}"
            formats = ("onnx", "pt2") if name in WITH_FORMATS else ()
            asked = Form(form == "deployed", formats, adapters=ADAPTERS)
            export_neck(neck, folder, form=asked)
            torch.save(load_file(folder / "model.safetensors"), folder / "weights.pt")
            torch.save(given, folder / "given.pt")
            arrays = {
                f"{size}.{k}": one.numpy()
                for size, row in enumerate(given)
                for k, one in enumerate(row)
            }
            np.savez(folder / "given.npz", **arrays)  # type: ignore[arg-type]
            yield folder.name, neck


def features(neck: Neck, size: tuple[int, int, int]) -> list[Tensor]:
    images, high, wide = size
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(images, n, -(high // -(2**k)), -(wide // -(2**k)), generator=generator)
        for k, n in zip(neck.inputs, neck.in_channels, strict=True)
    ]


def measured(
    one: Environment, necks: Mapping[str, Neck], known: Mapping[str, Distribution], folder: Path
) -> Iterator[str]:
    """The rows of an environment: one for each way, with what failed in the place of a number."""
    title = ", ".join(name for name in one.names if name != "setuptools")
    try:
        bare = make_bare(folder, one.names, known)
    except KeyError as missing:
        yield f"| {title} | not installed here: {missing.args[0]} | not run | | |"
        return
    versions = {name.replace("_", "-").lower(): said for name, said in bare.versions.items()}
    said = ", ".join(
        f"{name} {versions[name.replace('_', '-').lower()].partition('+')[0]}"
        for name in one.names
        if name != "setuptools"
    )
    said += f"; {len(versions)} distributions in all"
    asked = {
        "ways": list(one.ways),
        "absent": one.absent,
        "folders": [str(folder.parent / name) for name in necks],
    }
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    done = subprocess.run(
        [str(bare.python), "-I", "-W", "ignore", str(ALONE), str(folder / "asked.json")],
        cwd=folder,
        env={
            "PATH": os.defpath,
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{title}: the environment's interpreter failed\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    for way, what in one.ways.items():
        faults = {fault for _, its, fault in found if its == way and fault}
        ran = [name for name, its, fault in found if its == way and not fault]
        numbers = [apart(folder.parent / name, way, necks[name]) for name in ran]
        plain = [n for name, n in zip(ran, numbers, strict=True) if name.endswith("plain")]
        folded = [n for name, n in zip(ran, numbers, strict=True) if name.endswith("deployed")]
        tried = sum(its == way for _, its, _ in found)
        failed = f" **{tried - len(ran)} of {tried} do not: " if faults else ""
        failed += "; ".join(f"`{fault}`" for fault in sorted(faults)) + "**" if faults else ""
        yield f"| {title} | {said} | {what}{failed} | {_worst(plain)} | {_worst(folded)} |"


def _worst(numbers: Sequence[float]) -> str:
    if not numbers:
        return "–"
    worst = f"{max(numbers):.1e} ({len(numbers)})"
    return worst if max(numbers) <= BOUND else f"**{worst}**"


def apart(folder: Path, way: str, neck: Neck) -> float:
    """The largest difference from this package's neck, of the largest value of its level.

    Raises SystemExit where a shape differs.
    """
    kept: dict[str, Tensor]
    if (folder / f"made_{way}.pt").exists():
        kept = torch.load(folder / f"made_{way}.pt", weights_only=True)
    else:
        with np.load(folder / f"made_{way}.npz") as arrays:
            kept = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    runs: dict[tuple[str, str], list[Tensor]] = {}
    for key, value in kept.items():
        size, kind, _ = key.split(".")
        runs.setdefault((size, kind), []).append(value)
    worst = 0.0
    for size in sorted({size for size, _ in runs}):
        with torch.inference_mode():
            expected = neck(runs[size, "given"])
        for right, made in zip(expected, runs[size, "made"], strict=True):
            if right.shape != made.shape:
                raise SystemExit(f"{folder.name}, {way}: {made.shape}, not {right.shape}")
            worst = max(worst, float((right - made).abs().max() / right.abs().max()))
    return worst


def detectron2(base: Path) -> str:
    """What pip says to a request for detectron2, in its last line."""
    asked = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--dest",
        str(base),
        "detectron2",
    ]
    done: Any = subprocess.run(asked, capture_output=True, text=True, check=False)
    if not done.returncode:
        return "pip has one now: not run yet"
    return f"`pip download --no-deps detectron2`: `{done.stderr.strip().splitlines()[-1]}`"


def page(rows: Sequence[str], folders: Sequence[str]) -> str:
    names = ", ".join(f"`{name.removesuffix('_plain')}`" for name in folders if "_plain" in name)
    sizes = " and ".join(f"{n} x {h} x {w}" for n, h, w in SIZES)
    text = f"""# Exported necks where this package is not

`make export-matrix` wrote this file (`python benchmarks/export_matrix.py --write`), with
Python {platform.python_version()} on {processor()}.

Each environment is a fresh one that holds the named distributions and what they require;
`nas_fpn` cannot be imported in it, and torchvision is asserted to be absent where it says torch,
or torch and safetensors, alone. Necks: {names} for a ResNet-18, at width 32, the last one of
c2..c5 to p2..p6, each plain and deployed (`--deploy`); `neck.pt2` and `neck.onnx` of
{", ".join(WITH_FORMATS)} alone. Files are run at {sizes} pixels (images, height, width), adapters
in the library's own model in evaluation mode, with untrained backbones. The number is the largest
difference from this package's plain neck on the same features, over levels, sizes and necks,
relative to the level's largest value, with the number of necks in brackets; bold above
{BOUND:.0e}.

| environment | versions | loaded and run | plain | deployed |
| --- | --- | --- | ---: | ---: |
"""
    return text + "\n".join([*rows, ""])


if __name__ == "__main__":
    main()
