"""The verb that trains a real detector end to end, as an ordinary training tool."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_fpn.cli.arguments import Json, OwnWords, Trust, neck_of, run_of
from nas_fpn.cli.output import print_json, say
from nas_fpn.errors import RunError

__all__ = ["train"]

PROPOSALS = ("train_proposals", "val_proposals", "test_proposals")


def train(
    to: Annotated[Path, typer.Option(help="A new folder, or one whose training goes on.")],
    neck: Annotated[
        str | None,
        typer.Option(
            help="A shipped name, a .neck file, a program, an exported folder, RUN or RUN:TRIAL."
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(help="An exported folder that the neck's weights start from.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="A run.toml: its tables data, backbone, detector and training serve."),
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="fcos, retinanet, ssd, faster_rcnn or fast_rcnn.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with train.json …, or the JSON files of train, val, test."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where the file names in the JSON files start.")
    ] = None,
    proposals: Annotated[
        list[Path] | None,
        typer.Option(help="For fast_rcnn: COCO results files of train, val, test, in this order."),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="A timm model.")] = None,
    weights: Annotated[
        str | None, typer.Option(help='"imagenet", "none", or a .safetensors file.')
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Channels of the neck, in place of its own.")
    ] = None,
    levels: Annotated[
        str | None, typer.Option(help="Levels of the neck, in place of its own: 3-5.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Instead of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the square input.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and views.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting of a run.toml: training.ema=0.999"),
    ] = None,
    words: OwnWords = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Train a detector with any neck, and print its COCO AP on test.

    Without --data it trains on the embedded scenes. The folder then holds the neck, exported, and
    the whole detector, which needs only torch, torchvision and timm. Ctrl-C leaves a training that
    the same command goes on with.

    Example: nas-fpn train --neck fpn --width 64 --levels 3-5 --to trained
    """
    from nas_fpn.run.train import TrainJob, run_train

    tables = {
        "detector": {"kind": detector},
        "backbone": _backbone(backbone, weights),
        "training": {
            "steps": steps,
            "epochs": epochs,
            "batch_size": batch_size,
            "image_size": image_size,
            "learning_rate": learning_rate,
            "device": device,
        },
    }
    tables["data"] = _proposals(proposals or ())
    asked = _settings(_base(run, neck), tables, data or (), images, set_ or ())
    program, known = _program(neck, init, words, trust=trust)
    job = TrainJob(
        folder=to.resolve(),
        neck=str(_fitted(program, width, levels)),
        words=known,
        init=None if init is None else init.resolve(),
        detector=asked.settings.detector,
        training=asked.settings.training,
        backbone=asked.backbone,
        data=asked.data,
        seed=seed,
        warmed=None if backbone or weights else _warmed(asked),
    )
    try:
        for event in run_train(job):
            if not json_:
                _tell(event)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; the same command goes on with {to}", err=True)
        raise typer.Exit(130) from None
    except FloatingPointError as fault:
        typer.echo(f"{to}: {fault}", err=True)
        raise typer.Exit(1) from None
    metrics = json.loads((to / "metrics.json").read_text(encoding="utf-8"))
    if json_:
        print_json(metrics)
    else:
        say("\n".join(["", *_table(metrics), "", *metrics["notes"], f"{to} is written"]))


def _base(run: Path | None, neck: str | None) -> Any:
    """The run whose tables serve: the one that is named, that of the neck, or the defaults."""
    from nas_fpn.run import Run, RunSettings, read_run

    if run is not None:
        return read_run(run)
    if neck is not None and (of := run_of(neck)) is not None:
        return read_run(of[0])
    settings = RunSettings()
    return Run(Path.cwd(), settings, settings.data, settings.backbone)


def _backbone(name: str | None, weights: str | None) -> dict[str, Any]:
    """What the flags say of the backbone; another model brings its own input statistics."""
    if weights is not None and weights not in ("imagenet", "none"):
        weights = str(Path(weights).resolve())
    fresh: dict[str, Any] = (
        {} if name is None else {"arguments": {}, "mean": None, "std": None, "weights": "none"}
    )
    given = {"name": name, "weights": weights}
    return fresh | {key: value for key, value in given.items() if value is not None}


def _warmed(run: Any) -> Path | None:
    """The backbone that the run has warmed up, if it has begun so."""
    if run.backbone.weights != "none" or not run.backbone.warmup_steps:
        return None
    there = sorted((run.folder / "bank").glob("backbone-*.safetensors"))
    if len(there) > 1:
        raise RunError(
            f"{run.folder / 'bank'}: has backbones of several settings\n"
            "remove all but one, or name --weights"
        )
    return there[0] if there else None


def _settings(
    base: Any,
    tables: dict[str, dict[str, Any]],
    data: Sequence[Path],
    images: Path | None,
    more: Sequence[str],
) -> Any:
    from nas_fpn.folder import data_files
    from nas_fpn.run.settings import changed

    whole: dict[str, dict[str, Any]] = {
        name: {
            key: value for key, value in table.items() if value is not None or name != "training"
        }
        for name, table in tables.items()
    }
    if whole["detector"]["kind"] is None:
        del whole["detector"]["kind"]
    if data:
        none = dict.fromkeys(("images", "train", "val", "test", "warmup", *PROPOSALS))
        files = {key: path.resolve() for key, path in data_files(data, images=images).items()}
        whole["data"] = none | files | whole["data"]
    elif images is not None:
        raise RunError("--images is for --data\nname the JSON files: --data TRAIN.json …")
    for one in more:
        table, key, value = _setting(one)
        whole.setdefault(table, {})[key] = value
    return changed(base, whole, where="the options of nas-fpn train")


def _proposals(paths: Sequence[Path]) -> dict[str, Path]:
    if len(paths) > len(PROPOSALS):
        raise RunError(f"--proposals: {len(paths)} files; give those of train, val and test")
    return {key: path.resolve() for key, path in zip(PROPOSALS, paths, strict=False)}


def _setting(text: str) -> tuple[str, str, Any]:
    """Table, key and value of ``training.ema=0.999``; a bare word is a string."""
    import tomllib

    name, equals, value = text.partition("=")
    table, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise RunError(f"--set {text}: must be TABLE.KEY=VALUE\ne.g. --set training.ema=0.999")
    if table not in ("data", "backbone", "detector", "training"):
        raise RunError(
            f"--set {text}: a training has no table {table!r}\n"
            "there are data, backbone, detector, training"
        )
    try:
        return table, key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return table, key, value.strip()


def _program(
    neck: str | None, init: Path | None, words: Sequence[Path] | None, *, trust: bool
) -> tuple[Any, Any]:
    """The architecture that is asked for, and the words of its text."""
    from nas_fpn.language import load_words, parse, read_neck

    if neck is None and init is None:
        raise RunError("no neck is named\ngive --neck, or --init FOLDER, whose neck it then is")
    if neck is None:
        assert init is not None
        neck = str(init)
    path = Path(neck)
    if "=" in neck:
        known = load_words(words or ())
        return parse(neck, file="--neck", words=known), known
    exported = path.parent if path.suffix == ".py" else path
    if (exported / "neck.neck").is_file():
        known = load_words(words or ())
        return read_neck(exported / "neck.neck", words=known), known
    if path.suffix == ".py":
        raise RunError(f"{path}: no neck.neck beside it\nname an exported neck.py, or its folder")
    architecture = neck_of(neck, words, trust=trust)
    return architecture, architecture.words


def _fitted(architecture: Any, width: int | None, levels: str | None) -> Any:
    from nas_fpn.language import fit, lower

    if width is None and levels is None:
        return architecture
    own = [level for level, _ in lower(architecture).outputs]
    if levels is not None:
        low, dash, high = levels.partition("-")
        if not (low.isdecimal() and (high.isdecimal() if dash else True)):
            raise RunError(f"--levels {levels}: must be two levels, finest first, as 3-5")
        own = list(range(int(low), int(high or low) + 1))
        if not own:
            raise RunError(f"--levels {levels}: must be two levels, finest first, as 3-5")
    return fit(architecture, width=width or architecture.width, levels=own)


def _tell(event: Any) -> None:
    """A line for each report, and for each stage as it begins."""
    from nas_fpn.record import Report

    if isinstance(event, Report):
        names = ("loss", "ap", "ap50", "ap75")
        shown = [f"{name} {event.scores[name]:.4f}" for name in names if name in event.scores]
        say(f"step {event.steps:6}  {'  '.join(shown)}  {event.seconds:.0f} s")
    elif event.done == 0:
        say(event.stage)


def _table(metrics: dict[str, Any]) -> list[str]:
    """The COCO scores in per cent: the whole, by size, and by class."""
    scores, boxes = metrics["scores"], metrics["boxes"]
    heads = {
        "ap": "AP",
        "ap50": "AP50",
        "ap75": "AP75",
        "ap_small": "APs",
        "ap_medium": "APm",
        "ap_large": "APl",
    }
    wide = max([len(name) for name in boxes] + [5])
    total = sum(boxes.values())
    rows = [
        f"{metrics['split']}: {metrics['images']} images, {total} boxes",
        "".join(f"{head:>8}" for head in heads.values()),
        "".join(_cell(scores.get(name)) for name in heads),
        "",
        f"{'class':{wide}}{'AP':>8}{'boxes':>8}",
    ]
    rows += [f"{name:{wide}}{_cell(scores.get(f'ap/{name}'))}{n:8}" for name, n in boxes.items()]
    return rows


def _cell(score: float | None) -> str:
    return f"{'–' if score is None else f'{100 * score:.1f}':>8}"
