"""A search whose trials are spread: what its way to train them is told, and what is on record."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import read_history
from nas_fpn.run import Run, drive_here, packed, plan_run, read_run, search_run
from nas_fpn.run.machine import Machine
from nas_fpn.run.packed import ON_CPU, Packed
from nas_fpn.run.started import Driver, Room
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Loop, Progress
from tests.run.test_run_search import TINY

Seen = list[tuple[int | str, float | str, str, str]]


def begin(folder: Path, ray: str) -> Path:
    folder.mkdir(exist_ok=True)
    text = TINY.replace("workers = 0", ray).replace("[proxy]", '[proxy]\ndevice = "auto"')
    (folder / "run.toml").write_text(text)
    return folder


def driver(seen: Seen, room: Room | None = None) -> Driver:
    """Trains here; ``seen`` takes workers, GPUs of a trial, and the devices of plan and trials."""

    def drive(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
        ray, device = run.settings.ray, run.settings.proxy.device
        seen.append((ray.workers, ray.gpus_per_trial, device, trainer.settings.device))
        return drive_here(run, loop, trainer)

    @contextmanager
    def started(run: Run) -> Iterator[Room | None]:
        yield room

    return Driver(drive, started)


def header(folder: Path) -> Any:
    return read_history(folder / "history.jsonl").events[0]


def test_a_run_goes_on_with_other_gpus_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "this_machine", lambda run: Machine(2, gpus=1))
    seen: Seen = []
    folder = begin(tmp_path / "mine", "workers = 1\ngpus_per_trial = 0")
    events = list(search_run(read_run(folder), drive=driver(seen)))
    assert [event.text for event in events if isinstance(event, Packed)] == [ON_CPU]
    assert header(folder)["settings"]["proxy"]["device"] == "auto", "as it was asked"
    assert header(folder)["machine"]["ray"]["gpus_per_trial"] == 0.0
    begin(folder, "workers = 1")
    list(search_run(read_run(folder), trials="+1", drive=driver(seen)))
    assert seen == [(1, 0.0, "cpu", "cpu"), (1, 1.0, "auto", "auto")]
    assert "drift" not in {one["event"] for one in read_history(folder / "history.jsonl").events}


def test_gpus_that_are_not_here_are_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    run = read_run(begin(tmp_path / "mine", "workers = 1\ngpus_per_trial = 4096"))
    for steps in (search_run(run, drive=driver([])), plan_run(run)):
        with pytest.raises(RunError, match="gpus_per_trial = 4096, but torch finds"):
            next(steps)
    assert not (run.folder / "bank").exists()


def test_a_search_asks_its_driver_for_the_room_of_a_cluster(tmp_path: Path) -> None:
    seen: Seen = []
    folder = begin(tmp_path / "mine", 'address = "auto"')
    list(search_run(read_run(folder), drive=driver(seen, Room(3, 1.0))))
    assert seen == [(3, 1.0, "auto", "auto")]
    line = next(
        one
        for one in map(json.loads, (folder / "history.jsonl").read_text().splitlines())
        if one["event"] == "packing"
    )
    assert (line["workers"], line["gpus_per_trial"], line["gpus_asked"]) == (3, 1.0, "auto")
