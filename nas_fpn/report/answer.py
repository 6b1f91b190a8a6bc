"""What a run says so far, in words: its table for a terminal, its verdict, its notes.

The verdict claims no more than was measured: the noise as far as the record knows it.
"""

import json
from typing import Any

import pandas as pd

from nas_fpn.record import Entry, History
from nas_fpn.report.calibrated import last_calibrated
from nas_fpn.report.calibrated_text import calibrated_json, trust_said
from nas_fpn.report.confirmed import confirmed_json, confirmed_text, last_confirmed
from nas_fpn.report.counted import counted
from nas_fpn.report.explained import explained
from nas_fpn.report.explained_text import explained_json, explained_text
from nas_fpn.report.front import front
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.noise import noise_of
from nas_fpn.report.selection import Selection, selected
from nas_fpn.report.table import COLUMNS, frame
from nas_fpn.report.verdict import checked_on_test, proxy_checks

__all__ = ["answer_json", "answer_text", "nothing_learnt", "verdict"]

SHOWN = 20  # trials on a terminal, beyond the baselines
LEARNT = 0.01  # AP of a neck that has begun to detect
ALL = Selection()
USUAL = ("cost/activation_bytes",)  # on record of every neck; in files only
HEADS = {"ap_small": "ap_s", "ap_medium": "ap_m", "ap_large": "ap_l"}


def answer_text(history: History, wanted: Selection = ALL, *, width: int | None = None) -> str:
    """The table, best first, then the verdict so far and what was decided about the data.

    In a terminal of a ``width`` that it does not fit the table goes without the scores by size.

    Trials that were stopped stand below those of the full budget, whatever their score, unless
    ``wanted`` names a column to sort by. Only the table depends on what is wanted: the rest is
    about the whole run. Raises :class:`RunError` for what is not on record.
    """
    objectives, notes = _asked(history)
    objective = objectives[0]
    best = [entry.number for entry in front(history.entries, objectives)]
    whole = frame(history)
    kept = selected(_ranked(whole, objective) if wanted.sort is None else whole, wanted)
    shown = kept
    if wanted.top is None:
        is_baseline = kept["source"].str.startswith("baseline:")
        first = pd.concat([kept[is_baseline], kept[~is_baseline].head(SHOWN)]).index
        shown = kept[kept.index.isin(first)]
    rows = []
    if len(shown):
        table = _columns(shown, objectives, best, sort=wanted.sort)
        said = table.to_string(index=False)
        if width is not None and (needed := said.index("\n")) > width:
            sizes = [head for key, head in HEADS.items() if key not in (wanted.sort, *objectives)]
            said = table.drop(columns=sizes).to_string(index=False)
            said += f"\n{', '.join(sizes)}: --csv FILE, or a terminal of {needed} columns"
        rows.append(said)
    elif len(whole):
        rows.append("no trial is of this kind")
    if len(shown) < len(kept):
        more = len(kept) - len(shown)
        rows.append(f"… and {more} more trials: --top {len(kept)}, or --csv FILE, has them all")
    failed = whole[whole["state"] == "failed"]
    rows += [f"trial {row.trial} failed: {row.reason}" for row in failed.itertuples()]
    if len(objectives) > 1:
        rows += ["", _front_said(history, objectives)]
    rows += ["", verdict(history, objective)]
    if (trust := trust_said(history)) is not None:
        rows.append(trust)
    if (checked := checked_on_test(history)) is not None:
        rows += ["", checked, ""]
    if (confirmed := last_confirmed(history)) is not None:
        rows += [*([""] if checked is None else []), confirmed_text(confirmed), ""]
    if (known := explained(history)) is not None:
        rows += [*([] if rows[-1] == "" else [""]), explained_text(history, known), ""]
    rows += notes
    return "\n".join(rows)


def answer_json(history: History, wanted: Selection = ALL) -> dict[str, Any]:
    """The same for a program: every trial that is wanted, the verdict so far, the notes."""
    objectives, notes = _asked(history)
    kept = selected(frame(history), wanted)
    confirmed, known = last_confirmed(history), explained(history)
    calibration = last_calibrated(history)
    trials: list[Any] = json.loads(kept.to_json(orient="records"))
    return {
        "trials": trials,
        "front": [entry.number for entry in front(history.entries, objectives)],
        "verdict": verdict(history, objectives[0]),
        "trust": trust_said(history),
        "calibrated": None if calibration is None else calibrated_json(calibration),
        "test": checked_on_test(history),
        "confirmed": None if confirmed is None else confirmed_json(confirmed),
        "explained": None if known is None else explained_json(history, known),
        "notes": notes,
    }


def verdict(history: History, objective: str) -> str:
    """The best neck found against the best baseline by one score, and what that is worth so far.

    Only trials that are ``complete`` compare; one that repeats a baseline is that baseline.
    """
    complete = _complete(history, objective)
    baselines = [pair for pair in complete if pair[1].is_baseline]
    found = [pair for pair in complete if not pair[1].is_baseline]
    if not found:
        return "Verdict so far: none; no trial beyond the baselines is complete."
    score, best = max(found, key=lambda pair: (pair[0], -pair[1].number))
    said = (
        f"Verdict so far: the best of {counted(len(found), 'neck')} found is {best.neck} "
        f"(trial {best.number}) with {objective} {score:.4f}"
    )
    if not baselines:
        return f"{said}; there is no baseline to set it against."
    control_score, control = max(baselines, key=lambda pair: (pair[0], -pair[1].number))
    return (
        f"{said};\nthe best of {counted(len(baselines), 'baseline')} is "
        f"{control.source.removeprefix('baseline:')} with {control_score:.4f}: "
        f"a difference of {score - control_score:+.4f}.\n"
        f"{_with_line_end(nothing_learnt(history, objective))}"
        f"{_noise_said(history, objective, score - control_score)}\n"
        "The best of many is chosen on the val set that it is scored on. This ranks candidates; "
        "it does not\nshow that one is better."
    )


def nothing_learnt(history: History, objective: str) -> str | None:
    """What is to be said where no neck detects anything yet, and their order is chance."""
    scores = [score for score, _ in _complete(history, objective)]
    if not scores or not objective.startswith("ap") or max(scores) >= LEARNT:
        return None
    return (
        f"No neck has learnt to detect: none reaches {objective} {LEARNT:g}, and their order says "
        "nothing. More steps in\n[proxy], or more minutes in [budget], are what is wanted."
    )


def _complete(history: History, objective: str) -> list[tuple[float, Entry]]:
    """The scores of the trials that compare, and the trials."""
    return [
        (entry.outcome.scores[objective], entry)
        for entry in history.entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and objective in entry.outcome.scores
    ]


def _with_line_end(said: str | None) -> str:
    return "" if said is None else f"{said}\n"


def _noise_said(history: History, objective: str, gap: float) -> str:
    """What is known of the noise that one training of each neck leaves in their difference."""
    checks = proxy_checks(history.events)
    noise = noise_of(history.entries, checks, objective)
    if noise is None:
        return "Every neck was trained once, with one seed: the noise is unknown."
    least = "at least " if noise.at_least else ""
    place = ""
    if abs(gap) <= noise.band:
        place = "; this one is inside"
    elif not noise.at_least:
        place = "; this one is outside"
    return (
        f"Every neck was trained once, with one seed: by chance two differ by {least}"
        f"±{noise.band:.4f}\n(95 %, {noise.source}){place}."
    )


def _front_said(history: History, objectives: tuple[str, ...]) -> str:
    """The necks of the front by name, with the objectives that they were kept for."""
    names = [name.removeprefix("-") for name in objectives]
    best = front(history.entries, objectives)
    if not best:
        return f"The front of {' and '.join(objectives)}: no trial is complete."
    said = [f"The front of {' and '.join(objectives)} has {counted(len(best), 'neck')}:"]
    for entry in best:
        assert entry.outcome is not None
        scores = ", ".join(f"{name} {entry.outcome.scores[name]:.4g}" for name in names)
        said.append(f"  {name_of(entry)} (trial {entry.number}): {scores}")
    return "\n".join(said)


def _asked(history: History) -> tuple[tuple[str, ...], list[str]]:
    """The objectives of the run and the notes of its record."""
    settings = history.events[0].get("settings", {}) if history.events else {}
    objective = settings.get("objective", "ap")
    objectives = (objective,) if isinstance(objective, str) else tuple(objective)
    return objectives, list(settings.get("notes", []))


def _ranked(table: pd.DataFrame, objective: str) -> pd.DataFrame:
    """The best first, and those of the full budget before all others."""
    ranked = table.sort_values(objective, ascending=False, na_position="last", kind="stable")
    is_whole = ranked["state"].isin(["complete", "repeated"])
    return pd.concat([ranked[is_whole], ranked[~is_whole]])


def _columns(
    table: pd.DataFrame, objectives: tuple[str, ...], best: list[int], *, sort: str | None
) -> pd.DataFrame:
    """The columns of a terminal, rounded; ``best`` are the trials of a front.

    Costs of the run's own stand among them, and the column that is sorted by.
    """
    is_baseline = table["source"].str.startswith("baseline:")
    name = table["source"].str.removeprefix("baseline:").where(is_baseline, "found")
    scores = {
        HEADS.get(key, key): table[key].map("{:.4f}".format, na_action="ignore")
        for key in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    }
    costs = [key[1:] for key in objectives if key.startswith("-") and key[1:] in table]
    costs += [
        key
        for key in map(str, table.columns)
        if key.startswith("cost/") and key not in (*USUAL, sort)
    ]
    if sort in table and sort not in (*COLUMNS, *costs):
        costs.append(str(sort))
    several = {"front": table["trial"].isin(best).map({True: "*", False: ""})}
    columns = pd.DataFrame(
        {
            "trial": table["trial"],
            **(several if len(objectives) > 1 else {}),
            "neck": name,
            "id": table["neck"],
            "state": table["state"],
            "steps": table["steps"],
            **scores,
            **{key: table[key].map("{:.4g}".format, na_action="ignore") for key in costs},
            "params": table["params"],
            "mmacs": (table["macs"] / 1e6).map("{:.1f}".format, na_action="ignore"),
            "seconds": table["seconds"].map("{:.0f}".format, na_action="ignore"),
        }
    ).astype(object)
    return columns.where(columns.notna(), "–")
