"""NeckBench: a table of what training necks gave, read from and written to a parquet file.

One row is one evaluation: a neck, a seed, the steps, the scores and the CPU seconds since its
training began. What all rows share (the space, the bank, the proxy's settings) stands in the
file's metadata.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nas_fpn.errors import RunError
from nas_fpn.language import identity, parse
from nas_fpn.record import Report

__all__ = ["Measured", "Table", "centred", "read_table", "write_table"]

KEY = b"neckbench"
VERSION = 1
SCORE, COST = "score/", "cost/"  # what the columns of scores and of costs begin with


@dataclass(frozen=True, slots=True)
class Measured:
    """A neck and its trainings: ``curves`` by seed, the reports of each in order of steps.

    ``seconds`` of the reports are CPU seconds. ``text`` is canonical, ``cost`` is for one image.
    """

    neck: str
    text: str
    cost: Mapping[str, float]
    curves: Mapping[int, tuple[Report, ...]]

    def mean(self, score: str) -> float:
        """The last value of a score, meaned over the seeds: what a simulation takes for true."""
        return fmean(curve[-1].scores[score] for curve in self.curves.values())


@dataclass(frozen=True, slots=True)
class Table:
    """Measured necks by canonical id.

    ``space`` is the text of the space that they are of; ``in_channels`` by level and
    ``image_size`` (pixels) are those of the bank; ``about`` are facts for a person.
    """

    space: str
    in_channels: Mapping[int, int]
    image_size: int
    necks: Mapping[str, Measured]
    about: Mapping[str, Any]

    def best(self, score: str) -> Measured:
        """The neck of the highest mean over seeds."""
        return max(self.necks.values(), key=lambda measured: measured.mean(score))


def write_table(path: Path, table: Table) -> None:
    """Write a table, whole or not at all."""
    rows = [
        {
            "neck": measured.neck,
            "text": measured.text,
            "seed": seed,
            "steps": report.steps,
            "cpu_seconds": report.seconds,
            **{SCORE + name: float(score) for name, score in report.scores.items()},
            **{COST + name: float(cost) for name, cost in measured.cost.items()},
        }
        for measured in table.necks.values()
        for seed, curve in sorted(measured.curves.items())
        for report in curve
    ]
    shared = {
        "version": VERSION,
        "space": table.space,
        "in_channels": {str(level): count for level, count in table.in_channels.items()},
        "image_size": table.image_size,
        "about": dict(table.about),
    }
    columns = pa.Table.from_pylist(rows).replace_schema_metadata({KEY: json.dumps(shared)})
    partial = path.with_suffix(".partial")
    pq.write_table(columns, partial, compression="zstd")
    partial.replace(path)


def read_table(path: Path) -> Table:
    """Read a table. Raises RunError for a file that is none, or is of a newer version.

    The ids are made anew from the texts, so that a table outlives a change of how they are made.
    """
    try:
        with path.open("rb") as file:  # whose OSError names the file, where Arrow's does not
            columns = pq.read_table(file)
    except pa.ArrowInvalid:
        raise RunError(
            f"{path}: not a parquet file\nwrite one with benchmarks/neckbench/record.py"
        ) from None
    facts = (columns.schema.metadata or {}).get(KEY)
    if facts is None:
        raise RunError(
            f"{path}: no table of NeckBench: its metadata has no {KEY.decode()!r}\n"
            "write one with benchmarks/neckbench/record.py"
        )
    shared = json.loads(facts)
    if shared["version"] > VERSION:
        raise RunError(
            f"{path}: version {shared['version']} is newer than this nas_fpn reads ({VERSION})"
        )
    return Table(
        space=shared["space"],
        in_channels={int(level): count for level, count in shared["in_channels"].items()},
        image_size=shared["image_size"],
        necks=_necks(columns.to_pylist()),
        about=shared["about"],
    )


def centred(table: Table) -> Table:
    """The table without what all necks of a seed share; means over seeds stay.

    A search trains its necks with one seed: the same head, the same images in the same order,
    whose luck they share. So what the seeds differ by on average over the necks, at equal steps,
    is taken off each score. Only necks that have every seed count for it.
    """
    offsets = _offsets(table)

    def shifted(seed: int, report: Report) -> Report:
        offset = offsets.get((seed, report.steps), {})
        scores = {name: score - offset.get(name, 0.0) for name, score in report.scores.items()}
        return replace(report, scores=scores)

    def without(measured: Measured) -> Measured:
        curves = {
            seed: tuple(shifted(seed, report) for report in curve)
            for seed, curve in measured.curves.items()
        }
        return replace(measured, curves=curves)

    return replace(table, necks={neck: without(one) for neck, one in table.necks.items()})


def _offsets(table: Table) -> dict[tuple[int, int], dict[str, float]]:
    """By seed and steps: how far the mean over necks lies above that of all seeds."""
    seeds = {seed for measured in table.necks.values() for seed in measured.curves}
    scores: dict[tuple[int, int], list[Mapping[str, float]]] = {}
    for measured in table.necks.values():
        if seeds == set(measured.curves):
            for seed, curve in measured.curves.items():
                for report in curve:
                    scores.setdefault((seed, report.steps), []).append(report.scores)
    means = {
        key: {name: fmean(one[name] for one in some) for name in some[0]}
        for key, some in scores.items()
    }
    return {
        (seed, steps): {
            name: value - fmean(means[other, steps][name] for other in seeds)
            for name, value in named.items()
        }
        for (seed, steps), named in means.items()
    }


def _necks(rows: Sequence[Mapping[str, Any]]) -> dict[str, Measured]:
    texts: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for row in rows:
        texts.setdefault(row["text"], {}).setdefault(row["seed"], []).append(row)
    necks = {}
    for text, seeds in texts.items():
        neck = identity(parse(text, file="a neck of the table"))
        first = next(iter(seeds.values()))[0]
        curves = {
            seed: tuple(
                Report(row["steps"], _named(row, SCORE), row["cpu_seconds"])
                for row in sorted(some, key=lambda row: int(row["steps"]))
            )
            for seed, some in seeds.items()
        }
        necks[neck] = Measured(neck, text, _named(first, COST), curves)
    return necks


def _named(row: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value
        for name, value in row.items()
        if name.startswith(prefix) and value is not None
    }
