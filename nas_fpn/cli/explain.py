"""The verb explain: what each part of a neck found is worth, and where the gain comes from."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nas_fpn.cli.arguments import Json, run_of
from nas_fpn.cli.output import print_json, say_prose
from nas_fpn.cli.steps import to_the_end
from nas_fpn.errors import RunError

__all__ = ["explain"]


def explain(
    run: Annotated[str, typer.Argument(help="RUN for the best neck found, or RUN:TRIAL.")],
    seeds: Annotated[int | None, typer.Option(min=2, help="Instead of seeds in [explain].")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Instead of most in [explain].")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Instead of workers in [explain].")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A run of the same question, searched by random_search."),
    ] = None,
    json_: Json = False,
) -> None:
    """Train simpler neighbours of a neck in the proxy, and say what each change costs, on test.

    Also where its difference to the best baseline comes from: words, topology, size, search.
    Ctrl-C leaves trainings that the same command goes on with; choose nothing by its scores.

    Example: nas-fpn explain runs/quickstart --seeds 3 --most 8
    """
    from nas_fpn.record import read_history
    from nas_fpn.report import explained_json, explained_text, open_run
    from nas_fpn.report.importance import importance
    from nas_fpn.run import explain_run, read_run

    named = run_of(run)
    if named is None:
        raise RunError(f"{run}: no such run\nname the folder of a run.toml, or RUN:TRIAL")
    folder, trial = named
    asked = read_run(folder)
    given = {"seeds": seeds, "most": most, "workers": workers}
    changed = asked.settings.explain.model_copy(
        update={key: value for key, value in given.items() if value is not None}
    )
    asked = replace(asked, settings=asked.settings.model_copy(update={"explain": changed}))
    events = explain_run(asked, trial, against=against)
    known = to_the_end(events, verb="explain", run=run, err=json_)
    history = read_history(asked.folder / "history.jsonl")
    shares = importance(open_run(asked.folder, trust=True))
    if json_:
        print_json(explained_json(history, known, shares))
    else:
        say_prose(f"\n{explained_text(history, known, shares)}")
