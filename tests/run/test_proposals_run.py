"""A Fast R-CNN trained on given proposals: end to end, split by split, and what it refuses."""

import importlib.util
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nas_fpn.detect import Detections, DetectorSettings
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError, RunError
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.run.data import read_data
from nas_fpn.run.predict import found_in, kind_of, load_detector
from nas_fpn.run.predict_proposals import proposals_for
from nas_fpn.run.proposals import proposal_hashes, proposed
from nas_fpn.run.train import TrainJob, run_train
from nas_fpn.training import TrainingSettings, read_detections

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
NECK = "width 32\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4) -> conv3 bn\n"
FAST = DetectorSettings(kind="fast_rcnn", box_width=32, box_samples=32, score_threshold=0.0)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    """Scenes, and proposals: each object, moved by a little, and boxes of nothing."""
    folder = tmp_path_factory.mktemp("scenes")
    write_shapes(folder, seed=0, image_size=64, train=10, val=3, test=4, warmup=0)
    chance = random.Random(0)
    files: dict[str, Any] = {"images": folder / "images"}
    for split in SPLITS:
        files[split] = folder / f"{split}.json"
        document = json.loads(files[split].read_text())
        rows = []
        for one in document["annotations"]:
            box = [side + chance.uniform(-1, 1) for side in one["bbox"]]
            rows.append((one["image_id"], box, 1.0))
        for image in document["images"]:
            at = [chance.uniform(0, 30), chance.uniform(0, 30)]
            rows += [(image["id"], [*at, 20.0, 20.0], chance.random()) for _ in range(5)]
        given = [
            {"image_id": image, "category_id": 1, "bbox": box, "score": score}
            for image, box, score in rows
        ]
        files[f"{split}_proposals"] = folder / f"{split}-proposals.json"
        files[f"{split}_proposals"].write_text(json.dumps(given))
    return DataSettings(**files)


def job(folder: Path, data: DataSettings, **changes: Any) -> TrainJob:
    plain = TrainJob(
        folder=folder,
        neck=NECK,
        detector=FAST,
        training=TrainingSettings(image_size=64, steps=4, batch_size=2, evaluations=1),
        backbone=BackboneSettings(),
        data=data,
    )
    return replace(plain, **changes)


def trained(one: TrainJob) -> None:
    for _ in run_train(one):
        pass


@pytest.mark.parametrize("consistent", [0.0, 0.25])
def test_it_is_trained_and_scored_on_its_proposals(
    data: DataSettings, tmp_path: Path, consistent: float
) -> None:
    detector = FAST.model_copy(update={"consistent": consistent})
    trained(job(tmp_path / "fast", data, detector=detector))
    folder = tmp_path / "fast"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["detector"] == "fast_rcnn" and "ap" in metrics["scores"]
    found = read_detections(folder / "detections-test.safetensors")
    assert len(found.boxes)
    losses = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["scores"]
    assert ("loss/loss_auxiliary_classifier" in losses) == bool(consistent)
    assert not any("rpn" in name for name in losses)
    told = detected_alone(folder, data)
    assert len(told["boxes"])
    image = json.loads(data.test.read_text())["images"][0]["id"]  # type: ignore[union-attr]
    torch.testing.assert_close(told["boxes"], found.boxes[found.image_ids == image])
    predicted_as_it_was_scored(folder, data, found)


def predicted_as_it_was_scored(folder: Path, data: DataSettings, found: Detections) -> None:
    assert data.test is not None
    images = json.loads(data.test.read_text())["images"]
    pictures = [Path(str(data.images)) / image["file_name"] for image in images]
    given = proposals_for(
        pictures,
        kind=kind_of(folder),
        folder=folder,
        proposals=data.test_proposals,
        data=data.test,
    )
    assert given is not None and not given.without
    detector = load_detector(folder)
    for image, picture, boxes in zip(images, pictures, given.boxes, strict=True):
        rows = found_in(detector, picture, threshold=0, proposals=boxes)["detections"]
        own = found.boxes[found.image_ids == image["id"]]
        torch.testing.assert_close(
            torch.tensor([row["box"] for row in rows]), own, atol=0.06, rtol=0
        )
    none = found_in(detector, pictures[0], threshold=0, proposals=boxes[:0])
    assert none["detections"] == []


def detected_alone(folder: Path, data: DataSettings) -> dict[str, torch.Tensor]:
    """What the ``detector.py`` of a folder finds in the first image of test."""
    assert data.test is not None and data.test_proposals is not None and data.images is not None
    image = json.loads(data.test.read_text())["images"][0]
    boxes = [
        [x, y, x + width, y + height]
        for one in json.loads(data.test_proposals.read_text())
        if one["image_id"] == image["id"]
        for x, y, width, height in [one["bbox"]]
    ]
    spec = importlib.util.spec_from_file_location("detector_alone", folder / "detector.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    picture = Path(str(data.images)) / image["file_name"]
    found: dict[str, torch.Tensor] = module.detect(module.load(), picture, torch.tensor(boxes))
    return found


def test_a_split_that_is_split_off_reads_the_file_it_is_taken_from(
    data: DataSettings, tmp_path: Path
) -> None:
    alone = {"val": None, "test": None, "val_proposals": None, "test_proposals": None}
    settings = data.model_copy(update=alone)
    given = proposed(read_data(settings, tmp_path, image_size=64, needs_warmup=False), settings)
    for split in SPLITS:
        assert all(map(len, getattr(given, split).proposals)), split
    assert len(set(proposal_hashes(FAST, settings).values())) == 1
    assert proposal_hashes(DetectorSettings(), settings) == {}


def test_images_without_proposals_are_said(data: DataSettings, tmp_path: Path) -> None:
    assert data.val is not None
    few = tmp_path / "few.json"
    first = json.loads(data.val.read_text())["images"][0]["id"]
    few.write_text(json.dumps([{"image_id": first, "bbox": [1, 1, 9, 9], "score": 1}]))
    settings = data.model_copy(update={"val_proposals": few})
    given = proposed(read_data(settings, tmp_path, image_size=64, needs_warmup=False), settings)
    assert given.notes[-1] == "proposals: 2 of the 3 images of val have none"


def test_without_proposals_it_is_refused_before_a_folder_is_made(
    data: DataSettings, tmp_path: Path
) -> None:
    settings = data.model_copy(update={"val_proposals": None, "test_proposals": None})
    with pytest.raises(RunError) as fault:
        trained(job(tmp_path / "fast", settings))
    golden = GOLDEN / "train_no_proposals.txt"
    assert f"{fault.value}\n" == golden.read_text(encoding="utf-8")
    gone = data.model_copy(update={"val_proposals": tmp_path / "none.json"})
    with pytest.raises(DataError, match=r"val_proposals in \[data\] names it"):
        trained(job(tmp_path / "fast", gone))
    assert not (tmp_path / "fast").exists()


def test_a_training_does_not_go_on_with_other_proposals(data: DataSettings, tmp_path: Path) -> None:
    assert data.val_proposals is not None
    mine = tmp_path / "mine.json"
    mine.write_bytes(data.val_proposals.read_bytes())
    one = job(tmp_path / "fast", data.model_copy(update={"val_proposals": mine}))
    next(iter(run_train(one)))
    mine.write_text(json.dumps(json.loads(mine.read_text())[:-1]))
    with pytest.raises(RunError, match=r"holds another training\n  proposals\.val: "):
        trained(one)


def test_proposals_of_a_split_that_is_no_file_are_refused(data: DataSettings) -> None:
    with pytest.raises(ValidationError, match="val_proposals belongs to val, which is split off"):
        DataSettings(**data.model_dump() | {"val": None})
