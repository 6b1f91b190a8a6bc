"""A calibration in words: its table, what was chosen, and the line beside every later answer."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nas_fpn.record import Event, History
from nas_fpn.report.calibrated import SET_IN_PROXY, fidelity_of, last_calibrated
from nas_fpn.report.counted import counted

__all__ = ["calibrated_json", "calibrated_said", "calibrated_text", "trust_said"]

NAMES = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
MISSING = "–"


def calibrated_text(event: Event) -> str:
    """The table of fidelities, what it rests on, and the choice."""
    objective = NAMES.get(event["objective"], event["objective"])
    reference = event["reference"]
    rows = [
        f"Calibration of the proxy: {objective} of {event['compared']} necks on val, up to "
        f"{counted(event['seeds'], 'seed')} each,",
        f"against {reference['said']}, the backbone unfrozen.",
    ]
    if event["done"] < event["wanted"]:
        rows.append(
            f"Not whole: {event['done']} of {event['wanted']} trainings, {event['compared']} of "
            f"{len(event['necks'])} necks; nas-fpn calibrate goes on."
        )
    if event["failed"]:
        rows.append(f"{counted(event['failed'], 'training')} diverged and counts as 0.")
    return "\n".join([*rows, "", _table(event), "", *_notes(event), "", calibrated_said(event)])


def calibrated_said(event: Event) -> str:
    """The choice and how far it is shown; or why there is none."""
    asked, reference = event["asked"], event["reference"]
    if event.get("is_short"):
        end, proxy = event["reached"]["reference"], event["reached"]["proxy"]
        return (
            "No fidelity is chosen: the reference is too short. End to end the necks reach "
            f"{end:.4f} on average,\nin the proxy {proxy:.4f}: what has learnt less than it is to "
            "judge ranks necks by how fast they learn.\nRaise reference_steps in [calibrate], "
            "and calibrate again."
        )
    if event["told_apart"] is False:
        why = "the data set is too small to tell these necks apart"
        more = _seeds_said(event)
        if event["done"] < event["wanted"]:
            why = "these necks are not told apart as yet"
            more = "There is more to train: nas-fpn calibrate goes on."
        return (
            f"No fidelity is chosen: {why}. Even end to end, they differ by no more\nthan chance "
            f"explains (p = {reference['p']:.2f}; between necks {reference['between']:.4f}, noise "
            f"of one training {reference['noise']:.4f}).\n{more}"
        )
    known = [one for one in event["fidelities"] if one["tau"]["tau"] is not None]
    if not known:
        return "No fidelity is chosen: nothing is trained yet both in the proxy and end to end."
    if event["chosen"] is None:
        best = max(known, key=lambda one: one["tau"]["tau"])
        said = (
            f"No fidelity reaches tau {asked:.2f}: the best is {best['label']} with "
            f"{_interval(best['tau'])}."
        )
        bare = best["tau_without_noise"]
        if bare is not None and bare >= asked:
            said += (
                f"\nWith the noise of the reference taken off it would be {bare:.2f}. "
                f"{_seeds_said(event)}"
            )
        else:
            high = best["tau"]["high"]
            if high is None or high >= asked:
                said += (
                    f"\nThat it falls short of {asked:.2f} is not shown either: more necks or "
                    "seeds would tell."
                )
            said += (
                "\nDo not rely on its ranking alone: train longer, at a larger image size, or take "
                "more finalists\ninto nas-fpn confirm."
            )
        return said
    chosen = next(one for one in event["fidelities"] if one["label"] == event["chosen"])
    said = (
        f"Chosen: {chosen['label']}, the cheapest with tau {asked:.2f} or more: "
        f"{_interval(chosen['tau'])}"
    )
    low = chosen["tau"]["low"]
    shown = low is not None and low >= asked
    said += "." if shown else f";\nthat it reaches {asked:.2f} is not shown, its interval begins "
    said += "" if shown else ("below." if low is not None else "nowhere: too few necks.")
    if reference["noise"] is None:
        said += "\nThe noise is not known: too few necks have several seeds."
    return "\n".join([said, _like_said(chosen), *_how(event, chosen)])


def trust_said(history: History) -> str | None:
    """The line beside every answer: how the proxy of this record ranks; None: never calibrated."""
    event = last_calibrated(history)
    if event is None:
        return None
    one = fidelity_of(event, history.header.get("settings", {}))
    if one is None or one["tau"]["tau"] is None:
        return (
            "Trust: the proxy of this record was not calibrated, only other settings or data; "
            "nas-fpn calibrate measures it."
        )
    said = (
        f"Trust: the proxy ranks necks as training end to end does with tau "
        f"{_interval(one['tau'])},\nand among necks of like cost with {_interval(one['like_cost'])}"
        f" ({event['compared']} necks; nas-fpn calibrate)."
    )
    if event["told_apart"] is False:
        said += "\nToo little data to tell those necks apart even end to end."
    elif event.get("is_short"):
        said += "\nEnd to end they had learnt less than in the proxy: it says little."
    return said


def calibrated_json(event: Event) -> dict[str, Any]:
    """The event itself, with its sentence."""
    return {**event, "said": calibrated_said(event)}


def _table(event: Event) -> str:
    rows = [_row(one["label"], one) for one in event["fidelities"]]
    rows.append(_row("their cost alone", event["cost"]))
    reference = event["reference"]
    rows.append({**_row(reference["label"], reference), "tau": "1"})
    return pd.DataFrame(rows).to_string(index=False)


def _row(label: str, one: Mapping[str, Any]) -> dict[str, str]:
    tau, alike = one.get("tau", {}), one.get("like_cost", {})
    return {
        "fidelity": label,
        "tau": _number(tau.get("tau"), ".2f"),
        "90 %": _range(tau),
        "like cost": _number(alike.get("tau"), ".2f"),
        "90 % ": _range(alike),
        "noise": _number(one.get("noise"), ".4f"),
        "between": _number(one.get("between"), ".4f"),
        "trainings": str(one.get("trainings", MISSING)),
        "CPU s": _number(one.get("cpu_seconds"), ".1f"),
    }


def _notes(event: Event) -> list[str]:
    reference = event["reference"]
    rows = [
        "tau: Kendall's, of the ranking by one training of each neck, as a search sees it, against "
        "the means end to end;",
        "90 %: its interval over necks and seeds. like cost: among the "
        f"{event['cost']['like_cost']['pairs']} pairs of necks of which the dearer has at most 1.2 "
        "times",
        "the multiply-adds. noise: standard deviation between seeds of one neck; between: of the "
        "necks, noise taken off.",
        f"{_scored_on(event)}: other images may rank otherwise.",
    ]
    if reference["ceiling"] is not None:
        rows.append(
            "Attenuation: with the noise of the reference as it is, a perfect ranking would be "
            f"seen with tau {reference['ceiling']:.2f}."
        )
    return rows


def _scored_on(event: Event) -> str:
    """The images of val; "val" of the event is there where the reference takes a part of them."""
    if (val := event.get("val")) is None:
        return "Both ways are scored on the same val images"
    return (
        f"End to end is scored on {val['reference']} of the {val['images']} val images, "
        "the proxy on all"
    )


def _like_said(one: Mapping[str, Any]) -> str:
    alike = one["like_cost"]
    if alike["tau"] is None:
        return "No two necks cost nearly the same: size alone may make this ranking."
    if alike["low"] is None or alike["low"] <= 0:
        return (
            f"Among necks of like cost it is {_interval(alike)}: that the ranking holds beyond "
            "size is not shown."
        )
    return f"Among necks of like cost it is {_interval(alike)}: not size alone makes the ranking."


def _how(event: Event, one: Mapping[str, Any]) -> list[str]:
    """How to search at a fidelity that is not the proxy as it is."""
    own = event["fidelities"][0]
    changed = [
        f"{name} = {one[name]}" for name in SET_IN_PROXY if name in one and one[name] != own[name]
    ]
    rows = [f"To search with it, in run.toml: [proxy] {', '.join(changed)}"] if changed else []
    backbone: Mapping[str, Any] = one.get("backbone", {})  # older ones have none
    if backbone != own.get("backbone", {}):
        steps, folds = (backbone.get(name, 0) for name in ("tune_steps", "tune_folds"))
        tuned = f"tune_steps = {steps}" + (f", tune_folds = {folds}" if steps else "")
        rows.append(f"To search with it, in run.toml: [backbone] {tuned}")
    if one["width"] != 1:
        rows.append(f"To search with it, give the space {one['width']:g} times its width.")
    return rows


def _seeds_said(event: Event) -> str:
    needed, now = event["reference"]["seeds_needed"], event["seeds"]
    if needed is None:
        return "Seeds alone will not change that: more val images, or longer trainings, may."
    if needed <= now:
        return "More necks would tell: it is not the noise of each that hides it."
    return f"About {needed} seeds of each neck (now {now}) could show {event['asked']:.2f}."


def _interval(tau: Mapping[str, Any]) -> str:
    if tau["tau"] is None:
        return "unknown"
    shown = "no interval" if tau["low"] is None else f"90 %: {_range(tau)}"
    return f"{tau['tau']:.2f} ({shown})"


def _range(tau: Mapping[str, Any]) -> str:
    return MISSING if tau.get("low") is None else f"{tau['low']:.2f} to {tau['high']:.2f}"


def _number(value: float | None, form: str) -> str:
    return MISSING if value is None else format(value, form)
