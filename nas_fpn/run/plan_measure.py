"""What a plan rests on: trainings of a few steps, timed here and now, before the first trial."""

import json
import random
from collections.abc import Sequence
from typing import Any

import torch

from nas_fpn.errors import RunError, command_line
from nas_fpn.language import Architecture, Space, decode, sample
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.feeding import let_go
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.timing import Timing, measure_trial
from nas_fpn.report import SET_IN_PROXY
from nas_fpn.run.plan import Measured, fidelities
from nas_fpn.run.question import Question
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import build_neck, neck_cost
from nas_fpn.strange import bounded

__all__ = ["CALIBRATION", "calibrated_steps", "measure", "timed_neck"]

DRAWN = 25  # necks of the space
USUAL, DEAR = 0.5, 0.9  # of them, by multiply-adds
CALIBRATION = "calibration.json"
SHORT = (
    "calibrated, but the reference had learnt less than the proxy: the steps are not chosen by it"
)


def measure(
    space: Space,
    baselines: Sequence[Architecture],
    bank: Bank,
    settings: ProxySettings,
    *,
    seed: int,
    beside: tuple[Architecture, float] | None = None,
) -> Measured:
    """Time two necks of the space, a usual one and a dear one; the others by their multiply-adds.

    Takes a few seconds, about fifteen steps and an evaluation of each. ``beside`` is a neck and the
    seconds of its step where as many train at a time as will: how much slower that is than by
    itself is measured too.
    """
    torch.set_num_threads(settings.threads)
    necks = _typical(space, bank, seed=seed)
    dear, usual = (  # the dear one first: the first evaluation of a process loads what it needs
        measure_trial(bank, settings, build_neck(neck, bank, seed=seed), seed=seed)
        for neck in reversed(necks)
    )
    least, most = (float(neck_cost(neck, bank).macs) for neck in necks)

    def between(neck: Architecture) -> Timing:
        part = (neck_cost(neck, bank).macs - least) / (most - least) if most > least else 0.0
        return _between(usual, dear, part)

    slower = 1.0
    if beside is not None:
        neck, step_s = beside
        alone = usual
        if neck != necks[0]:
            alone = measure_trial(bank, settings, build_neck(neck, bank, seed=seed), seed=seed)
        slower = max(step_s / alone.step_s, 1.0)
    controls = tuple(between(one) for one in baselines)
    let_go()  # workers share the device
    return Measured(usual=usual, dear=dear, controls=controls, slower=slower)


def timed_neck(question: Question, bank: Bank, *, seed: int) -> Architecture:
    """What to train to find how many trials at a time are fastest: the usual neck of the space.

    Of shipped words only: where the run has own ones, an FPN.
    """
    if question.space.words.files:
        return question.warmup_neck
    return _typical(question.space, bank, seed=seed)[0]


def _typical(space: Space, bank: Bank, *, seed: int) -> tuple[Architecture, Architecture]:
    """A neck like most of the space, and a dear one."""
    rng = random.Random(seed)
    drawn = [decode(space, sample(space, rng)) for _ in range(DRAWN)]
    drawn.sort(key=lambda neck: neck_cost(neck, bank).macs)
    usual, dear = (drawn[int(part * (DRAWN - 1))] for part in (USUAL, DEAR))
    return usual, dear


def calibrated_steps(run: Run) -> tuple[tuple[int, ...], int | None, str | None]:
    """Numbers of steps that a plan may choose from, the most first; and what narrowed them.

    A calibration of this proxy, beside ``run.toml``, forbids fewer steps than it found to rank as
    is asked; where it found none, the steps stay those of ``[proxy]``. Between the two stand the
    fewest steps that do rank so; None where nobody knows, or none do. One whose reference was too
    short narrows nothing.

    Raises:
        RunError: where the calibration cannot be read.
    """
    steps = fidelities(run.settings.proxy.steps)
    path = run.folder / CALIBRATION
    if not path.is_file():
        return steps, None, None
    try:
        event = json.loads(bounded(path))
        if event.get("is_short"):
            return steps, None, SHORT
        found = _good(event, run)
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise RunError(
            f"{path}: no calibration that can be read: {fault}\nremove it, or make it anew: "
            + command_line("calibrate", run.folder)
        ) from None
    if found is None:
        return steps, None, None
    asked, good = found
    if not good:
        return steps[:1], None, f"no fidelity reached a tau of {asked:g} when it was calibrated"
    least, tau = good[0]
    told = f"calibrated: {least} steps rank with a tau of {tau:.2f}, {asked:g} was asked for"
    kept = {one for one in steps if one >= least} | ({least} if least <= steps[0] else set())
    return tuple(sorted(kept or {steps[0]}, reverse=True)), least, told


def _good(event: dict[str, Any], run: Run) -> tuple[float, list[tuple[int, float]]] | None:
    """What was asked for, and the steps and τ of those that reach it; None: of another proxy."""
    own = run.settings.proxy.model_dump(mode="json")
    alike = ("image_size", "views", "head", "batch_size", "learning_rate", "optimiser")
    settings = run.settings.model_dump(mode="json")
    if any(event[name] != settings[name] for name in ("data", "backbone")):
        return None
    if any(event["proxy"][name] != own[name] for name in alike):
        return None
    asked = float(event["asked"])
    return asked, sorted(
        (int(one["steps"]), float(one["tau"]["tau"]))
        for one in event["fidelities"]
        if one["width"] == 1
        and all(one.get(name, own[name]) == own[name] for name in SET_IN_PROXY if name != "steps")
        and one.get("backbone", settings["backbone"]) == settings["backbone"]
        and (one["tau"]["tau"] or -1.0) >= asked
    )


def _between(usual: Timing, dear: Timing, part: float) -> Timing:
    """At a part of the way in multiply-adds from the one to the other; never below nothing."""

    def at(first: float, second: float) -> float:
        return max(first + part * max(second - first, 0.0), 0.2 * first)

    return Timing(
        step_s=at(usual.step_s, dear.step_s),
        evaluation_s=at(usual.evaluation_s, dear.evaluation_s),
        setup_s=at(usual.setup_s, dear.setup_s),
    )
