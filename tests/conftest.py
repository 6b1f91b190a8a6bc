"""Before anything else: one OpenMP thread, as the runners set it, so that numbers repeat."""

import os
import time

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_COLOR", "1")

# The files whose slow tests take longest, the longest first, and those that start Ray, which
# takes minutes on a machine that is slow; all others follow.
LONGEST = (
    "test_faults.py",
    "test_formats.py",
    "test_learning.py",
    "test_tune.py",
    "test_compile.py",
    "test_real_cluster.py",
    "test_nodes.py",
    "test_properties.py",
    "test_family.py",
    "test_interrupt.py",
    "test_promotion.py",
    "test_confirm_command.py",
    "test_honesty.py",
    "test_graph.py",
    "test_run_train.py",
    "test_for_transformers.py",
    "test_timed_run.py",
    "test_run_own_words.py",
    "test_tune_in_time.py",
    "test_machine.py",
    "test_ports.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long begins first: no process is left alone with it in the end.

    Where ``NAS_FPN_UNTIL`` will end them early it begins last: more of them are seen.
    """
    place = {name: at for at, name in enumerate(LONGEST)}
    items.sort(
        key=lambda item: place.get(item.path.name, len(LONGEST)),
        reverse="NAS_FPN_UNTIL" in os.environ,
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where ``NAS_FPN_UNTIL`` (seconds since 1970) has passed, no slow test begins; it says so."""
    until = os.environ.get("NAS_FPN_UNTIL")
    if until and item.get_closest_marker("slow") and time.time() > float(until):
        pytest.skip("not begun: the time for slow tests, NAS_FPN_UNTIL, was over")
