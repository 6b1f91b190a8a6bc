"""The verb that holds two necks side by side."""

from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, NeckName, OwnWords, Trust, neck_of, run_of
from nas_fpn.cli.output import print_json

__all__ = ["diff"]


def diff(
    first: NeckName,
    second: NeckName,
    svg: Annotated[
        Path | None, typer.Option(help="Draw both in one picture, to this file.")
    ] = None,
    words: OwnWords = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Print how the programs of two necks differ; with --svg draw what both have and what one has.

    Example: nas-fpn diff fpn panet --svg fpn_panet.svg
    """
    from nas_fpn import language
    from nas_fpn.language.compare import diff_text
    from nas_fpn.language.draw import draw_diff

    names = first, second
    own = [run_of(name) is not None for name in names]  # a run has words of its own
    necks = [
        neck_of(name, None if has and not all(own) else words, trust=trust)
        for name, has in zip(names, own, strict=True)
    ]
    identities = [language.identity(neck) for neck in necks]
    rows = diff_text(necks[0], necks[1], names=names)
    if svg is not None:
        svg.write_text(draw_diff(necks[0], necks[1], names=names), encoding="utf-8")
    if json_:
        print_json({"first": identities[0], "second": identities[1], "diff": rows})
        return
    colours = {"-": "red", "+": "green", "@": "cyan"}
    for row in rows.splitlines():
        typer.secho(row, fg=colours.get(row[:1]))
    if identities[0] == identities[1]:
        typer.echo(f"the same neck: both are {identities[0]}")
