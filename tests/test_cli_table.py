"""The verb table: filters, orders, several runs, and files that hold what was asked for."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

from nas_fpn.cli import main
from nas_fpn.record import Entry, Outcome, Record, ask_event, tell_event


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def searched(folder: Path, *aps: float) -> str:
    folder.mkdir(parents=True)
    settings = {"controller": folder.name, "space": "quick", "budget": {"trials": len(aps) - 1}}
    with Record(folder / "history.jsonl") as record:
        record.append({"event": "run", "version": 1, "settings": settings})
        for number, ap in enumerate(aps):
            source = "controller" if number else "baseline:fpn"
            cost = {"params": 1000 - number}
            record.append(
                ask_event(Entry(number, source, None, f"{number:08x}", "", cost)),
            )
            record.append(tell_event(number, Outcome("complete", {"ap": ap}, 300, 9.0)))
    return str(folder)


def test_options_choose_and_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = searched(tmp_path / "mine", 0.25, 0.5, 0.4)
    chosen = ["--source", "controller", "--sort", "params", "--top", "1"]
    code, out, _ = run(capsys, "table", mine, *chosen, "--csv", str(tmp_path / "t.csv"))
    assert code == 0
    assert out.splitlines()[1].split()[0] == "2"
    assert list(pd.read_csv(tmp_path / "t.csv")["trial"]) == [2]
    answer = json.loads(run(capsys, "table", mine, *chosen, "--json")[1])
    assert [trial["trial"] for trial in answer["trials"]] == [2]
    code, _, err = run(capsys, "table", mine, "--sort", "app")
    assert code == 2
    assert err.startswith("--sort 'app': there are trial, ")


def test_several_runs_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [searched(tmp_path / "ppo", 0.25, 0.5), searched(tmp_path / "random", 0.25, 0.375)]
    files = ["--csv", str(tmp_path / "t.csv"), "--parquet", str(tmp_path / "t.parquet")]
    code, out, _ = run(capsys, "table", *runs, *files)
    assert code == 0
    assert [row.split()[0] for row in out.splitlines()[:3]] == ["run", "ppo", "random"]
    table = pd.read_csv(io.StringIO((tmp_path / "t.csv").read_text()))
    assert list(table["run"]) == ["ppo", "ppo", "random", "random"]
    assert list(pd.read_parquet(tmp_path / "t.parquet")["ap"]) == [0.25, 0.5, 0.25, 0.375]
    answer = json.loads(run(capsys, "table", *runs, "--json")[1])
    assert [one["best"] for one in answer["runs"]] == ["0.5000", "0.3750"]


def test_runs_of_one_name_are_told_apart_and_one_run_twice_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    runs = [searched(tmp_path / part / "mine", 0.25, 0.5) for part in ("a", "b")]
    code, out, _ = run(capsys, "table", *runs)
    assert code == 0
    assert [row.split()[0] for row in out.splitlines()[1:3]] == runs
    code, _, err = run(capsys, "table", runs[0], runs[0])
    assert code == 2
    assert err.endswith("each run can be named once\n")
