"""A run that promotes: what is paused goes on bit for bit, after a kill and without its file."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas_fpn.record import Entry, read_history
from nas_fpn.report import frame
from nas_fpn.run import Event, Watch, read_run, search_run
from nas_fpn.run.on_ray import drive_on_ray
from nas_fpn.search import Over, Paused, trained
from tests.run.test_run_search import TINY, lines

QUESTION = (
    TINY.replace("trials = 2", 'trials = 6\nhalving = "promote"\neta = 2\nrungs = 2')
    .replace("steps = 2\nbatch", "steps = 8\nbatch")
    .replace('baselines = ["none", "fpn"]', 'baselines = ["none"]')
    + "[confirm]\nseeds = 0\n"
)


def begin(folder: Path, like: Path | None = None) -> Path:
    """A run's folder; ``like`` is one whose bank it takes over."""
    folder.mkdir()
    (folder / "run.toml").write_text(QUESTION)
    if like is not None:
        for part in ("bank", "data"):
            shutil.copytree(like / part, folder / part)
    return folder


def own(folder: Path) -> list[Entry]:
    entries = read_history(folder / "history.jsonl").entries
    return [entry for entry in entries if entry.source == "controller"]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = begin(tmp_path_factory.mktemp("runs") / "mine")
    return folder, list(search_run(read_run(folder)))


def test_a_proposal_is_trained_to_a_rung_and_some_to_the_end(
    promoted: tuple[Path, list[Event]],
) -> None:
    entries = own(promoted[0])
    assert trained(tuple(entries)) == 6
    ends = {(entry.outcome.state, entry.outcome.steps) for entry in entries if entry.outcome}
    assert ("complete", 8) in ends
    assert ("stopped", 2) in ends
    assert not (promoted[0] / "checkpoints").exists()
    whole = read_history(promoted[0] / "history.jsonl").entries[0]
    assert [report.steps for report in whole.reports] == [2, 4, 8]
    assert whole.pauses == ()


def test_what_was_paused_gives_the_reports_of_a_whole_training(
    promoted: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    """The best neck is trained once more for its weights, in one go, and says if it differs."""
    best = promoted[0] / "best"
    assert "trial" in (best / "README.md").read_text()
    assert "other scores" not in (best / "README.md").read_text()
    folder = begin(tmp_path / "whole", promoted[0])
    text = (folder / "run.toml").read_text().replace('"promote"', '"stop"')
    (folder / "run.toml").write_text(text)
    list(search_run(read_run(folder)))
    known = {entry.neck: entry for entry in own(folder)}
    for entry in own(promoted[0]):
        again = {report.steps: report.scores for report in known[entry.neck].reports}
        for report in entry.reports:
            assert again.get(report.steps, report.scores) == report.scores


@pytest.mark.parametrize("lost", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_interrupted_search_goes_on_from_its_checkpoints_or_without_them(
    promoted: tuple[Path, list[Event]], tmp_path: Path, lost: bool
) -> None:
    folder = begin(tmp_path / "mine", promoted[0])
    paused = 0
    for event in search_run(read_run(folder)):
        paused += isinstance(event, Paused)
        if paused == 3:
            break
    waiting = [entry for entry in own(folder) if entry.paused]
    there = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert there == sorted(f"{e.number}-{e.pauses[-1]}.safetensors" for e in waiting)
    assert set(frame(read_history(folder / "history.jsonl"))["state"]) >= {"complete", "paused"}
    if lost:
        shutil.rmtree(folder / "checkpoints")
    list(search_run(read_run(folder)))
    assert lines(folder) == lines(promoted[0])
    assert not (folder / "checkpoints").exists()


def test_a_watch_says_what_is_paused(promoted: tuple[Path, list[Event]]) -> None:
    watch = Watch("ap")
    (over,) = [at for at, event in enumerate(promoted[1]) if isinstance(event, Over)]
    said = [line for event in promoted[1][:over] if (line := watch.see(event, now=0.0))]
    assert any("paused at step 2, ap 0." in line for line in said)
    assert watch.done == watch.total == 7


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_paused_trials_that_go_on(
    promoted: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder = begin(tmp_path / "mine", promoted[0])
    program = (
        "import sys\nfrom pathlib import Path\nfrom nas_fpn.run import read_run, search_run\n"
        "for event in search_run(read_run(Path(sys.argv[1]))): pass\n"
    )
    history = folder / "history.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for pauses in (1, 4):  # twice, the second time further on
        driver = subprocess.Popen([sys.executable, "-c", program, str(folder)], env=environment)
        while driver.poll() is None:
            if history.exists() and history.read_text().count('"pause"') >= pauses:
                break
            time.sleep(0.01)
        driver.kill()
        driver.wait()
        assert any(entry.paused or entry.pauses for entry in own(folder))
    list(search_run(read_run(folder)))
    assert lines(folder) == lines(promoted[0])


@pytest.mark.slow
def test_one_worker_of_ray_writes_the_record_of_the_local_runner(
    promoted: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder = begin(tmp_path / "mine", promoted[0])
    (folder / "run.toml").write_text(QUESTION.replace("workers = 0", "workers = 1"))
    list(search_run(read_run(folder), drive=drive_on_ray))
    assert lines(folder) == lines(promoted[0])
    assert not (folder / "checkpoints").exists()
