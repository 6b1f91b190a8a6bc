"""The images of a run: no image serves twice, and every split that was made is said."""

import json
from pathlib import Path

import pytest

from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError
from nas_fpn.proxy.settings import DataSettings
from nas_fpn.run.data import read_data

SMALL = DataSettings(shapes_train=4, shapes_val=2, shapes_test=2, shapes_warmup=3)


def paths(*datasets: Dataset | None) -> list[Path]:
    return [image.path for dataset in datasets if dataset is not None for image in dataset.images]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco") / "shapes"
    write_shapes(folder, seed=5, image_size=64, train=16, val=4, test=2, warmup=3)
    return folder


def test_the_embedded_scenes_come_with_all_four_splits(tmp_path: Path) -> None:
    data = read_data(SMALL, tmp_path, image_size=64, needs_warmup=True)
    sizes = [len(d.images) for d in (data.train, data.val, data.test) if d is not None]
    assert sizes == [4, 2, 2]
    assert data.warmup is not None
    assert len(data.warmup.images) == 3
    assert data.notes == ()
    assert read_data(SMALL, tmp_path, image_size=64, needs_warmup=False).warmup is None


def test_missing_splits_are_made_and_said(tmp_path: Path, coco: Path) -> None:
    settings = DataSettings(images=coco / "images", train=coco / "train.json")
    data = read_data(settings, tmp_path, image_size=64, needs_warmup=True)
    used = paths(data.train, data.val, data.test, data.warmup)
    assert len(used) == len(set(used)) == 16
    assert [note.split(":")[0] for note in data.notes] == ["val", "test", "warm-up"]


def test_with_weights_the_necks_train_on_all_of_train(tmp_path: Path, coco: Path) -> None:
    files = {split: coco / f"{split}.json" for split in ("train", "val", "test")}
    settings = DataSettings(images=coco / "images", **files)
    data = read_data(settings, tmp_path, image_size=64, needs_warmup=False)
    assert len(data.train.images) == 16
    assert data.warmup is None
    assert data.notes == ()


def test_the_same_seed_makes_the_same_splits(tmp_path: Path, coco: Path) -> None:
    def split(seed: int) -> list[Path]:
        settings = DataSettings(images=coco / "images", train=coco / "train.json", split_seed=seed)
        return paths(read_data(settings, tmp_path, image_size=64, needs_warmup=True).train)

    assert split(0) == split(0) != split(1)


def test_all_files_name_the_same_categories(tmp_path: Path, coco: Path) -> None:
    other = json.loads((coco / "val.json").read_text())
    other["categories"][0]["name"] = "something_else"
    (tmp_path / "val.json").write_text(json.dumps(other))
    settings = DataSettings(
        images=coco / "images", train=coco / "train.json", val=tmp_path / "val.json"
    )
    with pytest.raises(DataError, match="give all files the same list of categories"):
        read_data(settings, tmp_path, image_size=64, needs_warmup=False)


def test_no_image_serves_twice(tmp_path: Path, coco: Path) -> None:
    settings = DataSettings(
        images=coco / "images", train=coco / "train.json", warmup=coco / "train.json"
    )
    with pytest.raises(DataError, match=r"16 of its 16 images serve as train too"):
        read_data(settings, tmp_path, image_size=64, needs_warmup=True)


def test_what_is_left_out_is_said_without_the_place_of_the_images(
    tmp_path: Path, coco: Path
) -> None:
    document = json.loads((coco / "train.json").read_text())
    document["images"][0]["file_name"] = "gone.png"
    (tmp_path / "train.json").write_text(json.dumps(document))
    settings = DataSettings(images=coco / "images", train=tmp_path / "train.json", skip_bad=True)
    data = read_data(settings, tmp_path, image_size=64, needs_warmup=False)
    assert data.notes[0] == "train.json: 1 entries are left out (skip_bad)"
    assert data.notes[1].endswith("no such file gone.png")
