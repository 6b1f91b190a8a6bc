"""Limits that are measured: what exceeds one is rejected before it trains, counted and told."""

import shlex
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas_fpn.errors import RunError
from nas_fpn.language import choices, decode
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.footprint import memory_mb
from nas_fpn.record import Entry, read_history
from nas_fpn.report import answer_text
from nas_fpn.run import Run, RunSettings, export_from_run, read_run, search_run
from nas_fpn.run.clock import RunClock
from nas_fpn.run.limits import Limits, limits_of
from nas_fpn.run.measure import run_measure
from nas_fpn.run.question import read_question
from nas_fpn.run.ready import prove_measure
from nas_fpn.run.trainer import build_neck, cached_bank
from tests.run.test_run_search import TINY

GOLDEN = Path(__file__).parents[1] / "golden" / "run"

# Says of a neck how wide it is: whatever its program has after "width = ".
WIDTHS = """import json, sys
from pathlib import Path
folder = Path(sys.argv[1])
text = (folder / "neck.neck").read_text()
about = json.loads((folder / "measure.json").read_text())
assert (folder / "neck.py").is_file() and about["image_size"] == 64
assert len(about["levels"]) == len(about["in_channels"])
print("a line before")
print(json.dumps({"latency_ms": 30.0 if "sum(p" in text else 3.0, "memory_mb": 7}))
"""


def begin(folder: Path, limits: str) -> Path:
    folder.mkdir()
    (folder / "mine.py").write_text(WIDTHS)
    (folder / "run.toml").write_text(f"{TINY}[limits]\n{limits}\n[confirm]\nseeds = 0\n")
    return folder


def command(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def search(folder: Path) -> list[Entry]:
    list(search_run(read_run(folder)))
    return list(read_history(folder / "history.jsonl").entries)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    measure = f"{shlex.quote(sys.executable)} mine.py {{neck}}"
    text = f"latency_ms = 10.0\nmemory_mb = 100\nmeasure = {measure!r}"
    folder = begin(tmp_path_factory.mktemp("runs") / "mine", text)
    search(folder)
    return folder


def test_what_exceeds_a_limit_is_rejected_told_and_free(limited: Path) -> None:
    entries = read_history(limited / "history.jsonl").entries
    own = [one for one in entries if not one.is_baseline and one.outcome is not None]
    rejected = [one for one in own if one.outcome and one.outcome.state == "rejected"]
    trained = [one for one in own if one.outcome and one.outcome.state == "complete"]
    assert len(trained) == 2, "as many as were asked for, whatever was rejected between"
    for one in rejected:
        assert one.outcome is not None
        assert one.outcome.reason == "latency_ms 30 is above the limit 10"
        assert "sum(p" in one.text
        assert one.reports == ()
    assert not any("sum(p" in one.text for one in trained)
    if rejected:
        assert "is above the limit" in answer_text(read_history(limited / "history.jsonl"))


def test_what_was_measured_is_told_with_the_scores(limited: Path) -> None:
    entries = read_history(limited / "history.jsonl").entries
    told = [one.outcome.scores for one in entries if one.outcome and one.outcome.scores]
    assert all(scores["latency_ms"] in (3.0, 30.0) for scores in told)
    assert all(scores["memory_mb"] == 7 for scores in told)
    assert all(scores["latency_head_ms"] > 0 for scores in told)


def test_baselines_train_whatever_they_take(limited: Path) -> None:
    entries = read_history(limited / "history.jsonl").entries
    baselines = [one for one in entries if one.is_baseline]
    assert any("sum(p" in one.text for one in baselines)
    assert all(one.outcome and one.outcome.state == "complete" for one in baselines)


def test_a_training_is_the_same_with_and_without_a_measurement(tmp_path: Path) -> None:
    plain, measured = begin(tmp_path / "plain", ""), begin(tmp_path / "two", "latency_ms = 1e6")
    both = [
        [dict(one.outcome.scores) for one in search(folder) if one.outcome]
        for folder in (plain, measured)
    ]
    clocked = ("latency_ms", "latency_head_ms", "memory_mb")
    assert [{k: v for k, v in one.items() if k not in clocked} for one in both[1]] == both[0]


def test_a_run_without_such_limits_measures_nothing(tmp_path: Path) -> None:
    assert limits_of(read_run(begin(tmp_path / "mine", "params_m = 3"))) is None
    limits = limits_of(read_run(begin(tmp_path / "other", "memory_mb = 3")))
    assert limits == Limits((("memory_mb", 3.0),), folder=(tmp_path / "other").resolve())


def test_memory_is_counted_alike_each_time_and_grows_with_what_lives_at_once() -> None:
    module = torch.nn.Conv2d(4, 4, 1, bias=False)
    given = torch.zeros(1, 4, 8, 8)

    def lean() -> None:
        torch.relu(given + 1)

    def greedy() -> None:
        kept = [given + i for i in range(5)]
        del kept

    one = given.numel() * 4 / 1e6
    base = 16 * 4 / 1e6 + one
    assert memory_mb(module, [given], lean) == pytest.approx(base + 2 * one)
    assert memory_mb(module, [given], greedy) == pytest.approx(base + 5 * one)
    assert memory_mb(module, [given], lambda: None) == pytest.approx(base)


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("3.5", {"latency_ms": 3.5}),
        ("warm\\n 12 \\n\\n", {"latency_ms": 12.0}),
        (
            '{"latency_ms": 2, "memory_mb": 5.5, "other": "x"}',
            {"latency_ms": 2.0, "memory_mb": 5.5},
        ),
        ('{"memory_mb": 5}', {"memory_mb": 5.0}),
    ],
)
def test_a_number_or_an_object_is_read(
    printed: str, found: dict[str, float], tmp_path: Path
) -> None:
    line = command(f"print('''{printed}''')")
    assert run_measure(line, tmp_path, seconds=30, folder=tmp_path) == found


def test_the_folder_comes_last_or_where_it_is_named(tmp_path: Path) -> None:
    code = "import sys; print(len(sys.argv) * 10 + sys.argv.index(sys.argv[-1]))"
    neck = tmp_path / "a neck; rm -rf x"
    assert run_measure(command(code), neck, seconds=30, folder=tmp_path)["latency_ms"] == 21
    named = f"{command('import sys; print(len(sys.argv[1]))')} --at={{neck}}"
    found = run_measure(named, neck, seconds=30, folder=tmp_path)
    assert found["latency_ms"] == len(f"--at={neck}"), "one word, whatever is in it"


FAULTS = {
    "measure_absent": "no-such-program --fast",
    "measure_code": command("import sys; sys.exit('no device')"),
    "measure_text": command("print('fast')"),
    "measure_negative": command("print(-1)"),
    "measure_nothing": command(""),
    "measure_other": command("print('{\"fps\": 30}')"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_command_that_does_not_measure_is_a_message(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        run_measure(FAULTS[name], tmp_path, seconds=30, folder=tmp_path)
    message = str(error.value).replace(sys.executable, "python")
    assert f"{message}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    inner = f"import time; time.sleep(3); open({str(tmp_path / 'late')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    began = time.monotonic()
    with pytest.raises(RunError, match=r"took longer than 0\.5 s\nraise measure_seconds"):
        run_measure(command(code), tmp_path, seconds=0.5, folder=tmp_path)
    time.sleep(max(3.5 - (time.monotonic() - began), 0))
    assert not (tmp_path / "late").exists()


def test_a_wrong_command_ends_a_search_before_its_first_trial(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine", f"measure = {command('print(0)')!r}")
    with pytest.raises(RunError, match="should print a number above 0"):
        search(folder)
    assert not (folder / "history.jsonl").exists()


def test_a_command_that_takes_all_of_the_time_is_ended(tmp_path: Path) -> None:
    class Slow:
        @property
        def warmup_neck(self) -> None:
            time.sleep(60.0)

    given: Any = SimpleNamespace(limits=SimpleNamespace(command="mine"))
    slow: Any = Slow()
    run = read_run(begin(tmp_path / "mine", "measure = 'mine'"))
    with pytest.raises(RunError, match=r"the command of \[limits\] measure had not ended after"):
        prove_measure(run, given, slow, given, clock=RunClock(10.0, began=time.monotonic() - 6.7))


@pytest.mark.parametrize("line", ["'", "''"])
def test_a_line_that_is_no_command_is_refused_with_the_file(line: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"limits\.measure"):
        read_run(begin(tmp_path / "mine", f'measure = "{line}"' if line == "'" else 'measure = ""'))


def test_looking_at_a_run_never_runs_its_command(limited: Path, tmp_path: Path) -> None:
    (limited / "mine.py").write_text("raise SystemExit('it was run')")
    try:
        list(export_from_run(limited, 1, tmp_path / "fpn"))
        answer_text(read_history(limited / "history.jsonl"))
    finally:
        (limited / "mine.py").write_text(WIDTHS)


def test_ours_are_medians_of_the_neck_and_of_neck_and_head(limited: Path) -> None:
    run: Run = read_run(limited)
    bank: Bank = cached_bank(next((limited / "bank").glob("bank-*.safetensors")))
    space = read_question(run).space
    neck = build_neck(decode(space, [0] * len(choices(space))), bank, seed=0)
    settings: RunSettings = run.settings
    found = Limits((("memory_mb", 1e-9),)).measure(neck, bank, settings.proxy, seed=0)
    assert found["latency_ms"] > 0
    assert found["latency_head_ms"] > 0
    again = Limits().measure(neck, bank, settings.proxy, seed=0)
    assert again["memory_mb"] == found["memory_mb"] > 0
    assert neck.training
    (said,) = Limits((("memory_mb", 1e-9),)).beyond(found)
    assert said.endswith("is above the limit 1e-09")
