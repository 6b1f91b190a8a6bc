"""Whatever dies, no trial is lost and none counted twice; every kind of fault is met for real."""

from pathlib import Path

import pytest

from tests.faults import kinds
from tests.faults.places import can_mount
from tests.faults.processes import Tally, cli, undisturbed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real proxy that nothing happens to."""
    folder = kinds.run_folder(tmp_path_factory.mktemp("faults") / "whole")
    undisturbed(folder, cli(folder))
    return folder


@pytest.fixture
def disks(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a disk in memory")


def unharmed(tally: Tally, *, times: int) -> None:
    assert (tally.times, tally.lost, tally.doubled) == (times, 0, 0)


@pytest.mark.slow
def test_a_driver_that_is_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    unharmed(kinds.driver_killed(tmp_path, times=5), times=5)


def test_a_line_that_was_cut_is_repaired_and_said(tmp_path: Path) -> None:
    unharmed(kinds.torn(tmp_path, times=3), times=3)


def test_a_record_that_may_not_grow_goes_on_when_it_may(tmp_path: Path) -> None:
    unharmed(kinds.file_limit(tmp_path, times=2), times=2)


@pytest.mark.slow
def test_a_driver_of_several_workers_that_is_killed_goes_on(tmp_path: Path) -> None:
    unharmed(kinds.driver_on_ray_killed(tmp_path, times=1), times=1)


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_to_the_same_record(tmp_path: Path, whole: Path) -> None:
    unharmed(kinds.search_killed(tmp_path / "runs", times=2, like=whole), times=2)


@pytest.mark.slow
def test_a_worker_that_is_killed_anywhere_loses_nothing(tmp_path: Path, whole: Path) -> None:
    for tally in kinds.worker_killed(tmp_path, times=1, like=whole).values():
        unharmed(tally, times=1)


@pytest.mark.slow
def test_a_trial_that_breaks_ends_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    for tally in kinds.trial_breaks(tmp_path, times=1).values():
        unharmed(tally, times=1)


@pytest.mark.slow
@pytest.mark.usefixtures("disks")
def test_a_disk_that_is_full_is_said_and_the_search_goes_on(tmp_path: Path, whole: Path) -> None:
    unharmed(kinds.disk_full(tmp_path / "disks", like=whole, sizes=(300, 2000)), times=2)


@pytest.mark.slow
@pytest.mark.usefixtures("disks")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, whole: Path) -> None:
    unharmed(kinds.read_only(tmp_path / "disks", times=1, like=whole), times=1)


@pytest.mark.slow
def test_a_second_search_is_refused_and_one_that_was_killed_is_none(
    tmp_path: Path, whole: Path
) -> None:
    unharmed(kinds.two_drivers(tmp_path, times=1, like=whole), times=1)


@pytest.mark.slow
def test_a_head_that_is_started_again_goes_on(tmp_path: Path) -> None:
    unharmed(kinds.head_restarted(tmp_path, times=1), times=1)
