"""The verb that says another code base's neck in the neck language, with its weights if wanted."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json
from nas_fpn.cli.output import print_json, say
from nas_fpn.errors import RunError

__all__ = ["import_"]


def import_(
    file: Annotated[
        Path, typer.Argument(help="A config (.py, .json, .txt) or an ultralytics .yaml; not run.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="A new .neck file; with --weights a new folder.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A checkpoint with the neck's weights: .safetensors, or .pth, not run."),
    ] = None,
    finest: Annotated[
        int | None, typer.Option(min=2, max=7, help="The level of in_channels' first number.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=64, help="Of bare NAS-FPN block specs: how often.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Of bare block specs: the channels inside.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of an ultralytics file: which of its scales.")
    ] = None,
    json: Json = False,
) -> None:
    """Say a neck of another code base in the neck language; notes say what does not carry over.

    It knows mmdetection's FPN, PAFPN, BFP, NASFPN and BiFPN, torchvision's FPN, effdet's BiFPN,
    TensorFlow's NAS-FPN block specs, and PAN heads of ultralytics.

    Example: nas-fpn import retinanet_r50_fpn.py --to mine.neck
    """
    if weights is not None and to is None:
        raise RunError("--weights without --to\n--to names the folder for the neck with them")
    if weights is None and to is not None and to.suffix != ".neck":
        raise RunError(f"--to {to}: no .neck file\nname it so, or give --weights for a folder")
    if to is not None and (to.is_file() or (to.is_dir() and any(to.iterdir()))):
        raise RunError(f"--to {to}: is there already\nname another, or remove it")
    from nas_fpn.export import export_neck, import_neck, neck_with_weights, read_checkpoint
    from nas_fpn.language import identity, parse
    from nas_fpn.language.foreign import Options

    imported = import_neck(
        file, options=Options(finest=finest, repeats=repeats, width=width, scale=scale)
    )
    architecture = parse(imported.text, file=f"the program of {file}")
    told = {
        "neck": imported.text,
        "id": identity(architecture),
        "in_channels": imported.in_channels,
        "notes": imported.notes,
    }
    if weights is not None and to is not None:
        neck, prefix = neck_with_weights(
            imported, architecture, read_checkpoint(weights), file=str(weights)
        )
        origin = {"imported from": file.name, "weights": f"{weights.name}, {prefix or 'whole'}"}
        export_neck(neck, to, provenance=origin)
        told |= {"in_channels": neck.in_channels, "prefix": prefix}
    elif to is not None:
        to.write_text(imported.text, encoding="utf-8", newline="\n")
    if json:
        print_json(told)
        return
    for note in imported.notes:
        typer.echo(f"note: {note}", err=True)
    if to is None:
        say(imported.text.removesuffix("\n"))
    else:
        say(f"{to} is written")
