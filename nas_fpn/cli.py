"""The words on the command line; each verb imports what it needs, so that small ones are quick.

Exit codes: 2 for wrong input (the message is on stderr), 1 for a run that failed, 130 for Ctrl-C.
"""

import json
import random
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.errors import DataError, RunError, SpaceError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Find the right feature-pyramid neck for your own detector and data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data: write the embedded scenes, check a COCO file.")
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
SpaceName = Annotated[str, typer.Argument(help="A shipped name, or a .space or .neck file.")]
NeckName = Annotated[str, typer.Argument(help="A shipped name, a .neck file, RUN or RUN:TRIAL.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.toml.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a wrong input is a message, never a traceback."""
    sys.set_int_max_str_digits(0)  # a size is exact, however large: 64 KiB of holes bound it
    try:
        app(args=None if arguments is None else list(arguments), prog_name="nas-fpn")
    except (SpaceError, DataError, RunError) as fault:
        sys.exit(_complain(fault))
    except OSError as fault:
        if fault.filename is None:
            raise
        sys.exit(_complain(f"{fault.filename}: {fault.strerror}"))


@app.command()
def size(space: SpaceName, json_: Json = False) -> None:
    """Print how many genotypes a space holds, exactly.

    Example: nas-fpn size nas_fpn
    """
    from nas_fpn import language

    read = language.read(language.find_space(space))
    number = language.size(read)
    if json_:
        choices = [
            {"name": choice.name, "count": choice.count} for choice in language.choices(read)
        ]
        _print_json({"space": space, "size": number, "choices": choices})
    else:
        typer.echo(number)


@app.command()
def sample(
    space: SpaceName,
    seed: Annotated[int, typer.Option(help="Of the draw; the same seed, the same necks.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="How many necks.")] = 1,
    json_: Json = False,
) -> None:
    """Print necks of a space, drawn uniformly over its genotypes.

    Example: nas-fpn sample quick --seed 3 --count 2
    """
    from nas_fpn import language

    read = language.read(language.find_space(space))
    rng = random.Random(seed)
    drawn = []
    for _ in range(count):
        genotype = language.sample(read, rng)
        neck = language.decode(read, genotype)
        drawn.append(
            {"neck": language.identity(neck), "genotype": list(genotype), "text": str(neck)}
        )
    if json_:
        _print_json(drawn)
    else:
        typer.echo("\n".join(f"# {one['neck']}\n{one['text']}" for one in drawn), nl=False)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(help="Shipped names, .space and .neck files.")],
    json_: Json = False,
) -> None:
    """Check programs: say what each holds, or where it is wrong and how to mend it.

    Example: nas-fpn check quick fpn
    """
    from nas_fpn import language

    said: list[dict[str, Any]] = []
    for file in files:
        try:
            held = language.size(language.read(language.find_space(file)))
            said.append({"file": file, "genotypes": held, "error": None})
        except SpaceError as fault:
            said.append({"file": file, "genotypes": None, "error": str(fault)})
    if json_:
        _print_json(said)
    for one in said:
        if one["error"] is not None:
            _complain(one["error"])
        elif not json_:
            held = one["genotypes"]
            typer.echo(f"{one['file']}: {'a neck' if held == 1 else f'{held} genotypes'}")
    if any(one["error"] is not None for one in said):
        raise typer.Exit(2)


@app.command()
def show(
    neck: NeckName,
    svg: Annotated[Path | None, typer.Option(help="Write the drawing to this file.")] = None,
    json_: Json = False,
) -> None:
    """Print a neck as text and as a picture: levels as rows, merges as nodes.

    Example: nas-fpn show panet --svg panet.svg
    """
    from nas_fpn import language
    from nas_fpn.language.draw import draw, draw_text

    architecture = _neck(neck)
    identity = language.identity(architecture)
    if svg is not None:
        svg.write_text(draw(architecture), encoding="utf-8")
    if json_:
        graph = language.lower(architecture)
        _print_json(
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
        picture = "".join(
            f"# {row}".rstrip() + "\n" for row in draw_text(architecture).splitlines()
        )
        typer.echo(f"{architecture}\n# {identity}\n{picture}", nl=False)


@app.command()
def necks(json_: Json = False) -> None:
    """Print the shipped necks: paper, lines, parameters, multiply-adds.

    Example: nas-fpn necks
    """
    from dataclasses import asdict

    from nas_fpn.language.listing import list_necks, table_text

    listed = list_necks()
    _print_json([asdict(neck) for neck in listed]) if json_ else typer.echo(table_text(listed))


@app.command()
def init(
    run: RunFolder,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with train.json …, or the JSON files of train, val, test."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where the file names in the JSON files start.")
    ] = None,
) -> None:
    """Write a run.toml that shows every setting, its default and its meaning.

    Example: nas-fpn init runs/mine --data path/to/coco
    """
    from nas_fpn.run import start_run

    path = start_run(run, data or (), images=images)
    typer.echo(f"{path} is written; now: nas-fpn search {run}")


@app.command()
def search(
    run: RunFolder,
    trials: Annotated[
        str | None, typer.Option(help="A new budget: 80 in all, or +100 for as many more.")
    ] = None,
    accept_drift: Annotated[
        bool, typer.Option("--accept-drift", help="Go on with a record that differs from now.")
    ] = False,
) -> None:
    """Search, or go on searching; then export the best neck to RUN/best.

    Ctrl-C leaves a run that the same command resumes.

    Example: nas-fpn search runs/quickstart
    """
    from nas_fpn.run import Watch, drive_here, read_run, search_run

    asked = read_run(run)
    drive = drive_here
    if asked.settings.ray.workers:
        from nas_fpn.run.on_ray import drive_on_ray

        drive = drive_on_ray
    watch = Watch(asked.settings.objectives[0])
    try:
        events = search_run(asked, trials=trials, accept_drift=accept_drift, drive=drive)
        _display(events, watch)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; nas-fpn search {run} goes on from here", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{run}: {fault}", err=True)
        raise typer.Exit(1) from None
    if not watch.any_complete:
        typer.echo(f"{run}: no trial is complete; nas-fpn table {run} has the reasons", err=True)
        raise typer.Exit(1)


@app.command()
def table(
    run: RunFolder,
    csv: Annotated[Path | None, typer.Option(help="Write the whole table to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Likewise, as parquet.")] = None,
    json_: Json = False,
) -> None:
    """Print every trial of a run, and the verdict so far.

    Example: nas-fpn table runs/quickstart --csv trials.csv
    """
    from nas_fpn.record import read_history
    from nas_fpn.report import answer_json, answer_text, frame

    path = run / "history.jsonl"
    if not path.is_file():
        raise RunError(f"{path}: no such file\nrun it with: nas-fpn search {run}")
    history = read_history(path)
    whole = frame(history)
    if csv is not None:
        csv.write_text(whole.to_csv(index=False), encoding="utf-8")
    if parquet is not None:
        parquet.write_bytes(whole.to_parquet(index=False))
    typer.echo(json.dumps(answer_json(history), indent=2) if json_ else answer_text(history))


@app.command()
def export(
    neck: NeckName,
    to: Annotated[Path, typer.Option(help="A new folder, or an exported one to write again.")],
    channels: Annotated[
        str | None,
        typer.Option(help="Of a neck without a run: the backbone's, finest first: 512,1024,2048"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of a neck without a run: its first weights.")] = 0,
) -> None:
    """Write a neck as a folder that needs only torch; one of a run with its trained weights.

    Example: nas-fpn export fpn --to my_neck --channels 512,1024,2048
    """
    if to.is_dir() and any(to.iterdir()) and not (to / "neck.neck").is_file():
        raise RunError(f"{to}: holds something else\n--to names a new folder, or an exported one")
    from nas_fpn.run import export_from_run, export_untrained

    run = _run_of(neck)
    if run is None:
        export_untrained(_neck(neck), to, channels=channels, seed=seed)
    else:
        if channels is not None:
            raise RunError(f"--channels is for a neck without a run; {run[0]} has its own\nomit it")
        for _ in export_from_run(*run, to):
            pass
    typer.echo(f"{to} is written")


@data_app.command("shapes")
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


@data_app.command("check")
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
        _print_json(
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


def _neck(name: str) -> Any:
    """The architecture that a name, a file, RUN or RUN:TRIAL means."""
    from nas_fpn import language

    run = _run_of(name)
    if run is None:
        return language.read_neck(language.find_neck(name))
    from nas_fpn.run import read_run, trial_entry

    return language.parse(trial_entry(read_run(run[0]), run[1]).text)


def _run_of(name: str) -> tuple[Path, int | None] | None:
    """A run's folder and the number of a trial (None: the best), if the name means one."""
    folder, colon, number = name.rpartition(":")
    if colon and number.isdecimal():
        return Path(folder), int(number)
    return (Path(name), None) if (Path(name) / "run.toml").is_file() else None


def _display(events: Iterable[Any], watch: Any) -> None:
    """Lines on any output; on a terminal a bar below them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(watch.stage, total=None)
        for event in events:
            line = watch.see(event, now=time.monotonic())
            if line is not None:
                console.print(line, markup=False)
            bar.update(task, description=watch.stage, completed=watch.done, total=watch.total)


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def _complain(message: object) -> int:
    typer.echo(str(message), err=True)
    return 2
