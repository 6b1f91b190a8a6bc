"""The verb simulate: controllers on a table of measured necks, in seconds."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nas_fpn.cli.arguments import Json
from nas_fpn.cli.output import print_json
from nas_fpn.errors import RunError

__all__ = ["simulate"]

PARTS = (1 / 8, 1 / 4, 1 / 2, 1)  # of the trials, after which to look


def simulate(
    table: Annotated[Path, typer.Argument(help="A table of NeckBench, a parquet file.")],
    controller: Annotated[
        list[str], typer.Option(help="A shipped name or a .py file; may be given again.")
    ],
    workers: Annotated[str, typer.Option(help="Trials at a time; several: 1,16,64.")] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="Searches, one a seed.")] = 100,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trained in each search; default: half the necks.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="Of the controller: name=value, the value as in JSON; may be repeated."),
    ] = None,
    halving: Annotated[
        Literal["none", "stop", "promote"],
        typer.Option(help="As in run.toml: stop poor trials at rungs, or pause all, promote good."),
    ] = "none",
    failures: Annotated[
        float, typer.Option(min=0, max=1, help="The probability that a trial fails.")
    ] = 0.0,
    json_: Json = False,
) -> None:
    """Run controllers against a table of measured necks, with the real loop on a simulated clock.

    Found is the true AP (the mean over the table's seeds) of the neck that looked best, meaned over
    the searches, with a 95 % interval; regret is what the table's best neck has above it.

    Example: nas-fpn simulate benchmarks/neckbench/shapes.parquet --controller evolution --seeds 5
    """
    from nas_fpn.run.simulate import open_bench
    from nas_fpn.run.simulate import simulate as simulated

    bench = open_bench(table)
    count = trials or max(len(bench.table.necks) // 2, 1)
    rungs = None if halving == "none" else bench.halving(promotes=halving == "promote")
    marks = sorted({max(round(count * part), 1) for part in PARTS})
    rows = []
    for name in controller:
        for at_a_time in _numbers(workers):
            searches = simulated(
                bench,
                name,
                settings=_settings(setting or []),
                workers=at_a_time,
                trials=count,
                seeds=range(seeds),
                failures=failures,
                halving=rungs,
            )
            rows.append(_row(name, at_a_time, list(searches), marks, bench.best))
    if json_:
        print_json({"table": str(table), "best": bench.best, "seeds": seeds, "rows": rows})
        return
    typer.echo(f"{len(bench.table.necks)} necks, the best has AP {bench.best:.4f}; {seeds} seeds")
    heads = "".join(f"{f'found after {mark}':>18}" for mark in marks)
    typer.echo(f"{'controller':18}{'workers':>8}{heads}{'regret, 95 %':>26}{'hours':>9}")
    for row in rows:
        found = "".join(f"{one['ap']:>18.4f}" for one in row["found"])
        last = row["found"][-1]
        regret = f"{last['regret']:.4f} ({last['low']:.4f} {last['high']:.4f})"
        head = f"{row['controller']:18}{row['workers']:>8}"
        typer.echo(f"{head}{found}{regret:>26}{row['hours']:>9.4f}")


def _row(
    name: str, workers: int, searches: list[Any], marks: list[int], best: float
) -> dict[str, Any]:
    from statistics import fmean

    from nas_fpn.search.regret import found_after, mean_of

    found = []
    for mark in marks:
        mean = mean_of(found_after(searches, mark))
        regret, low, high = (max(best - ap, 0.0) for ap in (mean.value, mean.high, mean.low))
        found.append({"trials": mark, "ap": mean.value, "regret": regret, "low": low, "high": high})
    hours = fmean(search.points[-1].seconds for search in searches) / 3600
    trained = fmean(search.points[-1].trials for search in searches)
    return {
        "controller": name,
        "workers": workers,
        "found": found,
        "hours": hours,
        "trials": trained,
    }


def _numbers(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise RunError(f"--workers = {text!r}: should be numbers from 1, with commas: 1,16,64")
    return [int(part) for part in text.split(",")]


def _settings(given: list[str]) -> dict[str, object]:
    settings: dict[str, object] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise RunError(f"--setting = {one!r}: should be name=value, like population=20")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings
