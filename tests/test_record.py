"""The record: appended is read back, a torn line is cut, all else that is wrong is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import (
    Entry,
    Event,
    History,
    Outcome,
    Record,
    Report,
    ask_event,
    pause_event,
    promote_event,
    read_history,
    report_event,
    tell_event,
)

RUN: Event = {"event": "run", "version": 1, "seed": 0, "settings": {"budget": {"trials": 3}}}
BASELINE = Entry(0, "baseline:fpn", None, "a1b2c3d4", "p3 = c3 -> conv1\n", {"params_m": 0.4})
PROPOSAL = Entry(1, "controller", (0, 2, 1), "0badcafe", "p3 = c3 -> conv3\n", {"params_m": 1.2})
REPORT = Report(100, {"ap": 0.25, "ap50": 0.5}, 1.5)
OUTCOME = Outcome("complete", {"ap": 0.25, "ap50": 0.5}, 100, 1.5)
EVENTS = (
    RUN,
    ask_event(BASELINE),
    report_event(0, REPORT),
    tell_event(0, OUTCOME),
    ask_event(PROPOSAL),
    tell_event(1, Outcome("failed", reason="RuntimeError: no memory")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def write(path: Path, *events: Event) -> Path:
    with Record(path) as record:
        for event in events:
            record.append(event)
    return path


def test_what_is_appended_is_read_back(path: Path) -> None:
    history = read_history(write(path, *EVENTS))
    assert history.events == EVENTS
    assert history.torn is None
    first, second = history.entries
    assert first == Entry(
        0, "baseline:fpn", None, "a1b2c3d4", BASELINE.text, BASELINE.cost, (REPORT,), OUTCOME
    )
    assert second.genotype == (0, 2, 1)
    assert second.outcome == Outcome("failed", reason="RuntimeError: no memory")


def test_a_line_is_one_json_object_in_the_order_of_the_interface(path: Path) -> None:
    write(path, *EVENTS)
    assert path.read_text().splitlines()[1:4] == [
        '{"event": "ask", "trial": 0, "source": "baseline:fpn", "genotype": null, '
        '"neck": "a1b2c3d4", "text": "p3 = c3 -> conv1\\n", "cost": {"params_m": 0.4}}',
        '{"event": "report", "trial": 0, "steps": 100, '
        '"scores": {"ap": 0.25, "ap50": 0.5}, "seconds": 1.5}',
        '{"event": "tell", "trial": 0, "state": "complete", "of": null, "steps": 100, '
        '"scores": {"ap": 0.25, "ap50": 0.5}, "seconds": 1.5, "reason": null}',
    ]


def test_a_record_that_does_not_exist_is_empty(path: Path) -> None:
    assert read_history(path) == History()
    assert not path.exists()


def test_unknown_fields_and_events_are_kept(path: Path) -> None:
    weather = {"event": "weather", "best": 0, "p": 0.02}
    asked = {**ask_event(BASELINE), "colour": "blue"}
    history = read_history(write(path, {**RUN, "host": "x"}, asked, weather))
    assert history.events == ({**RUN, "host": "x"}, asked, weather)


def test_a_trial_under_way_has_no_outcome(path: Path) -> None:
    history = read_history(write(path, *EVENTS[:3]))
    assert history.entries[0].outcome is None
    assert history.entries[0].reports == (REPORT,)


def test_a_trial_is_paused_until_it_is_promoted_or_told(path: Path) -> None:
    waits = (*EVENTS[:3], pause_event(0, 100))
    (entry,) = read_history(write(path, *waits)).entries
    assert (entry.pauses, entry.paused, entry.outcome) == ((100,), True, None)
    promoted = path.with_name("promoted.jsonl")
    (entry,) = read_history(write(promoted, *waits, promote_event(0, 100))).entries
    assert (entry.pauses, entry.paused) == ((100,), False)
    ended = path.with_name("ended.jsonl")
    outcome = Outcome("stopped", REPORT.scores, 100, 1.5)
    (entry,) = read_history(write(ended, *waits, tell_event(0, outcome))).entries
    assert (entry.pauses, entry.paused, entry.outcome) == ((100,), False, outcome)


@pytest.mark.parametrize("kept", [1, 10, 60])
def test_a_torn_last_line_is_reported_by_readers_and_cut_by_the_writer(
    path: Path, kept: int
) -> None:
    write(path, *EVENTS)
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[1][:kept])
    torn = read_history(path).torn
    assert torn is not None
    assert torn.startswith(f"{path}:7: the last line was incomplete")
    with Record(path) as record:
        assert record.history.torn == torn
        assert record.history.events == EVENTS
        assert path.read_bytes() == whole


def test_a_last_line_that_lacks_its_newline_only_is_kept(path: Path) -> None:
    write(path, *EVENTS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with Record(path) as record:
        assert record.history.events == EVENTS
    assert path.read_bytes() == whole


def test_nan_is_not_written(path: Path) -> None:
    with Record(path) as record:
        record.append(RUN)
        with pytest.raises(ValueError, match="not JSON compliant"):
            record.append(report_event(0, Report(1, {"ap": float("nan")})))
    assert read_history(path).events == (RUN,)


def test_a_second_driver_is_refused(path: Path) -> None:
    with Record(path), pytest.raises(RunError, match="another process is searching this run"):
        Record(path)
    Record(path).close()


def test_a_killed_driver_leaves_no_lock(path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from nas_fpn.record import Record; "
        "r = Record(Path(sys.argv[1])); r.append({'event': 'run', 'version': 1}); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    with Record(path) as record:
        assert record.history.events == ({"event": "run", "version": 1},)


def test_a_line_that_the_disk_does_not_take_leaves_the_record_valid(path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; "
        "from nas_fpn.record import Record\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "r = Record(Path(sys.argv[1])); r.append({'event': 'run', 'version': 1})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: r.append({'event': 'note', 'text': 'x' * 200})\n"
        "except OSError as fault: sys.exit(9 if fault.filename == sys.argv[1] else 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    assert path.read_text() == '{"event": "run", "version": 1}\n'


@pytest.mark.parametrize(
    ("line", "text", "what"),
    [
        (1, '{"event": "ask"}', 'the first line must be the event "run" with its version'),
        (1, '{"event": "run", "version": 2}', "version 2 is newer than this nas_fpn reads"),
        (2, '{"event": "run", "version": 1}', 'a second event "run"'),
        (2, "{", "Expecting property name"),
        (2, "[1]", 'a line must be an object with an "event", but got [1]'),
        (
            3,
            '{"event": "report", "trial": 0, "steps": 1, "scores": {"ap": NaN}, "seconds": 1}',
            "NaN",
        ),
        (
            3,
            '{"event": "report", "trial": 0, "steps": 1, "scores": {"ap": 1e999}, "seconds": 1}',
            "fin",
        ),
        (
            3,
            '{"event": "report", "trial": 7, "steps": 1, "scores": {}, "seconds": 1}',
            "never asked",
        ),
        (3, '{"event": "report", "trial": 0, "scores": {}, "seconds": 1}', "'steps' is missing"),
        (3, '{"event": "report", "trial": true, "scores": {}, "seconds": 1}', "whole number"),
        (5, json.dumps(tell_event(0, OUTCOME)), "tell: trial 0 has already ended"),
        (5, json.dumps(ask_event(BASELINE)), "ask: trial must be 1, the next one, but got 0"),
        (
            6,
            json.dumps({**tell_event(1, OUTCOME), "state": "done"}),
            "state must be one of complete",
        ),
        (6, json.dumps({**tell_event(1, OUTCOME), "of": 1}), "of must name an earlier trial"),
        (4, json.dumps(pause_event(0, 50)), "pause: trial 0 has no report at step 50"),
        (4, json.dumps(promote_event(0, 100)), "promote: trial 0 is not paused at step 100"),
        (5, json.dumps(pause_event(0, 100)), "pause: trial 0 has already ended"),
        (6, json.dumps(pause_event(2, 100)), "pause: trial 2 was never asked"),
        (6, '{"event": "pause", "trial": 1}', "pause: 'steps' is missing"),
        (
            6,
            '{"event": "packing", "workers": 0, "cores": 2, "gpus": 0, "gpus_per_trial": 0.0}',
            "workers must be from 1 to",
        ),
        (
            6,
            '{"event": "packing", "workers": 1, "cores": 2, "gpus": 1, "gpus_per_trial": -1}',
            "gpus_per_trial must be from 0 to",
        ),
        (6, '{"event": "workers", "workers": "two"}', "workers must be of type int"),
    ],
)
def test_what_is_malformed_is_named_by_file_and_line(
    path: Path, line: int, text: str, what: str
) -> None:
    lines = write(path, *EVENTS).read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert what in str(caught.value)
    assert str(caught.value).endswith("put the line back from a copy, or cut the file before it")
