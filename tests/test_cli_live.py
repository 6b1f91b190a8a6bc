"""The verbs dashboard and mirror: what they say, also where something is missing."""

import json
import sys
from pathlib import Path

import pytest

from nas_fpn.cli import main

GOLDEN = Path(__file__).parent / "golden" / "cli"
HEADER = {"event": "run", "version": 1, "settings": {"objective": "ap"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.toml").write_text("", encoding="utf-8")
    return tmp_path


def test_mirror_says_where_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "history.jsonl").write_text(json.dumps(HEADER) + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="0"):
        main(["mirror", str(folder)])
    where = folder / "mirror" / "study.journal"
    assert where.is_file()
    assert capsys.readouterr().out == f"{where} is written: 0 trials\n"


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        *((verb, "not_begun") for verb in ("mirror", "dashboard", "report", "table", "watch")),
        *((verb, "no_run") for verb in ("dashboard", "report", "table")),
    ],
)
def test_a_run_without_a_record_says_what_to_do(
    verb: str,
    form: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    if form == "no_run":
        (folder / "run.toml").unlink()
    with pytest.raises(SystemExit, match="2"):
        main([verb, folder.name, *(["--once"] if verb == "watch" else [])])
    golden = GOLDEN / f"record_{form}.txt"
    said = capsys.readouterr().err.replace(folder.name, "RUN")
    assert said == golden.read_text(encoding="utf-8")


def test_without_the_package_it_says_how_to_get_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    monkeypatch.delitem(sys.modules, "nas_fpn.report.dashboard", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main(["dashboard", str(folder)])
    said = capsys.readouterr().err
    assert said == "the dashboard needs optuna-dashboard\npip install 'nas-fpn[dashboard]'\n"
