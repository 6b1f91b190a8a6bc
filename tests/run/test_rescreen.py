"""Choosing the finalists: the best of a list scored again, each round on record and never twice."""

import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.language import decode, find_space, identity, read, sample
from nas_fpn.record import Entry, Outcome, Record, read_history
from nas_fpn.run import Run, read_run
from nas_fpn.run.rescreen import finalists
from nas_fpn.run.trainer import Trainer


def candidates(count: int) -> tuple[Entry, ...]:
    """Necks of the space with scores that fall from one to the next."""
    space, chance = read(find_space("quick")), random.Random(0)
    rows = []
    for at in range(count):
        genotype = sample(space, chance)
        neck = decode(space, genotype)
        outcome = Outcome("complete", {"ap": 0.5 - 0.01 * at})
        rows.append(
            Entry(at, "controller", genotype, identity(neck), str(neck), {}, outcome=outcome)
        )
    assert len({row.neck for row in rows}) == count
    return tuple(rows)


@pytest.fixture
def run(searched: Path) -> Run:
    """Four are scored again, one is left."""
    whole = read_run(searched)
    confirm = whole.settings.confirm.model_copy(update={"screened": 4})
    return replace(whole, settings=whole.settings.model_copy(update={"confirm": confirm}))


def trainer(run: Run) -> Trainer:
    (bank,) = (run.folder / "bank").glob("bank-*.safetensors")
    return Trainer(bank, run.settings.proxy, run.settings.seed)


def ended(events: Generator[Any, None, tuple[Entry, ...]]) -> tuple[Entry, ...]:
    while True:
        try:
            next(events)
        except StopIteration as end:
            chosen: tuple[Entry, ...] = end.value
            return chosen


def chosen(run: Run, entries: tuple[Entry, ...], path: Path) -> tuple[Entry, ...]:
    history = read_history(path)
    with Record(path) as record:
        if not history.events:
            record.append({"event": "run", "version": 1})
        return ended(finalists(run, entries, record, history, trainer(run)))


def screenings(path: Path) -> list[Any]:
    return [one for one in read_history(path).events if one["event"] == "screening"]


def test_the_worse_half_leaves_each_round_and_nothing_is_trained_twice(
    run: Run, tmp_path: Path
) -> None:
    path, entries = tmp_path / "history.jsonl", candidates(6)
    (left,) = chosen(run, entries, path)
    rows = screenings(path)
    assert [row["seed"] for row in rows] == [1001] * 4 + [1002] * 2
    assert {row["neck"] for row in rows[:4]} == {one.neck for one in entries[:4]}
    assert all(row["split"] == "val" for row in rows), "test is not touched"
    assert left.neck in {row["neck"] for row in rows[4:]}
    assert chosen(run, entries, path) == (left,)
    assert screenings(path) == rows, "what is on record is not trained again"
    proxy = run.settings.proxy.model_copy(update={"graphs": not run.settings.proxy.graphs})
    launched = replace(run, settings=run.settings.model_copy(update={"proxy": proxy}))
    assert chosen(launched, entries, path) == (left,)
    assert screenings(path) == rows, "nor if its steps are launched otherwise"


def test_one_that_was_cut_short_goes_on_to_the_same_finalist(run: Run, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "history.jsonl"
    entries = candidates(4)
    expected = chosen(run, entries, whole)
    lines = whole.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]))
    assert chosen(run, entries, path) == expected
    strip = [{**row, "seconds": 0} for row in screenings(path)]
    assert strip == [{**row, "seconds": 0} for row in screenings(whole)]


def test_of_several_objectives_the_front_is_spread_and_nothing_trained(
    run: Run, tmp_path: Path
) -> None:
    confirm = run.settings.confirm.model_copy(update={"finalists": 2})
    settings = run.settings.model_copy(
        update={"confirm": confirm, "objective": ("ap", "-latency_ms")}
    )
    entries = candidates(4)
    kept = chosen(replace(run, settings=settings), entries, tmp_path / "history.jsonl")
    assert kept == (entries[0], entries[3])
    assert screenings(tmp_path / "history.jsonl") == []


def test_without_a_screen_the_first_of_the_list_are_taken(run: Run, tmp_path: Path) -> None:
    confirm = run.settings.confirm.model_copy(update={"screened": 0, "finalists": 2})
    settings = run.settings.model_copy(update={"confirm": confirm})
    entries = candidates(4)
    assert chosen(replace(run, settings=settings), entries, tmp_path / "h.jsonl") == entries[:2]
