"""An exported neck is the neck: same keys, same numbers bit for bit, without this package."""

import ast
import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas_fpn.export import export_neck, neck_source
from nas_fpn.export.header import imports, packages
from nas_fpn.language import Architecture, find_space, lower, parse, read_neck
from nas_fpn.necks import Neck
from tests.export.alone import answers
from tests.export.architectures import architectures, small

ROOT = Path(__file__).parents[2]
FILES = {
    "README.md",
    "config.json",
    "hub.py",
    "hubconf.py",
    "model.safetensors",
    "neck.neck",
    "neck.py",
    "neck.svg",
}
CHANNELS = {2: 4, 3: 6, 4: 8, 5: 10, 6: 12, 7: 14}
SIZES = {2: (25, 18), 3: (13, 9), 4: (7, 5), 5: (3, 2), 6: (2, 1), 7: (1, 1)}  # not all halves


def features(neck: Neck) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [
        torch.randn(2, CHANNELS[level], *SIZES[level], generator=generator) for level in neck.inputs
    ]


def make(architecture: Architecture) -> Neck:
    """A neck whose parameters and statistics are none of the constructor's."""
    torch.manual_seed(0)
    neck = Neck(architecture, [CHANNELS[level] for level in lower(architecture).inputs], seed=1)
    with torch.no_grad():
        for value in neck.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) / 4)
    return neck


@dataclass(frozen=True)
class Exported:
    folder: Path
    neck: Neck


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    base = tmp_path_factory.mktemp("exported")
    return {
        name: Exported(export_neck(neck, base / str(number)), neck)
        for number, (name, neck) in enumerate(
            (name, make(architecture)) for name, architecture in architectures().items()
        )
    }


def needs(one: Exported) -> tuple[str, ...]:
    return packages((one.folder / "neck.py").read_text())


def ruff(verb: list[str], paths: list[Path]) -> str:
    """What ruff has to say, with this repository's settings."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *verb, "--config", ROOT / "pyproject.toml", *paths],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RUFF_NO_CACHE": "true"},
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def neck_class(text: str) -> ast.ClassDef:
    (found,) = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "Neck"]
    return found


def method(text: str, name: str) -> ast.FunctionDef:
    found = {n.name: n for n in neck_class(text).body if isinstance(n, ast.FunctionDef)}
    return found[name]


@pytest.mark.parametrize("package", ["torch", "torchvision"])
def test_the_exported_neck_equals_the_neck_bit_for_bit(
    exported: dict[str, Exported], package: str
) -> None:
    """Outputs at odd sizes, statistics and gradients, in an interpreter without this package."""
    necks = {name: one for name, one in exported.items() if needs(one)[-1] == package}
    assert necks
    for one in necks.values():
        given = {str(k): value for k, value in enumerate(features(one.neck))}
        save_file(given, one.folder / "features.safetensors")
        found = answers(copy.deepcopy(one.neck), list(given.values()))
        save_file(found, one.folder / "answers.safetensors")
    folders = {str(one.folder): name for name, one in necks.items()}
    done = subprocess.run(
        [sys.executable, ROOT / "tests/export/alone.py", package, *folders],
        cwd=exported["fpn"].folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wrong = json.loads(done.stdout)
    assert {folders[folder]: names for folder, names in wrong.items() if names} == {}
    assert wrong.keys() == folders.keys()


def test_the_source_passes_our_checks(exported: dict[str, Exported]) -> None:
    sources = [path for one in exported.values() for path in one.folder.glob("*.py")]
    assert ruff(["check"], sources) == ""
    assert ruff(["format", "--check"], sources) == ""


def test_the_folder_holds_what_its_readme_lists(tmp_path: Path) -> None:
    folder = export_neck(make(small(parse("p3 = c3 -> conv1\n"))), tmp_path / "a" / "b")
    assert {path.name for path in folder.iterdir()} == FILES
    readme = (folder / "README.md").read_text()
    assert all(f"`{name}`" in readme.partition("| holds |")[2] for name in FILES - {"README.md"})


def test_what_lay_beside_another_neck_is_removed_and_nothing_else(tmp_path: Path) -> None:
    neck = make(small(parse("p3 = c3 -> conv1\n")))
    beside = ("features.safetensors", "trial.json", "detector/detector.py", "detector/neck/neck.py")
    mine = ("notes.txt", "detector/mine.txt")
    (tmp_path / "detector" / "neck").mkdir(parents=True)
    for name in (*beside, *mine):
        (tmp_path / name).touch()
    export_neck(neck, tmp_path)
    assert all((tmp_path / name).exists() for name in (*beside, *mine)), "no export of ours"
    export_neck(neck, tmp_path)
    assert not any((tmp_path / name).exists() for name in beside)
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_called_detector_that_holds_none_is_left_alone(tmp_path: Path) -> None:
    neck = make(small(parse("p3 = c3 -> conv1\n")))
    export_neck(neck, tmp_path)
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "mine.txt").touch()
    export_neck(neck, tmp_path)
    assert (tmp_path / "detector" / "mine.txt").exists()


def test_equal_necks_give_equal_bytes(exported: dict[str, Exported], tmp_path: Path) -> None:
    for name in ("nas_fpn", "bifpn"):
        one = exported[name]
        again = export_neck(make(one.neck.architecture), tmp_path / name)
        for path in again.iterdir():
            assert path.read_bytes() == (one.folder / path.name).read_bytes(), path.name


def test_the_program_is_exported_as_it_is(exported: dict[str, Exported]) -> None:
    for one in exported.values():
        assert parse((one.folder / "neck.neck").read_text()) == one.neck.architecture


def test_torchvision_is_named_where_it_is_needed(exported: dict[str, Exported]) -> None:
    for one in exported.values():
        wanted = "torch and torchvision" if len(needs(one)) > 1 else "torch"
        assert f"`neck.py` needs {wanted}, and" in (one.folder / "README.md").read_text()
        text = (one.folder / "neck.py").read_text()
        assert f"It needs {wanted}{'' if len(needs(one)) > 1 else ' only'}." in text
        hub = ", ".join(f'"{name}"' for name in (*needs(one), "safetensors"))
        assert f"dependencies = [{hub}]\n" in (one.folder / "hubconf.py").read_text()
    assert needs(exported["every variant"]) == ("torch", "torchvision")
    assert needs(exported["every word"]) == ("torch",)


def test_the_keys_of_the_weights_are_the_necks(exported: dict[str, Exported]) -> None:
    for one in exported.values():
        assert load_file(one.folder / "model.safetensors").keys() == one.neck.state_dict().keys()


def test_the_settings_are_the_arguments_of_the_constructor(exported: dict[str, Exported]) -> None:
    for one in exported.values():
        made = method((one.folder / "neck.py").read_text(), "__init__")
        settings = json.loads((one.folder / "config.json").read_text())
        assert list(settings) == [argument.arg for argument in made.args.args[1:]]


def test_forward_has_one_line_for_each_line_of_the_program(exported: dict[str, Exported]) -> None:
    for name in exported.keys() - {"passes that differ", "a last pass that only names"}:
        one = exported[name]
        forward = method((one.folder / "neck.py").read_text(), "forward")
        calls = [
            node.value.func.attr
            for node in ast.walk(forward)
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and getattr(node.value.func.value, "id", "") in {"self", "cells"}
        ]
        keys = (node.key.split(".") for node in lower(one.neck.architecture).nodes)
        folded = {(key[0] if len(key) > 1 else "", key[-1]) for key in keys}
        assert sorted(calls) == sorted(key for _, key in folded), name


def test_the_published_cell_is_short(exported: dict[str, Exported]) -> None:
    architecture = read_neck(find_space("baselines/nas_fpn"))
    text = neck_source(architecture, [512, 1024, 2048], provenance={"weights": "first ones"})
    assert len(text.splitlines()) <= 200  # the program, docstrings and blank lines too
    assert len(ast.unparse(neck_class(text)).splitlines()) <= 60


HOSTILE = {
    "closes the docstring": '"""\nraise SystemExit("escaped")\n"""',
    "escapes": '\\"\\"\\" + __import__("os").abort()',
    "other quotes": "''' + 1",
    "ends with a quote": 'so "',
    "ends with a backslash": "so \\",
    "false escapes": "\\N{nothing} \\x \\u12 {id} %s {}",
    "control characters": "nul \0 line \u2028 turned \u202e surrogate \ud800 face \U0001f600",
    "markdown": "```\n# a heading\n<script>alert(1)</script> | cell",
    "sections": "Args:\n    Returns:\nRaises:",
    "long": "word " * 60 + "x" * 300,
}


@pytest.mark.parametrize("doc", HOSTILE.values(), ids=HOSTILE)
def test_what_a_program_says_is_only_text(doc: str, tmp_path: Path) -> None:
    architecture = replace(small(parse("p3 = c3 -> conv1\n")), doc=doc)
    text = neck_source(architecture, [4], provenance={"from": doc})
    plain = neck_source(replace(architecture, doc=""), [4], provenance={})
    assert text.isascii()
    tree, other = ast.parse(text), ast.parse(plain)
    assert list(map(ast.dump, tree.body[1:])) == list(map(ast.dump, other.body[1:]))
    shown = " ".join((ast.get_docstring(tree, clean=False) or "").replace("\n# ", " ").split())
    assert all(" ".join(row.split()) in shown for row in doc.split("\n"))
    path = tmp_path / "neck.py"
    path.write_text(text)
    assert ruff(["check"], [path]) == ""


def test_a_hostile_docstring_leaves_the_readme_whole(tmp_path: Path) -> None:
    doc = HOSTILE["markdown"]
    neck = make(replace(small(parse("p3 = c3 -> conv1\n")), doc=doc))
    text = (export_neck(neck, tmp_path, provenance={"from": doc}) / "README.md").read_text()
    assert text.count("\n````") == 2  # one fence more than the text has
    assert r"\<script\>" in text


def test_torch_hub_loads_two_folders_in_one_interpreter(exported: dict[str, Exported]) -> None:
    for name in ("fpn", "panet"):
        one = exported[name]
        loaded = torch.hub.load(str(one.folder), "neck", source="local")
        given = features(one.neck)
        neck = copy.deepcopy(one.neck).eval()
        assert all(map(torch.equal, loaded.eval()(given), neck(given)))
        fresh = torch.hub.load(str(one.folder), "neck", source="local", pretrained=False)
        assert fresh.state_dict().keys() == neck.state_dict().keys()


def test_width_and_channels_can_be_changed(exported: dict[str, Exported]) -> None:
    for name in ("nas_fpn", "bifpn", "passes that differ", "every word"):
        one = exported[name]
        space: dict[str, type[torch.nn.Module]] = {}
        exec(compile((one.folder / "neck.py").read_text(), "neck.py", "exec"), space)
        channels = [k + 3 for k in range(len(one.neck.in_channels))]
        other = space["Neck"](channels, width=16)
        expected = Neck(one.neck.architecture.with_width(16), channels)
        shapes = {key: value.shape for key, value in expected.state_dict().items()}
        assert {key: value.shape for key, value in other.state_dict().items()} == shapes
        for attribute in ("inputs", "levels", "strides", "out_channels"):
            assert getattr(other, attribute) == getattr(expected, attribute)


def test_a_fresh_neck_is_drawn_by_the_same_rule(exported: dict[str, Exported]) -> None:
    space: dict[str, type[torch.nn.Module]] = {}
    exec(compile((exported["fpn"].folder / "neck.py").read_text(), "neck.py", "exec"), space)
    fresh = space["Neck"]((300, 200, 100), width=32)
    bound = (3 / 300) ** 0.5
    largest = fresh.state_dict()["p3.0.weight"].abs().max()
    assert 0.9 * bound < largest <= bound


def test_the_readme_tells_cost_and_scores(tmp_path: Path) -> None:
    neck = make(small(read_neck(find_space("baselines/fpn"))))
    folder = export_neck(
        neck, tmp_path, image_size=128, scores={"ap": 0.25}, provenance={"run": "a | b"}
    )
    text = (folder / "README.md").read_text()
    assert "| ap | 0.2500 |" in text
    assert "multiply-adds at 128 × 128 px" in text
    assert r"| run | a \| b |" in text
    assert str(neck.architecture) in text


def test_only_torch_and_the_standard_library_may_be_imported() -> None:
    with pytest.raises(ValueError, match="imports torch only, but an operation needs numpy"):
        list(imports([("numpy", "", "np"), ("torch", "Tensor", "")]))
