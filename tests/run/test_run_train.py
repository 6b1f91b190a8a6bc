"""A job of training: its folder, its resumption, and the detector without this package."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas_fpn.detect import DetectorSettings, average_precision
from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.dataset import to_coco
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import RunError
from nas_fpn.language import identity, read_neck
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import Report
from nas_fpn.run.leave import detector_source
from nas_fpn.run.train import TrainJob, run_train
from nas_fpn.run.train_log import TrainLog
from nas_fpn.training import TrainingSettings, read_detections

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
NECK = "width 32\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4) -> conv3 bn\n"
OWN = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.c3 = nn.Conv2d(width, width, 2, stride=2)
        self.c4 = nn.Conv2d(width, width, 2, stride=2)

    def forward(self, images):
        c3 = self.c3(self.stem(images).relu())
        return {"three": c3, "four": self.c4(c3.relu())}

def build(width=8):
    return Mine(width)
"""
FILES = {
    "config.json",
    "detections-test.safetensors",
    "detector.py",
    "job.json",
    "log.jsonl",
    "metrics.json",
    "model.safetensors",
    "neck",
    "tensorboard",
}
SMALL = {"proposals_train": 50, "proposals_test": 30, "box_width": 32, "box_samples": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    folder = tmp_path_factory.mktemp("scenes")
    write_shapes(folder, seed=0, image_size=64, train=10, val=3, test=4, warmup=0)
    files = {split: folder / f"{split}.json" for split in ("train", "val", "test")}
    return DataSettings(images=folder / "images", **files)


def job(folder: Path, data: DataSettings, **changes: Any) -> TrainJob:
    plain = TrainJob(
        folder=folder,
        neck=NECK,
        detector=DetectorSettings(head_depth=1, score_threshold=0.0),
        training=TrainingSettings(
            image_size=64, steps=6, batch_size=2, evaluations=2, checkpoint_steps=2
        ),
        backbone=BackboneSettings(),
        data=data,
    )
    return replace(plain, **changes)


def reports(one: TrainJob) -> list[Report]:
    return [event for event in run_train(one) if isinstance(event, Report)]


@pytest.fixture(scope="module")
def trained(data: DataSettings, tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    one = job(tmp_path_factory.mktemp("trained") / "fcos", data)
    reports(one)
    return one


def test_the_folder_holds_the_neck_the_detector_and_what_it_scored(trained: TrainJob) -> None:
    folder = trained.folder
    assert {path.name for path in folder.iterdir()} == FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["neck"] == identity(read_neck(folder / "neck" / "neck.neck"))
    assert (metrics["split"], metrics["images"], metrics["steps"]) == ("test", 4, 6)
    assert set(metrics["boxes"]) == set(json.loads((folder / "config.json").read_text())["classes"])
    log = [json.loads(row) for row in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in log] == [2, 3, 4, 6]
    assert "ap" in log[-1]["scores"] and "loss" in log[-1]["scores"]
    assert (folder / "neck" / "features.safetensors").is_file()


def test_the_detections_give_the_scores(trained: TrainJob) -> None:
    found = read_detections(trained.folder / "detections-test.safetensors")
    assert trained.data.test is not None and trained.data.images is not None
    held_out, _ = read_coco(trained.data.test, trained.data.images)
    scores = average_precision(to_coco(held_out), found, categories=held_out.categories)
    assert scores == json.loads((trained.folder / "metrics.json").read_text())["scores"]


def test_the_exported_neck_has_the_weights_of_the_detector(trained: TrainJob) -> None:
    whole = load_file(trained.folder / "model.safetensors")
    for name, value in load_file(trained.folder / "neck" / "model.safetensors").items():
        assert torch.equal(value, whole[f"backbone.neck.{name}"])


def test_a_job_that_is_done_is_read_not_trained(trained: TrainJob) -> None:
    (again,) = list(run_train(trained))
    assert isinstance(again, Report)
    assert again.scores == json.loads((trained.folder / "metrics.json").read_text())["scores"]


def test_a_killed_job_goes_on_to_the_same_folder(
    trained: TrainJob, data: DataSettings, tmp_path: Path
) -> None:
    one = job(tmp_path / "killed", data)
    killed = run_train(one)
    for event in killed:
        if isinstance(event, Report) and event.steps == 4:
            break
    killed.close()  # type: ignore[attr-defined]
    assert not (one.folder / "metrics.json").exists()
    assert [report.steps for report in reports(one)] == [6, 6]
    for name in ("model.safetensors", "neck/model.safetensors", "detections-test.safetensors"):
        assert (one.folder / name).read_bytes() == (trained.folder / name).read_bytes(), name
    logs = [
        [json.loads(row) for row in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (one.folder, trained.folder)
    ]
    for mine, whole in zip(*logs, strict=True):
        assert {**mine, "seconds": 0} == {**whole, "seconds": 0}


def test_a_log_that_is_taken_up_knows_how_long_it_was_at_work(tmp_path: Path) -> None:
    log = TrainLog(tmp_path / "one", {"seed": 0})
    assert log.seconds == 0.0
    log.write(Report(4, {"loss": 1.0}, 12.5))
    assert TrainLog(tmp_path / "one", {"seed": 0}).seconds == 12.5


def test_a_folder_keeps_its_question(trained: TrainJob) -> None:
    other = replace(
        trained,
        seed=3,
        neck=NECK.replace("bn", "gn"),
        training=trained.training.model_copy(update={"steps": 9}),
    )
    with pytest.raises(RunError) as error:
        reports(other)
    message = str(error.value).replace(str(trained.folder), "FOLDER")
    assert f"{message}\n" == (GOLDEN / "train_other.txt").read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_left_alone(data: DataSettings, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match="holds something else"):
        reports(job(tmp_path, data))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_neck_starts_from_exported_weights_and_their_statistics(
    trained: TrainJob, data: DataSettings, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    weights = load_file(trained.folder / "neck" / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, start / "model.safetensors")
    statistics = load_file(trained.folder / "neck" / "features.safetensors")
    moved = {name: value + 0.5 for name, value in statistics.items()}
    save_file(moved, start / "features.safetensors")
    slow = trained.training.model_copy(update={"learning_rate": 1e-12, "steps": 2})
    one = job(tmp_path / "again", data, init=start, training=slow)
    reports(one)
    for name, value in load_file(one.folder / "neck" / "model.safetensors").items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(value, weights[name] + 1)
    (said,) = json.loads((one.folder / "metrics.json").read_text())["notes"]
    assert said.startswith("init: ") and "began without any" in said
    again = load_file(one.folder / "neck" / "features.safetensors")
    assert all(torch.equal(again[name], value) for name, value in moved.items())


def test_every_pass_of_a_recursive_detector_learns_at_the_rate_of_the_backbone(
    data: DataSettings, tmp_path: Path
) -> None:
    settings = BackboneSettings(name="resnet10t")
    weights = build_backbone(settings, (3, 4, 5), seed=9).net.state_dict()
    save_file(weights, tmp_path / "backbone.safetensors")
    one = job(
        tmp_path / "one",
        data,
        neck="width 8\np3..p5 = c3..c5 -> conv1\n",
        backbone=settings,
        warmed=tmp_path / "backbone.safetensors",
        detector=DetectorSettings(head_depth=1, recursive_steps=2, recursive_width=8),
        training=TrainingSettings(
            image_size=64, steps=1, batch_size=2, evaluations=1, backbone_rate=0.0
        ),
    )
    reports(one)
    whole = load_file(one.folder / "model.safetensors")
    for step in (0, 1):
        prefix = f"backbone.recursive.backbones.{step}.net."
        kept = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
        assert kept.keys() >= {"conv1.0.weight", "layer3.0.conv1.weight"}
        assert all(torch.equal(v, weights[k]) for k, v in kept.items() if k in weights)


def test_a_backbone_starts_as_a_run_warmed_it_up(data: DataSettings, tmp_path: Path) -> None:
    net = build_backbone(BackboneSettings(), (3, 4, 5), seed=9).net
    path = tmp_path / "backbone-0.safetensors"
    save_file(net.state_dict(), path)
    still = TrainingSettings(image_size=64, steps=1, batch_size=2, evaluations=1, backbone_rate=0.0)
    one = job(tmp_path / "one", data, warmed=path, training=still)
    reports(one)
    (said,) = json.loads((one.folder / "metrics.json").read_text())["notes"]
    assert said == "backbone: from backbone-0.safetensors, warmed up in a run"
    prefix = "backbone.body.backbone.net."
    kept = {k: v for k, v in load_file(one.folder / "model.safetensors").items() if prefix in k}
    assert kept
    for name, value in kept.items():
        assert torch.equal(value, net.state_dict()[name.removeprefix(prefix)])


def test_a_training_killed_before_its_question_was_whole_begins(
    data: DataSettings, tmp_path: Path
) -> None:
    one = job(tmp_path / "one", data)
    one.folder.mkdir()
    (one.folder / "job.partial").write_text('{"neck": ')
    next(iter(run_train(one)))
    assert (one.folder / "job.json").is_file()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(RunError, match="holds something else"):
        next(iter(run_train(job(tmp_path / "other", data))))


def test_weights_of_another_neck_are_refused(
    trained: TrainJob, data: DataSettings, tmp_path: Path
) -> None:
    wide = job(tmp_path / "wide", data, neck=NECK.replace("32", "64"), init=trained.folder / "neck")
    with pytest.raises(RunError) as error:
        reports(wide)
    message = str(error.value).replace(str(trained.folder), "FOLDER")
    assert f"{message}\n" == (GOLDEN / "train_init.txt").read_text(encoding="utf-8")


def test_equal_settings_give_equal_source() -> None:
    source = detector_source(DetectorSettings(head_depth=1))
    assert source == detector_source(DetectorSettings(head_depth=1))
    assert "import nas_fpn" not in source and "from nas_fpn" not in source
    compile(source, "detector.py", "exec")


def boxes_elsewhere(folder: Path, pictures: Path) -> list[Any]:
    """What ``detector.py`` finds in an interpreter that cannot import this package."""
    program = Path(__file__).parent / "elsewhere.py"
    command = [sys.executable, "-I", str(program), str(folder), str(pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_same_boxes_elsewhere(one: TrainJob) -> None:
    assert one.data.test is not None and one.data.images is not None
    held_out, _ = read_coco(one.data.test, one.data.images)
    found = read_detections(one.folder / "detections-test.safetensors")
    assert len(found.scores), "nothing was found, so nothing is compared"
    theirs = boxes_elsewhere(one.folder, one.data.images)
    for image in held_out.images:
        rows = found.image_ids == image.id
        other = {name: torch.tensor(value) for name, value in theirs[image.path.name].items()}
        mine = torch.cat((found.boxes, 1e3 * found.scores[:, None]), 1)[rows]
        yours = torch.cat((other["boxes"], 1e3 * other["scores"][:, None]), 1)
        assert mine.shape == yours.shape
        apart = (mine[:, None] - yours).abs().amax(2)  # [n, n]: pixels, or thousandths of a score
        apart += 1e3 * (found.labels[rows][:, None] != other["labels"])
        assert apart.amin(0).max() < 0.02 and apart.amin(1).max() < 0.02


def test_a_fresh_interpreter_without_this_package_finds_the_same_boxes(trained: TrainJob) -> None:
    assert_same_boxes_elsewhere(trained)


@pytest.mark.slow
def test_an_own_backbone_goes_along(data: DataSettings, tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(OWN)
    one = job(tmp_path / "one", data, backbone=BackboneSettings(name=f"{own}:build"))
    reports(one)
    own.unlink()
    assert_same_boxes_elsewhere(one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "backbone"),
    [
        ({"kind": "retinanet", "head_depth": 1}, "mobilenetv3_small_050"),
        ({"kind": "ssd"}, "mobilenetv3_small_050"),
        ({"kind": "faster_rcnn", **SMALL}, "mobilenetv3_small_050"),
        ({"kind": "faster_rcnn", **SMALL, "roi": "soft"}, "mobilenetv3_small_050"),
        ({"kind": "faster_rcnn", **SMALL, "consistent": 0.25}, "mobilenetv3_small_050"),
        ({"kind": "fcos", "head_depth": 1, "tower": "coupled"}, "resnet10t"),
        ({"kind": "fcos", "head_depth": 1, "switchable": True}, "resnet10t"),
        ({"kind": "fcos", "head_depth": 1, "recursive_steps": 2}, "resnet10t"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_other_detectors_leave_too(
    options: dict[str, Any], backbone: str, data: DataSettings, tmp_path: Path
) -> None:
    one = job(
        tmp_path / "one",
        data,
        neck=NECK.replace("c3..c4", "c4..c5").replace("p4", "p5").replace("p3", "p4"),
        detector=DetectorSettings(score_threshold=0.0, **options),
        backbone=BackboneSettings(name=backbone),
        training=TrainingSettings(image_size=96, steps=2, batch_size=2, evaluations=1),
    )
    reports(one)
    assert_same_boxes_elsewhere(one)
