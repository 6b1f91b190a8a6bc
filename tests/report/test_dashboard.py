"""optuna-dashboard on runs: follows their records, shows to this machine only, changes nothing."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from nas_fpn.errors import RunError
from nas_fpn.record import Entry, Outcome, Report, ask_event, report_event, tell_event
from nas_fpn.report.drawings import DrawnOnDemand
from nas_fpn.report.optuna_store import in_memory

pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")

from nas_fpn.report.dashboard import Followed, serve

TEXT = "width 64\n\np3 = c3 -> conv1\np4 = c4 -> conv1\n"
HEADER = {"event": "run", "version": 1, "settings": {"objective": "ap"}}


def asked(number: int) -> Any:
    return ask_event(Entry(number, "controller", None, f"{number:08x}", TEXT, {"params": 10}))


def add(folder: Path, *events: Any) -> None:
    with (folder / "history.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "<script>"
    folder.mkdir()
    add(folder, HEADER, asked(0), report_event(0, Report(10, {"ap": 0.2}, 1.0)))
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[str, Iterator[str]]]:
    lines = serve([folder, folder], host="127.0.0.1", port=0)
    yield next(lines), lines
    lines.close()  # type: ignore[attr-defined]


def get(url: str, *, host: str | None = None, method: str = "GET") -> tuple[int, bytes, str]:
    request = urllib.request.Request(url, method=method, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(), refused.headers["Content-Type"]


def test_runs_of_one_name_are_told_apart(served: tuple[str, Iterator[str]]) -> None:
    _, body, _ = get(f"{served[0]}api/studies")
    names = [one["study_name"] for one in json.loads(body)["study_summaries"]]
    assert names == ["<script>", "<script> (2)"]


def test_the_drawing_of_a_running_trial_is_served_as_svg(
    served: tuple[str, Iterator[str]],
) -> None:
    _, body, _ = get(f"{served[0]}api/studies/0?after=0")
    (trial,) = json.loads(body)["trials"]
    assert trial["state"] == "Running"
    (artifact,) = trial["artifacts"]
    link = f"artifacts/0/{trial['trial_id']}/{artifact['artifact_id']}"
    assert f"](/{link})" in trial["note"]["body"]
    status, picture, kind = get(served[0] + link)
    assert (status, kind) == (200, "image/svg+xml") and picture.startswith(b"<svg")


def test_a_run_under_way_is_followed(folder: Path) -> None:
    storage = in_memory()
    followed = Followed(folder, storage, DrawnOnDemand(), name="mine")

    def states() -> list[TrialState]:
        followed.look()
        (study,) = storage.get_all_studies()
        return [one.state for one in storage.get_all_trials(study._study_id)]

    assert states() == [TrialState.RUNNING]
    add(folder, tell_event(0, Outcome("complete", {"ap": 0.3}, 20, 2.0)), asked(1))
    assert states() == [TrialState.COMPLETE, TrialState.RUNNING]
    whole = (folder / "history.jsonl").read_text(encoding="utf-8")
    add(folder, {"event": "run"})
    with pytest.raises(RunError, match="a second event"):
        followed.look()
    (folder / "history.jsonl").write_text(whole, encoding="utf-8")
    assert states() == [TrialState.COMPLETE, TrialState.RUNNING], "a mended record goes on"
    (folder / "history.jsonl").unlink()
    with pytest.raises(RunError, match="no run"):
        followed.look()
    add(folder, {**HEADER, "seed": 1}, asked(0))
    assert states() == [TrialState.RUNNING], "another search has begun in the folder"


def test_a_fault_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_fpn.report.dashboard.PERIOD", 0.01)
    lines = serve([folder], host="127.0.0.1", port=0)
    next(lines)
    add(folder, {"event": "run"})
    assert "a second event" in next(lines)
    (folder / "history.jsonl").unlink()
    assert "no run" in next(lines)


def test_it_is_for_this_machine_and_to_look_at_only(served: tuple[str, Iterator[str]]) -> None:
    assert get(f"{served[0]}api/studies", host="evil.example")[0] == 403
    assert get(f"{served[0]}api/studies/0", method="DELETE")[0] == 405
    assert get(f"{served[0]}api/studies")[0] == 200


def test_a_run_without_a_record_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    with pytest.raises(RunError, match="this run has not begun\nbegin it with: nas-fpn search"):
        next(serve([tmp_path], host="127.0.0.1", port=0))


def test_a_port_that_is_taken_says_what_to_do(folder: Path) -> None:
    first = serve([folder], host="127.0.0.1", port=0)
    port = int(next(first).rstrip("/").rpartition(":")[2])
    with pytest.raises(RunError, match="take another with --port"):
        next(serve([folder], host="127.0.0.1", port=port))
    del first
