"""Published weights come in by the parity cases' own configurations; the verb writes the folder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from nas_fpn.cli import main
from nas_fpn.errors import RunError
from nas_fpn.export import neck_with_weights, read_checkpoint
from nas_fpn.language import parse
from nas_fpn.language.foreign import Imported, translate

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
FAMILIES = ("fpn_torchvision*", "pafpn*", "bifpn*", "nasfpn*")
CASES = sorted(path.stem for family in FAMILIES for path in PARITY.glob(f"{family}.json"))
GOLDEN = Path(__file__).parents[1] / "golden" / "export" / "import"
TORCHVISION = "FeaturePyramidNetwork([12, 16, 20], 8, LastLevelMaxPool())"


@pytest.mark.skipif(not CASES, reason="the parity cases (../shared/parity) are not there")
@pytest.mark.parametrize("case", CASES or ["none"])
def test_a_published_configuration_and_its_weights_give_the_published_outputs(case: str) -> None:
    about = json.loads((PARITY / f"{case}.json").read_text(encoding="utf-8"))
    tensors = load_file(PARITY / f"{case}.safetensors")
    imported = translate(json.dumps(about["config"]), file=f"{case}.json")
    state = {f"neck.{key[2:]}": value for key, value in tensors.items() if key[:2] == "w."}
    neck, prefix = neck_with_weights(imported, parse(imported.text), state)
    assert prefix == "neck."
    inputs = [tensors[f"in.{i}"] for i in range(sum(key[:3] == "in." for key in tensors))]
    assert neck.in_channels == tuple(one.shape[1] for one in inputs)
    with torch.inference_mode():
        outputs = neck.eval()(inputs)
    wanted = [tensors[f"out.{i}"] for i in range(sum(key[:4] == "out." for key in tensors))]
    tolerance = about["suggested_tolerance"]
    for got, one in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got, one, **tolerance)


def detector() -> dict[str, Tensor]:
    """A detector's state dict with torchvision's FPN inside."""
    torch.manual_seed(0)
    theirs = FeaturePyramidNetwork([12, 16, 20], 8, LastLevelMaxPool())
    whole = {f"backbone.fpn.{key}": value for key, value in theirs.state_dict().items()}
    return whole | {"head.conv.weight": torch.zeros(2, 8, 3, 3)}


def imported_fpn(text: str = TORCHVISION) -> Imported:
    return translate(text, file="mine.py")


def test_the_verb_writes_a_folder_with_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(f"neck = {TORCHVISION}\n", encoding="utf-8")
    torch.save({"state_dict": detector(), "epoch": 3}, tmp_path / "mine.pth")
    save_file(detector(), tmp_path / "mine.safetensors")
    for ending in ("pth", "safetensors"):
        to = tmp_path / ending
        told = run(
            "import", tmp_path / "mine.py", "--to", to, "--weights", to.with_name(f"mine.{ending}")
        )
        assert told == 0
        state = load_file(to / "model.safetensors")
        assert torch.equal(state["p4.0.weight"], detector()["backbone.fpn.inner_blocks.1.0.weight"])
        config = json.loads((to / "config.json").read_text(encoding="utf-8"))
        assert config == {"in_channels": [12, 16, 20], "width": 8}
        assert "imported from" in (to / "README.md").read_text(encoding="utf-8")
    assert "note: in_channels_list has 3 numbers" in capsys.readouterr().err


def test_the_verb_prints_the_program_or_json_or_writes_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"neck = {TORCHVISION}\n", encoding="utf-8")
    assert run("import", file) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# FPN of torchvision, imported from mine.py\nwidth 8\n")
    assert err == "note: in_channels_list has 3 numbers, taken as c3..c5; --finest says otherwise\n"
    assert run("import", file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(told) == ["id", "in_channels", "neck", "notes"]
    assert told["neck"] == out
    assert run("import", file, "--to", tmp_path / "mine.neck") == 0
    assert (tmp_path / "mine.neck").read_text(encoding="utf-8") == out
    missing = ("--weights", tmp_path / "no.safetensors", "--to", tmp_path / "new")
    for wrong in (
        ("--to", tmp_path / "mine.neck"),
        ("--to", tmp_path / "no"),
        ("--weights", file),
        missing,
    ):
        assert run("import", file, *wrong) == 2


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(one) for one in arguments])
    return int(end.value.code or 0)


def alone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("backbone.fpn."): value for key, value in state.items()}


def test_a_neck_that_is_the_whole_file_needs_no_prefix() -> None:
    imported = imported_fpn()
    state = alone(detector())
    del state["head.conv.weight"]
    assert neck_with_weights(imported, parse(imported.text), state)[1] == ""


@pytest.mark.parametrize(
    "golden", ["weights_other", "weights_two", "weights_channels", "weights_shape", "weights_table"]
)
def test_messages(golden: str) -> None:
    imported, state = imported_fpn(), detector()
    if golden == "weights_other":
        state = {"conv.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}
    elif golden == "weights_two":
        state |= {f"ema.{key}": value for key, value in state.items()}
    elif golden == "weights_channels":
        imported = imported_fpn(TORCHVISION.replace("16", "24"))
    elif golden == "weights_shape":
        imported = imported_fpn(TORCHVISION.replace("8,", "9,"))
    else:
        imported = translate(
            "dict(type='BiFPN', num_stages=1, in_channels=[8,8,8], out_channels=4)"
        )
    with pytest.raises(RunError) as caught:
        neck_with_weights(imported, parse(imported.text), state, file="mine.pth")
    assert f"{caught.value}\n" == (GOLDEN / f"{golden}.txt").read_text(encoding="utf-8")


class _Anything:
    """What a checkpoint may hold beside tensors."""


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save({"state_dict": detector(), "meta": _Anything()}, path)
    with pytest.raises(RunError, match="it is not unpickled, which would run code"):
        read_checkpoint(path)
    for name in ("mine.pth", "mine.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(RunError, match=r"no safetensors|no weights alone"):
            read_checkpoint(tmp_path / name)
