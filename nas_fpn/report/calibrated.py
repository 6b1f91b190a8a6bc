"""A calibration as an event of the record: what its trainings say of each fidelity, and the choice.

Everything here is made from the trainings on file; the words are in
:mod:`nas_fpn.report.calibrated_text`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_fpn.record import Event, History
from nas_fpn.report.calibration import (
    Agreement,
    Resolution,
    agreement,
    ceiling,
    like_cost,
    resolution_of,
    seeds_for,
    without_noise,
)

__all__ = ["SET_IN_PROXY", "SMALL", "calibrated", "fidelity_of", "last_calibrated"]

LEAST = 0.9  # of what the necks reach in the proxy, that they are to reach at a reference
SMALL = 0.05  # chance at which necks of a reference count as told apart
SET_IN_PROXY = ("steps", "learning_rate", "image_size", "views")  # by a fidelity
OWN = ("evaluations", "threads", "device", "graphs")  # of the proxy, what moves no ranking


def calibrated(
    rows: Sequence[Mapping[str, Any]],
    *,
    necks: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Event:
    """The event "calibrated" of trainings on file, one row each.

    A row has "label", "neck", "seed", "scores", "cpu_seconds" and "reason"; one that diverged
    counts as 0. ``necks`` have "neck" and "macs", the multiply-adds for one image. ``about`` names
    the objective, the τ that is asked for, the reference and the fidelities, the proxy as it is
    first; it is part of the event.

    The choice is the fidelity of the least CPU time among those whose τ, as it was seen, reaches
    what is asked; None where none does, where the reference cannot tell the necks apart, or where
    it is short: on average the necks score less there than nine tenths of what they do in the
    proxy as it is. Then it ranks them by how fast they learn, as the shortest training does.
    """
    objective, asked = str(about["objective"]), float(about["asked"])
    costs = [float(one["macs"]) for one in necks]
    alike = like_cost(costs)
    truth = _scores(rows, necks, about["reference"]["label"], objective)
    spread = resolution_of(truth)
    fidelities = []
    for one in about["fidelities"]:
        scores = _scores(rows, necks, one["label"], objective)
        own = resolution_of(scores)
        tau, alone = agreement(scores, truth), agreement(scores, truth, pairs=alike)
        fidelities.append(
            {
                **one,
                "trainings": int((~np.isnan(scores)).sum()),
                "tau": _agreed(tau),
                "like_cost": _agreed(alone),
                "tau_without_noise": _number(without_noise(tau.tau, spread.reliability)),
                "noise": _number(own.noise),
                "between": _number(own.between),
                "cpu_seconds": _seconds(rows, one["label"]),
            }
        )
    size = np.asarray(costs)[:, None]
    told = None if math.isnan(spread.p) else spread.p < SMALL
    own_label = str(about["fidelities"][0]["label"])
    reached = _reached(truth, _scores(rows, necks, own_label, objective))
    is_short = reached is not None and reached[0] < LEAST * reached[1]
    return {
        "event": "calibrated",
        **about,
        "necks": list(necks),
        "compared": _compared(rows, about),
        "done": len(rows),
        "failed": sum(row["reason"] is not None for row in rows),
        "reference": {
            **about["reference"],
            "trainings": int((~np.isnan(truth)).sum()),
            "noise": _number(spread.noise),
            "between": _number(spread.between),
            "p": _number(spread.p),
            "ceiling": _ceiling(spread),
            "seeds_needed": seeds_for(spread, asked),
            "cpu_seconds": _seconds(rows, about["reference"]["label"]),
        },
        "cost": {
            "tau": _agreed(agreement(size, truth)),
            "like_cost": _agreed(agreement(size, truth, pairs=alike)),
        },
        "fidelities": fidelities,
        "told_apart": told,
        "reached": None if reached is None else {"reference": reached[0], "proxy": reached[1]},
        "is_short": is_short,
        "chosen": None if told is False or is_short else _choice(fidelities, asked),
    }


def last_calibrated(history: History) -> Event | None:
    """The last calibration on record; None where there is none."""
    return next(
        (event for event in reversed(history.events) if event["event"] == "calibrated"), None
    )


def fidelity_of(event: Event, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The fidelity of a calibration that a run with these settings trains at; None: none of them.

    ``settings`` are those of its record's header.
    """
    if event["data"] != settings.get("data"):
        return None
    searched = _bare(settings.get("proxy", {}))
    for one in event["fidelities"]:
        changed = {name: one[name] for name in SET_IN_PROXY if name in one}  # older ones set fewer
        is_own = _bare({**event["proxy"], **changed}) == searched and one["width"] == 1
        if is_own and one.get("backbone", event["backbone"]) == settings.get("backbone"):
            return dict(one)
    return None


def _bare(proxy: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in proxy.items() if name not in OWN}


def _scores(
    rows: Sequence[Mapping[str, Any]],
    necks: Sequence[Mapping[str, Any]],
    label: str,
    objective: str,
) -> NDArray[np.float64]:
    """[necks, seeds], NaN where a training is missing; at least one column."""
    seeds = sorted({row["seed"] for row in rows}) or [0]
    places = {one["neck"]: place for place, one in enumerate(necks)}
    table = np.full((len(necks), len(seeds)), math.nan)
    for row in rows:
        if row["label"] == label:
            score = 0.0 if row["reason"] is not None else row["scores"].get(objective, math.nan)
            table[places[row["neck"]], seeds.index(row["seed"])] = score
    return table


def _reached(truth: NDArray[np.float64], own: NDArray[np.float64]) -> tuple[float, float] | None:
    """The mean score of the necks that are trained both ways: at the reference, in the proxy."""
    both = ~np.isnan(truth).all(axis=1) & ~np.isnan(own).all(axis=1)
    if not both.any():
        return None
    reference, proxy = (np.nanmean(one[both], axis=1).mean() for one in (truth, own))
    return float(reference), float(proxy)


def _compared(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> int:
    """How many necks are trained both at the reference and in the proxy as it is."""
    labels = (about["reference"]["label"], about["fidelities"][0]["label"])
    reference, own = ({row["neck"] for row in rows if row["label"] == one} for one in labels)
    return len(reference & own)


def _seconds(rows: Sequence[Mapping[str, Any]], label: str) -> float | None:
    took = [row["cpu_seconds"] for row in rows if row["label"] == label]
    return sum(took) / len(took) if took else None


def _choice(fidelities: Sequence[Mapping[str, Any]], asked: float) -> str | None:
    """The label of the cheapest that reaches what is asked."""
    good = [one for one in fidelities if (one["tau"]["tau"] or -1.0) >= asked]
    best = min(good, key=lambda one: one["cpu_seconds"], default=None)
    return None if best is None else str(best["label"])


def _agreed(found: Agreement) -> dict[str, Any]:
    return {
        "tau": _number(found.tau),
        "low": _number(found.low),
        "high": _number(found.high),
        "pairs": found.pairs,
    }


def _ceiling(spread: Resolution) -> float | None:
    return None if math.isnan(spread.reliability) else ceiling(spread.reliability)


def _number(value: float) -> float | None:
    """NaN is no JSON."""
    return None if math.isnan(value) else float(value)
