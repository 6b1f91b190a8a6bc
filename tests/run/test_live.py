"""``[report]``: shown while it is searched; nothing that shows a run can stop it."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from nas_fpn.record import Entry, History, Outcome, Report, ask_event, report_event, tell_event
from nas_fpn.report.mirrors import drawings_of, journal_of
from nas_fpn.report.opened import open_run
from nas_fpn.report.optuna_store import journal
from nas_fpn.report.tensorboard import Curves, curves_of
from nas_fpn.run import read_run
from nas_fpn.run.live import followed, views
from nas_fpn.search import Asked, Noted, Over, Progress, Reported, Told

TEXT = "width 64\n\np3 = c3 -> conv1\np4 = c4 -> conv1\n"
HEADER = {"event": "run", "version": 1, "settings": {"objective": "ap"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text("[report]\ntensorboard = true\n", encoding="utf-8")
    (tmp_path / "history.jsonl").write_text(json.dumps(HEADER) + "\n", encoding="utf-8")
    return tmp_path


def search(folder: Path, *, trials: int = 3) -> Iterator[Progress]:
    """What a search says, each after it is on record."""
    with (folder / "history.jsonl").open("a", encoding="utf-8", buffering=1) as file:
        for number in range(trials):
            entry = Entry(number, "controller", None, f"{number:08x}", TEXT, {"params": 10})
            file.write(json.dumps(ask_event(entry)) + "\n")
            yield Asked(entry)
            report = Report(10, {"ap": 0.1 * number, "loss": 1.0}, 1.0)
            file.write(json.dumps(report_event(number, report)) + "\n")
            entry = Entry(*_facts(entry), reports=(report,))
            yield Reported(entry, report)
            outcome = Outcome("complete", report.scores, 10, 1.0)
            file.write(json.dumps(tell_event(number, outcome)) + "\n")
            yield Told(Entry(*_facts(entry), reports=(report,), outcome=outcome))
    yield Over(trials, exhausted=False)


def _facts(entry: Entry) -> tuple[int, str, None, str, str, dict[str, float]]:
    return entry.number, entry.source, None, entry.neck, entry.text, dict(entry.cost)


class Broken:
    """It cannot show a second trial."""

    def follow(self, entry: Entry) -> None:
        if entry.number:
            raise ConnectionError("the database\nis gone")

    def say(self, history: History) -> None:
        """Nothing."""


class Seen:
    """It remembers what it was shown."""

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self.trials = 0

    def follow(self, entry: Entry) -> None:
        if entry.outcome is not None:
            self.ended.add(entry.number)

    def say(self, history: History) -> None:
        self.trials = len(history.entries)


def test_a_search_leaves_mirror_and_logs(folder: Path) -> None:
    said = list(followed(folder / "history.jsonl", search(folder), views(read_run(folder))))
    assert [type(one) for one in said] == [type(one) for one in search(folder)]
    storage = journal(journal_of(folder))
    study = optuna.load_study(study_name=folder.name, storage=storage)
    assert [one.values for one in study.trials] == [[0.0], [0.1], [0.2]]
    assert len(list(drawings_of(folder).iterdir())) == 1, "equal programs have one drawing"
    logs = [one.name for one in sorted(curves_of(folder).iterdir())]
    assert logs == [f"trial-{n:05d}-{n:08x}" for n in range(3)]


def test_nothing_is_written_where_nothing_is_wanted(folder: Path) -> None:
    (folder / "run.toml").write_text("[report]\nmirror = false\n", encoding="utf-8")
    wanted = views(read_run(folder))
    assert len(list(followed(folder / "history.jsonl", search(folder), wanted))) == 10
    assert not journal_of(folder).parent.exists() and not curves_of(folder).exists()


def test_what_fails_is_said_once_and_the_search_goes_on(folder: Path) -> None:
    seen = Seen()
    wanted = {"a mirror": Broken, "another": lambda: seen}
    said = list(followed(folder / "history.jsonl", search(folder), wanted))
    (noted,) = [one for one in said if isinstance(one, Noted)]
    assert noted.text.startswith(
        "a mirror is given up, the search goes on: ConnectionError: the database is gone\n"
    )
    assert len(said) == 11
    assert (seen.ended, seen.trials) == ({0, 1, 2}, 3), "the others go on"


def test_what_cannot_be_opened_is_said(folder: Path) -> None:
    (folder / "run.toml").write_text('[report]\nstorage = "nosuch://x"\n', encoding="utf-8")
    wanted = views(read_run(folder))
    said = list(followed(folder / "history.jsonl", search(folder), wanted))
    (noted,) = [one for one in said if isinstance(one, Noted)]
    assert "the mirror is given up" in noted.text and "cannot open storage" in noted.text


def test_one_that_hangs_holds_nothing_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_fpn.run.live.PATIENCE", 0.05)
    monkeypatch.setattr("nas_fpn.run.live.HURRY", 0.05)
    free = threading.Event()

    class Hangs(Seen):
        def follow(self, entry: Entry) -> None:
            free.wait()

    said = list(followed(folder / "history.jsonl", search(folder), {"the mirror": Hangs}))
    assert len(said) == 11 and said[-1].text.endswith(  # type: ignore[union-attr]
        f"left behind; nas-fpn mirror {folder} makes it anew"
    )
    free.set()


def test_a_search_without_time_left_waits_a_moment_all_the_same(folder: Path) -> None:
    class Slow(Seen):
        def say(self, history: History) -> None:
            time.sleep(0.2)
            super().say(history)

    steps = followed(folder / "history.jsonl", search(folder), {"it": Slow}, patience=lambda: -1.0)
    assert len(list(steps)) == 10


def test_an_interrupted_search_is_mirrored_as_far_as_it_came(folder: Path) -> None:
    steps = followed(folder / "history.jsonl", search(folder), views(read_run(folder)))
    for step in steps:
        if isinstance(step, Reported) and step.entry.number == 1:
            break
    steps.close()  # type: ignore[attr-defined]
    study = optuna.load_study(study_name=folder.name, storage=journal(journal_of(folder)))
    assert [one.state.name for one in study.trials] == ["COMPLETE", "RUNNING"]


def test_logs_hold_curves_and_are_not_written_twice(folder: Path) -> None:
    list(search(folder))
    Curves(curves_of(folder), open_run(folder))
    files = sorted(curves_of(folder).rglob("events*"))
    before = [file.read_bytes() for file in files]
    assert len(files) == 3 and all(b"loss" in one and b"p3 = c3" in one for one in before)
    assert all(b"_hparams_/session_start_info" in one for one in before)
    Curves(curves_of(folder), open_run(folder))
    assert [file.read_bytes() for file in sorted(curves_of(folder).rglob("events*"))] == before


def test_the_settings_of_the_report_are_no_part_of_the_question(folder: Path) -> None:
    (folder / "run.toml").write_text('[report]\nstorage = "mirror.db"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="should be a URL"):
        read_run(folder)
