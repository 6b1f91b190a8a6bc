"""The verb that writes a neck as a folder which needs only torch."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import NeckName, OwnWords, Trust, neck_of, run_of
from nas_fpn.errors import RunError

__all__ = ["export"]


def export(
    neck: NeckName,
    to: Annotated[Path, typer.Option(help="A new folder, or an exported one to write again.")],
    channels: Annotated[
        str | None,
        typer.Option(
            "--in-channels",
            "--channels",
            help="Of a neck without a run: the backbone's, finest first: 512,1024,2048",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=1, help="Another width than the program's; of a run: trained anew at it."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--with-backbone",
            help="Also with_backbone/: this timm model and the neck as one; of a run: its own.",
        ),
    ] = None,
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Without a run: timm's weights for that backbone."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of a neck without a run: its first weights.")] = 0,
    words: OwnWords = None,
    trust: Trust = False,
    deploy: Annotated[
        bool,
        typer.Option("--deploy", help="Norms folded, branches merged: the same numbers, faster."),
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Also neck.onnx, neck.pt2: onnx, pt2. Repeat for both."),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="Also a file for this library: torchvision, timm, detectron2, mmdetection, "
            "ultralytics, transformers; all for those that it fits. Repeat for more.",
        ),
    ] = None,
) -> None:
    """Write a neck as a module that imports only torch; one of a run with its trained weights.

    A run stands for its best neck; with several objectives for a folder of each on the front.

    Example: nas-fpn export fpn --to my_neck --in-channels 512,1024,2048
    """
    ours = [to / "neck.neck", to / "front.json"]
    if to.is_dir() and any(to.iterdir()) and not any(file.is_file() for file in ours):
        raise RunError(f"{to}: holds something else\n--to names a new folder, or an exported one")
    from nas_fpn.export import Form, check_adapters
    from nas_fpn.run import (
        add_run_backbone,
        check_run_backbone,
        export_from_run,
        export_untrained,
        export_with_backbone,
    )

    check_adapters(adapters or ())
    form = Form(deploy, tuple(formats or ()), width, tuple(adapters or ()))
    run = run_of(neck)
    if run is not None:
        for option, given in (
            ("--in-channels", channels is not None),
            ("--words", bool(words)),
            ("--pretrained", pretrained),
        ):
            if given:
                raise RunError(
                    f"{option} is for a neck without a run; {run[0]} has its own\nomit it"
                )
        if backbone is not None:
            check_run_backbone(run[0], backbone)
        for _ in export_from_run(*run, to, form=form, trust=trust):
            pass
        if backbone is not None:
            add_run_backbone(run[0], to, backbone, number=run[1], trust=trust)
    else:
        architecture = neck_of(neck, words)
        if backbone is None:
            export_untrained(architecture, to, channels=channels, seed=seed, form=form)
        elif channels is not None:
            raise RunError(f"--in-channels: {backbone} says what it gives\nomit it")
        else:
            export_with_backbone(
                architecture, to, name=backbone, pretrained=pretrained, seed=seed, form=form
            )
    typer.echo(f"{to} is written")
