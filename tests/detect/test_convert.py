"""VOC and YOLO folders become COCO files: the boxes are the same, and nothing vanishes unsaid."""

import json
from pathlib import Path

import pytest
from PIL import Image as PILImage

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.convert import Converted, convert
from nas_fpn.detect.dataset import Dataset, to_coco
from nas_fpn.detect.images import EXIF_ORIENTATION
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: Path, size: tuple[int, int] = (40, 30), *, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PILImage.new("RGB", size, (9, 90, 200))
    exif = image.getexif()
    exif[EXIF_ORIENTATION] = orientation
    image.save(path, exif=exif)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def voc_object(name: str, corners: tuple[float, ...], extra: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def voc_file(folder: Path, stem: str, objects: str, *, size: tuple[int, int] = (40, 30)) -> None:
    picture(folder / "JPEGImages" / f"{stem}.jpg")
    said = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    body = f"<annotation><filename>{stem}.jpg</filename>{said}{objects}</annotation>"
    text(folder / "Annotations" / f"{stem}.xml", body)


def read_back(done: Converted, folder: Path, split: str) -> Dataset:
    return read_coco(done.files[split], folder)[0]


def message_of(folder: Path, **settings: bool) -> str:
    with pytest.raises(DataError) as caught:
        convert(folder, Path("out"), **settings)
    return f"{caught.value}\n".replace(f"{Path.cwd()}/", "")


def test_voc_counts_from_one_and_holds_its_last_pixel(inside: Path) -> None:
    voc_file(Path("voc"), "a", voc_object("cat", (1, 1, 40, 30)) + voc_object("dog", (5, 6, 5, 9)))
    done = convert(Path("voc"), Path("out"))
    dataset = read_back(done, Path("voc"), "train")
    assert dataset.boxes[0].tolist() == [[0, 0, 40, 30], [4, 5, 5, 9]]
    assert [category.name for category in dataset.categories] == ["cat", "dog"]


def test_voc_that_counts_from_zero_is_taken_at_its_word(inside: Path) -> None:
    voc_file(Path("voc"), "a", voc_object("cat", (0, 2.5, 10, 30)))
    assert message_of(Path("voc")) == (GOLDEN / "voc_zero.txt").read_text()
    done = convert(Path("voc"), Path("out"), zero_based=True)
    assert read_back(done, Path("voc"), "train").boxes[0].tolist() == [[0, 2.5, 10, 30]]


def test_voc_lists_deal_the_splits_and_difficult_boxes_are_ignored(inside: Path) -> None:
    hard = voc_object("dog", (1, 1, 9, 9), "<difficult>1</difficult>")
    voc_file(Path("voc"), "a", voc_object("cat", (2, 2, 9, 9)))
    voc_file(Path("voc"), "b", hard)
    voc_file(Path("voc"), "c", "")
    voc_file(Path("voc"), "d", "")
    for split, names in {"train": "a\n", "val": "b -1\n", "test": "c\n"}.items():
        text(Path("voc/ImageSets/Main") / f"{split}.txt", names)
    text(Path("voc/ImageSets/Main/cat_train.txt"), "a 1\n")
    done = convert(Path("voc"), Path("out"))
    assert done.images == {"train": 1, "val": 1, "test": 1}
    assert read_back(done, Path("voc"), "val").crowd[0].tolist() == [True]
    assert read_back(done, Path("voc"), "test").boxes[0].shape == (0, 4)
    assert sorted(done.notes) == [
        "1 XML files are in no list of ImageSets/Main and are left out",
        "1 boxes are difficult: ignored in training and evaluation (iscrowd)",
        "1 images have no box: they are kept, as background",
    ]


def test_every_fault_of_voc_is_named_and_can_be_left_out(inside: Path) -> None:
    folder = Path("voc")
    voc_file(folder, "a", voc_object("cat", (2, 2, 9, 9)))
    voc_file(folder, "b", voc_object("cat", (2, 2, 90, 9)) + voc_object("", (2, 2, 9, 9)))
    voc_file(folder, "c", "", size=(400, 300))
    text(folder / "Annotations" / "d.xml", "<annotation><object>")
    text(
        folder / "Annotations" / "e.xml",
        "<annotation><filename>elsewhere/e.jpg</filename></annotation>",
    )
    voc_file(folder, "f", "<object><name>cat</name><bndbox><xmin>one</xmin></bndbox></object>")
    text(folder / "Annotations" / "g.xml", (folder / "Annotations" / "a.xml").read_text())
    picture(folder / "JPEGImages" / "g.jpg")
    picture(folder / "JPEGImages" / "h.jpg", orientation=3)
    text(folder / "Annotations" / "h.xml", "<annotation></annotation>")
    assert message_of(folder) == (GOLDEN / "voc_faults.txt").read_text()
    assert not Path("out").exists()
    done = convert(folder, Path("out"), skip_bad=True)
    assert len(done.skipped) == 8
    assert done.boxes == {"train": 1}


def yolo_folder(folder: Path, labels: dict[str, str], names: str = "[cat, dog]") -> None:
    text(folder / "data.yaml", f"names: {names}\ntrain: images/train\nval: images/val\n")
    for name, rows in labels.items():
        picture(folder / "images" / f"{name}.jpg")
        text(folder / "labels" / f"{name}.txt", rows)


def test_yolo_boxes_are_centres_and_sizes_of_the_image(inside: Path) -> None:
    yolo_folder(Path("yolo"), {"train/a": "1 0.5 0.5 0.5 0.2\n\n0 0.25 0.5 0.5 1\n", "val/b": ""})
    picture(Path("yolo/images/val/c.png"))
    done = convert(Path("yolo"), Path("out"))
    train = read_back(done, Path("yolo"), "train")
    assert train.boxes[0].tolist() == [[10, 12, 30, 18], [0, 0, 20, 30]]
    assert train.labels[0].tolist() == [1, 0]
    assert done.images == {"train": 1, "val": 2}
    assert done.notes == ("1 images have no label file: they are kept, as background",)


def test_a_polygon_becomes_the_box_around_it(inside: Path) -> None:
    yolo_folder(Path("yolo"), {"train/a": "0 0.5 0.1 0.75 0.5 0.25 0.9\n", "val/b": ""})
    done = convert(Path("yolo"), Path("out"))
    (box,) = read_back(done, Path("yolo"), "train").boxes[0].tolist()
    assert box == pytest.approx([10, 3, 30, 27])
    assert done.notes == ("1 rows are polygons: the upright box around each is taken",)


def test_an_export_that_points_beside_itself_is_found(inside: Path) -> None:
    for split in ("train", "valid"):
        picture(Path("site") / split / "images" / f"{split}.jpg")
        text(Path("site") / split / "labels" / f"{split}.txt", "0 0.5 0.5 0.5 0.5\n")
    description = "names: {0: cat}\npath: /content/nowhere\ntrain: ../train/images\n"
    text(Path("site/data.yaml"), f"{description}val: ../valid/images\n")
    assert convert(Path("site"), Path("out")).boxes == {"train": 1, "val": 1}


def test_classes_without_a_description_are_enough(inside: Path) -> None:
    picture(Path("yolo/images/a.jpg"))
    text(Path("yolo/labels/a.txt"), "1 0.5 0.5 0.5 0.5\n")
    text(Path("yolo/classes.txt"), "cat\ndog\n")
    assert convert(Path("yolo"), Path("out")).names == ("cat", "dog")


def test_labels_beside_images_are_found_below_a_folder_named_images(inside: Path) -> None:
    folder = Path("images/yolo")
    text(folder / "data.yaml", "names: [cat]\ntrain: train\nval: images\n")
    for place in ("train/a", "images/b"):
        picture(folder / f"{place}.png")
        text(folder / f"{place}.txt", "0 0.5 0.5 0.5 0.5\n")
    done = convert(folder, Path("out"))
    assert done.boxes == {"train": 1, "val": 1} and not done.notes


def test_a_list_may_name_some_of_the_images(inside: Path) -> None:
    yolo_folder(Path("yolo"), dict.fromkeys(("train/a", "train/b"), "0 0.5 0.5 0.5 0.5\n"))
    text(Path("yolo/data.yaml"), "names: [cat]\ntrain: train.txt\n")
    text(Path("yolo/train.txt"), "./images/train/a.jpg\n")
    done = convert(Path("yolo"), Path("out"))
    assert done.boxes == {"train": 1}
    assert done.notes == ("1 images have a label file, are in no split and are left out",)
    Path("yolo/images/train/b.jpg").unlink()
    assert "labels/train/b.txt: no image belongs to it" in message_of(Path("yolo"))


def test_every_fault_of_yolo_is_named_by_file_and_row(inside: Path) -> None:
    rows = "7 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5\n0 0.9 0.5 0.9 0.5\n"
    rows += "x 1 1 1 1\n0 .5 .5 0 .5\n0 .5 .5 .5 .5\n"
    yolo_folder(Path("yolo"), {"train/a": rows, "val/b": "0 nan 0.5 0.5 0.5"})
    text(Path("yolo/labels/train/lonely.txt"), "0 0.5 0.5 0.5 0.5\n")
    text(Path("yolo/images/train/broken.jpg"), "no image")
    picture(Path("yolo/images/train/turned.jpg"), orientation=6)
    text(Path("yolo/labels/train/turned.txt"), "0 0.5 0.5 0.5 0.5\n")
    picture(Path("yolo/images/train/mirrored.png"), orientation=2)
    assert message_of(Path("yolo")) == (GOLDEN / "yolo_faults.txt").read_text()
    assert convert(Path("yolo"), Path("out"), skip_bad=True).boxes == {"train": 1, "val": 0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("names: [cat, cat]\ntrain: a", "names has cat twice"),
        ("names: {1: cat}\ntrain: a", "names must be numbered 0..0, but has [1]"),
        ("names: []\ntrain: a", "names must list the classes"),
        ("train: a", "names must list the classes, like names: [cat, dog]"),
        ("names: [cat]\n", "train must name the folder of images to train on"),
        ("names: [cat]\ntrain: nowhere", "'nowhere': no such folder or list"),
        ("names: [cat", "not YAML"),
        ("names: [cat]\ntrain: !!python/object/apply:os.system ['true']", "not YAML"),
    ],
)
def test_a_description_that_is_wrong_is_refused(inside: Path, content: str, said: str) -> None:
    text(Path("yolo/data.yaml"), content)
    assert said in message_of(Path("yolo"))


def test_a_turned_photograph_of_voc_is_taken_where_its_size_is_said(inside: Path) -> None:
    voc_file(Path("voc"), "a", voc_object("cat", (1, 1, 40, 30)))
    picture(Path("voc/JPEGImages/a.jpg"), orientation=6)
    dataset = read_back(convert(Path("voc"), Path("out")), Path("voc"), "train")
    assert dataset.boxes[0].tolist() == [[0, 0, 40, 30]]


def test_what_is_there_is_never_written_over(inside: Path) -> None:
    yolo_folder(Path("yolo"), {"train/a": "0 0.5 0.5 0.5 0.5\n", "val/b": ""})
    text(Path("out/val.json"), "mine")
    assert "out/val.json: is there already" in message_of(Path("yolo"))
    assert Path("out/val.json").read_text() == "mine"
    assert not Path("out/train.json").exists()


def test_an_image_in_two_splits_is_refused(inside: Path) -> None:
    yolo_folder(Path("yolo"), {"train/a": "0 0.5 0.5 0.5 0.5\n"})
    text(Path("yolo/data.yaml"), "names: [cat]\ntrain: images\nval: images/train\n")
    assert "a.jpg is in train and in val" in message_of(Path("yolo"))


def test_a_folder_of_neither_format_or_of_both_is_refused(inside: Path) -> None:
    Path("empty").mkdir()
    assert "looks neither like VOC" in message_of(Path("empty"))
    yolo_folder(Path("both"), {"train/a": "0 0.5 0.5 0.5 0.5\n", "val/b": ""})
    voc_file(Path("both"), "v", "")
    assert "say which with --format" in message_of(Path("both"))
    assert "no such folder" in message_of(Path("nowhere"))


def test_scenes_written_as_yolo_come_back_as_they_were(inside: Path) -> None:
    """The law: COCO to YOLO to COCO keeps every box to the rounding of six digits."""
    write_shapes(Path("shapes"), seed=1, image_size=64, train=6, val=2, test=2, warmup=0)
    before, _ = read_coco(Path("shapes/train.json"), Path("shapes/images"))
    for image, boxes, labels in zip(before.images, before.boxes, before.labels, strict=True):
        picture(Path("yolo/images/train") / image.path.with_suffix(".png").name, (64, 64))
        rows = [
            f"{label} {(x1 + x2) / 128:.6f} {(y1 + y2) / 128:.6f} "
            f"{(x2 - x1) / 64:.6f} {(y2 - y1) / 64:.6f}"
            for label, (x1, y1, x2, y2) in zip(labels.tolist(), boxes.tolist(), strict=True)
        ]
        text(Path("yolo/labels/train") / f"{image.path.stem}.txt", "\n".join(rows))
    names = json.dumps([category.name for category in before.categories])
    text(Path("yolo/data.yaml"), f"names: {names}\ntrain: images/train\n")
    after = read_back(convert(Path("yolo"), Path("out")), Path("yolo"), "train")
    for one, other in zip(
        to_coco(before)["annotations"], to_coco(after)["annotations"], strict=True
    ):
        assert other["bbox"] == pytest.approx(one["bbox"], abs=1e-3)
        assert other["category_id"] == one["category_id"]
