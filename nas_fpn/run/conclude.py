"""What the trainings of a contest say, as the event "verdict" that the record keeps."""

import hashlib
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from nas_fpn.detect import match_detections, weighted_aps
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Event, History
from nas_fpn.report import (
    Decision,
    PairDecision,
    Spread,
    VerdictPlan,
    decide,
    detectable,
    image_weights,
    spread_of_gap,
)
from nas_fpn.run.contest import Contest
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run
from nas_fpn.run.trainings import Common, make_training, training_folder
from nas_fpn.training import read_detections

__all__ = ["conclude", "earlier_comparisons", "scores_by_neck"]

STAGE = "drawing the test images anew"
DRAWS = 1000  # of the test images


def scores_by_neck(
    contest: Contest, common: Common, told: Mapping[str, Event]
) -> dict[str, list[float]]:
    """The objective of each neck by the place of the seed, as far as there is no gap.

    A training that diverged detects nothing: its score is 0.
    """
    return {
        neck: [float(event["scores"].get(contest.objective, 0.0)) for event in events]
        for neck, events in _events(contest, common, told).items()
    }


def conclude(
    run: Run, contest: Contest, common: Common, told: Mapping[str, Event], bank: Bank
) -> Generator[Step, None, Event]:
    """Say what is decided; yields how far it is, and returns the event, its "seconds" apart."""
    events = _events(contest, common, told)
    scores = scores_by_neck(contest, common, told)
    before = decide(scores, contest.plan)
    ended = bool(before.due)
    decision = decide(scores, contest.plan, ended=ended)
    others = yield from _other_images(run, contest, decision, events, bank)
    settings = run.settings
    return {
        "event": "verdict",
        "where": "end to end",
        "of": contest.of,
        "split": "test",
        "objective": contest.objective,
        "equal_cost": contest.equal_cost,
        "detector": settings.detector.kind,
        "backbone": settings.backbone.name,
        "image_size": settings.training.image_size,
        "images": len(bank.truth["test"]["images"]),
        "error": contest.plan.error,
        "max_seeds": contest.plan.max_seeds,
        "necks": [
            {
                **{key: getattr(who, key) for key in ("neck", "role", "trial", "name", "width")},
                "repeats": who.repeats,
                "was": who.was,
                "cost": dict(who.cost),
                "seeds": [event["seed"] for event in events[who.neck]],
                "trainings": [event["of"] for event in events[who.neck]],
                "scores": _columns(events[who.neck]),
                "diverged": sum(event["reason"] is not None for event in events[who.neck]),
            }
            for who in contest.contenders
        ],
        "pairs": [
            _pair(one, contest.plan, other, is_cut=was.outcome == "continue")
            for one, was, other in zip(decision.pairs, before.pairs, others, strict=True)
        ],
        "best": _best(contest, decision, scores),
        "keep": _keep(contest, scores),
        "ended": "budget" if ended else "decided",
    }


def earlier_comparisons(history: History, of: str) -> int:
    """How many comparisons other than ``of`` have a verdict end to end on record.

    Each began with an error rate of its own, on the same test images.
    """
    verdicts = (event for event in history.events if event["event"] == "verdict")
    return len({event["of"] for event in verdicts if event.get("where") == "end to end"} - {of})


def _events(contest: Contest, common: Common, told: Mapping[str, Event]) -> dict[str, list[Event]]:
    """The trainings of each neck in the order of the seeds, up to the first that is missing."""
    rows: dict[str, list[Event]] = {}
    for who in contest.contenders:
        rows[who.neck] = []
        for seed in contest.seeds:
            event = told.get(make_training(who, seed, common).of)
            if event is None:
                break
            rows[who.neck].append(event)
    return rows


def _columns(events: Sequence[Event]) -> dict[str, list[float | None]]:
    """Scores by name, an entry a seed; None where a training has none."""
    names = dict.fromkeys(name for event in events for name in event["scores"])
    return {name: [event["scores"].get(name) for event in events] for name in names}


def _pair(
    one: PairDecision, plan: VerdictPlan, other: Spread | None, *, is_cut: bool
) -> dict[str, Any]:
    """A pair as JSON has it: what is not known is null; ``is_cut`` where the budget ended it."""
    seeds = one.seeds if is_cut else plan.max_seeds
    row: dict[str, Any] = {
        "found": one.found,
        "control": one.control,
        "outcome": one.outcome,
        "seeds": one.seeds,
        "difference": _number(one.mean),
        "half": _number(one.half),
        "sd": _number(one.sd),
        "detectable": None,
        "detectable_seeds": None,
        "other_images": None,
    }
    if not math.isnan(one.sd) and seeds >= plan.min_seeds:
        row["detectable"] = detectable(plan, one.sd, seeds=seeds)
        row["detectable_seeds"] = seeds
    if other is not None:
        row["other_images"] = {
            "low": other.low,
            "high": other.high,
            "seeds_error": other.seeds_error,
            "images_error": other.images_error,
        }
    return row


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _best(
    contest: Contest, decision: Decision, scores: Mapping[str, Sequence[float]]
) -> str | None:
    """Of the necks found that beat all their controls the best."""
    better = {one.found for one in decision.pairs if decision.beats_all(one.found)}
    return _highest(contest, sorted(better), scores)


def _keep(contest: Contest, scores: Mapping[str, Sequence[float]]) -> str | None:
    """The best control; None where none is trained."""
    controls = [one.neck for one in contest.contenders if one.role == "control"]
    return _highest(contest, controls, scores)


def _highest(
    contest: Contest, necks: Sequence[str], scores: Mapping[str, Sequence[float]]
) -> str | None:
    """The neck with the best mean over the seeds that all have; None where none is trained.

    One with fewer seeds than a first look takes is left out, unless all have fewer.
    """
    trained = [neck for neck in necks if scores[neck]]
    looked = [neck for neck in trained if len(scores[neck]) >= contest.plan.min_seeds]
    among = looked or trained
    shared = min((len(scores[neck]) for neck in among), default=0)
    return max(among, key=lambda neck: fmean(scores[neck][:shared]), default=None)


def _other_images(
    run: Run,
    contest: Contest,
    decision: Decision,
    events: Mapping[str, Sequence[Event]],
    bank: Bank,
) -> Generator[Step, None, list[Spread | None]]:
    """For each pair what other images would say, from the detections on disk; None without them.

    A training that diverged detects nothing: whatever the images, its score is 0.
    """
    truth, categories = bank.truth["test"], bank.categories
    weights = image_weights(len(truth["images"]), draws=DRAWS, seed=run.settings.seed)
    wanted = {
        (neck, place)
        for pair in decision.pairs
        if pair.seeds > 1
        for neck in (pair.found, pair.control)
        for place in range(pair.seeds)
    }
    drawn: dict[tuple[str, int], Any] = {}
    for done, (neck, place) in enumerate(sorted(wanted)):
        yield Step(STAGE, done, len(wanted))
        event = events[neck][place]
        if event["reason"] is not None:
            drawn[neck, place] = np.zeros(len(weights))
        elif (file := _detections(run, event)) is not None:
            matches = match_detections(truth, read_detections(file), categories=categories)
            drawn[neck, place] = weighted_aps(matches, weights, score=contest.objective)
    if wanted:
        yield Step(STAGE, len(wanted), len(wanted))
    spreads: list[Spread | None] = []
    for pair in decision.pairs:
        sides = [
            [drawn[neck, place] for place in range(pair.seeds) if (neck, place) in drawn]
            for neck in (pair.found, pair.control)
        ]
        whole = pair.seeds > 1 and all(len(side) == pair.seeds for side in sides)
        spreads.append(spread_of_gap(*sides, seed=run.settings.seed) if whole else None)
    return spreads


def _detections(run: Run, event: Event) -> Path | None:
    """The file of a training, if it is the one on record."""
    folder = training_folder(run.folder, event)
    file = None if folder is None else folder / f"detections-{event['split']}.safetensors"
    if file is None or not file.is_file():
        return None
    return file if hashlib.sha256(file.read_bytes()).hexdigest() == event["detections"] else None
