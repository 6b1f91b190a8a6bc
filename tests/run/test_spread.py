"""Work over processes: every piece once, as many at a time as asked, and an end that is an end."""

import os
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run.spread import Done, Part, spread


@dataclass(frozen=True)
class Piece:
    """Says in ``folder`` that it began, waits, and returns the process that it ran in."""

    folder: Path
    number: int
    seconds: float = 0.0
    fault: str = ""

    def __call__(self) -> Generator[float, None, int]:
        (self.folder / f"{self.number}").touch()
        yield 0.5
        time.sleep(self.seconds)
        if self.fault == "raise":
            raise RunError(f"piece {self.number} is broken")
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()


def queue(pieces: list[Piece]) -> object:
    left = list(pieces)
    return lambda: left.pop(0) if left else None


def test_in_this_process_parts_come_before_the_result(tmp_path: Path) -> None:
    pieces = [Piece(tmp_path, number) for number in range(2)]
    events = list(spread(queue(pieces), workers=0, threads=1))
    one, two = pieces
    here = os.getpid()
    assert events == [Part(one, 0.5), Done(one, here), Part(two, 0.5), Done(two, here)]


def test_what_a_piece_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="piece 3 is broken"):
        list(spread(queue([Piece(tmp_path, 3, fault="raise")]), workers=0, threads=1))


def test_a_result_may_make_more_due(tmp_path: Path) -> None:
    done: list[int] = []

    def due() -> Piece | None:
        return Piece(tmp_path, len(done)) if len(done) < 3 else None

    for event in spread(due, workers=0, threads=1):
        if isinstance(event, Done):
            done.append(event.result)
    assert len(done) == 3


@pytest.mark.slow
def test_processes_do_every_piece_once(tmp_path: Path) -> None:
    pieces = [Piece(tmp_path, number) for number in range(5)]
    done = list(spread(queue(pieces), workers=2, threads=1))
    assert {event.work for event in done} == set(pieces)
    assert os.getpid() not in {event.result for event in done if isinstance(event, Done)}


@dataclass(frozen=True)
class Look:
    """Returns the CUDA devices that its process sees, once another has begun as well."""

    folder: Path
    number: int

    def __call__(self) -> Generator[float, None, str]:
        (self.folder / f"{self.number}").touch()
        while len(list(self.folder.iterdir())) < 2:
            time.sleep(0.01)
            yield 0.0
        return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.slow
def test_each_process_sees_a_device_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-1f,7")
    looks = [Look(tmp_path, number) for number in range(2)]
    done = list(spread(queue(looks), workers=2, threads=1))
    assert {event.result for event in done if isinstance(event, Done)} == {"5", "GPU-1f"}


@pytest.mark.slow
def test_closing_it_ends_the_work_under_way(tmp_path: Path) -> None:
    pieces = [Piece(tmp_path, 0), Piece(tmp_path, 1, seconds=600), Piece(tmp_path, 2, seconds=600)]
    events = spread(queue(pieces), workers=2, threads=1)
    assert next(events).work == pieces[0]
    events.close()  # would take ten minutes if it waited


@pytest.mark.slow
def test_a_process_that_is_killed_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="killed, perhaps for its memory"):
        list(spread(queue([Piece(tmp_path, 0, fault="die")]), workers=1, threads=1))
