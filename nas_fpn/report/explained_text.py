"""An explanation in words and tables, for a terminal and for programs."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from nas_fpn.record import History
from nas_fpn.report.explained import Explained
from nas_fpn.report.front_plot import name_of
from nas_fpn.report.verdict import Gap

__all__ = [
    "changes_table",
    "explained_json",
    "explained_notes",
    "explained_text",
    "luck_said",
    "parts_head",
    "parts_said",
    "parts_table",
    "sizes_said",
]

NAMES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
SIZES = {"ap_small": "small", "ap_medium": "medium", "ap_large": "large"}


def explained_text(
    history: History, known: Explained, importance: Mapping[str, float] | None = None
) -> str:
    """Changes, parts of the gain, object sizes, importance of decisions; what they rest on."""
    event = known.event
    winner = history.entries[event["trial"]]
    rows = [f"Why {winner.neck} (trial {winner.number}) scores what it does:"]
    if known.changes:
        table = changes_table(known).astype(object)
        rows += ["", table.to_string(index=False)]
    rows += ["", *explained_notes(known), "", *parts_said(history, known), ""]
    rows += sizes_said(history, known)
    if importance:
        rows += ["", "Importance of decisions over the run (PED-ANOVA; the 8 largest shares):"]
        rows += [f"  {share:6.1%}  {name}" for name, share in [*importance.items()][:8]]
    return "\n".join(rows)


def changes_table(known: Explained) -> pd.DataFrame:
    """A row for each change: the difference that it makes in points, and in cost."""
    unit = _unit(known)
    return pd.DataFrame(
        [
            {
                "change": one.label,
                "kind": one.kind,
                unit: "–" if one.gap is None else f"{100 * one.gap.mean:+.2f}",
                "±": "–" if one.gap is None else _half(one.gap),
                "shown": "yes" if one.shown else "no",
                "parameters": f"{one.params:+,}",
                "mmacs": f"{one.macs / 1e6:+.2f}",
            }
            for one in known.changes
        ],
        columns=["change", "kind", unit, "±", "shown", "parameters", "mmacs"],
    )


def explained_notes(known: Explained) -> list[str]:
    """What the table of changes rests on."""
    event, count = known.event, len(known.changes)
    rows = []
    if known.done < known.wanted:
        rows.append(
            f"Not finished: {known.done} of {known.wanted} trainings; nas-fpn explain goes on."
        )
    if count:
        rows.append(
            f"{_unit(known)}: the neck with one change minus the neck, in points on "
            f"{event['split']}; trained in the proxy, {len(event['seeds'])} seeds, paired."
        )
        rows.append(
            f"± is the 95 % interval of each row by itself; shown: it holds for all {count} "
            "together too (Holm, 5 %)."
        )
    else:
        rows.append("No simpler neighbour is trained.")
    if event["left_out"]:
        rows.append(
            f"{event['left_out']} more neighbours are not trained: --most "
            f"{count + event['left_out']} has them all."
        )
    if known.diverged:
        rows.append(f"Trainings that diverged: {known.diverged}; each counts as a score of 0.")
    return rows


def parts_said(history: History, known: Explained) -> list[str]:
    """Where the difference to the best baseline comes from, a line for each part."""
    rows = [f"{parts_head(history, known)}:"]
    rows += [f"  {one.name:10}{_signed(one.gap):16} {one.said}" for one in known.parts]
    return [*rows, *luck_said(history, known)]


def parts_head(history: History, known: Explained) -> str:
    """What the parts are parts of."""
    control = name_of(history.entries[known.event["control"]])
    return f"Where the difference to {control}, the best baseline, comes from ({_unit(known)})"


def parts_table(known: Explained) -> pd.DataFrame:
    """A row for each part of the gain, in points."""
    return pd.DataFrame(
        [
            {
                "part": one.name,
                _unit(known): "–" if one.gap is None else f"{100 * one.gap.mean:+.2f}",
                "±": "–" if one.gap is None else _half(one.gap),
                "from": one.said,
            }
            for one in known.parts
        ],
        columns=["part", _unit(known), "±", "from"],
    )


def luck_said(history: History, known: Explained) -> list[str]:
    """What the parts rest on, and the part of the search: against random at the same budget."""
    return [
        "Each with its own 95 % interval; sizes are made equal by "
        f"{known.event['equal_cost']}, with the head.",
        _luck_said(history, known),
    ]


def sizes_said(history: History, known: Explained) -> list[str]:
    """AP by object size against the best and the nearest baseline."""
    event = known.event
    control, near = (history.entries[event[key]] for key in ("control", "nearest"))
    rows = []
    if known.sizes:
        said = ", ".join(f"{SIZES[name]} {_signed(gap)}" for name, gap in known.sizes.items())
        rows.append(
            f"By object size, against {name_of(control)} (paired, {event['split']}): {said}"
        )
    if known.sizes_nearest:
        said = ", ".join(
            f"{SIZES[name]} {100 * (ours - theirs):+.2f}"
            for name, (ours, theirs) in known.sizes_nearest.items()
        )
        rows.append(
            f"Against {name_of(near)}, the nearest baseline by its program (one training each, "
            f"val): {said}"
        )
    return rows or ["By object size nothing is known yet."]


def explained_json(
    history: History, known: Explained, importance: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The same for a program, in scores of 0..1; what is not known is null."""
    event, luck = known.event, known.luck
    return {
        "trial": event["trial"],
        "neck": history.entries[event["trial"]].neck,
        "control": event["control"],
        "nearest": event["nearest"],
        "objective": event["objective"],
        "split": event["split"],
        "seeds": list(event["seeds"]),
        "trained": known.done,
        "wanted": known.wanted,
        "left_out": event["left_out"],
        "changes": [
            {
                "change": one.label,
                "kind": one.kind,
                "neck": one.neck,
                "text": one.text,
                **_numbers(one.gap),
                "seeds": one.seeds,
                "shown": one.shown,
                "params": one.params,
                "macs": one.macs,
            }
            for one in known.changes
        ],
        "parts": {one.name: {"said": one.said, **_numbers(one.gap)} for one in known.parts},
        "sizes": {name: _numbers(gap) for name, gap in known.sizes.items()},
        "random": None
        if luck is None
        else {
            "run": luck.run,
            "trials": luck.count,
            "searched": luck.searched,
            "expected": luck.expected,
        },
        "importance": None if importance is None else dict(importance),
    }


def _luck_said(history: History, known: Explained) -> str:
    unit, luck = _unit(known), known.luck
    settings = history.events[0].get("settings", {})
    if settings.get("controller") == "random_search":
        return "Search against random: this search was random itself."
    if luck is None:
        return (
            "Search against random at the same budget: unknown. Search a copy of run.toml in "
            'another folder,\nRUN2, with controller = "random_search"; then: nas-fpn explain RUN '
            "--against RUN2"
        )
    gap = 100 * (luck.searched - luck.expected)
    return (
        f"Search against random ({luck.run}): the best of the first {luck.count} trained is "
        f"{gap:+.2f} {unit} from the\nmean of the best of {luck.count} random ones; on val, one "
        "training each, one search: no interval."
    )


def _numbers(gap: Gap | None) -> dict[str, float | None]:
    if gap is None:
        return {"difference": None, "half": None}
    return {"difference": gap.mean, "half": gap.half if math.isfinite(gap.half) else None}


def _signed(gap: Gap | None) -> str:
    return "unknown" if gap is None else f"{100 * gap.mean:+.2f} ± {_half(gap)}"


def _half(gap: Gap) -> str:
    return f"{100 * gap.half:.2f}" if math.isfinite(gap.half) else "?"


def _unit(known: Explained) -> str:
    name: str = known.event["objective"]
    return NAMES.get(name, name)
