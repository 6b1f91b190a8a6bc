"""What all adapters share: their text, when they are written, what they refuse."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nas_fpn.cli import main
from nas_fpn.errors import RunError
from nas_fpn.export import adapter_names, add_backbone, check_adapters, export_neck
from nas_fpn.export.adapters import Facts, write_adapters
from nas_fpn.language import find_space, load_words, parse, read_neck
from nas_fpn.necks import Neck
from tests.export.adapters.adapted import PROGRAMS, adapt, adapter, neck_of, run_alone
from tests.export.test_folder import HOSTILE, ROOT, ruff
from tests.export.test_hub import parts

GOLDEN = ROOT / "tests" / "golden" / "export"
FILES = {*(f"for_{name}.py" for name in adapter_names()), "for_ultralytics.yaml"}
UNEVEN = "p3 = c3 -> conv1[8]\np4 = c4 -> conv1[12]\n"


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("for_*")}


def uneven() -> Neck:
    return Neck(parse(UNEVEN), [8, 8])


@pytest.mark.parametrize("of_run", [False, True])
def test_the_sources_pass_our_checks(of_run: bool, tmp_path: Path) -> None:
    """Of shipped necks, of odd ones, and of one with as many levels and digits as there are."""
    necks = [neck_of(name) for name in ("fpn", *PROGRAMS)]
    folders = [adapt(neck, tmp_path / str(k), "all", of_run=of_run) for k, neck in enumerate(necks)]
    for name, inputs in {"whole": (2, 3, 4, 5, 6, 7), "gap": (2, 3, 4, 5, 7)}.items():
        most = Facts(
            identity="a6afd375",
            inputs=inputs,
            in_channels=(16384,) * len(inputs),
            levels=(2, 3, 4, 5, 6, 7, 8, 9),
            out_channels=(4096,) * 8,
            scaled=of_run,
            deploy=True,
        )
        (tmp_path / name).mkdir()
        write_adapters(tmp_path / name, most, ["all"])
        folders.append(tmp_path / name)
    sources = [path for folder in folders for path in folder.glob("for_*.py")]
    assert len(sources) == len(folders) * len(adapter_names())
    assert ruff(["check"], sources) == ""
    assert ruff(["format", "--check"], sources) == ""
    for path in sources:
        assert len(path.read_text().splitlines()) <= 160, path


def test_equal_necks_give_equal_adapters(tmp_path: Path) -> None:
    first, second = (adapt(neck_of("fpn"), tmp_path / name, "all") for name in "ab")
    assert written(first) == FILES
    for name in (*FILES, "README.md"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_those_of_before_go(tmp_path: Path) -> None:
    neck = neck_of("one level")
    adapt(neck, tmp_path, "all")
    (tmp_path / "for_mine.py").write_text("mine")
    adapt(neck, tmp_path, "timm", "ultralytics")
    assert written(tmp_path) == {
        "for_timm.py",
        "for_ultralytics.py",
        "for_ultralytics.yaml",
        "for_mine.py",
    }
    export_neck(neck, tmp_path)
    assert written(tmp_path) == {"for_mine.py"}


def test_the_readme_lists_them_and_shows_their_use(tmp_path: Path) -> None:
    text = (adapt(neck_of("fpn"), tmp_path, "all") / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in FILES)
    assert all(f"\n## With {name}\n\n```python\n" in text for name in adapter_names())


@pytest.mark.parametrize("doc", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_a_program_says_gets_into_an_adapter(doc: str, tmp_path: Path) -> None:
    plain = neck_of("one level")
    doc = doc.encode("ascii", "replace").decode()  # a file of text cannot hold all of them
    told = Neck(replace(plain.architecture, doc=doc), plain.in_channels)
    first, second = adapt(plain, tmp_path / "a", "all"), adapt(told, tmp_path / "b", "all")
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def test_an_adapter_imports_its_library_and_the_neck(tmp_path: Path) -> None:
    folder = adapt(neck_of("fpn"), tmp_path, "all")
    allowed = {"mmdetection": {"mmdet", "mmengine"}, "ultralytics": set[str]()}
    for name in adapter_names():
        tree = ast.parse((folder / f"for_{name}.py").read_text())
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
        found -= {"collections", "pathlib", "typing", "torch", "safetensors", "neck"}
        assert found == allowed.get(name, {name})


@pytest.mark.parametrize("golden", ["adapter_unknown", "adapter_near", "adapter_channels"])
def test_messages(golden: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        if golden == "adapter_channels":
            adapt(uneven(), tmp_path / "new", "torchvision")
        else:
            check_adapters(["keras" if golden == "adapter_unknown" else "mmdet"])
    assert f"{caught.value}\n" == (GOLDEN / f"{golden}.txt").read_text(encoding="utf-8")
    assert not (tmp_path / "new").exists()


def test_all_is_those_that_the_neck_fits_and_says_which_it_does_not(tmp_path: Path) -> None:
    folder = adapt(uneven(), tmp_path, "all")
    assert written(folder) == FILES - {"for_torchvision.py"}
    assert (
        "There is no adapter for torchvision: its detectors take one number of channels"
        in (folder / "README.md").read_text()
    )


def test_a_deployed_neck_has_adapters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near to the trained one, and registered under a name of its own."""
    neck = neck_of("from c2")
    folder = adapt(neck, tmp_path / "deployed", "all", deploy=True)
    made = adapter(folder, "ultralytics", monkeypatch)
    features = [
        torch.rand(1, n, 64 // 2**k, 64 // 2**k)
        for k, n in zip(neck.inputs, neck.in_channels, strict=True)
    ]
    module = made.Pyramid(neck.in_channels).eval().requires_grad_(False)
    neck.requires_grad_(False)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in module.modules())
    for found, expected in zip(module(features), neck(features), strict=True):
        torch.testing.assert_close(
            found, expected, rtol=1e-4, atol=float(1e-4 * expected.abs().max())
        )
    for name in ("mmdetection", "detectron2", "transformers"):
        assert "_deployed" in (folder / f"for_{name}.py").read_text()


def test_a_neck_of_own_words_has_adapters_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = ROOT / "docs" / "examples"
    words = load_words([examples / "words.py"])
    text = "width 8\np3..p4 = c3..c4 -> conv1\np4 = agree(p4, p3)\n"
    neck = Neck(parse(text, words=words), [8, 16]).eval()
    made = adapter(adapt(neck, tmp_path / "own", "all"), "ultralytics", monkeypatch)
    features = [torch.rand(1, 8, 8, 8), torch.rand(1, 16, 4, 4)]
    assert all(map(torch.equal, made.Pyramid([8, 16]).eval()(features), neck(features)))


@pytest.mark.slow
def test_a_model_with_its_backbone_is_a_backbone_of_torchvision(tmp_path: Path) -> None:
    """With the weights and the scaling of its own folder, and without this package."""
    one = parts(scaled=True)
    architecture = read_neck(find_space("baselines/fpn")).with_width(32)
    channels = [one.statistics[level][0].numel() for level in (3, 4, 5)]
    neck = Neck(architecture, channels, seed=1)
    folder = adapt(neck, tmp_path, "torchvision")
    add_backbone(folder, architecture, one)
    program = """
from torchvision.models.detection import FCOS
from for_torchvision import WholeBackbone, fcos_anchors
model = torch.hub.load("with_backbone", "model", source="local")
detector = FCOS(
    WholeBackbone(model), 3, anchor_generator=fcos_anchors(),
    image_mean=[0, 0, 0], image_std=[1, 1, 1], min_size=128, max_size=192,
).eval()
images = torch.rand(1, 3, 128, 192)
given = detector.transform([images[0]])[0].tensors
assert torch.equal(given, images)
assert all(map(torch.equal, detector.backbone(given).values(), model.eval()(images).values()))
print(sorted(detector([images[0]])[0]))
"""
    assert run_alone(folder, program) == "['boxes', 'labels', 'scores']\n"


def test_the_command_writes_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["export", "fpn", "--to", str(tmp_path / "x"), "--in-channels", "8,16,32"]
    with pytest.raises(SystemExit) as stopped:
        main([*asked, "--adapter", "torchvision", "--adapter", "timm"])
    assert stopped.value.code == 0
    assert written(tmp_path / "x") == {"for_torchvision.py", "for_timm.py"}
    with pytest.raises(SystemExit) as stopped:
        main([*asked, "--adapter", "mmdet"])
    assert stopped.value.code == 2
    assert "--adapter mmdet: is not known" in capsys.readouterr().err
