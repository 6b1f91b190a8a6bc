"""What a trial will take, in its parts; how many at a time, by processes of their own."""

import doctest

import pytest

from nas_fpn.errors import RunError
from nas_fpn.proxy import packing
from nas_fpn.proxy.packing import Packing, best_packing, candidate_packings, measure_packing
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.timing import Timing


def test_a_trial_is_its_parts() -> None:
    assert Timing(step_s=0.1, evaluation_s=2.0, setup_s=1.0).seconds(30, 3) == pytest.approx(10.0)


def test_candidates_use_all_cores() -> None:
    assert doctest.testmod(packing).failed == 0
    assert candidate_packings(1) == (Packing(1, 1),)
    assert [(p.workers, p.threads) for p in candidate_packings(2)] == [(2, 1), (1, 2)]


def test_the_packing_with_most_steps_is_the_best_and_of_equals_the_widest() -> None:
    two, one = Packing(2, 1, 8.0), Packing(1, 2, 8.0)
    assert best_packing([one, two]) is two
    assert best_packing([two, Packing(1, 2, 9.0)]).threads == 2


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_with_its_last_line(tmp_path) -> None:
    with pytest.raises(RunError, match=r"died: .*nowhere: no such bank"):
        measure_packing(
            tmp_path / "nowhere", "", ProxySettings(), candidates=(Packing(2, 1),), seconds=0.1
        )
