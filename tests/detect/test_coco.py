"""COCO data is checked at the door: every fault named by file and id, all at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.dataset import split_dataset, to_coco
from nas_fpn.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
SHARED = Path(__file__).parents[2] / ".." / "shared"

Document = dict[str, Any]


def good_document() -> Document:
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "b.png", "width": 20, "height": 20},
            {"id": 5, "file_name": "c.png", "width": 10, "height": 50},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 9, "bbox": [1, 2, 10, 5], "area": 30},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 40, 30], "iscrowd": 1},
            {"id": 4, "image_id": 3, "category_id": 4, "bbox": [2.5, 2, 3, 4], "iscrowd": 0},
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
    }


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a document as data.json and the good document's images; messages name both."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for entry in good_document()["images"]:
        size = (entry["width"], entry["height"])
        PILImage.new("RGB", size, (9, 90, 200)).save(Path("images") / entry["file_name"])

    def writer(document: Document | str) -> Path:
        text = document if isinstance(document, str) else json.dumps(document)
        Path("data.json").write_text(text)
        return Path("data.json")

    return writer


def message_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_coco(path, Path("images"))
    return f"{caught.value}\n"


def test_boxes_become_corners_of_their_image(write):
    dataset, skipped = read_coco(write(good_document()), Path("images"))
    assert skipped == ()
    assert [image.id for image in dataset.images] == [7, 3, 5]
    assert [c.name for c in dataset.categories] == ["cat", "dog"]
    assert dataset.boxes[1].tolist() == [[1, 2, 11, 7], [2.5, 2, 5.5, 6]]
    assert dataset.labels[1].tolist() == [1, 0]
    assert dataset.areas[1].tolist() == [30, 12]  # the file's own area, else the box's


def test_images_without_boxes_and_crowds_are_kept(write):
    dataset, _ = read_coco(write(good_document()), Path("images"))
    assert dataset.boxes[2].shape == (0, 4)
    assert dataset.labels[2].shape == (0,)
    assert dataset.crowd[0].tolist() == [True]


def test_a_dataset_cannot_be_changed(write):
    dataset, _ = read_coco(write(good_document()), Path("images"))
    with pytest.raises(ValueError, match="read-only"):
        dataset.boxes[0][0, 0] = 1


def test_written_documents_read_back_the_same(write):
    dataset, _ = read_coco(write(good_document()), Path("images"))
    again, _ = read_coco(write(to_coco(dataset)), Path("images"))
    assert again.images == dataset.images
    assert again.categories == dataset.categories
    for name in ("boxes", "labels", "crowd", "areas"):
        for one, other in zip(getattr(again, name), getattr(dataset, name), strict=True):
            assert np.array_equal(one, other)


def test_rounding_over_the_border_is_clipped(write):
    document = good_document()
    document["annotations"][0]["bbox"] = [-0.5, 15, 20.7, 5.9]
    dataset, _ = read_coco(write(document), Path("images"))
    assert dataset.boxes[1][0].tolist() == [0, 15, 20, 20]


def faulty_document() -> Document:
    """Every fault of an entry there is, and one good image with one good box."""
    document = good_document()
    Path("images/broken.png").write_bytes(b"not an image")
    Path("images/short.png").write_bytes(Path("images/a.png").read_bytes()[:20])
    PILImage.new("F", (4, 4)).save("images/deep.tif")
    turned = PILImage.new("RGB", (8, 6))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save("images/turned.jpg", exif=exif)
    document["images"] += [
        {"id": 20, "file_name": "gone.png", "width": 4, "height": 4},
        {"id": 21, "file_name": "broken.png", "width": 4, "height": 4},
        {"id": 22, "file_name": "short.png", "width": 40, "height": 30},
        {"id": 23, "file_name": "a.png", "width": 30, "height": 40},
        {"id": 24, "file_name": "turned.jpg", "width": 6, "height": 8},
        {"id": 3, "file_name": "a.png", "width": 40, "height": 30},
        {"id": "25", "file_name": "a.png", "width": 40, "height": 30},
        {"id": 26, "file_name": "a.png", "width": 0, "height": 30},
        {"id": 27, "width": 40},
        "a.png",
        {"id": 28, "file_name": "../images/b.png", "width": 20, "height": 20},
        {"id": 29, "file_name": "deep.tif", "width": 4, "height": 4},
    ]
    document["categories"] += [
        {"id": 4, "name": "cow"},
        {"id": 10, "name": "dog"},
        {"id": 11},
    ]
    box = {"image_id": 3, "category_id": 4, "bbox": [1, 1, 2, 2]}
    document["annotations"] += [
        {**box, "id": 2},
        {**box, "id": 31, "image_id": 99},
        {**box, "id": 32, "category_id": 99},
        {**box, "id": 33, "bbox": [1, 1, 0, 2]},
        {**box, "id": 34, "bbox": [1, 1, float("nan"), 2]},
        {**box, "id": 35, "bbox": [1, 1, 2]},
        {**box, "id": 36, "bbox": [15, 1, 8, 2]},
        {**box, "id": 37, "area": -1},
        {**box, "id": 38, "iscrowd": 2},
        {"id": 39, "bbox": [1, 1, 2, 2]},
        {**box, "id": 40, "image_id": 21},
        {**box, "id": 41, "bbox": [20.2, 1, 0.5, 2]},
        {**box, "id": 42, "bbox": [19.9999999, 1, 0.5, 2]},
    ]
    return document


def test_every_fault_is_named_at_once(write, monkeypatch):
    monkeypatch.setattr("nas_fpn.detect.coco.SHOWN_FAULTS", 100)
    message = message_of(write(faulty_document()))
    assert message == (GOLDEN / "faults.txt").read_text()


def test_a_long_list_of_faults_is_cut_and_says_so(write):
    document = good_document()
    for number in range(25):
        row = {"id": 100 + number, "image_id": 3, "category_id": 4, "bbox": [1, 1, 0, 0]}
        document["annotations"].append(row)
    assert message_of(write(document)) == (GOLDEN / "many_faults.txt").read_text()


def test_where_no_image_is_found_it_is_asked_where_they_are(write):
    document = good_document()
    for image in document["images"]:
        image["file_name"] = f"elsewhere/{image['file_name']}"
    *faults, mend = message_of(write(document)).splitlines()
    assert len(faults) == 4 and "elsewhere/a.png): no such file images/elsewhere/a.png" in faults[1]
    assert mend == (
        "not one is there: say where their file names start, with images in [data] (--images)"
    )


def test_skip_bad_leaves_the_faulty_out_and_lists_them(write):
    dataset, skipped = read_coco(write(faulty_document()), Path("images"), skip_bad=True)
    good, _ = read_coco(write(good_document()), Path("images"))
    assert len(skipped) == 12 + 3 + 12
    assert dataset.images == good.images
    assert dataset.categories == good.categories
    assert [len(boxes) for boxes in dataset.boxes] == [len(boxes) for boxes in good.boxes]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_cut_off_behind_its_header_is_found(write, suffix):
    document = good_document()
    document["images"][1] = {"id": 3, "file_name": f"cut.{suffix}", "width": 90, "height": 90}
    path = Path("images") / f"cut.{suffix}"
    PILImage.effect_noise((90, 90), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:3000])
    assert f"image 3 (cut.{suffix}): {path} is not a readable image" in message_of(write(document))
    dataset, skipped = read_coco(write(document), Path("images"), skip_bad=True)
    assert [image.id for image in dataset.images] == [7, 5]
    assert len(skipped) == 1


def test_what_skip_bad_returns_is_itself_without_fault(write):
    dataset, _ = read_coco(write(faulty_document()), Path("images"), skip_bad=True)
    _, skipped = read_coco(write(to_coco(dataset)), Path("images"))
    assert skipped == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("truncated", json.dumps(good_document(), indent=1)[:200]),
        ("not_an_object", "[1, 2]"),
        ("missing_keys", '{"images": [], "annotations": {}}'),
        ("no_images", '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'),
    ],
)
def test_a_file_that_is_no_detection_json_is_an_error(write, name, text):
    path = write(text)
    message = message_of(path)
    assert message == (GOLDEN / f"{name}.txt").read_text()
    with pytest.raises(DataError):
        read_coco(path, Path("images"), skip_bad=True)


def test_missing_file_and_folder_are_named(write):
    with pytest.raises(DataError, match=r"^absent\.json: no such file"):
        read_coco(Path("absent.json"), Path("images"))
    with pytest.raises(DataError, match=r"^absent: no such folder"):
        read_coco(write(good_document()), Path("absent"))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": 1' + "0" * 5000 + "}", "\udcff"])
def test_hostile_text_is_a_data_error(write, text):
    Path("data.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    message_of(Path("data.json"))


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([])
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_in_any_place_is_read_or_named(write, data):
    document = good_document()
    table = data.draw(st.sampled_from(sorted(document)))
    entry = data.draw(st.sampled_from(document[table]))
    entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(anything)
    try:
        dataset, _ = read_coco(write(document), Path("images"))
    except DataError:
        return
    for image, boxes in zip(dataset.images, dataset.boxes, strict=True):
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, 2] <= image.width).all()


def test_a_split_deals_each_image_once_and_repeats(write):
    dataset, _ = read_coco(write(good_document()), Path("images"))
    first, second = split_dataset(dataset, 0.34, seed=1)
    assert len(first.images) == 1
    assert sorted(i.id for i in first.images + second.images) == [3, 5, 7]
    again, _ = split_dataset(dataset, 0.34, seed=1)
    assert again.images == first.images
    draws = {split_dataset(dataset, 0.34, seed=seed)[0].images for seed in range(20)}
    assert len(draws) > 1


def test_a_split_that_cannot_be_made_is_an_error(write):
    dataset, _ = read_coco(write(good_document()), Path("images"))
    one, _ = split_dataset(dataset, 0.34, seed=0)
    with pytest.raises(DataError, match="needs two images"):
        split_dataset(one, 0.5, seed=0)
    with pytest.raises(ValueError, match=r"fraction=1\.0"):
        split_dataset(dataset, 1.0, seed=0)


@pytest.mark.parametrize(("part", "images", "boxes"), [("val", 102, 786), ("test", 156, 1016)])
def test_aquarium_reads_without_fault(part, images, boxes):
    folder = SHARED / "data" / "aquarium"
    if not folder.is_dir():
        pytest.skip("the aquarium photographs (../shared/data/aquarium) are absent")
    dataset, _ = read_coco(folder / f"{part}.json", folder / "images", pixels=False)
    assert len(dataset.images) == images
    assert sum(map(len, dataset.boxes)) == boxes
