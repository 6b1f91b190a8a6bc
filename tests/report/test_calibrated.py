"""A calibration in words: what is chosen, what is not, and what stands beside later answers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_fpn.record import Event, History
from nas_fpn.report import (
    answer_json,
    answer_text,
    calibrated,
    calibrated_json,
    calibrated_text,
    fidelity_of,
    trust_said,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
PROXY = {"steps": 300, "image_size": 128, "views": 3, "threads": 1, "evaluations": 3}
NECKS = 16
LABELS = ("end to end", "[proxy] as it is", "100 steps", "width × 0.5")


def about(wanted: int, *, seeds: int = 2, asked: float = 0.7) -> dict[str, Any]:
    own = {"steps": 300, "image_size": 128, "views": 3, "width": 1.0}
    return {
        "objective": "ap",
        "asked": asked,
        "seeds": seeds,
        "wanted": wanted,
        "bank": "0" * 16,
        "data": {"images": None},
        "backbone": {"name": "small"},
        "proxy": PROXY,
        "reference": {"label": LABELS[0], "said": "fcos end to end, 600 steps of 8 at 128 px"},
        "fidelities": [
            {"label": LABELS[1], **own},
            {"label": LABELS[2], **own, "steps": 100},
            {"label": LABELS[3], **own, "width": 0.5},
        ],
    }


def rows_of(
    noises: Sequence[float], *, seeds: int = 2, between: float = 0.01, labels: int = 4
) -> list[dict[str, Any]]:
    """Trainings whose scores are a neck's own, 0.3 on average, and noise by label."""
    chance = np.random.default_rng(0)
    truth = 0.3 + between * chance.normal(size=NECKS)
    seconds = (40.0, 14.0, 5.0, 9.0)
    return [
        {
            "label": LABELS[at],
            "neck": f"neck{neck}",
            "seed": seed,
            "scores": {"ap": float(truth[neck] + noises[at] * chance.normal())},
            "cpu_seconds": seconds[at],
            "reason": None,
        }
        for seed in range(seeds)
        for neck in range(NECKS)
        for at in range(labels)
    ]


def event_of(rows: list[dict[str, Any]], **told: Any) -> Event:
    necks = [
        {"neck": f"neck{at}", "why": "random", "params": 10 * at, "macs": 1000 + 60 * (at * 7 % 16)}
        for at in range(NECKS)
    ]
    made = calibrated(rows, necks=necks, about=about(told.pop("wanted", len(rows)), **told))
    return json.loads(json.dumps(made, allow_nan=False))  # as a record gives it back


def diverged() -> Event:
    rows = rows_of((0.002, 0.001, 0.002, 0.02))
    rows[1] |= {"scores": {}, "reason": "the loss is not finite"}
    return event_of(rows[:-20], wanted=len(rows))


def short() -> Event:
    """Every neck scores less end to end than in the proxy; how they rank is as it was."""
    rows = rows_of((0.001, 0.001, 0.001, 0.02))
    for row in rows:
        if row["label"] == LABELS[0]:
            row["scores"] = {"ap": row["scores"]["ap"] - 0.2}
    return event_of(rows)


CASES: dict[str, Callable[[], Event]] = {
    "chosen": lambda: event_of(rows_of((0.001, 0.001, 0.001, 0.02))),
    "chosen_not_shown": lambda: event_of(rows_of((0.002, 0.004, 0.02, 0.004)), asked=0.7),
    "none_qualifies": lambda: event_of(rows_of((0.002, 0.02, 0.03, 0.03))),
    "none_not_shown": lambda: event_of(rows_of((0.002, 0.006, 0.006, 0.03)), asked=0.75),
    "noise_hides": lambda: event_of(rows_of((0.012, 0.001, 0.004, 0.02)), asked=0.65),
    "too_small": lambda: event_of(rows_of((0.01, 0.01, 0.01, 0.01), between=0.001)),
    "not_told_apart_yet": lambda: event_of(
        rows_of((0.01, 0.01, 0.01, 0.01), between=0.001)[:120], wanted=128
    ),
    "one_seed": lambda: event_of(rows_of((0.002, 0.002, 0.002, 0.002), seeds=1), seeds=1),
    "cut_and_diverged": diverged,
    "short": short,
    "nothing": lambda: event_of([], wanted=128),
    "part_of_val": lambda: {
        **event_of(rows_of((0.001, 0.001, 0.001, 0.02))),
        "val": {"images": 5000, "reference": 2000},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str) -> None:
    said = f"{calibrated_text(CASES[case]())}\n"
    assert said == (GOLDEN / f"calibrated_{case}.txt").read_text(encoding="utf-8")


def test_the_cheapest_that_reaches_it_is_chosen() -> None:
    rows = rows_of((0.001, 0.001, 0.001, 0.001))
    assert event_of(rows)["chosen"] == LABELS[2]
    for row in rows:
        row["cpu_seconds"] = {LABELS[1]: 3.0}.get(row["label"], row["cpu_seconds"])
    assert event_of(rows)["chosen"] == LABELS[1]


def test_no_fidelity_is_chosen_where_even_the_reference_tells_nothing_apart() -> None:
    event = CASES["too_small"]()
    assert event["told_apart"] is False
    assert event["chosen"] is None


def test_a_reference_that_has_learnt_less_than_the_proxy_chooses_nothing() -> None:
    event, whole = CASES["short"](), CASES["chosen"]()
    assert event["is_short"]
    assert event["chosen"] is None
    assert [one["tau"] for one in event["fidelities"]] == [
        one["tau"] for one in whole["fidelities"]
    ]
    assert not whole["is_short"]
    assert CASES["nothing"]()["reached"] is None
    said = trust_said(History((run_of(), event)))
    assert said is not None
    assert said.endswith("\nEnd to end they had learnt less than in the proxy: it says little.")


def test_only_necks_that_are_trained_both_ways_say_whether_the_reference_is_short() -> None:
    rows = rows_of((0.001, 0.001, 0.001, 0.02))
    lacking = [row for row in rows if row["label"] != LABELS[0] or row["neck"] == "neck0"]
    reached = event_of(lacking)["reached"]
    assert abs(reached["reference"] - reached["proxy"]) < 0.005  # of neck0 alone


def run_of(**proxy: Any) -> Event:
    settings = {
        "objective": "ap",
        "data": {"images": None},
        "backbone": {"name": "small"},
        "proxy": {**PROXY, **proxy},
    }
    return {"event": "run", "version": 1, "settings": settings}


def test_a_record_finds_the_fidelity_that_it_trained_at() -> None:
    event = CASES["chosen"]()

    def label(settings: dict[str, Any]) -> str | None:
        one = fidelity_of(event, settings)
        return None if one is None else one["label"]

    assert label(run_of()["settings"]) == LABELS[1]
    assert label(run_of(steps=100)["settings"]) == LABELS[2]
    assert label(run_of(steps=100, threads=2, evaluations=1)["settings"]) == LABELS[2]
    assert label(run_of(graphs=False)["settings"]) == LABELS[1]
    assert label(run_of(steps=200)["settings"]) is None
    assert label({**run_of()["settings"], "backbone": {"name": "other"}}) is None


def test_a_fidelity_of_another_backbone_or_rate_is_found_and_told() -> None:
    tuned = {"name": "small", "tune_steps": 60, "tune_folds": 2}
    rows = rows_of((0.001, 0.001, 0.001, 0.02))
    necks = event_of(rows)["necks"]
    told = about(len(rows))
    for one in told["fidelities"]:
        one |= {"learning_rate": 0.005, "backbone": told["backbone"]}
    told["proxy"] = {**PROXY, "learning_rate": 0.005}
    told["fidelities"][1] |= {"steps": 300, "learning_rate": 0.002, "backbone": tuned}
    event = json.loads(json.dumps(calibrated(rows, necks=necks, about=told)))
    assert event["chosen"] == LABELS[2]
    settings = run_of(learning_rate=0.002)["settings"]
    assert fidelity_of(event, settings) is None
    found = fidelity_of(event, {**settings, "backbone": tuned})
    assert found is not None and found["label"] == LABELS[2]
    said = calibrated_text(event)
    assert "To search with it, in run.toml: [proxy] learning_rate = 0.002\n" in said
    assert "To search with it, in run.toml: [backbone] tune_steps = 60, tune_folds = 2" in said


def test_every_later_answer_says_it() -> None:
    event = CASES["chosen"]()
    history = History((run_of(), event))
    said = trust_said(history)
    assert said is not None
    assert f"{said}\n" == (GOLDEN / "calibrated_trust.txt").read_text(encoding="utf-8")
    assert said in answer_text(history)
    answer = answer_json(history)
    assert answer["trust"] == said
    assert answer["calibrated"] == calibrated_json(event)


def test_an_answer_says_that_another_proxy_was_calibrated() -> None:
    said = trust_said(History((run_of(steps=200), CASES["chosen"]())))
    golden = GOLDEN / "calibrated_trust_other.txt"
    assert f"{said}\n" == golden.read_text(encoding="utf-8")


def test_a_run_that_went_on_from_a_drift_is_judged_by_what_it_is_now() -> None:
    event, now = CASES["chosen"](), run_of(steps=200)
    drift = {"event": "drift", "header": now, "differences": []}
    said = trust_said(History((run_of(), event, drift)))
    assert said == trust_said(History((now, event)))
    assert said != trust_said(History((run_of(), event)))


def test_a_run_that_was_never_calibrated_says_nothing() -> None:
    history = History((run_of(),))
    assert trust_said(history) is None
    assert answer_json(history)["calibrated"] is None
