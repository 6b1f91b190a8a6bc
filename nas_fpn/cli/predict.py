"""The verb that shows what a trained detector finds: boxes on pictures, or JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json
from nas_fpn.cli.output import inert, print_json, say
from nas_fpn.errors import RunError

__all__ = ["predict"]


def predict(
    folder: Annotated[Path, typer.Argument(help="The folder of nas-fpn train; its code is run.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures.")],
    to: Annotated[
        Path | None, typer.Option(help="Draw the boxes on copies of the pictures in this folder.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Boxes with a lower score are left out.")
    ] = 0.3,
    proposals: Annotated[
        Path | None,
        typer.Option(help="For a fast_rcnn: boxes on the pictures, as a COCO results file."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The COCO JSON whose image ids --proposals has; without it each entry there has "
            "the file_name of its picture."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Detect on pictures: draw the boxes with class and score, or print them.

    FOLDER/detector.py is run, which needs nothing of this package.

    Example: nas-fpn predict trained fish.jpg --to found
    """
    if to is None and not json_:
        raise RunError("nothing to do\ngive --to FOLDER for pictures, or --json for the boxes")
    if len({path.stem for path in images}) < len(images):
        raise RunError("two pictures have one name\nname each once, or call the verb twice")
    drawings = [None if to is None else to / f"{path.stem}.png" for path in images]
    inputs = {path.resolve() for path in images}
    for drawing in drawings:
        if drawing is not None and drawing.resolve() in inputs:
            raise RunError(f"{drawing}: is one of the pictures\n--to names another folder")
    from nas_fpn.run.predict import found_in, kind_of, load_detector
    from nas_fpn.run.predict_proposals import proposals_for

    kind = kind_of(folder)
    if absent := [path for path in images if not path.exists()]:
        raise RunError(f"{absent[0]}: no such file\nname a picture that is there")
    given = proposals_for(images, kind=kind, folder=folder, proposals=proposals, data=data)
    if given is not None and given.without:
        _tell_without(given.without, total=len(images))
    model = load_detector(folder)
    rows: list[dict[str, Any]] = []
    for place, (path, drawing) in enumerate(zip(images, drawings, strict=True)):
        own = None if given is None else given.boxes[place]
        rows.append(found_in(model, path, threshold=threshold, drawing=drawing, proposals=own))
        if not json_:
            say(f"{drawing}: {_summary(rows[-1])}")
    if json_:
        print_json(rows)


def _tell_without(pictures: Sequence[Path], *, total: int) -> None:
    """On stderr, as JSON on stdout is for a program."""
    shown = ", ".join(map(str, pictures[:5])) + (", …" if len(pictures) > 5 else "")
    what = f"no proposals for {len(pictures)} of the {total} pictures, so nothing is found there"
    typer.echo(inert(f"{what}: {shown}"), err=True)


def _summary(row: dict[str, Any]) -> str:
    names = [one["class"] for one in row["detections"]]
    counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]
    return ", ".join(counts) or "nothing found"
