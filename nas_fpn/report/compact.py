"""The trials of some runs as the page holds them: once, as short as they go, without repeats.

Drawings are one gzip stream in base64 that the browser unpacks: those of a space share most of
their text, and a page of a thousand trials stays a file that can be mailed.
"""

import base64
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from nas_fpn.errors import SpaceError
from nas_fpn.language import Architecture, Words, explain, parse
from nas_fpn.language.draw import draw
from nas_fpn.record import Entry, Outcome, Report
from nas_fpn.report.markup import Markup
from nas_fpn.report.opened import Opened

__all__ = ["block", "compact", "parsed", "trial_key"]


def trial_key(run: int, number: int) -> str:
    """The address of a trial in the page: ``trial-12``, ``run-2-trial-12`` from the second run."""
    return f"trial-{number}" if run == 0 else f"run-{run + 1}-trial-{number}"


def parsed(entry: Entry, words: Words) -> Architecture | None:
    """The neck of a trial, or None where its words are not at hand."""
    return _parsed(entry.text, words)


def compact(runs: Sequence[Opened]) -> dict[str, Any]:
    """Every trial of the runs as rows of values; what repeats is a position in a list.

    ``scores`` and ``costs`` name the values of a trial; ``choices`` and ``texts`` are distinct, and
    the drawings are those of the texts, null for one that cannot be drawn.
    """
    every = [entry for run in runs for entry in run.history.entries]
    scores = _names(scores for entry in every for scores in _measured(entry))
    costs = _names(entry.cost for entry in every)
    curves = [name for name in scores if "/" not in name]  # a class has its last score only
    choices: dict[str, int] = {}
    texts: dict[str, int] = {}
    drawings: list[str | None] = []
    trials = []
    for at, run in enumerate(runs):
        for entry in run.history.entries:
            text = texts.setdefault(entry.text, len(texts))
            if text == len(drawings):
                neck = parsed(entry, run.words)
                drawings.append(None if neck is None else draw(neck))
            trials.append(
                {
                    "key": trial_key(at, entry.number),
                    "run": at,
                    "trial": entry.number,
                    "source": entry.source,
                    "neck": entry.neck,
                    "text": text,
                    "cost": [_short(entry.cost.get(name)) for name in costs],
                    "choices": [choices.setdefault(c, len(choices)) for c in _choices(run, entry)],
                    **_fate(entry, scores, curves),
                }
            )
    packed = gzip.compress(json.dumps(drawings).encode(), mtime=0)
    return {
        "runs": [
            {
                "name": run.name,
                "objectives": list(run.objectives),
                "named": run.space is not None,
            }
            for run in runs
        ],
        "scores": scores,
        "curves": curves,
        "costs": costs,
        "choices": list(choices),
        "texts": list(texts),
        "trials": trials,
        "drawings": base64.b64encode(packed).decode(),
    }


def block(identity: str, value: object) -> Markup:
    """A value as JSON that stands in a page; no text in it can end the block or begin a tag."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{identity}">{text}</script>')


@lru_cache(maxsize=1 << 12)  # several sections read the same necks
def _parsed(text: str, words: Words) -> Architecture | None:
    try:
        return parse(text, words=words)
    except SpaceError:
        return None


def _fate(entry: Entry, scores: Sequence[str], curves: Sequence[str]) -> dict[str, Any]:
    """How a trial went, or how far it is: a trial under way shows what it reported last."""
    outcome, reports = entry.outcome, entry.reports
    last: Outcome | Report | None = outcome or (reports[-1] if reports else None)
    running = "paused" if entry.paused else "running"
    measured = {} if last is None else last.scores
    return {
        "state": running if outcome is None else outcome.state,
        "steps": None if last is None else last.steps,
        "seconds": None if last is None else _short(last.seconds),
        "of": None if outcome is None else outcome.of,
        "reason": None if outcome is None else outcome.reason,
        "scores": [_short(measured.get(name)) for name in scores],
        "reports": [
            [report.steps, *(_short(report.scores.get(name)) for name in curves)]
            for report in reports
        ],
    }


def _choices(run: Opened, entry: Entry) -> list[str]:
    """Each choice with the option taken; by number where the space is not at hand."""
    if entry.genotype is None:
        return []
    if run.space is None:
        return [f"choice {k} = option {index}" for k, index in enumerate(entry.genotype)]
    return [f"{name} = {option}" for name, option in explain(run.space, entry.genotype)]


def _measured(entry: Entry) -> Iterator[Mapping[str, float]]:
    if entry.outcome is not None:
        yield entry.outcome.scores
    yield from (report.scores for report in entry.reports)


def _names(rows: Iterable[Mapping[str, float]]) -> list[str]:
    """The names of numbers in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _short(value: float | None) -> float | None:
    """Six digits are more than is known of any score."""
    if value is None:
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short
