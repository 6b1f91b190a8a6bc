"""Explaining a neck: who is explained, against what; a whole run at the smallest size, resumed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import Entry, History, Outcome, read_history
from nas_fpn.report import answer_text, explained
from nas_fpn.run import Run, RunSettings, explain_run, read_run, search_run
from nas_fpn.run.explain_plan import explained_pair
from nas_fpn.search import Noted
from tests.run.smallest import SMALLEST

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
TINY = (
    """
space = "quick"
controller = "{controller}"
baselines = ["fpn"]
[budget]
trials = 2
"""
    + SMALLEST
    + """
[confirm]
seeds = 0
equal_cost = "params"
[explain]
seeds = 2
most = 2
[ray]
workers = 0
[report]
mirror = false
"""
)


def entry(number: int, source: str, neck: str, score: float | None) -> Entry:
    outcome = Outcome("failed", reason="x") if score is None else Outcome("complete", {"ap": score})
    return Entry(number, source, None, neck, "", {}, outcome=outcome)


FPN = entry(0, "baseline:fpn", "fpn", 0.2)
SAME = entry(1, "controller", "fpn", 0.2)
GOOD = entry(2, "controller", "good", 0.3)
POOR = entry(3, "controller", "poor", 0.1)
FAILED = entry(4, "controller", "bad", None)


def pair(number: int | None, *entries: Entry) -> tuple[str, str]:
    run = Run(Path("runs/mine"), RunSettings(), DataSettings(), BackboneSettings())
    found, control = explained_pair(run, History((), entries), number)
    return found.neck, control.neck


def test_the_best_neck_found_is_explained_unless_another_is_named() -> None:
    everything = (FPN, SAME, GOOD, POOR, FAILED)
    assert pair(None, *everything) == ("good", "fpn")
    assert pair(3, *everything) == ("poor", "fpn")


@pytest.mark.parametrize(
    ("form", "number", "entries"),
    [
        ("no_trial", 9, (FPN, SAME, GOOD)),
        ("baseline", 0, (FPN, SAME, GOOD)),
        ("failed", 4, (FPN, SAME, GOOD, POOR, FAILED)),
        ("none_found", None, (FPN, SAME)),
        ("no_baseline", None, (entry(0, "controller", "good", 0.3),)),
    ],
)
def test_what_cannot_be_explained(
    form: str, number: int | None, entries: tuple[Entry, ...]
) -> None:
    with pytest.raises(RunError) as fault:
        pair(number, *entries)
    golden = GOLDEN / f"explain_{form}.txt"
    assert f"{fault.value}\n" == golden.read_text(encoding="utf-8")


def test_a_folder_without_a_record_is_told_to_search_first(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    with pytest.raises(RunError, match="search first: nas-fpn search"):
        next(explain_run(read_run(tmp_path)))


def whole(folder: Path, controller: str) -> Run:
    folder.mkdir()
    (folder / "run.toml").write_text(TINY.format(controller=controller))
    run = read_run(folder)
    for _ in search_run(run):
        pass
    return run


def noted(run: Run, against: Path | None = None) -> list[str]:
    return [one.text for one in explain_run(run, against=against) if isinstance(one, Noted)]


def test_an_explanation_under_other_steps_begins_with_nothing(
    searched: Path, tmp_path: Path
) -> None:
    """Necks, seeds and split are the same; its trainings are named by all that decides them."""
    folder = Path(shutil.copytree(searched, tmp_path / "mine"))
    whole = len(noted(read_run(folder)))
    history = read_history(folder / "history.jsonl")
    (event,) = (one for one in history.events if one["event"] == "explain")
    trained = [one["of"] for one in history.events if one["event"] == "ablation"]
    assert set(event["trainings"]) == set(trained) and len(trained) == whole
    toml = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(toml.replace("steps = 2\nbatch_size", "steps = 1\nbatch_size"))
    events = explain_run(read_run(folder))
    next(one for one in events if isinstance(one, Noted))
    events.close()  # killed after its first training
    known = explained(read_history(folder / "history.jsonl"))
    assert known is not None and (known.done, known.wanted) == (1, whole)


@pytest.mark.slow
def test_a_whole_explanation_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    run = whole(tmp_path / "mine", "evolution")
    path = run.folder / "history.jsonl"
    events = explain_run(run)
    first = next(one for one in events if isinstance(one, Noted))
    events.close()  # killed after its first training
    assert first.text.startswith("1/")
    before = path.read_bytes()
    assert len(noted(run)) == int(first.text.split()[0].partition("/")[2]) - 1
    assert path.read_bytes().startswith(before)
    ended = path.read_bytes()
    assert noted(run) == [] and path.read_bytes() == ended
    proxy = run.settings.proxy.model_copy(update={"graphs": not run.settings.proxy.graphs})
    launched = replace(run, settings=run.settings.model_copy(update={"proxy": proxy}))
    assert noted(launched) == [] and path.read_bytes() == ended
    history = read_history(path)
    known = explained(history)
    assert known is not None and known.done == known.wanted and len(known.changes) == 2
    assert all(one.gap is not None for one in (*known.changes, *known.parts))
    trained = [(e["neck"], e["seed"]) for e in history.events if e["event"] == "ablation"]
    assert len(set(trained)) == len(trained) == known.wanted
    assert "Why " in answer_text(history)
    with pytest.raises(RunError, match="was searched by 'evolution'"):
        noted(run, run.folder)
    lines = path.read_text().splitlines()
    header = json.loads(lines[0])
    header["settings"]["controller"] = "random_search"
    other = tmp_path / "random"
    other.mkdir()
    kept = [line for line in lines[1:] if json.loads(line)["event"] not in ("explain", "ablation")]
    (other / "history.jsonl").write_text("\n".join([json.dumps(header), *kept]) + "\n")
    assert noted(run, other) == []
    known = explained(read_history(path))
    assert known is not None and known.luck is not None and known.luck.run == "random"
    del header["settings"]["proxy"]["graphs"]  # as records have it from before it was a setting
    (other / "history.jsonl").write_text("\n".join([json.dumps(header), *kept]) + "\n")
    assert noted(run, other) == []
    header["bank"] = "1" * 64
    (other / "history.jsonl").write_text("\n".join([json.dumps(header), *kept]) + "\n")
    with pytest.raises(RunError, match="asks another question: its bank differs"):
        noted(run, other)
