"""The verb report: where the page goes, what is said, what a wrong folder gives."""

from pathlib import Path

import pytest

from nas_fpn.cli import main
from tests.report.synthetic import write_run


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["report", *map(str, arguments)])
    return stopped.value.code if isinstance(stopped.value.code, int) else 1


def test_the_page_goes_into_the_first_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (write_run(tmp_path / name, 6) for name in ("one", "two"))
    assert run(one, two) == 0
    page = one / "report.html"
    assert capsys.readouterr().out.startswith(f"{page} is written, 0.")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert not (two / "report.html").exists()


def test_the_page_goes_where_it_is_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "one", 6)
    assert run(folder, "--to", tmp_path / "mail.html") == 0
    assert (tmp_path / "mail.html").is_file()
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_run_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "none") == 2
    said = capsys.readouterr().err
    assert said == (
        f"{tmp_path / 'none'}: no run: it has neither a history.jsonl nor a run.toml\n"
        f"name the folder of a run, or write one with: nas-fpn init {tmp_path / 'none'}\n"
    )
