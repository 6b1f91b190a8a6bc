"""The verdict end to end in words: real detectors, equal seeds, one sentence, and its table.

Everything here is read off the event "verdict" that ``nas-fpn confirm`` puts on record.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nas_fpn.record import Event, History

__all__ = [
    "confirmed_brief",
    "confirmed_json",
    "confirmed_said",
    "confirmed_table",
    "confirmed_text",
    "last_confirmed",
]

COSTS = {  # by what was made equal: the cost that a sentence names, and how
    "latency": ("latency_ms", "latency"),
    "params": ("params_m", "parameters"),
    "gmacs": ("gmacs", "multiply-adds"),
    "none": ("latency_ms", "latency"),
}
SIZES = {"ap_small": "AP_s", "ap_medium": "AP_m", "ap_large": "AP_l"}
NAMES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", **SIZES}


def last_confirmed(history: History) -> Event | None:
    """The last verdict end to end; None where there is none."""
    return next(
        (
            event
            for event in reversed(history.events)
            if event["event"] == "verdict" and event.get("where") == "end to end"
        ),
        None,
    )


def confirmed_said(event: Event) -> str:
    """The sentence of a verdict, a line for each pair, and what they rest on."""
    necks = {one["neck"]: one for one in event["necks"]}
    return "\n".join([confirmed_brief(event), *_notes(event, necks)])


def confirmed_brief(event: Event) -> str:
    """The sentence alone, a line for each pair.

    A neck found is better only if it beats every baseline that it was compared with.
    """
    necks = {one["neck"]: one for one in event["necks"]}
    best, pairs = event["best"], event["pairs"]
    if best is not None:
        pairs = sorted(pairs, key=lambda pair: bool(pair["found"] != best))
        head = []
    else:
        keep = (
            "keep the baseline" if event["keep"] is None else f"keep {_name(necks[event['keep']])}"
        )
        head = [f"No neck found is shown to be better; {keep}."]
    return "\n".join([*head, *(_pair_said(pair, event, necks) for pair in pairs)])


def confirmed_text(event: Event) -> str:
    """The sentence and, below it, the table of every neck that was trained."""
    table = confirmed_table(event).astype(object)
    shown = table.where(table.notna(), "–").to_string(index=False)
    return f"Verdict, end to end:\n{confirmed_said(event)}\n\n{shown}"


def confirmed_json(event: Event) -> dict[str, Any]:
    """The event itself, with its sentence."""
    return {**event, "said": confirmed_said(event)}


def confirmed_table(event: Event) -> pd.DataFrame:
    """A row for each neck: means over its seeds (AP in points, 0..100), costs, AP of each seed.

    Costs are of neck and head, without the backbone. A score without ground truth is missing.
    """
    objective = event["objective"]
    rows = []
    for neck in event["necks"]:
        own = _points(neck, objective)
        row: dict[str, Any] = {
            "neck": _label(neck),
            "seeds": len(own),
            _unit(objective): _mean(own),
            "sd": f"{statistics.stdev(own):.2f}" if len(own) > 1 else None,
        }
        row |= {name: _mean(_points(neck, key)) for key, name in SIZES.items()}
        cost = neck["cost"]
        row |= {
            "params": f"{cost['params_m']:.3f} M",
            "gmacs": f"{cost['gmacs']:.3f}",
            "latency": f"{cost['latency_ms']:.1f} ms",
            "each seed": " ".join(f"{value:.1f}" for value in own),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _pair_said(pair: Mapping[str, Any], event: Event, necks: Mapping[str, Any]) -> str:
    found, control = necks[pair["found"]], necks[pair["control"]]
    key, cost = COSTS[event["equal_cost"]]
    ratio = found["cost"][key] / control["cost"][key]
    against = f"the best hand-designed one ({_label(control)})"
    if len({one["control"] for one in event["pairs"] if one["found"] == pair["found"]}) > 1:
        against = _label(control)
    count = pair["seeds"]
    place = f"On this data, with {event['backbone']}, neck {found['neck']} (trial {found['trial']})"
    seeds = f"{count} seed{'' if count == 1 else 's'}, paired"
    unit = _unit(event["objective"])
    if pair["difference"] is None:
        return (
            f"{place} was not compared with {against}: the budget ended before a pair was trained."
        )
    gap = 100 * pair["difference"]
    if pair["half"] is None:
        return (
            f"{place} differs from {against} by {gap:+.1f} {unit} at {ratio:.2f} × its {cost} "
            f"({seeds}): too few to say more."
        )
    half = 100 * pair["half"]
    if pair["outcome"] in ("better", "worse"):
        return (
            f"{place} is {pair['outcome']} than {against} by {abs(gap):.1f} ± {half:.1f} {unit} "
            f"at {ratio:.2f} × its {cost} ({seeds})."
        )
    return (
        f"{place} is not shown to differ from {against}: {gap:+.1f} ± {half:.1f} {unit} "
        f"at {ratio:.2f} × its {cost} ({seeds})."
    )


def _notes(event: Event, necks: Mapping[str, Any]) -> list[str]:
    """What the sentences rest on, and what they leave open."""
    unit, pairs = _unit(event["objective"]), event["pairs"]
    sure = f"{100 * (1 - event['error']):g} %"
    count = len(pairs)
    several = "both" if count == 2 else f"all {count}"
    together = "" if count == 1 else f" for {several} comparisons together"
    rows = [f"± is the {sure} interval{together}, whenever the comparison stopped."]
    known = [pair for pair in pairs if pair["detectable"] is not None]
    for pair in known:
        which = (
            "" if count == 1 else f" between {pair['found']} and {_label(necks[pair['control']])}"
        )
        rows.append(
            f"Smallest difference{which} that {pair['detectable_seeds']} seeds show four times in "
            f"five: {100 * pair['detectable']:.1f} {unit}."
        )
    for pair in pairs:
        if (other := pair["other_images"]) is not None:
            which = "" if count == 1 else f" ({pair['found']})"
            rows.append(
                f"Other images like the {event['images']} of {event['split']} would say{which}: "
                f"{100 * other['low']:+.1f} to {100 * other['high']:+.1f} {unit} (95 %, images and "
                "seeds drawn anew)."
            )
    resized = {
        f"{one['name']}: {_changed(one)}" for one in necks.values() if one["was"] is not None
    }
    if resized:
        cost = COSTS[event["equal_cost"]][1]
        rows.append(
            f"Re-sized to the {cost} of what it is compared with, head included: "
            f"{'; '.join(sorted(resized))}."
        )
    if event["ended"] == "budget":
        rows.append("The minutes of [confirm] ended first: more seeds may say more.")
    if diverged := sum(one["diverged"] for one in necks.values()):
        rows.append(f"Trainings that diverged: {diverged}; each counts as a score of 0.")
    return rows


def _name(neck: Mapping[str, Any]) -> str:
    return str(neck["name"])


def _label(neck: Mapping[str, Any]) -> str:
    """A neck found by its id; a baseline by its name, and its width where that is not its own."""
    if neck["role"] == "found":
        return f"{neck['neck']} (trial {neck['trial']})"
    return _name(neck) if neck["was"] is None else f"{_name(neck)} at {_size(neck)}"


def _size(neck: Mapping[str, Any]) -> str:
    was = neck["was"]
    deeper = "" if was["repeats"] == neck["repeats"] else f", repeats {neck['repeats']}"
    return f"width {neck['width']}{deeper}"


def _changed(neck: Mapping[str, Any]) -> str:
    was = neck["was"]
    return ", ".join(
        f"{name} {was[name]} → {neck[name]}"
        for name in ("width", "repeats")
        if was[name] != neck[name]
    )


def _points(neck: Mapping[str, Any], name: str) -> list[float]:
    """A score of each seed in points; a training that diverged has 0 where others have one."""
    values: Sequence[float | None] = neck["scores"].get(name, [])
    return [100 * (value or 0.0) for value in values]


def _mean(values: Sequence[float]) -> str | None:
    return f"{statistics.fmean(values):.1f}" if values else None


def _unit(objective: str) -> str:
    return NAMES.get(objective, objective)
