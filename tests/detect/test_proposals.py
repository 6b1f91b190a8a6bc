"""A file of proposals: read best first, and refused with every fault of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_fpn.detect.dataset import Category, Dataset, Image
from nas_fpn.detect.proposals import read_proposals, with_proposals
from nas_fpn.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
GOOD = {"image_id": 7, "bbox": [1, 2, 3, 4.5], "score": 0.5, "category_id": 3}


def written(folder: Path, document: Any) -> Path:
    path = folder / "proposals.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def data(*ids: int) -> Dataset:
    images = tuple(Image(one, Path(f"{one}.png"), 60, 40) for one in ids)
    none = tuple(np.zeros((0, 4), np.float32) for _ in ids)
    flat = tuple(np.zeros(0) for _ in ids)
    return Dataset(images, (Category(1, "fish"),), none, flat, flat, flat)


def test_boxes_are_corners_by_image_best_first(tmp_path: Path) -> None:
    better = {"image_id": 7, "bbox": [0, 0, 9, 9], "score": 2}
    other = {"image_id": 8, "bbox": [5, 5, 0, 0], "score": -1}
    read = read_proposals(written(tmp_path, [GOOD, other, better]))
    assert read.keys() == {7, 8}
    assert read[7].dtype == np.float32
    assert read[7].tolist() == [[0, 0, 9, 9], [1, 2, 4, 6.5]]
    assert read_proposals(written(tmp_path, [])) == {}


def test_an_image_may_have_none_and_one_that_is_unknown_is_no_matter(tmp_path: Path) -> None:
    boxes = read_proposals(written(tmp_path, [GOOD, GOOD | {"image_id": 99}]))
    proposed, without = with_proposals(data(6, 7), boxes, path=tmp_path, split="val")
    assert without == 1
    assert proposed.proposals is not None
    assert [len(one) for one in proposed.proposals] == [0, 1]


@pytest.mark.parametrize(
    ("form", "document"),
    [
        ("torn", '[{"image_id": 7,'),
        ("no_list", {"images": []}),
        (
            "faults",
            [
                GOOD,
                7,
                {"bbox": [1, 2, 3, 4], "score": 1},
                GOOD | {"image_id": "7"},
                GOOD | {"bbox": [1, 2, 3]},
                GOOD | {"bbox": [1, 2, None, 4]},
                GOOD | {"bbox": [5, 5, -1, 4]},
                GOOD | {"score": "high"},
            ],
        ),
        ("many_faults", [7] * 30),
    ],
)
def test_a_file_that_is_none_says_why(tmp_path: Path, form: str, document: Any) -> None:
    path = written(tmp_path, document)
    with pytest.raises(DataError) as fault:
        read_proposals(path)
    said = str(fault.value).replace(str(path), "proposals.json")
    assert f"{said}\n" == (GOLDEN / f"proposals_{form}.txt").read_text(encoding="utf-8")


def test_a_file_of_other_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as fault:
        with_proposals(data(1, 2), read_proposals(written(tmp_path, [GOOD])), path=Path("p.json"),
                       split="val")  # fmt: skip
    golden = GOLDEN / "proposals_other_images.txt"
    assert f"{fault.value}\n" == golden.read_text(encoding="utf-8")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: no such file; it must be a JSON list of"):
        read_proposals(tmp_path / "none.json")
