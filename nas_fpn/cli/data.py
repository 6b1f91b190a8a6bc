"""Verbs on data: write the embedded scenes, check a COCO file."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json
from nas_fpn.cli.output import print_json

__all__ = ["data_check", "data_shapes"]


def data_shapes(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same bytes.")] = 0,
    image_size: Annotated[int, typer.Option(min=64, help="Side of the images, in pixels.")] = 128,
    train: Annotated[int | None, typer.Option(min=1, help="Images to train on.")] = None,
    val: Annotated[int | None, typer.Option(min=1, help="Images that a search sees.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Images for verdicts.")] = None,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="Images for the backbone's warm-up.")
    ] = None,
) -> None:
    """Write the embedded scenes as a COCO folder; as many as in a run, where nothing is said.

    Example: nas-fpn data shapes shapes --train 100 --val 20
    """
    from nas_fpn.detect.shapes import COUNTS, write_shapes

    given = {"train": train, "val": val, "test": test, "warmup": warmup}
    counts = {name: COUNTS[name] if count is None else count for name, count in given.items()}
    write_shapes(folder, seed=seed, image_size=image_size, **counts)
    typer.echo(f"{folder}: {sum(counts.values())} images are written")


def data_check(
    file: Annotated[Path, typer.Argument(help="A COCO detection JSON file.")],
    images: Annotated[
        Path | None, typer.Option(help="Where its file names start; else images/ beside it.")
    ] = None,
    skip_bad: Annotated[bool, typer.Option(help="List what would be left out instead.")] = False,
    json_: Json = False,
) -> None:
    """Check annotations and images: every fault is named by file and id.

    Example: nas-fpn data check path/to/train.json --images path/to/images
    """
    from nas_fpn.detect.coco import read_coco
    from nas_fpn.run import data_files

    folder = data_files([file], images=images)["images"]
    dataset, skipped = read_coco(file, folder, skip_bad=skip_bad)
    boxes = sum(len(of_image) for of_image in dataset.boxes)
    if json_:
        print_json(
            {
                "images": len(dataset.images),
                "boxes": boxes,
                "categories": [category.name for category in dataset.categories],
                "skipped": list(skipped),
            }
        )
        return
    for line in skipped:
        typer.echo(f"left out: {line}")
    typer.echo(
        f"{file}: {len(dataset.images)} images, {boxes} boxes, {len(dataset.categories)} categories"
    )
