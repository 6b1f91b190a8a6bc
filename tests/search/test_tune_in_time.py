"""Ray's runner in time: what is in training when the time is over is cut; limits reject as here."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_fpn.record import Report, read_history
from nas_fpn.search.in_time import OVER
from nas_fpn.search.plan import BeyondLimits, Due
from nas_fpn.search.progress import Over
from nas_fpn.search.tune import search_on_ray, session
from tests.search.fakes import table, with_loop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def ray_session() -> Iterator[None]:
    with session("local", {"cpu": 1.0, "gpu": 0.0}, workers=1, threads=1):
        yield


class Marked:
    """A clock whose time is over a second after a trial has left its mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark
        self.since: float | None = None

    def spent(self) -> float:
        return 1.0

    def left(self) -> float:
        if self.since is None and self.mark.exists():
            self.since = time.monotonic()
        return 60.0 if self.since is None else self.since + 1.0 - time.monotonic()

    def has_room(self, begin: int, pause: int | None) -> bool:
        return self.left() > 0


def test_what_is_in_training_when_the_time_is_over_is_cut(tmp_path: Path) -> None:
    mark, evaluate = tmp_path / "mark", table()

    def hangs(due: Due) -> Iterator[Report]:
        for report in evaluate(due):
            if due.number == 3 and report.steps == 200:
                mark.touch()
                time.sleep(90)
            yield report

    path = tmp_path / "history.jsonl"
    progress = with_loop(
        path,
        lambda loop: list(search_on_ray(loop, hangs, workers=1)),
        clock=Marked(mark),
        open_ended=True,
    )
    last = read_history(path).entries[-1]
    assert last.outcome is not None
    assert (last.number, last.outcome.state, last.outcome.steps) == (3, "stopped", 100)
    assert last.outcome.reason == OVER
    assert progress[-1] == Over(2, exhausted=False, late=True)


def test_a_neck_beyond_its_limits_is_rejected_and_free(tmp_path: Path) -> None:
    evaluate = table()

    def picky(due: Due) -> Iterator[Report]:
        if due.bounded and due.number % 2:
            raise BeyondLimits("latency_ms 30 is above the limit 10")
        yield from evaluate(due)

    path = tmp_path / "history.jsonl"
    progress = with_loop(path, lambda loop: list(search_on_ray(loop, picky, workers=1)), trials=3)
    outcomes = [one.outcome for one in read_history(path).entries if one.outcome]
    rejected = [one for one in outcomes if one.state == "rejected"]
    assert {one.reason for one in rejected} == {"latency_ms 30 is above the limit 10"}
    assert [one.state for one in outcomes[:2]] == ["complete", "complete"], "baselines train"
    assert progress[-1] == Over(3, exhausted=False, late=False)
