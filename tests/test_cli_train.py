"""``nas-fpn train`` and ``nas-fpn predict``: an ordinary training tool around any neck."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image as PILImage
from safetensors.torch import save_file

from nas_fpn.cli import main
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.settings import BackboneSettings

NECK = "width 16\np3..p4 = c3..c4 -> conv1\n"
FEW = (
    *("--steps", "2", "--batch-size", "2", "--image-size", "64"),
    *("--set", "training.evaluations=1", "--set", "detector.head_depth=1"),
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one verb."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_shapes(folder, seed=0, image_size=64, train=6, val=2, test=3, warmup=0)
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("trained") / "one"
    with pytest.raises(SystemExit):
        main(["train", "--neck", NECK, "--data", str(data), "--to", str(to), *FEW])
    return to


def asked(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "job.json").read_text()))


def test_it_tells_losses_and_ends_with_the_coco_table(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    to = tmp_path / "one"
    code, out, err = run(
        capsys, "train", "--neck", NECK, "--data", str(data), "--to", str(to), *FEW
    )
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[:2] == ["reading the data", "training"]
    assert rows[2].startswith("step      2  loss ") and "  ap " in rows[2]
    assert "AP    AP50    AP75     APs     APm     APl" in out
    assert out.count("plain disc") == 1
    assert rows[-1] == f"{to} is written"


def test_the_same_command_reads_what_is_done(
    capsys: pytest.CaptureFixture[str], trained: Path, data: Path
) -> None:
    same = ("train", "--neck", NECK, "--data", str(data), "--to", str(trained), *FEW)
    code, out, _ = run(capsys, *same)
    assert code == 0 and "training" not in out and "AP50" in out
    code, out, _ = run(capsys, *same, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((trained / "metrics.json").read_text())
    code, _, err = run(capsys, *same, "--seed", "1")
    assert code == 2 and "seed: 0 there, 1 asked" in err


def test_a_neck_has_many_names(
    capsys: pytest.CaptureFixture[str], trained: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.neck"
    file.write_text(NECK)
    exported = trained / "neck"
    names = {
        "file": ("--neck", str(file)),
        "folder": ("--neck", str(exported)),
        "source": ("--neck", str(exported / "neck.py")),
        "weights": ("--init", str(exported)),
    }
    programs = set()
    for name, given in names.items():
        to = tmp_path / name
        code, _, err = run(capsys, "train", *given, "--data", str(data), "--to", str(to), *FEW)
        assert (code, err) == (0, "")
        programs.add(asked(to)["neck"])
    assert programs == {asked(trained)["neck"]}
    assert asked(tmp_path / "weights")["init"] == str(exported)


def test_a_shipped_neck_is_fitted_and_a_run_gives_the_settings(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(
        f'[data]\nimages = "{data}/images"\ntrain = "{data}/train.json"\n'
        f'val = "{data}/val.json"\ntest = "{data}/test.json"\n'
        '[detector]\nkind = "retinanet"\nhead_depth = 0\n[training]\nsteps = 9\nema = 0.5\n'
    )
    to = tmp_path / "to"
    given = ("--neck", "fpn", "--width", "16", "--levels", "3-4", "--run", str(tmp_path))
    code, _, err = run(
        capsys,
        *("train", *given, "--to", str(to), "--steps", "1", "--image-size", "64"),
        *("--set", "training.batch_size=2"),
    )
    assert (code, err) == (0, "")
    job = asked(to)
    assert "\nwidth 16\n" in str(job["neck"]) and "\np5 =" not in str(job["neck"])
    assert job["detector"]["kind"] == "retinanet"  # type: ignore[index]
    training = job["training"]
    assert (training["steps"], training["ema"]) == (1, 0.5)  # type: ignore[index]


def test_the_backbone_of_a_run_is_taken_as_it_warmed_it_up(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("")
    bank = tmp_path / "bank"
    bank.mkdir()
    net = build_backbone(BackboneSettings(), (3, 4), seed=3).net
    save_file(net.state_dict(), bank / "backbone-1.safetensors")
    to = tmp_path / "to"
    given = ("train", "--neck", NECK, "--run", str(tmp_path), "--data", str(data), *FEW)
    code, out, err = run(capsys, *given, "--to", str(to))
    assert (code, err) == (0, "")
    assert "backbone: from backbone-1.safetensors, warmed up in a run\n" in out
    code, out, err = run(capsys, *given, "--to", str(tmp_path / "new"), "--weights", "none")
    assert code == 0 and "warmed up" not in out
    (bank / "backbone-2.safetensors").touch()
    code, _, err = run(capsys, *given, "--to", str(tmp_path / "other"))
    assert code == 2 and "backbones of several settings" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "no neck is named"),
        (("--neck", "fnp"), "did you mean 'fpn'"),
        (("--neck", "p3 = c3 -> conf3"), "--neck:1:12"),
        (("--neck", "fpn", "--detector", "yolo"), "detector.kind"),
        (("--neck", "fpn", "--steps", "0"), "training.steps = 0"),
        (("--neck", "fpn", "--set", "training.emma=1"), "did you mean 'ema'?"),
        (("--neck", "fpn", "--set", "proxy.steps=1"), "a training has no table 'proxy'"),
        (("--neck", "fpn", "--set", "ema=1"), "must be TABLE.KEY=VALUE"),
        (("--neck", "fpn", "--levels", "3to5"), "must be two levels"),
        (("--neck", "neck.py"), "no neck.neck beside it"),
        (("--neck", "fpn", "--images", "here"), "--images is for --data"),
        (("--neck", "fpn", "--data", "nowhere"), "no such file or folder"),
    ],
)
def test_wrong_input_is_a_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, "train", *given, "--to", str(tmp_path / "to"))
    assert code == 2 and message in err and "Traceback" not in err
    assert out == "" and not (tmp_path / "to").exists()


def test_training_that_diverges_has_failed(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    wild = ("--learning-rate", "1e30", "--set", "training.warmup=0", "--set", "training.clip=1e30")
    code, _, err = run(
        capsys,
        *("train", "--neck", NECK, "--data", str(data), "--to", str(tmp_path / "to")),
        *(*FEW, "--steps", "4", *wild),
    )
    assert code == 1
    assert "not finite from step" in err and "try a learning_rate below 1e+30" in err


def test_predict_draws_boxes_with_names(
    capsys: pytest.CaptureFixture[str], trained: Path, data: Path, tmp_path: Path
) -> None:
    pictures = sorted(str(path) for path in (data / "images").glob("test_*.png"))[:2]
    code, out, err = run(
        capsys, "predict", str(trained), *pictures, "--to", str(tmp_path), "--threshold", "0"
    )
    assert (code, err) == (0, "")
    for picture in pictures:
        drawn = tmp_path / Path(picture).name
        assert f"{drawn}: " in out
        with PILImage.open(drawn) as one, PILImage.open(picture) as other:
            assert one.size == other.size
            assert one.tobytes() != other.convert("RGB").tobytes()


def test_predict_prints_json_of_what_reaches_the_threshold(
    capsys: pytest.CaptureFixture[str], trained: Path, data: Path
) -> None:
    picture = str(data / "images" / "test_00001.png")
    code, out, _ = run(capsys, "predict", str(trained), picture, "--json", "--threshold", "0")
    assert code == 0
    (row,) = json.loads(out)
    assert row["image"] == picture
    found = row["detections"]
    assert found and set(found[0]) == {"class", "score", "box"}
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    middle = scores[len(scores) // 2]
    code, out, _ = run(
        capsys, "predict", str(trained), picture, "--json", "--threshold", str(middle)
    )
    kept = json.loads(out)[0]["detections"]
    assert kept and all(one["score"] >= middle for one in kept)


def test_predict_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path
) -> None:
    code, _, err = run(capsys, "predict", str(trained), "x.png")
    assert code == 2 and "--to FOLDER for pictures" in err
    code, _, err = run(capsys, "predict", str(tmp_path), "x.png", "--json")
    assert code == 2 and "detector.py: no such file" in err
    (tmp_path / "best" / "detector").mkdir(parents=True)
    (tmp_path / "best" / "detector" / "detector.py").touch()
    code, _, err = run(capsys, "predict", str(tmp_path / "best"), "x.png", "--json")
    assert code == 2 and f"name it: {tmp_path / 'best' / 'detector'}\n" in err
    code, _, err = run(capsys, "predict", str(trained), str(tmp_path / "x.png"), "--json")
    assert (
        code == 2 and err == f"{tmp_path / 'x.png'}: no such file\nname a picture that is there\n"
    )
    (tmp_path / "x.png").write_bytes(b"no picture")
    code, _, err = run(capsys, "predict", str(trained), str(tmp_path / "x.png"), "--json")
    assert code == 2 and "cannot be decoded" in err
    code, _, err = run(capsys, "predict", str(trained), "a/x.png", "b/x.png", "--json")
    assert code == 2 and "two pictures have one name" in err


def test_predict_draws_over_no_picture(
    capsys: pytest.CaptureFixture[str], trained: Path, data: Path, tmp_path: Path
) -> None:
    first, second = sorted((data / "images").glob("test_*.png"))[:2]
    shutil.copyfile(first, tmp_path / "a.png")
    shutil.copyfile(second, tmp_path / "b.png")
    before = (tmp_path / "a.png").read_bytes()
    pictures = [str(tmp_path / name) for name in ("b.png", "a.png")]
    (tmp_path / "c").mkdir()
    code, _, err = run(
        capsys, "predict", str(trained), *pictures, "--to", str(tmp_path / "c" / "..")
    )
    drawing = tmp_path / "c" / ".." / "b.png"
    said = f"{drawing}: is one of the pictures\n--to names another folder\n"
    assert (code, err) == (2, said)
    assert (tmp_path / "a.png").read_bytes() == before


def test_predict_draws_what_a_fast_rcnn_finds_in_the_boxes_it_is_given(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    boxes: dict[str, str] = {}
    for split in ("train", "val", "test"):
        rows = json.loads((data / f"{split}.json").read_text())["annotations"]
        given = [{"image_id": one["image_id"], "bbox": one["bbox"], "score": 1} for one in rows]
        boxes[split] = str(tmp_path / f"{split}-boxes.json")
        Path(boxes[split]).write_text(json.dumps(given))
    to = tmp_path / "fast"
    code, _, err = run(
        capsys,
        *("train", "--detector", "fast_rcnn", "--neck", NECK, "--data", str(data), "--to", str(to)),
        *(word for path in boxes.values() for word in ("--proposals", path)),
        *(*FEW[:-2], "--set", "detector.box_width=32"),
    )
    assert (code, err) == (0, "")
    pictures = sorted(str(path) for path in (data / "images").glob("test_*.png"))
    asked = ("predict", str(to), *pictures, "--threshold", "0")
    whose = ("--proposals", boxes["test"], "--data", str(data / "test.json"))
    code, out, err = run(capsys, *asked, *whose, "--to", str(tmp_path / "drawn"))
    assert (code, err) == (0, "")
    assert all((tmp_path / "drawn" / Path(picture).name).is_file() for picture in pictures)
    few = json.loads(Path(boxes["test"]).read_text())
    Path(boxes["test"]).write_text(json.dumps([row for row in few if row == few[0]]))
    code, out, err = run(capsys, *asked, *whose, "--json")
    assert code == 0 and "no proposals for 2 of the 3 pictures, so nothing is found there: " in err
    assert [bool(row["detections"]) for row in json.loads(out)] == [True, False, False]
    code, _, err = run(capsys, *asked, "--json")
    assert code == 2 and "give --proposals BOXES.json" in err


def test_fast_rcnn_is_told_at_once_which_proposals_it_lacks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ("train", "--detector", "fast_rcnn", "--neck", NECK, "--to", str(tmp_path / "to"))
    code, _, err = run(capsys, *asked)
    assert code == 2 and "no train_proposals, val_proposals, test_proposals" in err
    code, _, err = run(capsys, *asked, "--proposals", str(tmp_path / "none.json"))
    assert code == 2 and "no val_proposals, test_proposals" in err
    given = [word for at in range(3) for word in ("--proposals", str(tmp_path / f"{at}.json"))]
    code, _, err = run(capsys, *asked, *given)
    assert code == 2 and f"{tmp_path / '0.json'}: no such file; train_proposals in [data]" in err
    code, _, err = run(capsys, *asked, *given, "--proposals", "more.json")
    assert code == 2 and "--proposals: 4 files; give those of train, val and test" in err
    assert not (tmp_path / "to").exists()
