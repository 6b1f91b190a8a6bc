"""Detections of a data set: in pixels of the stored images, and in a file that keeps them."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

from nas_fpn.detect import Detections
from nas_fpn.training import detect_all, read_detections, write_detections
from tests.training.toys import BOXES, Toy, dataset


def test_boxes_come_back_in_pixels_of_the_stored_image(tmp_path: Path) -> None:
    data = dataset(tmp_path, BOXES)
    model = Toy(offset=1)
    found = detect_all(model, data, image_size=120, batch_size=2, label_offset=1)
    assert found.image_ids.tolist() == [1, 2, 3, 4, 5]
    assert found.labels.tolist() == [0] * 5
    torch.testing.assert_close(found.boxes, torch.tensor([[1.0, 2.0, 10.0, 18.0]] * 5))
    assert model.training, "the mode is as it was"


def test_boxes_do_not_leave_the_image(tmp_path: Path) -> None:
    found = detect_all(Toy(), dataset(tmp_path, BOXES), image_size=24)
    assert found.boxes[0].tolist() == [5.0, 10.0, 50.0, 40.0]


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    data = dataset(tmp_path, BOXES)
    found = Detections(
        torch.tensor([1, 1, 4]),
        torch.rand(3, 4),
        torch.tensor([0.5, 0.25, 0.125]),
        torch.tensor([0, 1, 0]),
    )
    path = tmp_path / "d.safetensors"
    write_detections(path, found, categories=data.categories, split="test")
    again = read_detections(path)
    for name in ("image_ids", "boxes", "scores", "labels"):
        assert torch.equal(getattr(found, name), getattr(again, name))
    with safe_open(path, framework="pt") as file:
        notes = json.loads(file.metadata()["of"])
    assert notes["split"] == "test"
    assert notes["categories"][1] == {"id": 9, "name": "blue"}
