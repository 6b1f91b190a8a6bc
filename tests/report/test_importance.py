"""Importance of decisions: shares that add up; the decision that makes the score stands out."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from nas_fpn.language import explain
from nas_fpn.record import Outcome
from nas_fpn.report import open_run
from nas_fpn.report.importance import importance
from tests.report.synthetic import write_run


def test_few_trials_or_no_space_say_nothing(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path, 8))
    assert importance(run) is None
    assert importance(replace(run, space=None)) is None


def test_the_decision_that_makes_the_score_stands_out(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path, 200))
    rng = random.Random(0)
    entries = tuple(
        entry
        if entry.genotype is None
        else replace(
            entry,
            outcome=Outcome("complete", {"ap": 0.1 * (entry.genotype[0] == 0) + rng.random() / 99}),
        )
        for entry in run.history.entries
    )
    scored = replace(run, history=replace(run.history, entries=entries))
    shares = importance(scored)
    assert shares is not None and sum(shares.values()) == pytest.approx(1)
    assert [*shares.values()] == sorted(shares.values(), reverse=True)
    assert run.space is not None
    genotype = next(one.genotype for one in entries if one.genotype is not None)
    decided = explain(run.space, genotype)[0][0]
    assert shares[decided] > 2 / len(shares), "twice what each has on average"
    assert importance(scored) == shares
