"""Nodes come late and go, and a head for good: no trial is lost, and every node has one copy."""

from pathlib import Path

import pytest

from tests.faults import lost_nodes
from tests.faults.test_faults import unharmed

pytestmark = pytest.mark.slow


def test_nodes_come_and_go_and_each_is_given_the_bank_once(tmp_path: Path) -> None:
    for tally in lost_nodes.nodes_lost(tmp_path / "search").values():
        unharmed(tally, times=1)


def test_a_head_that_is_gone_for_good_is_said_and_another_one_goes_on(tmp_path: Path) -> None:
    unharmed(lost_nodes.head_gone(tmp_path, times=1), times=1)
