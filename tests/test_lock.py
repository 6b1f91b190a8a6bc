"""One driver a run: the second is told who has it, and what a dead one left is recognised."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.lock import Lock

HOLD = (
    "import sys; from pathlib import Path; from nas_fpn.lock import Lock; "
    "held = Lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.lock"


def holder(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_has_it(path: Path) -> None:
    with holder(path) as process:
        with pytest.raises(RunError) as caught:
            Lock(path)
        process.communicate()
    where = f"{path.parent}: another process is searching this run: "
    message = str(caught.value)
    assert message.startswith(f"{where}process {process.pid} on {socket.gethostname()}, since 20")
    assert message.endswith(" UTC\nwait for it, or stop it")


def test_one_that_is_given_back_leaves_no_file(path: Path) -> None:
    with Lock(path) as lock:
        assert path.exists()
        assert lock.left is None
    lock.close()
    assert not path.exists()


def test_what_a_killed_process_left_is_taken_and_said(path: Path) -> None:
    with holder(path) as process:
        process.kill()
        process.communicate()
    assert path.exists()
    with Lock(path) as lock:
        assert lock.left is not None
        assert lock.left.startswith(f"process {process.pid} on {socket.gethostname()}, since 20")
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("left", ["", "{", "[1]", '{"pid": 1}', "\0\0"])
def test_a_file_that_says_nothing_is_taken_all_the_same(path: Path, left: str) -> None:
    path.write_text(left)
    with Lock(path) as lock:
        assert lock.left is None


def test_of_many_at_once_one_has_it(path: Path) -> None:
    inside, most, turns = [0], [0], [0]

    def work() -> None:
        while turns[0] < 200:
            try:
                with Lock(path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                    inside[0] -= 1
            except RunError:
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert not path.exists()


def test_a_folder_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Lock(path / "deeper")
    assert caught.value.filename == str(path / "deeper")


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_left_as_it_is(path: Path, tmp_path: Path, there: bool) -> None:
    target = tmp_path / "somebody's"
    if there:
        target.write_text("kept")
    path.symlink_to(target)
    with pytest.raises(RunError) as caught:
        Lock(path)
    assert str(caught.value) == (
        f"{path}: is a link, and what it leads to would be written over\n"
        "take it away, if you did not make it; a lock is a file of its own"
    )
    assert (target.read_text() if target.exists() else None) == ("kept" if there else None)
    assert path.is_symlink()
