"""Which proposals are whose: by id through a COCO JSON, by name without, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from nas_fpn.errors import DataError, RunError
from nas_fpn.run.predict_proposals import Given, proposals_for

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
SIZE = (60, 40)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Three pictures, of which two have one name in two folders."""
    paths = [tmp_path / "images" / name for name in ("fish.png", "deep/fish.png", "ray.png")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", SIZE).save(path)
    return paths


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = {"fish.png": 7, "deep/fish.png": 8, "ray.png": 9}
    images = [
        {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
        for name, number in names.items()
    ]
    return written(tmp_path / "test.json", {"images": images})


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def box(left: float, *, score: float = 1.0, **of: Any) -> dict[str, Any]:
    return {**of, "bbox": [left, 1, 10, 20], "score": score}


def given(
    pictures: list[Path], proposals: Path | None, data: Path | None, *, kind: str = "fast_rcnn"
) -> Given:
    folder = Path("trained")
    found = proposals_for(pictures, kind=kind, folder=folder, proposals=proposals, data=data)
    assert found is not None
    return found


def lefts(found: Given) -> list[list[float]]:
    return [boxes[:, 0].tolist() for boxes in found.boxes]


def test_boxes_come_by_id_best_first_and_folders_tell_equal_names_apart(
    pictures: list[Path], data: Path, tmp_path: Path
) -> None:
    rows = [box(1, image_id=7, score=0.2), box(2, image_id=7), box(3, image_id=8)]
    found = given(pictures, written(tmp_path / "boxes.json", rows), data)
    assert lefts(found) == [[2, 1], [3], []]
    assert found.boxes[1].tolist() == [[3, 1, 13, 21]]
    assert found.boxes[2].shape == (0, 4)
    assert found.without == (pictures[2],)


def test_without_a_coco_json_the_boxes_name_their_pictures(
    pictures: list[Path], tmp_path: Path
) -> None:
    rows = [box(1, file_name="fish.png"), box(2, file_name="deep/fish.png")]
    proposals = written(tmp_path / "boxes.json", rows)
    assert lefts(given(pictures, proposals, None)) == [[1], [2], []]
    whole = written(tmp_path / "whole.json", [box(4, file_name=str(pictures[2])[1:])])
    assert lefts(given(pictures, whole, None)) == [[], [], [4]]


def test_other_detectors_take_none(pictures: list[Path]) -> None:
    folder = Path("trained")
    assert proposals_for(pictures, kind="fcos", folder=folder, proposals=None, data=None) is None


REFUSED: dict[str, dict[str, Any]] = {
    "none": {"proposals": None},
    "of_another_kind": {"kind": "fcos"},
    "data_of_another_kind": {"kind": "fcos", "proposals": None},
    "ids_alone": {"data": None},
    "names_of_others": {"rows": [box(1, file_name="shark.png")], "data": None},
    "ids_of_others": {"rows": [box(1, image_id=99)]},
    "empty": {"rows": []},
    "picture_of_others": {"images": [{"id": 1, "file_name": "a.png", "width": 1, "height": 1}]},
    "picture_of_another_size": {
        "images": [{"id": 7, "file_name": "fish.png", "width": 120, "height": 80}]
    },
    "no_images": {"images": None},
    "odd_image": {"images": [{"id": 7, "file_name": "fish.png"}]},
    "faults": {"rows": [box(1, file_name=7), box(1)], "data": None},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_said(name: str, pictures: list[Path], data: Path, tmp_path: Path) -> None:
    case = {
        "proposals": tmp_path / "boxes.json",
        "data": data,
        "kind": "fast_rcnn",
        **REFUSED[name],
    }
    written(tmp_path / "boxes.json", case.get("rows", [box(1, image_id=7)]))
    if "images" in case:
        written(data, {"images": case["images"]})
    with pytest.raises((DataError, RunError)) as fault:
        given(pictures, case["proposals"], case["data"], kind=case["kind"])
    said = str(fault.value).replace(f"{tmp_path}/", "")
    golden = GOLDEN / f"predict_{name}.txt"
    assert f"{said}\n" == golden.read_text(encoding="utf-8")
