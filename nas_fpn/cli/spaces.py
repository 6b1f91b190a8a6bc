"""Verbs on spaces and necks as text: size, sample, check, show, necks."""

import random
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, OwnWords, SpaceName, Trust, neck_of, space_of
from nas_fpn.cli.output import complain, print_json
from nas_fpn.errors import SpaceError, command_line

__all__ = ["check", "necks", "sample", "show", "size"]


def size(space: SpaceName, words: OwnWords = None, json_: Json = False) -> None:
    """Print how many genotypes a space holds, exactly.

    Example: nas-fpn size nas_fpn
    """
    from nas_fpn import language

    known = language.load_words(words or ())
    read = language.read(language.find_space(space), words=known)
    number = language.size(read)
    if json_:
        choices = [
            {"name": choice.name, "count": choice.count} for choice in language.choices(read)
        ]
        print_json({"space": space, "size": number, "choices": choices})
    else:
        typer.echo(number)


def sample(
    space: SpaceName,
    seed: Annotated[int, typer.Option(help="Of the draw; the same seed, the same necks.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many necks.")] = 1,
    words: OwnWords = None,
    json_: Json = False,
) -> None:
    """Print necks of a space, drawn uniformly over its genotypes.

    Example: nas-fpn sample quick --seed 3 --count 2
    """
    from nas_fpn import language

    known = language.load_words(words or ())
    read = language.read(language.find_space(space), words=known)
    rng = random.Random(seed)
    drawn = []
    for _ in range(count):
        genotype = language.sample(read, rng)
        neck = language.decode(read, genotype)
        drawn.append(
            {"neck": language.identity(neck), "genotype": list(genotype), "text": str(neck)}
        )
    if json_:
        print_json(drawn)
    else:
        typer.echo("\n".join(f"# {one['neck']}\n{one['text']}" for one in drawn), nl=False)


def check(
    files: Annotated[list[str], typer.Argument(help="Shipped names, .space and .neck files.")],
    words: OwnWords = None,
    json_: Json = False,
) -> None:
    """Check programs: say what each holds, or where it is wrong and how to mend it.

    Own words are run in a small neck each, and held against their rows.

    Example: nas-fpn check quick fpn
    """
    from nas_fpn import language

    known = language.load_words(words or ())
    if words:
        from nas_fpn.run import prove_words

        prove_words(known)
    said: list[dict[str, Any]] = []
    for file in files:
        try:
            held = language.size(language.read(language.find_space(file), words=known))
            said.append({"file": file, "genotypes": held, "error": None})
        except SpaceError as fault:
            said.append({"file": file, "genotypes": None, "error": str(fault)})
    if json_:
        print_json(said)
    for one in said:
        if one["error"] is not None:
            complain(one["error"])
        elif not json_:
            held = one["genotypes"]
            typer.echo(f"{one['file']}: {'a neck' if held == 1 else f'{held} genotypes'}")
    if any(one["error"] is not None for one in said):
        raise typer.Exit(2)


def show(
    neck: Annotated[
        str, typer.Argument(help="A shipped name, a .neck file, RUN or RUN:TRIAL; or a space.")
    ],
    svg: Annotated[Path | None, typer.Option(help="Write the drawing to this file.")] = None,
    words: OwnWords = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Print a neck as text and as a picture: levels as rows, merges as nodes.

    A space is printed as it is written, and drawn with its holes.

    Example: nas-fpn show panet --svg panet.svg
    """
    from nas_fpn import language
    from nas_fpn.language.draw import draw, draw_space, draw_text

    space = space_of(neck, words)
    if space is not None:
        path, read = space
        if svg is not None:
            svg.write_text(draw_space(read), encoding="utf-8")
        text = path.read_text(encoding="utf-8-sig")
        if json_:
            print_json({"space": neck, "text": text, "genotypes": language.size(read)})
        else:
            typer.echo(text, nl=False)
        return
    architecture = neck_of(neck, words, trust=trust)
    identity = language.identity(architecture)
    if svg is not None:
        svg.write_text(draw(architecture), encoding="utf-8")
    if json_:
        graph = language.lower(architecture)
        print_json(
            {
                "neck": identity,
                "text": str(architecture),
                "canonical": str(language.canonical(architecture)),
                "inputs": list(graph.inputs),
                "outputs": [level for level, _ in graph.outputs],
                "width": graph.width,
            }
        )
    else:
        drawn = draw_text(architecture)
        wide, columns = 2 + max(map(len, drawn.splitlines())), get_terminal_size().columns
        if sys.stdout.isatty() and wide > columns:
            better = command_line("show", neck, "--svg", "FILE")
            drawn = f"{wide} columns are too wide here: {better} draws it\n"
        picture = "".join(f"# {row}".rstrip() + "\n" for row in drawn.splitlines())
        typer.echo(f"{architecture}\n# {identity}\n{picture}", nl=False)


def necks(
    page: Annotated[
        Path | None, typer.Option(help="Write them as a page with drawings to this folder.")
    ] = None,
    json_: Json = False,
) -> None:
    """Print the shipped necks: paper, lines, parameters, multiply-adds.

    Example: nas-fpn necks
    """
    from dataclasses import asdict

    from nas_fpn.language.listing import list_necks, table_text
    from nas_fpn.language.page import neck_page

    if page is not None:
        files = neck_page()
        (page / "necks").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (page / name).write_text(text, encoding="utf-8", newline="\n")
        typer.echo(f"{page / 'necks.md'} is written, with {len(files) - 1} drawings beside it")
        return
    listed = list_necks()
    print_json([asdict(neck) for neck in listed]) if json_ else typer.echo(table_text(listed))
