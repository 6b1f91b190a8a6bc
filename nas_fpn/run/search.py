"""The question wired and asked: prepare, search, and leave the best neck beside the record."""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import (
    Architecture,
    Space,
    decode,
    encode,
    find_space,
    identity,
    lower,
    read,
)
from nas_fpn.proxy.bank import Bank
from nas_fpn.record import Entry, Genotype, Record, read_history
from nas_fpn.run.best import export_best
from nas_fpn.run.prepare import Step, prepare
from nas_fpn.run.question import fitted_baselines, frame_of, make_problem
from nas_fpn.run.settings import Run, RunSettings
from nas_fpn.run.trainer import Trainer, cached_bank, neck_cost
from nas_fpn.search.halving import Halving
from nas_fpn.search.header import budget_on_record
from nas_fpn.search.loading import find_controller, load_controller
from nas_fpn.search.local import search_here
from nas_fpn.search.loop import Loop
from nas_fpn.search.plan import Baseline, NeckFacts, Plan
from nas_fpn.search.progress import Progress
from nas_fpn.search.tune import search_on_ray

__all__ = ["Begun", "Event", "search_run", "trials_wanted"]

PACKAGES = ("nas-fpn", "torch", "torchvision", "timm", "ray", "optuna", "numpy")


@dataclass(frozen=True, slots=True)
class Begun:
    """The search itself starts now, or goes on.

    ``trials`` counts the controller's; ``entries`` are those on record already; ``notes`` say
    which splits were made; every answer repeats them.
    """

    trials: int
    baselines: int
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


Event = Step | Begun | Progress


def search_run(
    run: Run, *, trials: str | None = None, accept_drift: bool = False
) -> Iterator[Event]:
    """Search, or go on searching; then export the best neck to ``best/``. Yields what happens.

    ``trials`` is a new budget: "80" in all, or "+100" beyond what the run was last asked for.

    Raises:
        SpaceError, DataError, RunError: for wrong input, a record that belongs to another
            question, and a resume whose proposals differ from the record.
        FloatingPointError: when the backbone's warm-up diverged.
    """
    torch.set_num_threads(run.settings.proxy.threads)
    settings = run.settings
    history_path = run.folder / "history.jsonl"
    wanted = trials_wanted(settings, budget_on_record(read_history(history_path)), trials)
    space_path = find_space(_resolved(run, settings.space, (".space", ".neck")))
    controller_path = find_controller(settings.controller, base=run.folder)
    space = read(space_path)
    frame = frame_of(space)
    necks = fitted_baselines(settings.baselines, frame, folder=run.folder)
    levels = sorted({*frame.reads, *(k for one in necks for k in lower(one.neck).inputs)})
    (fpn,) = fitted_baselines(("fpn",), frame, folder=run.folder)
    prepared = yield from prepare(run, levels, warmup_neck=fpn.neck)
    notes = (*prepared.notes, *(one.note for one in necks))
    bank = cached_bank(prepared.bank)
    problem = make_problem(
        space, bank.channels, image_size=bank.image_size, objectives=settings.objectives
    )
    controller = load_controller(
        controller_path, problem, seed=settings.seed, settings=settings.controller_settings
    )

    def facts(genotype: Genotype) -> NeckFacts:
        return _facts(decode(space, genotype), bank)

    plan = Plan(
        problem=problem,
        facts=facts,
        trials=wanted,
        baselines=tuple(
            Baseline(one.name, _facts(one.neck, bank), _genotype(space, one.neck)) for one in necks
        ),
        limits=_limits(settings),
        halving=Halving(settings.proxy.steps) if settings.ray.asha else None,
        accept_drift=accept_drift,
    )
    trainer = Trainer(
        prepared.bank,
        settings.proxy,
        settings.seed,
        costs=tuple(name[1:] for name in settings.objectives if name.startswith("-")),
    )
    with Record(history_path) as record:
        header = _header(run, bank, notes=notes, trials=wanted, files=(space_path, controller_path))
        loop = Loop(record, controller, plan, header=header)
        yield Begun(wanted, len(plan.baselines), loop.entries, notes)
        yield from _driven(run, loop, trainer)
        entries = loop.entries
    yield from export_best(run, entries, trainer, notes=notes)


def trials_wanted(settings: RunSettings, on_record: int | None, asked: str | None) -> int:
    """The budget: of the command line, else the larger of the file and the record.

    Raises:
        RunError: for an ``asked`` that is neither a number nor "+" and a number.
    """
    before = max(settings.budget.trials, on_record or 0)
    if asked is None:
        return before
    if not asked.removeprefix("+").isdecimal() or int(asked) == 0:
        raise RunError(f"--trials = {asked!r}: should be a number of trials, or +100 for more")
    return before + int(asked) if asked.startswith("+") else int(asked)


def _driven(run: Run, loop: Loop, trainer: Trainer) -> Iterator[Progress]:
    ray = run.settings.ray
    if ray.workers == 0:
        return search_here(loop, trainer)
    return search_on_ray(
        loop,
        trainer,
        workers=ray.workers,
        threads=run.settings.proxy.threads,
        cpus=ray.cpus_per_trial,
        gpus=ray.gpus_per_trial,
        address=ray.address,
        storage=None if ray.address == "local" else run.folder / "ray",
    )


def _resolved(run: Run, name: str, suffixes: tuple[str, ...]) -> str | Path:
    """A shipped name as it is, a path from the run's folder."""
    return run.folder / name if name.endswith(suffixes) else name


def _facts(architecture: Architecture, bank: Bank) -> NeckFacts:
    price = asdict(neck_cost(architecture, bank))
    return NeckFacts(identity(architecture), str(architecture), price)


def _genotype(space: Space, neck: Architecture) -> Genotype | None:
    try:
        return encode(space, neck)
    except SpaceError:  # no member of the space: a control all the same
        return None


def _limits(settings: RunSettings) -> dict[str, float]:
    """The limits by the names of the cost."""
    limits = {}
    if settings.limits.params_m is not None:
        limits["params"] = settings.limits.params_m * 1e6
    if settings.limits.gmacs is not None:
        limits["macs"] = settings.limits.gmacs * 1e9
    return limits


def _header(
    run: Run, bank: Bank, *, notes: tuple[str, ...], trials: int, files: tuple[Path, Path]
) -> dict[str, Any]:
    """The first line of the record: all that the answer depends on."""
    settings = run.settings.model_dump(mode="json", exclude={"ray"})
    settings |= {"budget": {"trials": trials}, "notes": list(notes)}
    space, controller = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return {
        "seed": run.settings.seed,
        "space": space,
        "controller": controller,
        "bank": bank.key,
        "settings": settings,
        "packages": _packages(),
        "machine": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "ray": run.settings.ray.model_dump(mode="json"),
        },
    }


def _packages() -> dict[str, str]:
    """The versions that a number may depend on; in a bare checkout this one has none."""
    there = {name.lower() for one in importlib.metadata.distributions() if (name := one.name)}
    return {name: importlib.metadata.version(name) for name in PACKAGES if name in there}
