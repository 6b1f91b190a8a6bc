"""The embedded data is deterministic, reads without fault, and never writes over a user's files."""

import json
from pathlib import Path

import numpy as np
import pytest

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.scenes import CLASSES, draw_scene
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError

SPLITS = ("train", "val", "test", "warmup")


def write_small(folder: Path, *, seed: int = 0, train: int = 4) -> None:
    write_shapes(folder, seed=seed, image_size=64, train=train, val=3, test=2, warmup=3)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    write_small(tmp_path / "one")
    write_small(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_and_another_split_draw_other_scenes(tmp_path):
    write_small(tmp_path / "zero", seed=0)
    write_small(tmp_path / "one", seed=1)
    pictures = [
        data
        for folder in ("zero", "one")
        for name, data in contents(tmp_path / folder).items()
        if name.endswith(".png")
    ]
    assert len(set(pictures)) == len(pictures)


def test_a_split_does_not_depend_on_the_size_of_another(tmp_path):
    write_small(tmp_path / "four", train=4)
    write_small(tmp_path / "five", train=5)
    four, five = contents(tmp_path / "four"), contents(tmp_path / "five")
    assert [name for name, data in four.items() if five[name] != data] == [
        "shapes.json",
        "train.json",
    ]


def test_what_is_written_reads_without_fault(tmp_path):
    write_small(tmp_path)
    for split, count in zip(SPLITS, (4, 3, 2, 3), strict=True):
        dataset, skipped = read_coco(tmp_path / f"{split}.json", tmp_path / "images")
        assert skipped == ()
        assert len(dataset.images) == count
        assert tuple(category.name for category in dataset.categories) == CLASSES


def test_without_warmup_there_is_no_warmup_file(tmp_path):
    write_shapes(tmp_path, seed=0, image_size=64, train=1, val=1, test=1, warmup=0)
    assert not (tmp_path / "warmup.json").exists()


def test_a_whole_folder_is_left_as_it_is(tmp_path):
    write_small(tmp_path)
    (tmp_path / "train.json").write_text("edited by hand")
    write_small(tmp_path)
    assert (tmp_path / "train.json").read_text() == "edited by hand"


def test_an_unfinished_folder_is_written_again(tmp_path):
    write_small(tmp_path)
    whole = contents(tmp_path)
    mark = json.loads(whole["shapes.json"])
    (tmp_path / "shapes.json").write_text(json.dumps({**mark, "complete": False}))
    (tmp_path / "val.json").unlink()
    write_small(tmp_path)
    assert contents(tmp_path) == whole


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"not empty and has no shapes\.json"):
        write_small(tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}
    with pytest.raises(DataError, match="is a file"):
        write_small(tmp_path / "thesis.txt")


def test_a_folder_of_other_shapes_is_refused(tmp_path):
    write_small(tmp_path, seed=3)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=r"other settings \(seed, train: 3, 4, not 5, 6\)"):
        write_small(tmp_path, seed=5, train=6)
    (tmp_path / "shapes.json").write_text("{")
    with pytest.raises(DataError, match=r"shapes\.json: cannot be read"):
        write_small(tmp_path, seed=3)
    (tmp_path / "shapes.json").write_bytes(before["shapes.json"])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"image_size": 32}, {"val": 0}, {"warmup": -1}, {"seed": -1}])
def test_wrong_arguments_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        write_shapes(tmp_path / "new", **{"seed": 0, **wrong})
    assert not (tmp_path / "new").exists()


def test_images_too_small_for_scenes_are_wrong_data(tmp_path):
    with pytest.raises(DataError, match="64 at least for the embedded scenes, but got 32"):
        write_shapes(tmp_path, seed=0, image_size=32)


@pytest.mark.parametrize("image_size", [64, 128, 200])
def test_objects_span_the_promised_sizes_and_all_classes(image_size):
    scenes = [draw_scene(np.random.default_rng((9, i)), image_size) for i in range(40)]
    boxes = np.concatenate([scene.boxes for scene in scenes])
    labels = np.concatenate([scene.labels for scene in scenes])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= image_size).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert sides.max() <= image_size * 0.75  # a stretched half
    assert sides.max() >= image_size * 0.4
    small = (sides < 20).mean()
    assert 0.2 < small < 0.7
    assert set(labels.tolist()) == set(range(len(CLASSES)))
    assert all(scene.image.shape == (image_size, image_size, 3) for scene in scenes)


def test_areas_fill_their_boxes_in_part():
    scene = draw_scene(np.random.default_rng(0), 128)
    sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
    assert (scene.areas > 0).all()
    assert (scene.areas <= sides.prod(axis=1)).all()
