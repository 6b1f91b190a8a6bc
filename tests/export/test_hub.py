"""A folder loads as the hubs load it, a neck alone and a neck with its backbone alike."""

import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file
from torch import nn

from nas_fpn.errors import RunError
from nas_fpn.export import WITH_BACKBONE, BackboneParts, add_backbone, export_neck
from nas_fpn.language import find_space, parse, read_neck
from nas_fpn.necks import Neck
from tests.export.architectures import small
from tests.export.test_folder import features, make, ruff

NAME = "mobilenetv3_small_050"


def parts(*, scaled: bool) -> BackboneParts:
    torch.manual_seed(3)
    net = timm.create_model(NAME, features_only=True, out_indices=(1, 2, 3, 4))
    channels = net.feature_info.channels()
    statistics = {
        level: (torch.rand(channels[stage]), torch.rand(channels[stage]) + 0.5)
        for level, stage in {3: 1, 4: 2, 5: 3}.items()
    }
    return BackboneParts(
        name=NAME,
        arguments={"drop_path_rate": 0.0},
        out_indices=(1, 2, 3, 4),
        stages={3: 1, 4: 2, 5: 3},
        mean=(0.5, 0.25, 0.125),
        std=(0.5, 0.5, 0.5),
        state=net.state_dict(),
        statistics=statistics if scaled else {},
        said='A sentence that says "where" ' + "it is from, and at length, " * 4 + '"""',
    )


def neck_for(one: BackboneParts) -> Neck:
    channels = timm.create_model(NAME, features_only=True, out_indices=one.out_indices)
    architecture = small(read_neck(find_space("baselines/bifpn")))
    given = channels.feature_info.channels()
    return Neck(architecture, [given[one.stages[level]] for level in (3, 4, 5)], seed=2).eval()


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The folder's modules may be imported by name, and are forgotten afterwards."""
    before = set(sys.modules)
    yield monkeypatch
    for name in {"neck", "model", "hub"} - before:
        sys.modules.pop(name, None)


def from_pretrained(folder: Path, name: str, beside: pytest.MonkeyPatch) -> nn.Module:
    beside.syspath_prepend(folder)
    kind = getattr(importlib.import_module("hub"), name)
    assert issubclass(kind, PyTorchModelHubMixin)
    loaded: nn.Module = kind.from_pretrained(str(folder))
    return loaded


def test_a_neck_loads_from_the_folder_as_from_the_hub(
    tmp_path: Path, beside: pytest.MonkeyPatch
) -> None:
    neck = make(small(read_neck(find_space("baselines/nas_fpn")))).eval()
    loaded = from_pretrained(export_neck(neck, tmp_path / "neck"), "Neck", beside)
    given = features(neck)
    assert all(map(torch.equal, loaded.eval()(given), neck(given)))
    loaded.save_pretrained(tmp_path / "again")  # type: ignore[operator]
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("neck", "again"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("scaled", [False, True])
def test_backbone_and_neck_are_one_module(
    scaled: bool, tmp_path: Path, beside: pytest.MonkeyPatch
) -> None:
    """Its features are the neck's, of the backbone's, scaled as the neck was trained to take."""
    one = parts(scaled=scaled)
    neck = neck_for(one)
    folder = add_backbone(export_neck(neck, tmp_path), neck.architecture, one)
    net = timm.create_model(NAME, features_only=True, out_indices=one.out_indices).eval()
    net.load_state_dict(one.state)
    images = torch.rand(2, 3, 96, 64)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (one.mean, one.std))
    stages = net((images - mean) / std)
    given = [stages[one.stages[level]] for level in neck.inputs]
    if scaled:
        given = [
            (c - one.statistics[level][0].view(-1, 1, 1)) / one.statistics[level][1].view(-1, 1, 1)
            for level, c in zip(neck.inputs, given, strict=True)
        ]
    expected = neck(given)
    for model in (
        from_pretrained(folder, "Model", beside).eval(),
        torch.hub.load(str(folder), "model", source="local").eval(),
    ):
        found = model(images)
        assert list(found) == ["p3", "p4", "p5", "p6", "p7"]
        assert all(map(torch.equal, found.values(), expected))
    assert ruff(["check"], list(folder.glob("*.py"))) == ""
    assert ruff(["format", "--check"], list(folder.glob("*.py"))) == ""
    assert "`with_backbone/`" in (tmp_path / "README.md").read_text()


def test_the_model_loads_without_this_package(tmp_path: Path) -> None:
    one = parts(scaled=True)
    neck = neck_for(one)
    folder = add_backbone(export_neck(neck, tmp_path), neck.architecture, one)
    program = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"nas_fpn", "lark", "pydantic"}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
import torch
from safetensors.torch import load_file
from model import Model
model = Model(**json.load(open("config.json")))
model.load_state_dict(load_file("model.safetensors"))
print([tuple(p.shape) for p in model.eval()(torch.rand(1, 3, 64, 64)).values()][0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 8, 8, 8)"


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    one = parts(scaled=True)
    neck = neck_for(one)
    first, second = (
        add_backbone(export_neck(copy.deepcopy(neck), tmp_path / k), neck.architecture, one)
        for k in "ab"
    )
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_an_export_without_a_backbone_leaves_none_of_before(tmp_path: Path) -> None:
    one = parts(scaled=False)
    neck = neck_for(one)
    add_backbone(export_neck(neck, tmp_path), neck.architecture, one)
    assert not (export_neck(neck, tmp_path) / WITH_BACKBONE).exists()


@pytest.mark.parametrize("key", ["a b", "class", "x=1)\nimport os #"])
def test_an_argument_that_python_cannot_write_is_refused(key: str, tmp_path: Path) -> None:
    one = replace(parts(scaled=False), arguments={key: 1})
    neck = make(small(parse("p3 = c3 -> conv1\n")))
    with pytest.raises(RunError, match=r"\[backbone\] arguments: .* cannot be written"):
        add_backbone(export_neck(neck, tmp_path), neck.architecture, one)


def test_the_settings_of_a_model_are_its_arguments(tmp_path: Path) -> None:
    one = parts(scaled=False)
    neck = neck_for(one)
    folder = add_backbone(export_neck(neck, tmp_path), neck.architecture, one)
    assert json.loads((folder / "config.json").read_text()) == {"width": 8}
