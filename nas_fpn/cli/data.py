"""Verbs on data: write the embedded scenes, check a COCO file, convert VOC and YOLO."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas_fpn.cli.arguments import Json
from nas_fpn.cli.output import print_json
from nas_fpn.errors import command_line

__all__ = ["data_check", "data_convert", "data_shapes"]


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
    from nas_fpn.folder import data_files

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


def data_convert(
    folder: Annotated[Path, typer.Argument(help="A VOC or YOLO folder; it stays as it is.")],
    to: Annotated[Path, typer.Option(help="Where train.json, val.json, test.json are written.")],
    format_: Annotated[
        Literal["voc", "yolo"] | None, typer.Option("--format", help="Absent: what is there says.")
    ] = None,
    zero_based: Annotated[
        bool, typer.Option("--zero-based", help="VOC files whose pixels are counted from 0.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option(help="Leave faulty entries out, and list them.")
    ] = False,
    json_: Json = False,
) -> None:
    """Convert VOC or YOLO to COCO JSON; every fault is named, and what was noticed is said.

    Example: nas-fpn data convert path/to/VOC2007 --to voc2007
    """
    from nas_fpn.detect.convert import convert

    done = convert(folder, to, kind=format_, zero_based=zero_based, skip_bad=skip_bad)
    if json_:
        print_json(
            {
                "format": done.kind,
                "files": {split: str(path) for split, path in done.files.items()},
                "images": done.images,
                "boxes": done.boxes,
                "categories": list(done.names),
                "notes": list(done.notes),
                "skipped": list(done.skipped),
            }
        )
        return
    for line in done.skipped:
        typer.echo(f"left out: {line}")
    for line in done.notes:
        typer.echo(line)
    for split, path in done.files.items():
        typer.echo(f"{path}: {done.images[split]} images, {done.boxes[split]} boxes")
    typer.echo(
        f"{len(done.names)} categories: {', '.join(done.names)}\n"
        f"now: {command_line('init', 'runs/mine', '--data', to, '--images', folder)}"
    )
