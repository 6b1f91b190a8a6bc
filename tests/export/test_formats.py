"""What --format writes is the neck: held against it when written, and read again here."""

import copy
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.export import FORMATS, Form, export_neck, write_formats
from nas_fpn.export import formats as module
from nas_fpn.export.formats import load_exported, onnx_operators
from nas_fpn.language import parse
from nas_fpn.language.words import WORDS
from nas_fpn.necks import Neck
from tests.export.architectures import BASELINES, architectures
from tests.export.covering import WHOLE, covering, words_of
from tests.export.test_folder import make

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "export.md"
ALL = architectures()
SAMPLED = [  # four `carafe` in three passes are 3,700 operations, and take minutes
    name for name in ALL if name.split()[-1].isdecimal() and str(ALL[name]).count("carafe") < 2
][:10]
SHIPPED = {name: ALL[name] for name in [*BASELINES, *SAMPLED]}
# of those with `carafe` one takes as long as all the others, and the page has it by itself
PLAIN = {name: neck for name, neck in SHIPPED.items() if "carafe" not in str(neck)}
COVERING = covering(SHIPPED if WHOLE else PLAIN)
DEPLOYED = [*(["nas_fpn"] if WHOLE else []), "bifpn", "repgfpn", "asff", "slimneck_v2"]
PLAIN_OPERATORS = (  # what our words take of what TensorRT has had since 8.4
    "Add AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose DepthToSpace "
    "Div Erf Expand Floor Gather HardSigmoid Identity InstanceNormalization LeakyRelu MatMul "
    "Max MaxPool Min Mul Pad Range ReduceMax ReduceMean Relu Reshape Resize Shape Sigmoid Slice "
    "Softmax Softplus Split Squeeze Sub Tanh Transpose Unsqueeze"
)
TEXT = """
width 8
p3..p5 = c3..c5 -> conv1 bn
p6 = p5 -> maxpool
p4..p3 = fast(p4..p3, p5..p4) -> conv3 bn relu
p4 = gp(p4, p3)
"""
SIZES = ((1, 64, 64), (2, 97, 130), (5, 33, 71))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats") / "neck"
    return export_neck(small(), folder, form=Form(formats=("onnx", "pt2")))


def small() -> Neck:
    return make(parse(TEXT.strip() + "\n"))


def features(neck: nn.Module, size: tuple[int, int, int]) -> list[Tensor]:
    images, high, wide = size
    channels = dict(zip((3, 4, 5), (6, 8, 10), strict=True))
    return [
        torch.randn(images, channels[k], -(high // -(2**k)), -(wide // -(2**k))) for k in (3, 4, 5)
    ]


def test_the_program_gives_the_very_numbers(written: Path) -> None:
    neck, again = load_exported(written).eval(), torch.export.load(written / "neck.pt2").module()
    for size in SIZES:
        given = features(neck, size)
        assert all(map(torch.equal, neck(given), again(given))), size


def test_onnx_gives_the_numbers_up_to_rounding(written: Path) -> None:
    neck = load_exported(written).eval()
    session = onnxruntime.InferenceSession(
        str(written / "neck.onnx"), providers=["CPUExecutionProvider"]
    )
    assert [one.name for one in session.get_inputs()] == ["c3", "c4", "c5"]
    assert [one.name for one in session.get_outputs()] == ["p3", "p4", "p5", "p6"]
    for size in SIZES:
        given = features(neck, size)
        named = {f"c{k}": feature.numpy() for k, feature in zip((3, 4, 5), given, strict=True)}
        with torch.inference_mode():
            expected = neck(given)
        for ours, theirs in zip(expected, session.run(None, named), strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-5)


def test_the_readme_lists_the_files_and_the_operators(written: Path) -> None:
    text = (written / "README.md").read_text()
    operators = ", ".join(onnx_operators(written / "neck.onnx"))
    assert f"| `neck.onnx` | the same in ONNX, opset 18: {operators} |" in text
    assert "| `neck.pt2` | the same for `torch.export.load`, torch " in text.replace("\\", "")


def test_files_of_formats_not_asked_for_are_gone(written: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "again"))
    export_neck(small(), folder)
    assert not [name for name in FORMATS if (folder / f"neck.{name}").exists()]


def test_a_missing_package_is_named_with_its_extra(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "script" in name else there(name)
    )
    with pytest.raises(RunError) as raised:
        write_formats(written, ["onnx"])
    assert str(raised.value) == (
        "--format onnx: needs onnx, onnxscript, onnxruntime, and onnxscript is not installed\n"
        "pip install 'nas-fpn[onnx]'"
    )


def test_an_unknown_format_is_told_what_there_is(written: Path) -> None:
    with pytest.raises(RunError) as raised:
        write_formats(written, ["torchscript"])
    assert str(raised.value) == "--format torchscript: is not known\nthere are onnx, pt2"


@pytest.fixture(scope="module")
def sensitive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A norm of values that a sigmoid made all but zero; ONNX Runtime's is right to 1e-7."""
    neck = make(parse("width 8\np4 = c4 -> conv3[bias] silu gn\n"))
    with torch.no_grad():
        neck.state_dict()["p4.0.bias"].fill_(-13)
    folder = tmp_path_factory.mktemp("sensitive") / "neck"
    return export_neck(neck, folder, form=Form(formats=("onnx",)))


def farthest(folder: Path, content: bytes) -> float:
    """How far an ONNX model is from the neck in 64 bits, of the largest value."""
    neck, given = load_exported(folder).eval().double(), torch.randn(2, 8, 16, 16)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        (exact,) = neck([given.double()])
    made = torch.from_numpy(session.run(None, {"c4": given.numpy()})[0])
    return float((made - exact).abs().max() / exact.abs().max())


def test_a_sigmoid_of_the_runtime_is_no_difference_of_the_file(sensitive: Path) -> None:
    file = sensitive / "neck.onnx"
    assert farthest(sensitive, file.read_bytes()) > module.TOLERANCE
    assert farthest(sensitive, module.with_exact_sigmoids(file)) < 1e-5


def test_a_difference_behind_such_a_sigmoid_is_refused(
    sensitive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(sensitive, tmp_path / "again"))
    traced = module._traced

    def off(source: Any, place: Path) -> torch.export.ExportedProgram:
        other = copy.deepcopy(source.module)
        with torch.no_grad():
            other.state_dict()["p4.2.weight"].mul_(1.001)
        return traced(replace(source, module=other), place)

    monkeypatch.setattr(module, "_traced", off)
    with pytest.raises(RunError, match=r"differs from the neck at .*, by 1\.\de-03 of"):
        write_formats(folder, ["onnx"])
    assert not (folder / "neck.onnx").exists()


def test_a_level_of_nothing_but_rounding_is_written(tmp_path: Path) -> None:
    neck = Neck(parse("width 8\np4 = c4 -> conv1 gap gn\n"), (8,))  # exactly 0
    export_neck(neck, tmp_path, form=Form(formats=("onnx",)))


def test_a_neck_that_cannot_be_written_is_refused(written: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "again"))
    source = (folder / "neck.py").read_text()
    follows = "        if p3.sum() > 0:\n            p3 = -p3\n        return p3, p4"
    (folder / "neck.py").write_text(source.replace("        return p3, p4", follows))
    for name in FORMATS:
        with pytest.raises(RunError, match=r"(?s)cannot be written: .*docs/export.md lists"):
            write_formats(folder, [name])


def test_a_neck_that_overflows_is_not_called_another(written: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "again"))
    state = load_file(folder / "model.safetensors")
    save_file({key: value * 1e30 for key, value in state.items()}, folder / "model.safetensors")
    with pytest.raises(RunError) as raised:
        write_formats(folder, ["pt2"])
    assert str(raised.value) == (
        f"{folder / 'neck.pt2'}: at 1 images of 256 x 256 pixels, the neck itself gives values "
        "that are no numbers, so there is nothing to hold it to\nexport other weights of it"
    )
    assert not (folder / "neck.pt2").exists()


def test_other_numbers_are_refused(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "again"))
    loaded = torch.export.load

    class Off:
        def __init__(self, file: Path) -> None:
            self.inner = loaded(file).module()

        def module(self) -> object:
            return lambda given: [made * 1.001 for made in self.inner(given)]

    monkeypatch.setattr(torch.export, "load", Off)
    with pytest.raises(RunError) as raised:
        write_formats(folder, ["pt2"])
    assert str(raised.value) == (
        f"{folder / 'neck.pt2'}: differs from the neck at 1 images of 256 x 256 pixels, by "
        f"1.0e-03 of the largest value\n{module._MEND}"
    )


def test_the_page_has_a_row_for_every_word() -> None:
    rows = [row.split("`")[1] for row in table() if row.startswith("| `")]
    assert rows == list(WORDS)


def table() -> list[str]:
    page = words_page()
    text = PAGE.read_text(encoding="utf-8")
    return str(text.partition(page.BEGIN)[2].partition(page.END)[0]).strip().splitlines()


def words_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "export_words", ROOT / "benchmarks" / "export_words.py"
    )
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    return page


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_the_page_says_which_words_are_written(name: str) -> None:
    assert words_page().row_of(name) in table()


def finite(name: str) -> Neck:
    """A neck with statistics of chance, but for those whose seven passes overflow with them."""
    neck = make(ALL[name])
    if name in ("nas_fpn", "nas_fpn_mmdet"):
        return Neck(neck.architecture, neck.in_channels)
    return neck


def test_every_word_is_written_in_a_neck_that_is_shipped_or_else_by_itself() -> None:
    met = words_of(ALL[name] for name in COVERING)
    assert met >= words_of(PLAIN.values())
    for word in set(WORDS) - met:
        assert words_of([parse(words_page().program(word, WORDS[word]))]) >= {word}


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_necks_are_written_in_both_formats(name: str, tmp_path: Path) -> None:
    """Each is held against the neck as it is written, also at odd sizes."""
    folder = export_neck(finite(name), tmp_path, form=Form(formats=("onnx", "pt2")))
    operators = set(onnx_operators(folder / "neck.onnx"))
    assert operators <= {*PLAIN_OPERATORS.split(), "DeformConv", "Mish"}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPLOYED)
def test_the_deployed_form_is_written_too(name: str, tmp_path: Path) -> None:
    form = Form(deploy=True, formats=("onnx", "pt2"))
    folder = export_neck(finite(name), tmp_path, form=form)
    assert "BatchNormalization" not in onnx_operators(folder / "neck.onnx")
