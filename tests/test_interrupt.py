"""Ctrl-C at a terminal: code 130, no traceback, and the same command goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas_fpn.record import read_history

ROOT = Path(__file__).parents[1]
# A shell in the background hands SIGINT on as ignored, and tests may run there.
HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PATH = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
PROGRAM = f"{HEARD}; {PATH}; from nas_fpn.cli import main; main()"
SMALL = """
space = "quick"
controller = "random_search"
baselines = ["none"]
[budget]
trials = 4
[data]
shapes_train = 16
shapes_val = 4
shapes_test = 4
shapes_warmup = 8
[backbone]
warmup_steps = 1
[proxy]
image_size = 64
steps = 12
batch_size = 4
views = 1
evaluations = 2
head_width = 16
[confirm]
seeds = 0
[report]
mirror = false
[ray]
workers = {workers}
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_search_goes_on(workers: int, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SMALL.format(workers=workers))
    search = [sys.executable, "-c", PROGRAM, "search", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(search, cwd=tmp_path, start_new_session=True, **pipes) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("[1/5]"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "interrupted; nas-fpn search" in err
    assert "Traceback" not in err
    entries = read_history(tmp_path / "history.jsonl").entries
    assert any(entry.outcome is None for entry in entries) or len(entries) < 5
    done = subprocess.run(search, cwd=tmp_path, check=True, timeout=300, **pipes)
    assert "going on after" in done.stdout
    entries = read_history(tmp_path / "history.jsonl").entries
    assert all(entry.outcome is not None for entry in entries)
    assert sum(e.outcome is not None and e.outcome.state == "complete" for e in entries) == 5
