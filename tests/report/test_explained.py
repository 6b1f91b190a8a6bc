"""An explanation in numbers and words: paired differences, parts that add up, golden texts."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_fpn.record import Entry, History, Outcome
from nas_fpn.report import (
    Opened,
    answer_json,
    answer_text,
    explained,
    explained_json,
    explained_text,
    report_html,
)
from nas_fpn.report.explained import Explained
from nas_fpn.strange import check_facts

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
ROLES = ("winner", "baseline", "resized", "plain", "plain baseline")
FPN = "width 8\n\np3 = c3 -> conv1\np4 = c4 -> conv1\n"
FOUND = f"{FPN}p3 = gp(p3, p4)\n"
STEADY = {"winner": 0.30, "baseline": 0.20, "resized": 0.23, "plain": 0.28, "plain baseline": 0.24}
NOISE = (0.0, 0.01, -0.005, 0.002)
SHAKE = (0.001, -0.001, 0.002, 0.0)


def variant(role: str, neck: str, label: str, **facts: Any) -> dict[str, Any]:
    given = {"role": role, "neck": neck, "label": label, "kind": "", "text": FOUND}
    return {**given, "width": 8, "params": 1000, "macs": 2_000_000, **facts}


def explain_event(**facts: Any) -> dict[str, Any]:
    rows = [variant(role, role.replace(" ", "_"), f"{role} neck") for role in ROLES]
    rows.append(variant("change", "gp_sum", "p3 (2): gp → sum", kind="merge"))
    rows.append(variant("change", "cut", "p3 (2): without p4", kind="edge", params=900))
    return {
        "event": "explain",
        "of": "0" * 16,
        "trial": 1,
        "control": 0,
        "nearest": 0,
        "objective": "ap",
        "split": "test",
        "seeds": [2001, 2002, 2003, 2004],
        "equal_cost": "params",
        "left_out": 3,
        "variants": rows,
        **facts,
    }


def ablations(scores: dict[str, list[float]], diverged: str = "") -> list[dict[str, Any]]:
    return [
        {
            "event": "ablation",
            "of": f"{neck}{at}",
            "neck": neck,
            "text": FOUND,
            "seed": 2001 + at,
            "split": "test",
            "steps": 10,
            "scores": {} if neck == diverged else {"ap": score, "ap_small": score / 2},
            "seconds": 1.0,
            "reason": "the loss became nan" if neck == diverged else None,
        }
        for neck, values in scores.items()
        for at, score in enumerate(values)
    ]


def scores_of(means: dict[str, float], seeds: int = 4) -> dict[str, list[float]]:
    rows = {}
    for place, (role, mean) in enumerate(means.items()):
        own = [mean + NOISE[at] + SHAKE[(at + place) % 4] for at in range(seeds)]
        rows[role.replace(" ", "_")] = own
    return rows


def history(*events: dict[str, Any], controller: str = "surrogate") -> History:
    done = Outcome("complete", {"ap": 0.25, "ap_small": 0.1, "ap_large": 0.4}, 10)
    better = Outcome("complete", {"ap": 0.31, "ap_small": 0.12, "ap_large": 0.5}, 10)
    entries = (
        Entry(0, "baseline:fpn", None, "00000fpn", FPN, {}, outcome=done),
        Entry(1, "controller", None, "a1b2c3d4", FOUND, {}, outcome=better),
        Entry(2, "controller", None, "b1b2c3d4", FOUND, {}, outcome=done),
    )
    first = {"event": "run", "version": 1, "settings": {"controller": controller}}
    return History((first, *events), entries)


AGAINST = {
    "event": "against",
    "run": "random",
    "controller": "random_search",
    "objective": "ap",
    "scores": [0.1, 0.2, 0.3],
}
WHOLE = scores_of({**STEADY, "gp_sum": 0.27, "cut": 0.30})
FORMS = {
    "whole": history(explain_event(), *ablations(WHOLE), AGAINST),
    "begun": history(explain_event(), *ablations({k: v[:1] for k, v in WHOLE.items()})),
    "nothing_yet": history(explain_event(left_out=0), controller="random_search"),
    "diverged": history(explain_event(), *ablations(WHOLE, diverged="gp_sum")),
}


def known_of(form: str) -> Explained:
    known = explained(FORMS[form])
    assert known is not None
    return known


@pytest.mark.parametrize("form", FORMS)
def test_the_text_of_an_explanation(form: str) -> None:
    shares = {"p3.merge": 0.7, "width": 0.3} if form == "whole" else None
    said = explained_text(FORMS[form], known_of(form), shares) + "\n"
    assert said == (GOLDEN / f"explained_{form}.txt").read_text(encoding="utf-8")


def test_a_clear_difference_is_shown_and_none_is_not() -> None:
    shown = {one.neck: one.shown for one in known_of("whole").changes}
    assert shown == {"gp_sum": True, "cut": False}
    gap = known_of("whole").changes[0].gap
    assert gap is not None and gap.mean == pytest.approx(-0.03, abs=0.002)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(1, 4))
def test_parts_and_remainder_add_up_to_the_whole(means: list[float], seeds: int) -> None:
    rows = scores_of(dict(zip(ROLES, means, strict=True)), seeds)
    known = explained(history(explain_event(), *ablations(rows)))
    assert known is not None
    *parts, whole = [one.gap.mean for one in known.parts if one.gap is not None]
    assert len(parts) == 4 and math.isclose(sum(parts), whole, abs_tol=1e-9)


def test_only_seeds_that_both_have_are_compared() -> None:
    rows = {**WHOLE, "gp_sum": WHOLE["gp_sum"][:2]}
    known = explained(history(explain_event(), *ablations(rows)))
    assert known is not None
    assert [one.seeds for one in known.changes] == [2, 4]
    assert (known.done, known.wanted) == (26, 28)


def test_trainings_of_other_settings_are_no_part_of_it() -> None:
    """The same necks and seeds with other steps, before or after: only its own hashes count."""
    own = ablations(WHOLE)
    others = [{**one, "of": f"other {one['of']}", "scores": {"ap": 0.9}} for one in own]
    event = explain_event(trainings=[one["of"] for one in own])
    known = explained(history(event, *own))
    assert known is not None
    for rows in (others + own, own + others):
        assert explained(history(event, *rows)) == known
    other = explained(history(event, *others))
    assert other is not None and other.done == 0
    older = explained(history(explain_event(), *others))
    assert older is not None and older.done == older.wanted, "an older one does not say which"


def test_the_best_of_random_ones_is_a_mean_over_draws() -> None:
    luck = known_of("whole").luck
    assert luck is not None and luck.count == 2 and luck.searched == 0.31
    assert luck.expected == pytest.approx((0.2 + 0.3 + 0.3) / 3)


def test_no_explanation_says_nothing() -> None:
    assert explained(history()) is None
    assert answer_json(History())["explained"] is None


@pytest.mark.parametrize("form", FORMS)
def test_table_page_and_json_say_it(form: str) -> None:
    known = FORMS[form]
    answer = explained_json(known, known_of(form))
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer_json(known)["explained"] == answer
    assert explained_text(known, known_of(form)) in answer_text(known)
    page = report_html([Opened("mine", known)])
    assert '<section id="why"' in page and "gp → sum" in page
    assert "What changed against the nearest baseline, fpn" in page


def test_the_page_says_how_much_is_from_words_topology_size_and_search() -> None:
    page = report_html([Opened("mine", FORMS["whole"])])
    assert "Where the difference to fpn, the best baseline, comes from (AP)" in page
    for name, gap in (("size", "+3.00"), ("topology", "+4.00"), ("words", "+2.00"),
                      ("remainder", "+1.00"), ("all", "+10.00")):  # fmt: skip
        assert f'<th scope="row">{name}</th><td class="n">{gap}</td>' in page
    assert "Search against random (random): the best of the first 2 trained is +4.33 AP" in page
    begun = report_html([Opened("mine", FORMS["nothing_yet"])])
    assert '<th scope="row">words</th><td class="n">–</td>' in begun
    assert "Search against random: this search was random itself." in begun


def test_what_a_record_holds_is_held_against_its_types() -> None:
    event = explain_event()
    check_facts(event, 3)
    check_facts(AGAINST, 3)
    for one in ablations(WHOLE):
        check_facts(one, 3)
    for wrong in (
        {**event, "trial": 3},
        {**event, "seeds": []},
        {**event, "seeds": ["x"]},
        {**event, "trainings": [[]]},
        {**event, "variants": event["variants"][1:]},
        {**event, "variants": [{**event["variants"][0], "neck": "../x"}]},
        {**AGAINST, "scores": []},
        {**AGAINST, "scores": ["1"]},
        {**ablations(WHOLE)[0], "scores": {"ap": None}},
        {**ablations(WHOLE)[0], "seed": "1"},
        {**ablations(WHOLE)[0], "of": ["1"]},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            check_facts(wrong, 3)


def test_texts_of_a_record_reach_the_page_escaped() -> None:
    event = explain_event()
    event["variants"][-1]["label"] = "<script>alert(1)</script>"
    assert "<script>alert" not in report_html([Opened("mine", history(event))])
