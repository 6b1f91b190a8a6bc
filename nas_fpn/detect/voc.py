"""Data in the format of PASCAL VOC (Everingham et al. 2010): an XML file an image.

``Annotations/NAME.xml``, ``JPEGImages/`` and the lists of ``ImageSets/Main/``; or, as many tools
write it, XML files beside their images, in one folder or in folders train, valid and test.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from nas_fpn.detect.foreign import (
    SPLITS,
    Foreign,
    ForeignBox,
    ForeignImage,
    box_fault,
    size_of,
)
from nas_fpn.errors import DataError

__all__ = ["is_voc", "read_voc"]

FOLDERS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}


@dataclass(slots=True)
class _Seen:
    """What the reader comes upon, in order."""

    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    files: dict[Path, Path] = field(default_factory=dict)  # the XML file of each image


def is_voc(folder: Path) -> bool:
    """Whether there are XML files where this format has them."""
    places = [folder / "Annotations", folder]
    places += [folder / name for names in FOLDERS.values() for name in names]
    return any(next(place.glob("*.xml"), None) is not None for place in places)


def read_voc(folder: Path, *, zero_based: bool = False) -> Foreign:
    """Read a VOC data set; its classes are sorted by name.

    VOC counts pixels from 1 and a box holds its last pixel: (xmin - 1, ymin - 1, xmax, ymax) are
    its corners here. ``zero_based``: the file has the corners themselves, as many tools write
    it. "difficult" boxes are ignored ones: VOC's evaluation does not count them.

    Raises:
        DataError: where there is no such data.
    """
    seen = _Seen()
    splits: dict[str, tuple[ForeignImage, ...]] = {}
    for split, files in _splits(folder, seen):
        read = (_read(folder, file, seen, zero_based=zero_based) for file in files)
        splits[split] = tuple(image for image in read if image is not None)
    names = sorted({box.name for images in splits.values() for i in images for box in i.boxes})
    notes = [f"{count} {kind}" for kind, count in seen.kinds.items()]
    return Foreign(splits, tuple(names), tuple(seen.faults), tuple(notes))


def _splits(folder: Path, seen: _Seen) -> Iterator[tuple[str, list[Path]]]:
    annotations = folder / "Annotations"
    if not annotations.is_dir():
        nested = {
            split: [file for name in names for file in sorted((folder / name).glob("*.xml"))]
            for split, names in FOLDERS.items()
        }
        if not any(nested.values()):
            nested = {"train": sorted(folder.glob("*.xml"))}
        if not any(nested.values()):
            raise DataError(f"{folder}: no XML file in Annotations/, train/ … or the folder itself")
        yield from nested.items()
        return
    files = {file.stem: file for file in sorted(annotations.glob("*.xml"))}
    lists = {split: folder / "ImageSets" / "Main" / f"{split}.txt" for split in SPLITS}
    whole = folder / "ImageSets" / "Main" / "trainval.txt"
    given = {split: path for split, path in lists.items() if path.is_file()}
    if "train" not in given and whole.is_file():
        given["train"] = whole
    if "train" not in given:
        yield "train", list(files.values())
        return
    left = set(files)
    for split, path in given.items():
        chosen = []
        for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            name = row.split()[0] if row.split() else None
            if name is None:
                continue
            if name in files:
                chosen.append(files[name])
                left.discard(name)
            else:
                seen.faults.append(f"{path}:{number}: Annotations/ has no {name}.xml")
        yield split, chosen
    if left:
        seen.kinds["XML files are in no list of ImageSets/Main and are left out"] += len(left)


def _read(folder: Path, file: Path, seen: _Seen, *, zero_based: bool) -> ForeignImage | None:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        seen.faults.append(f"{file}: not XML: {error}")
        return None
    except (OSError, ValueError) as error:
        seen.faults.append(f"{file}: cannot be read: {error}")
        return None
    path = _image_of(folder, file, root.findtext("filename") or "")
    if (first := seen.files.setdefault(path.resolve(), file)) != file:
        seen.faults.append(f"{file}: its image {path} is that of {first} too: mend <filename>")
        return None
    said = (root.findtext("size/width"), root.findtext("size/height"))
    says = all(side and side.isdecimal() and side != "0" for side in said)
    size = size_of(path, upright=not says)
    if isinstance(size, str):
        seen.faults.append(f"{file}: {size}")
        return None
    if says and said != tuple(map(str, size)):
        seen.faults.append(
            f"{file}: says {said[0]} x {said[1]} pixels, the image has {size[0]} x {size[1]}; "
            "its boxes may be of another size: leave it out, or mend the size"
        )
        return None
    boxes = []
    for number, entry in enumerate(root.findall("object"), start=1):
        box = _box(entry, size, zero_based=zero_based)
        if isinstance(box, str):
            seen.faults.append(f"{file}: object {number}: {box}")
            continue
        boxes.append(box)
        if box.ignored:
            seen.kinds["boxes are difficult: ignored in training and evaluation (iscrowd)"] += 1
        if entry.find("part") is not None:
            seen.kinds["objects have parts (heads, hands, feet): the parts are left out"] += 1
    if not boxes and root.find("object") is None:
        seen.kinds["images have no box: they are kept, as background"] += 1
    return ForeignImage(path, *size, tuple(boxes))


def _image_of(folder: Path, file: Path, name: str) -> Path:
    """The image of an XML file: in JPEGImages/, else beside it."""
    plain = Path(name.replace("\\", "/")).name  # some tools write a whole path of theirs
    places = (folder / "JPEGImages", folder / "images", file.parent)
    named = [place / plain for place in places if plain]
    stems = [place / f"{file.stem}{end}" for place in places for end in (".jpg", ".jpeg", ".png")]
    return next((path for path in (*named, *stems) if path.is_file()), (named or stems)[0])


def _box(
    entry: ElementTree.Element, size: tuple[int, int], *, zero_based: bool
) -> ForeignBox | str:
    name = (entry.findtext("name") or "").strip()
    if not name:
        return "has no name"
    texts = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        x1, y1, x2, y2 = (float(text or "") for text in texts)
    except ValueError:
        return f"bndbox must have xmin, ymin, xmax, ymax as numbers, but has {texts}"
    if not zero_based:
        if min(x1, y1) < 1 and min(x1, y1) == 0:
            return (
                f"xmin = {x1:g}, ymin = {y1:g}, but VOC counts pixels from 1; if the tool that "
                "wrote this counts from 0, convert with --zero-based"
            )
        x1, y1 = x1 - 1, y1 - 1
    corners = (x1, y1, x2, y2)
    fault = box_fault(corners, *size)
    return fault or ForeignBox(name, corners, entry.findtext("difficult") == "1")
