"""Commands that messages name can be typed as they stand: a folder with a space is quoted."""

import ast
import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import typer

from nas_fpn.cli import main
from nas_fpn.cli.steps import to_the_end

PACKAGE = Path(__file__).parents[1] / "nas_fpn"
# A command of ours up to a value that is put in: "… nas-fpn search {".
BARE = re.compile(r"nas-fpn [a-z]+( --?[a-z-]+)* $")


def bare_commands(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for before, value in zip(node.values, node.values[1:], strict=False):
                text = before.value if isinstance(before, ast.Constant) else ""
                if isinstance(value, ast.FormattedValue) and BARE.search(str(text)):
                    yield f"{path.name}:{node.lineno}: {ast.unparse(node)}"


def test_every_command_with_a_name_in_it_is_made_by_command_line() -> None:
    assert [one for path in PACKAGE.rglob("*.py") for one in bare_commands(path)] == []


def test_such_a_command_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text('f"x\\nrun it with: nas-fpn search {folder}"\n')
    assert len([*bare_commands(tmp_path / "bad.py")]) == 1


@pytest.mark.parametrize("verb", ["search", "table", "watch", "calibrate", "explain", "status"])
def test_a_folder_with_a_space_is_quoted(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    if verb in {"watch", "explain"}:
        (run / "run.toml").touch()
    with pytest.raises(SystemExit) as end:
        main([verb, str(run), *(["--once"] if verb == "watch" else [])])
    assert end.value.code == 2
    mend = capsys.readouterr().err
    assert re.search(r"nas-fpn [a-z]+ '[^']*/my run'", mend), mend


def dying(fault: BaseException) -> Generator[None, None, None]:
    raise fault
    yield


def test_what_goes_on_and_what_failed_is_named_whole(capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("my runs/a b")
    with pytest.raises(typer.Exit) as end:
        to_the_end(dying(KeyboardInterrupt()), verb="confirm", run=run, err=False)
    assert end.value.exit_code == 130
    said = capsys.readouterr().err
    assert said == "\ninterrupted; nas-fpn confirm 'my runs/a b' goes on from here\n"
    with pytest.raises(typer.Exit) as end:
        to_the_end(dying(FloatingPointError("NaN")), verb="confirm", run=run, err=False)
    assert end.value.exit_code == 1
    assert capsys.readouterr().err == "my runs/a b: NaN\n"


@pytest.mark.parametrize(
    ("asked", "on_record", "again"),
    [
        (None, None, ""),
        (None, 10.0, ""),
        ("10", None, " --minutes 10"),
        ("10", 10.0, " --minutes 10"),
        ("+30", 10.0, " --minutes 40"),
    ],
)
def test_an_interrupted_search_names_the_minutes_that_it_was_asked_for(
    asked: str | None,
    on_record: float | None,
    again: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> Generator[None, None, None]:
        raise KeyboardInterrupt
        yield

    (tmp_path / "run.toml").write_text("[ray]\nworkers = 0\n")
    if on_record is not None:
        events = ({"event": "run", "version": 1}, {"event": "plan", "minutes": on_record})
        lines = [json.dumps(event) + "\n" for event in events]
        (tmp_path / "history.jsonl").write_text("".join(lines))
    monkeypatch.setattr("nas_fpn.run.search_run", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["search", str(tmp_path), *([] if asked is None else ["--minutes", asked])])
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert said == f"\ninterrupted; nas-fpn search {tmp_path}{again} goes on from here\n"
