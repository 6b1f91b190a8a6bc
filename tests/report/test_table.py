"""The table of a run: one row a trial, nothing invented, and a verdict that claims no more."""

from dataclasses import replace

import pandas as pd

from nas_fpn.record import Entry, History, Outcome, Report
from nas_fpn.report import Selection, answer_text, frame, verdict

COST = {"params": 1000, "macs": 2_000_000, "activation_bytes": 64}


def history(*trials: tuple[str, Outcome | None]) -> History:
    return History(
        entries=tuple(
            Entry(number, source, None, f"{number:08x}", "", COST, outcome=outcome)
            for number, (source, outcome) in enumerate(trials)
        )
    )


def complete(ap: float) -> Outcome:
    return Outcome("complete", {"ap": ap, "ap/fish": ap / 2}, steps=300, seconds=1.5)


FAILED = Outcome("failed", reason="RuntimeError: no memory")
SEARCHED = history(
    ("baseline:none", complete(0.20)),
    ("baseline:fpn", complete(0.25)),
    ("controller", complete(0.31)),
    ("controller", FAILED),
    ("controller", Outcome("repeated", {"ap": 0.31}, steps=300, of=2)),
    ("controller", Outcome("stopped", {"ap": 0.90}, steps=100)),
    ("controller", None),
)


def test_one_row_a_trial_in_order() -> None:
    table = frame(SEARCHED)
    assert list(table["trial"]) == list(range(7))
    assert list(table["state"]) == [
        "complete",
        "complete",
        "complete",
        "failed",
        "repeated",
        "stopped",
        "running",
    ]
    assert list(table["params"]) == [1000] * 7


def test_what_was_not_measured_is_missing() -> None:
    table = frame(SEARCHED).set_index("trial")
    assert pd.isna(table.loc[3, "ap"])
    assert pd.isna(table.loc[0, "ap_small"])
    assert table.loc[0, "ap/fish"] == 0.1
    assert table.loc[3, "reason"] == "RuntimeError: no memory"
    assert table.loc[4, "of"] == 2


def test_an_empty_record_is_an_empty_table() -> None:
    table = frame(History())
    assert len(table) == 0
    assert "ap" in table.columns


def test_a_terminal_shows_a_dash_for_what_is_missing() -> None:
    rows = answer_text(SEARCHED).splitlines()
    assert "<NA>" not in "".join(rows)
    assert rows[0].split()[4:10] == ["steps", "ap", "ap50", "ap75", "ap_s", "ap_m"]
    running = next(row for row in rows if "running" in row)
    assert running.split() == ["6", "found", "00000006", "running", *"–––––––", "1000", "2.0", "–"]


def test_a_narrow_terminal_shows_no_scores_by_size() -> None:
    whole = answer_text(SEARCHED).splitlines()
    assert answer_text(SEARCHED, width=len(whole[0])).splitlines() == whole
    rows = answer_text(SEARCHED, width=80).splitlines()
    assert rows[0].split()[5:9] == ["ap", "ap50", "ap75", "params"] and len(rows[0]) <= 80
    said = f"ap_s, ap_m, ap_l: --csv FILE, or a terminal of {len(whole[0])} columns"
    assert rows[len(rows) - len(whole) + 7] == said
    assert "ap_s" in answer_text(SEARCHED, Selection(sort="ap_small"), width=80).splitlines()[0]


def test_a_stopped_trial_does_not_lead_the_table() -> None:
    rows = answer_text(SEARCHED).splitlines()
    states = [row.split()[3] for row in rows[1:8]]
    assert states == [
        "complete",
        "repeated",
        "complete",
        "complete",
        "stopped",
        "failed",
        "running",
    ]


def test_only_complete_trials_compare() -> None:
    said = verdict(SEARCHED, "ap")
    assert "the best of 1 neck found is 00000002 (trial 2) with ap 0.3100" in said
    assert "the best of 2 baselines is fpn with 0.2500: a difference of +0.0600" in said


def test_the_verdict_says_that_the_noise_is_unknown() -> None:
    assert "the noise is unknown" in verdict(SEARCHED, "ap")


def test_the_verdict_says_the_noise_that_a_check_with_new_seeds_measured() -> None:
    check = {
        "event": "verdict",
        "split": "test",
        "objective": "ap",
        "scores": {"trial": [0.30, 0.32], "control": [0.24, 0.26]},
    }
    said = verdict(History((check,), SEARCHED.entries), "ap")
    assert "unknown" not in said
    assert "±0.0861\n(95 %, between 2 seeds of both necks, on test); this one is inside." in said


def test_that_no_neck_has_learnt_is_said() -> None:
    said = verdict(SEARCHED, "ap")
    assert "No neck has learnt" not in said
    entries = tuple(
        replace(
            entry,
            outcome=replace(
                entry.outcome, scores={k: v / 100 for k, v in entry.outcome.scores.items()}
            ),
        )
        for entry in SEARCHED.entries
        if entry.outcome is not None
    )
    said = verdict(History((), entries), "ap")
    assert "No neck has learnt to detect: none reaches ap 0.01, and their order says" in said


def test_a_difference_is_never_outside_of_a_lower_bound() -> None:
    chance = [0.0, 0.004, -0.003, 0.002, -0.001]
    entries = tuple(
        Entry(
            number,
            source,
            None,
            f"{number:08x}",
            "",
            COST,
            tuple(
                Report(step, {"ap": ap}, 1.0)
                for step, ap in ((100, 0.1), (200, 0.2 + chance[number]), (300, last))
            ),
            complete(last),
        )
        for number, (source, last) in enumerate(
            [("baseline:fpn", 0.2), *(("controller", 0.2 + gap) for gap in (0.1, 0.2, 0.3, 0.6))]
        )
    )
    said = verdict(History((), entries), "ap")
    assert "a difference of +0.6000" in said
    assert "by chance two differ by at least ±" in said
    assert "outside" not in said


def test_without_a_neck_or_a_baseline_there_is_no_comparison() -> None:
    assert "none; no trial beyond the baselines" in verdict(history(), "ap")
    assert "no baseline to set it against" in verdict(history(("controller", complete(0.3))), "ap")
