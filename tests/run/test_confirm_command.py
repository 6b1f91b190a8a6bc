"""A search confirmed and explained at the command line: killed, interrupted, and gone on with."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.cli import main
from nas_fpn.record import read_history

ROOT = Path(__file__).parents[2]
# A shell in the background hands SIGINT on as ignored, and tests may run there.
HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PATH = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
PROGRAM = f"{HEARD}; {PATH}; from nas_fpn.cli import main; main()"
LONGEST = 300  # seconds
TWO_SEEDS = {"min_seeds = 3": "min_seeds = 2", "max_seeds = 5": "max_seeds = 2"}


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A search of the test's own, to be confirmed with two seeds."""
    folder = Path(shutil.copytree(searched, tmp_path / "mine"))
    text = (folder / "run.toml").read_text()
    for old, new in TWO_SEEDS.items():
        text = text.replace(old, new)
    (folder / "run.toml").write_text(text.replace('cost = "none"', 'cost = "params"'))
    return folder


def events(run: Path, kind: str) -> list[Any]:
    return [one for one in read_history(run / "history.jsonl").events if one["event"] == kind]


def ended_by(sent: signal.Signals, run: Path, *, verb: str, after: str, count: int) -> Any:
    """Begin a verb; send the signal once so many events ``after`` are on record."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, verb, str(run)],
        cwd=run,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + LONGEST
        while (run / "history.jsonl").read_text().count(f'"event": "{after}"') < count:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(sent)
        out, err = process.communicate(timeout=LONGEST)
    return process.returncode, out, err


def json_of(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    capsys.readouterr()
    said(*command, "--json")
    return json.loads(capsys.readouterr().out)


def said(*command: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert not end.value.code


@pytest.mark.slow
def test_a_confirm_that_is_killed_and_interrupted_ends_in_its_verdict(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, *_ = ended_by(signal.SIGKILL, run, verb="confirm", after="training", count=1)
    assert code == -signal.SIGKILL
    killed = (run / "history.jsonl").read_bytes()
    assert len(events(run, "training")) == 1 and events(run, "verdict") == []
    code, _, err = ended_by(signal.SIGINT, run, verb="confirm", after="training", count=2)
    assert code == 130, err
    assert f"interrupted; nas-fpn confirm {run} goes on from here" in err
    assert "Traceback" not in err
    verdict = json_of(capsys, "confirm", str(run))
    whole = (run / "history.jsonl").read_bytes()
    assert whole.startswith(killed), "what was on record stays, and is not done again"
    (contest,) = events(run, "confirm")
    trained = [(one["neck"], one["seed"]) for one in events(run, "training")]
    assert len(set(trained)) == len(trained)
    assert {seed for _, seed in trained} == {101, 102}
    first, second = contest["plan"]["pairs"]
    assert first[0] == second[0], "one neck found, held against two controls"
    assert [one["control"] for one in verdict["pairs"]] == [first[1], second[1]]
    assert verdict["where"] == "end to end" and "AP" in verdict["said"]
    if verdict["pairs"][0]["outcome"] != "better":
        assert verdict["pairs"][1]["outcome"] == "not reached" and len(trained) == 4
    mark = json.loads((run / "best" / "trial.json").read_text())
    assert mark["neck"] == (verdict["best"] or verdict["keep"])
    assert (run / "best" / "detector" / "detector.py").is_file()
    assert json_of(capsys, "confirm", str(run)) == verdict
    assert (run / "history.jsonl").read_bytes() == whole, "and the same again does nothing"


@pytest.mark.slow
def test_an_explanation_that_is_interrupted_goes_on_and_is_held_against_random(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "random"))
    code, _, err = ended_by(signal.SIGINT, run, verb="explain", after="ablation", count=2)
    assert code == 130, err
    assert f"interrupted; nas-fpn explain {run} goes on from here" in err
    assert "Traceback" not in err
    before = (run / "history.jsonl").read_bytes()
    known = json_of(capsys, "explain", str(run))
    assert (run / "history.jsonl").read_bytes().startswith(before)
    assert known["trained"] == known["wanted"] and known["random"] is None
    assert set(known["parts"]) == {"size", "topology", "words", "remainder", "all"}
    trained = [(one["neck"], one["seed"]) for one in events(run, "ablation")]
    assert len(set(trained)) == len(trained) == known["wanted"]
    against = json_of(capsys, "explain", str(run), "--against", str(other))
    assert against["random"]["run"] == "random" and against["random"]["trials"] == 1
    assert against["parts"] == known["parts"], "nothing is trained for that"
    assert len(events(run, "ablation")) == known["wanted"]
    said("report", str(run))
    page = (run / "report.html").read_text()
    assert "Where the difference to" in page and "Search against random" in page
    assert "this search was random itself" in page
