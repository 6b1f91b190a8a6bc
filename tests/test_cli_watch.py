"""The verb watch and the live table: what others wrote is inert on the terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from nas_fpn.cli import main
from nas_fpn.cli.output import _panel, display, inert, say_prose
from nas_fpn.record import Entry, Outcome, Record, ask_event, tell_event
from nas_fpn.run import Begun, Watch
from nas_fpn.search import Told

QUESTION = 'baselines = ["fpn"]\n[budget]\ntrials = 1\n[confirm]\nseeds = 0\n'
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202e\x9b31m\rgone"
GOLDEN = Path(__file__).parent / "golden" / "cli"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def searched(folder: Path, *, neck: str = "0badcafe", reason: str | None = None) -> Path:
    """A finished run with one baseline and one trial."""
    folder.mkdir()
    (folder / "run.toml").write_text(QUESTION)
    first = Entry(0, "baseline:fpn", None, "aaaaaaaa", "", {})
    own = Entry(1, "controller", None, neck, "", {})
    failed = Outcome("failed", reason=reason)
    with Record(folder / "history.jsonl") as record:
        record.append({"event": "run", "version": 1, "settings": {"budget": {"trials": 1}}})
        for entry, ap in ((first, 0.25), (own, 0.5)):
            complete = Outcome("complete", {"ap": ap}, 300, 36.0)
            record.append(ask_event(entry))
            record.append(tell_event(entry.number, failed if entry.number and reason else complete))
    return folder


def test_a_finished_run_is_shown_and_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = searched(tmp_path / "mine")
    before = (folder / "history.jsonl").read_bytes()
    code, out, err = run(capsys, "watch", str(folder))
    assert (code, err) == (0, "")
    assert out == (GOLDEN / "watch.txt").read_text()
    code, out, _ = run(capsys, "watch", str(folder), "--once")
    *rows, written = out.splitlines(keepends=True)
    assert code == 0
    assert "".join(rows) == (GOLDEN / "watch_once.txt").read_text()
    assert written.startswith("record         last written ")
    assert (folder / "history.jsonl").read_bytes() == before


def test_a_run_that_has_not_begun_is_a_message_for_once_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text(QUESTION)
    code, _, err = run(capsys, "watch", str(tmp_path), "--once")
    assert code == 2
    assert err.startswith(f"{tmp_path / 'history.jsonl'}: no such file: this run has not begun\n")
    assert run(capsys, "watch", str(tmp_path / "none"))[0] == 2


def test_what_others_wrote_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = searched(tmp_path / "\x1b[31mred", reason=HOSTILE)
    for verb in (["watch"], ["watch", "--once"], ["table"]):
        code, out, _ = run(capsys, *verb, str(folder))
        assert code == 0
        assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(out), verb
        assert "[bold red]x[/]" in out or verb == ["watch"], "no markup"
    _, _, err = run(capsys, "table", str(tmp_path / "\x1b[31mnone"))
    assert "\\x1b[31mnone" in err and "\x1b" not in err
    code, _, err = run(capsys, "table", str(searched(tmp_path / "other", neck=HOSTILE)))
    assert code == 2
    assert "neck must be letters" in err and not {"\x1b", "\x9b", "\u202e"} & set(err)


def drawn(watch: Watch, **console: object) -> str:
    out = io.StringIO()
    made = Console(file=out, force_terminal=True, width=90, **console)  # type: ignore[arg-type]
    made.print(_panel(watch.look(now=1.0), 3.0))
    return out.getvalue()


def test_the_live_table_shows_text_as_text() -> None:
    watch = Watch("ap", name=HOSTILE)
    watch.see(Begun(2, 1, (), ()), now=0.0)
    entry = Entry(0, "controller", None, HOSTILE, "", {}, outcome=Outcome("failed", reason=HOSTILE))
    watch.see(Told(entry), now=1.0)
    plain = drawn(watch, color_system=None)
    assert "\\x1b[2J\\x1b]0;owned\\x07[bold red]x[/] \\u202e\\x9b31m\\rgone" in plain
    assert plain.count("[bold red]x[/]") == 2, "the run's name and the reason"
    assert not {"\x07", "\r", "\x9b", "\u202e"} & set(plain)
    assert "\x1b[2J" not in plain
    assert "\x1b]" not in plain


def test_on_a_terminal_the_table_stands_below_the_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "90")
    entry = Entry(0, "controller", None, HOSTILE, "", {}, outcome=Outcome("failed", reason=HOSTILE))
    display([None, Begun(2, 1, (), ()), None, Told(entry), None], Watch("ap", name="mine"))
    out = capsys.readouterr().out
    assert "[1/3] trial 0 \\x1b[2J" in out
    *_, last = out.split("mine: ")
    assert "1 of 2 trials" in last
    assert "1 failed" in last
    assert not {"\x07", "\x9b", "\u202e"} & set(out)
    assert "\x1b[2J" not in out


@pytest.mark.parametrize("width", [20, 40, 200])
def test_the_live_table_fits_its_terminal(width: int) -> None:
    watch = Watch("ap", name="a" * 300)
    watch.see(Begun(2, 1, (), ()), now=0.0)
    out = io.StringIO()
    Console(file=out, width=width).print(_panel(watch.look(now=1.0), None))
    assert max(map(len, out.getvalue().splitlines())) <= width


def test_lines_end_between_words_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "short\n\n  a   row of words that are far too many\n"
    say_prose(text)
    assert capsys.readouterr().out == text + "\n", "a file or a pipe has the lines as they are"
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    say_prose(text)
    assert capsys.readouterr().out == (
        "short\n\n  a   row of words\n  that are far too\n  many\n\n"
    )


def test_letters_of_all_scripts_stay() -> None:
    assert inert("Fisch 鱼 рыба ± × 👍\nzwei") == "Fisch 鱼 рыба ± × 👍\nzwei"
