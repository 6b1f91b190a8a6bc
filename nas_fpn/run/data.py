"""Which images a run trains on, searches on, judges on and warms up on, never the same twice.

A split that the user does not give is made by seed, and said in ``notes``: every answer of the
run repeats them.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.dataset import Dataset, split_dataset
from nas_fpn.detect.shapes import VERSION, write_shapes
from nas_fpn.errors import DataError
from nas_fpn.proxy.settings import DataSettings
from nas_fpn.run.inputs import local_data

__all__ = ["Data", "embedded", "read_data"]

VAL_FRACTION = 0.2  # of train, where no val is given
TEST_FRACTION = 0.5  # of val, where no test is given
WARMUP_FRACTION = 0.5  # of train, where the backbone has no weights and no warmup is given


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The data of a run. ``warmup`` is None where the backbone comes with weights."""

    train: Dataset
    val: Dataset
    test: Dataset
    warmup: Dataset | None
    notes: tuple[str, ...]


def read_data(settings: DataSettings, cache: Path, *, image_size: int, needs_warmup: bool) -> Data:
    """Read the user's COCO files, or write the embedded scenes under ``cache`` and read them.

    What URLs name is fetched first.

    Raises:
        RunError: for a URL that is not reached.
        DataError: for a fault in the files, and for splits that name different categories or
            share an image.
    """
    if settings.images is None:
        settings = embedded(settings, cache, image_size=image_size)
    settings = local_data(settings)
    notes: list[str] = []
    given = {
        split: _read(path, settings, notes)
        for split, path in (
            ("train", settings.train),
            ("val", settings.val),
            ("test", settings.test),
            ("warmup", settings.warmup if needs_warmup else None),
        )
        if isinstance(path, Path)
    }
    _check_categories(given, settings)
    _check_apart(given, settings)
    train, seed = given["train"], settings.split_seed
    val, test, warmup = given.get("val"), given.get("test"), given.get("warmup")
    if val is None:
        val, train = split_dataset(train, VAL_FRACTION, seed=seed)
        notes.append(f"val: {len(val.images)} images split from train by seed {seed}")
    if test is None:
        test, val = split_dataset(val, TEST_FRACTION, seed=seed)
        notes.append(f"test: {len(test.images)} images split from val by seed {seed}")
    if needs_warmup and warmup is None:
        warmup, train = split_dataset(train, WARMUP_FRACTION, seed=seed)
        notes.append(
            f"warm-up: {len(warmup.images)} images of train set aside by seed {seed}, the necks "
            f"train on the other {len(train.images)}; a backbone's features of images that it "
            'has memorised mislead (give weights = "imagenet" to train on all)'
        )
    return Data(train, val, test, warmup, tuple(notes))


def embedded(settings: DataSettings, cache: Path, *, image_size: int) -> DataSettings:
    """Draw the embedded scenes under ``cache``, unless they are there; settings that name them."""
    counts = {
        "train": settings.shapes_train,
        "val": settings.shapes_val,
        "test": settings.shapes_test,
        "warmup": settings.shapes_warmup,
    }
    asked = json.dumps([VERSION, settings.shapes_seed, image_size, counts])
    folder = cache / f"shapes-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
    write_shapes(folder, seed=settings.shapes_seed, image_size=image_size, **counts)
    files = {split: folder / f"{split}.json" for split, count in counts.items() if count}
    return settings.model_copy(update={"images": folder / "images", **files})


def _read(path: Path, settings: DataSettings, notes: list[str]) -> Dataset:
    assert isinstance(settings.images, Path)
    dataset, skipped = read_coco(
        path,
        settings.images,
        skip_bad=settings.skip_bad,
        pixels=settings.skip_bad,  # else the bank decodes them all and names one that is broken
    )
    if skipped:
        notes.append(f"{path.name}: {len(skipped)} entries are left out (skip_bad)")
        folder = f"{settings.images}/"  # the record names no place of this machine
        notes.extend(f"left out: {line.replace(folder, '')}" for line in skipped)
    return dataset


def _check_categories(given: dict[str, Dataset], settings: DataSettings) -> None:
    train = given["train"].categories
    for split, dataset in given.items():
        if dataset.categories != train:
            names = ", ".join(f"{category.id} {category.name}" for category in dataset.categories)
            known = ", ".join(f"{category.id} {category.name}" for category in train)
            raise DataError(
                f"{getattr(settings, split)}: categories {names}\n"
                f"differ from those of {settings.train}: {known}\n"
                "give all files the same list of categories"
            )


def _check_apart(given: dict[str, Dataset], settings: DataSettings) -> None:
    """No image serves twice: a neck or a backbone that has seen it scores too well on it."""
    seen: dict[Path, str] = {}
    for split, dataset in given.items():
        of_split = [image.path.resolve() for image in dataset.images]
        if shared := [path for path in of_split if path in seen]:
            other = seen[shared[0]]
            count = sum(seen[path] == other for path in shared)
            raise DataError(
                f"{getattr(settings, split)}: {count} of its {len(of_split)} images serve as "
                f"{other} too, in {getattr(settings, other)}, the first is {shared[0].name}\n"
                f"take them out of one of the two, or leave {split} out to have it split off"
            )
        seen |= dict.fromkeys(of_split, split)
