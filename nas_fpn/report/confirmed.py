"""The verdict end to end in words: real detectors, equal seeds, one sentence, and its table.

Everything here is read off the event "verdict" that ``nas-fpn confirm`` puts on record.
"""

import statistics
from collections.abc import Collection, Mapping, Sequence
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
    """The sentence of each neck found, and what they rest on."""
    necks = {one["neck"]: one for one in event["necks"]}
    return "\n".join([confirmed_brief(event), *_notes(event, necks)])


def confirmed_brief(event: Event) -> str:
    """The sentence alone, a line for each neck found.

    It is better only if it beats every baseline that it was compared with.
    """
    necks = {one["neck"]: one for one in event["necks"]}
    best = event["best"]
    found = dict.fromkeys(pair["found"] for pair in event["pairs"])
    if best is not None:
        found = dict.fromkeys((best, *found))
        head = []
    else:
        kept = "" if event["keep"] is None else f" {_label(necks[event['keep']])}"
        some = any(pair["outcome"] == "better" for pair in event["pairs"])
        than = " than every baseline that it has to beat" if some else ""
        head = [f"No neck found is shown to be better{than}; keep the baseline{kept}."]
    return "\n".join([*head, *(_neck_said(one, event, necks) for one in found)])


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
    known = {objective, *(name for neck in event["necks"] for name in neck["scores"])}
    rows = []
    for neck in event["necks"]:
        own = _points(neck, objective, known)
        row: dict[str, Any] = {
            "neck": _label(neck),
            "seeds": len(own),
            _unit(objective): _mean(own),
            "sd": f"{statistics.stdev(own):.2f}" if len(own) > 1 else None,
        }
        row |= {name: _mean(_points(neck, key, known)) for key, name in SIZES.items()}
        cost = neck["cost"]
        row |= {
            "params": f"{cost['params_m']:.3f} M",
            "gmacs": f"{cost['gmacs']:.3f}",
            "latency": f"{cost['latency_ms']:.1f} ms",
            "each seed": " ".join(f"{value:.1f}" for value in own),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _neck_said(found: str, event: Event, necks: Mapping[str, Any]) -> str:
    """What is said of a neck found: the baselines that it beats, and the first that it does not."""
    pairs = [pair for pair in event["pairs"] if pair["found"] == found]
    beaten = [pair for pair in pairs if pair["outcome"] == "better"]
    others = [pair for pair in pairs if pair["outcome"] not in ("better", "not reached")]
    baselines = {necks[pair["control"]]["trial"] for pair in pairs}
    said: list[str] = []
    for pair in (*beaten, *others):
        control = necks[pair["control"]]
        against = _label(control)
        if len(baselines) == 1 and not said:
            against = f"the best hand-designed one ({against})"
        elif control["was"] is not None and said:
            cost = COSTS[event["equal_cost"]][1]
            same = "the same" if len(baselines) == 1 else _name(control)
            against = f"{same} at equal {cost} ({_size(control)})"
        said.append(_pair_said(pair, against, event, necks))
    count = len(beaten)
    wins = [f"{'is better ' if at == 0 else ''}than {one}" for at, one in enumerate(said[:count])]
    clauses = [", and ".join(wins)] if wins else []
    clauses += ["; ".join(said[count:])] if said[count:] else []
    neck = f"neck {found} (trial {necks[found]['trial']})"
    return f"On this data, with {event['backbone']}, {neck} {', but '.join(clauses)}."


def _pair_said(
    pair: Mapping[str, Any], against: str, event: Event, necks: Mapping[str, Any]
) -> str:
    """What is said of a pair, its verb first; of one that is better what follows "than"."""
    found, control = necks[pair["found"]], necks[pair["control"]]
    key, cost = COSTS[event["equal_cost"]]
    count = pair["seeds"]
    if pair["difference"] is None:
        return f"was not compared with {against}: the budget ended before a pair was trained"
    unit, gap = _unit(event["objective"]), 100 * pair["difference"]
    ratio = f"at {found['cost'][key] / control['cost'][key]:.2f} × its {cost}"
    seeds = f"({count} seed{'' if count == 1 else 's'}, paired)"
    if pair["half"] is None:
        return f"differs from {against} by {gap:+.1f} {unit} {ratio} {seeds}: too few to say more"
    half = 100 * pair["half"]
    if pair["outcome"] in ("better", "worse"):
        verb = "is worse than " if pair["outcome"] == "worse" else ""
        return f"{verb}{against} by {abs(gap):.1f} ± {half:.1f} {unit} {ratio} {seeds}"
    return f"is not shown to differ from {against}: {gap:+.1f} ± {half:.1f} {unit} {ratio} {seeds}"


def _notes(event: Event, necks: Mapping[str, Any]) -> list[str]:
    """What the sentences rest on, and what they leave open."""
    unit, pairs = _unit(event["objective"]), event["pairs"]
    sure = f"{100 * (1 - event['error']):g} %"
    found = dict.fromkeys(pair["found"] for pair in pairs)
    several = "both" if len(found) == 2 else f"all {len(found)}"
    together = "" if len(found) == 1 else f" for {several} necks found together"
    each = ", against one baseline each" if len(pairs) > len(found) else ""
    rows = [f"± is the {sure} interval{together}{each}, whenever the comparison stopped."]
    if earlier := event.get("earlier", 0):
        rows.append(
            f"This is comparison {earlier + 1} on this test set; {100 * event['error']:g} % is of "
            "each alone."
        )
    if len(pairs) > len(found):
        rows.append(
            "A neck found has to beat its baselines one after the other, and stops at the first "
            "that it is not shown to beat."
        )
    for pair in (one for one in pairs if one["detectable"] is not None):
        control = _label(necks[pair["control"]])
        which = "" if len(pairs) == 1 else f" between {pair['found']} and {control}"
        rows.append(
            f"Smallest difference{which} that {pair['detectable_seeds']} seeds show four times in "
            f"five: {100 * pair['detectable']:.1f} {unit}."
        )
    for pair in pairs:
        if (other := pair["other_images"]) is not None:
            control = _label(necks[pair["control"]])
            which = "" if len(pairs) == 1 else f" ({pair['found']} against {control})"
            rows.append(
                f"Other images like the {event['images']} of {event['split']} would say{which}: "
                f"{100 * other['low']:+.1f} to {100 * other['high']:+.1f} {unit} (95 %, images and "
                "seeds drawn anew)."
            )
    if any(pair["other_images"] is not None for pair in pairs):
        rows.append(
            "That is of each pair by itself, looks not counted, and so may be narrower than ±."
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
    if idle := [_label(one) for one in necks.values() if not one["seeds"]]:
        rows.append(f"Not trained: {'; '.join(idle)}; no neck found came so far.")
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


def _points(neck: Mapping[str, Any], name: str, known: Collection[str]) -> list[float]:
    """A score of each seed in points; a training that diverged has 0 where others have one.

    ``known`` are the scores that some neck has: those of one whose trainings all diverged.
    """
    lost = name in known and neck["diverged"] == len(neck["seeds"])
    none: Sequence[float | None] = [None] * len(neck["seeds"]) if lost else []
    values: Sequence[float | None] = neck["scores"].get(name, none)
    return [100 * (value or 0.0) for value in values]


def _mean(values: Sequence[float]) -> str | None:
    return f"{statistics.fmean(values):.1f}" if values else None


def _unit(objective: str) -> str:
    return NAMES.get(objective, objective)
