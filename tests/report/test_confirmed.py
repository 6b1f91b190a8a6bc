"""The verdict end to end in words: each form as a golden text; equal events, equal words."""

import copy
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.record import Entry, History
from nas_fpn.report import (
    answer_json,
    answer_text,
    confirmed_said,
    confirmed_table,
    confirmed_text,
    last_confirmed,
    report_html,
)
from nas_fpn.report.confirm_page import confirmed_section
from nas_fpn.report.opened import Opened

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


def neck(role: str, scores: list[float], **facts: Any) -> dict[str, Any]:
    given = {
        "neck": "a1b2c3d4" if role == "found" else "00panet0",
        "role": role,
        "trial": 12 if role == "found" else 2,
        "name": "a1b2c3d4" if role == "found" else "panet",
        "width": 64,
        "repeats": 0,
        "was": None,
        "cost": {"params_m": 0.5, "gmacs": 0.4, "latency_ms": 23.0},
        "seeds": list(range(101, 101 + len(scores))),
        "scores": {"ap": scores, "ap_small": [one / 2 for one in scores]},
        "diverged": 0,
    }
    return {**given, **facts}


def event(outcome: str, gap: float | None, half: float | None, **facts: Any) -> dict[str, Any]:
    ours = [0.25, 0.26, 0.24, 0.26, 0.25]
    theirs = [0.24, 0.24, 0.23, 0.25, 0.24]
    pair = {
        "found": "a1b2c3d4",
        "control": "00panet0",
        "outcome": outcome,
        "seeds": 5,
        "difference": gap,
        "half": half,
        "sd": 0.004,
        "detectable": 0.0071,
        "detectable_seeds": 5,
        "other_images": {"low": -0.004, "high": 0.021, "seeds_error": 0.002, "images_error": 0.006},
    }
    return {
        "event": "verdict",
        "where": "end to end",
        "of": "0" * 16,
        "split": "test",
        "objective": "ap",
        "equal_cost": "latency",
        "detector": "fcos",
        "backbone": "mobilenetv2_100",
        "image_size": 256,
        "images": 156,
        "error": 0.05,
        "max_seeds": 5,
        "necks": [
            neck("found", ours),
            neck(
                "control",
                theirs,
                width=72,
                was={"width": 64, "repeats": 0},
                cost={"params_m": 0.6, "gmacs": 0.5, "latency_ms": 25.0},
            ),
        ],
        "pairs": [pair],
        "best": "a1b2c3d4" if outcome == "better" else None,
        "keep": "00panet0",
        "ended": "decided",
        **facts,
    }


def several() -> dict[str, Any]:
    """Two finalists, a repeated baseline among the controls, parameters made equal."""
    one = event("better", 0.013, 0.004, equal_cost="params", ended="budget")
    other = neck("found", [0.2, 0.2, 0.0], neck="e5f6a7b8", trial=7, diverged=1)
    bifpn = neck(
        "control", [0.21, 0.2], neck="0bifpn00", trial=3, name="bifpn", repeats=3,
        was={"width": 64, "repeats": 2},
    )  # fmt: skip
    one["necks"] += [other, bifpn]
    lost = {"seeds": 2, "half": None, "sd": None, "detectable": None, "other_images": None}
    one["pairs"] += [
        {**one["pairs"][0], "found": "e5f6a7b8", "control": "0bifpn00", "outcome": "not shown",
         "difference": -0.005, **lost},
        {**one["pairs"][0], "found": "e5f6a7b8", "outcome": "not shown", "difference": None,
         **{**lost, "seeds": 0}},
    ]  # fmt: skip
    return one


def both(outcome: str, gap: float | None, half: float | None, first: str = "better") -> Any:
    """The best baseline as it was searched, and at the latency of the neck found."""
    one = event(outcome, gap, half)
    one["keep"] = "00wide00"
    scores = [] if gap is None else [0.23, 0.24, 0.22]
    one["necks"].insert(1, neck("control", [0.23, 0.24, 0.22], neck="00wide00"))
    one["necks"][2] |= {"scores": {"ap": scores}, "seeds": [101, 102, 103][: len(scores)]}
    lost = {"seeds": 0, "half": None, "sd": None, "detectable": None, "other_images": None}
    (pair,) = one["pairs"]
    one["pairs"] = [
        {**pair, "control": "00wide00", "outcome": first, "difference": 0.021, "half": 0.012,
         "seeds": 3},
        pair | (lost if gap is None else {}),
    ]  # fmt: skip
    return one


def lost() -> dict[str, Any]:
    """A neck all of whose trainings diverged, so that it has no score by any name."""
    one = event("worse", -0.24, 0.03, earlier=1)
    one["necks"][0] |= {"scores": {}, "diverged": 5}
    return one


FORMS = {
    "lost": lost(),
    "better": event("better", 0.013, 0.004),
    "not_shown": event("not shown", 0.003, 0.009),
    "worse": event("worse", -0.013, 0.004),
    "several": several(),
    "both_beaten": both("better", 0.013, 0.004),
    "larger_only": both("not shown", 0.003, 0.009),
    "not_reached": both("not reached", None, None, first="not shown"),
    "budget_between": both("not shown", None, None) | {"ended": "budget"},
}


def history(verdict: dict[str, Any]) -> History:
    entries = [Entry(n, "baseline:panet", None, f"{n:08x}", "", {}) for n in range(13)]
    return History(({"event": "run", "version": 1}, verdict), tuple(entries))


@pytest.mark.parametrize("form", FORMS)
def test_the_text_of_a_verdict(form: str) -> None:
    said = confirmed_text(FORMS[form]) + "\n"
    assert said == (GOLDEN / f"confirmed_{form}.txt").read_text(encoding="utf-8")


def test_the_sentence_is_that_of_a_reviewer() -> None:
    assert confirmed_said(FORMS["better"]).splitlines()[0] == (
        "On this data, with mobilenetv2_100, neck a1b2c3d4 (trial 12) is better than the best "
        "hand-designed one (panet at width 72) by 1.3 ± 0.4 AP at 0.92 × its latency (5 seeds, "
        "paired)."
    )


def test_what_is_better_beats_the_baseline_as_it_was_and_at_its_cost() -> None:
    assert confirmed_said(FORMS["both_beaten"]).splitlines()[0] == (
        "On this data, with mobilenetv2_100, neck a1b2c3d4 (trial 12) is better than the best "
        "hand-designed one (panet) by 2.1 ± 1.2 AP at 1.00 × its latency (3 seeds, paired), and "
        "than the same at equal latency (width 72) by 1.3 ± 0.4 AP at 0.92 × its latency (5 seeds, "
        "paired)."
    )


def test_a_neck_that_is_better_by_its_size_alone_leaves_the_baseline() -> None:
    head, said, *_ = confirmed_said(FORMS["larger_only"]).splitlines()
    assert head == (
        "No neck found is shown to be better than every baseline that it has to beat; keep the "
        "baseline panet."
    )
    assert "is better than the best hand-designed one (panet) by 2.1" in said
    assert ", but is not shown to differ from the same at equal latency (width 72)" in said


def test_a_neck_that_is_not_better_leaves_the_baseline() -> None:
    for form in ("not_shown", "worse"):
        assert confirmed_said(FORMS[form]).startswith(
            "No neck found is shown to be better; keep the baseline panet at width 72."
        )


def test_a_neck_that_was_not_trained_has_no_number_on_the_page() -> None:
    page = str(confirmed_section(FORMS["not_reached"]))
    assert '<td class="n">–</td>' in page and "nan" not in page


def test_a_row_for_each_neck_with_each_seed() -> None:
    table = confirmed_table(FORMS["several"])
    assert list(table["seeds"]) == [5, 5, 3, 2]
    assert table["each seed"][2] == "20.0 20.0 0.0", "what diverged counts as 0"
    assert table["AP_s"][0] == "12.6" and table["AP_m"].isna().all()


def test_a_neck_that_always_diverged_has_its_seeds_and_zeros() -> None:
    row = confirmed_table(FORMS["lost"]).iloc[0]
    assert (row["seeds"], row["AP"], row["each seed"]) == (5, "0.0", "0.0 0.0 0.0 0.0 0.0")
    assert row["AP_s"] == "0.0" and row["AP_m"] is None, "0 where others have a score"


def test_a_second_comparison_on_the_same_images_says_that_it_is_one() -> None:
    said = "This is comparison 2 on this test set; 5 % is of each alone."
    assert said in confirmed_said(FORMS["lost"]).splitlines()
    assert "This is comparison" not in confirmed_said(FORMS["worse"])


def test_with_several_controls_the_interval_is_of_one_baseline_each() -> None:
    said = "± is the 95 % interval for both necks found together, against one baseline each, "
    assert said in confirmed_said(FORMS["several"])
    assert "one baseline each" not in confirmed_said(FORMS["better"])


def test_the_last_verdict_counts_and_one_of_the_proxy_does_not() -> None:
    proxy = {"event": "verdict", "where": "proxy"}
    first, second = event("worse", -0.01, 0.001), event("better", 0.01, 0.001)
    assert last_confirmed(History((first, second, proxy))) is second
    assert last_confirmed(History((proxy, {"event": "verdict"}))) is None


def test_table_and_report_say_it() -> None:
    for form, verdict in FORMS.items():
        known = history(verdict)
        assert confirmed_text(verdict) in answer_text(known)
        assert answer_json(known)["confirmed"]["said"] == confirmed_said(verdict), form
        page = report_html([Opened("mine", known)])
        assert '<section id="confirmed"' in page
        assert "panet at width 72" in page
    assert answer_json(History())["confirmed"] is None


def test_what_a_record_holds_reaches_the_page_escaped() -> None:
    strange = copy.deepcopy(FORMS["better"])
    strange["backbone"] = "<script>alert(1)</script>"
    assert "<script>alert" not in report_html([Opened("mine", history(strange))])
