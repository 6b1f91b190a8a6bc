"""What is trained to explain a neck: simpler neighbours of it, and steps from the best baseline.

Chosen before the first training and put on record as the event "explain". The steps, each trained
with the same seeds: the baseline; the baseline at the neck's cost; the baseline with plain words at
the cost of the neck with plain words; the neck with plain words; the neck.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from nas_fpn.errors import RunError, command_line
from nas_fpn.language import Architecture, Words, identity, parse
from nas_fpn.language.draw import together
from nas_fpn.language.simpler import Simpler, plain, simpler
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.record import Entry, Event, History
from nas_fpn.report import best_entry, name_of
from nas_fpn.run.equal_cost import Frame, equal_cost
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import decisive, neck_cost

__all__ = [
    "Explanation",
    "Role",
    "Variant",
    "asked",
    "explained_pair",
    "make_explanation",
    "on_record",
    "training_of",
]

SPLIT = "test"  # of the scores
FIRST_SEED = 2001  # beyond those of the search, of its check and of the screening

Role = Literal["winner", "baseline", "resized", "plain", "plain baseline", "change"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A neck that is trained, and why; ``params`` and ``macs`` are its own, for one image."""

    neck: str
    role: Role
    label: str
    kind: str
    text: str
    width: int
    params: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is trained; ``of`` is the hash of all that was asked.

    ``control`` is the trial of the best baseline, ``nearest`` that of the one whose program is the
    nearest. ``left_out`` counts neighbours beyond ``most``. ``trainings`` are the hashes of its
    trainings, of all seeds; none where an older version put it on record.
    """

    of: str
    trial: int
    control: int
    nearest: int
    objective: str
    split: str
    seeds: tuple[int, ...]
    equal_cost: str
    left_out: int
    variants: tuple[Variant, ...]
    trainings: tuple[str, ...] = ()

    def event(self) -> Event:
        """The line of the record."""
        made: Event = json.loads(json.dumps({"event": "explain", **asdict(self)}))
        return made


def on_record(event: Event) -> Explanation:
    """The explanation that a line of the record holds."""
    facts = {name: value for name, value in event.items() if name != "event"}
    facts |= {"seeds": tuple(event["seeds"])}
    facts |= {"variants": tuple(Variant(**one) for one in event["variants"])}
    facts |= {"trainings": tuple(event.get("trainings", ()))}
    return Explanation(**facts)


def explained_pair(run: Run, history: History, number: int | None) -> tuple[Entry, Entry]:
    """The neck to explain, by default the best that was found, and the best baseline.

    Raises:
        RunError: where there is none of them, or ``number`` is no complete neck that was found.
    """
    objective, entries = run.settings.objectives[0], history.entries
    control = best_entry([entry for entry in entries if entry.is_baseline], objective)
    known = {entry.neck for entry in entries if entry.is_baseline}
    found = [one for one in entries if not one.is_baseline and one.neck not in known]
    if number is None:
        winner = best_entry(found, objective)
    else:
        if not 0 <= number < len(entries):
            raise RunError(
                f"{run.folder}: no trial {number}; there are 0..{len(entries) - 1}\n"
                f"the table lists them: {command_line('table', run.folder)}"
            )
        winner = best_entry([one for one in found if one.number == number], objective)
        if winner is None:
            raise RunError(
                f"{run.folder}: trial {number} is no complete neck that the search found\n"
                f"name another, or none for the best: {command_line('explain', run.folder)}"
            )
    if winner is None:
        raise RunError("no neck found is complete: there is nothing to explain\nsearch on first")
    if control is None:
        raise RunError(
            "no baseline is complete: there is nothing to compare with\n"
            "name some in run.toml, baselines = [...], and search on"
        )
    return winner, control


def make_explanation(
    run: Run, history: History, number: int | None, bank: Bank, frame: Frame, words: Words
) -> Explanation:
    """Choose what is trained; measures costs, so it is done once. Raises as explained_pair."""
    winner, control = explained_pair(run, history, number)
    neck, base = (parse(one.text, words=words) for one in (winner, control))
    settings = run.settings
    by = settings.confirm.equal_cost
    by = "params" if by == "none" else by
    bare = plain(neck)
    name = name_of(control)
    resized = equal_cost(base, neck, frame, by=by)
    bare_base = equal_cost(plain(base), bare, frame, by=by)
    bare_said = f"{name} with plain words at its cost{_sized(bare_base, base)}"
    rows: list[tuple[Role, str, str, Architecture]] = [
        ("winner", f"{winner.neck} as it was found", "", neck),
        ("baseline", f"{name} as it was searched", "", base),
        ("resized", f"{name} at its cost{_sized(resized, base)}", "", resized),
        ("plain", f"{winner.neck} with plain words", "", bare),
        ("plain baseline", bare_said, "", bare_base),
    ]
    neighbours = simpler(neck, bank.channels)
    chosen = _spread(neighbours, settings.explain.most)
    rows += [("change", one.label, one.kind, one.neck) for one in chosen]
    baselines = [one for one in history.entries if one.is_baseline and _is_complete(one)]
    variants = tuple(_variant(*row, bank) for row in rows)
    seeds = tuple(settings.seed + FIRST_SEED + at for at in range(settings.explain.seeds))
    return Explanation(
        of=asked(run, winner, control, bank),
        trial=winner.number,
        control=control.number,
        nearest=_nearest(neck, baselines, words).number,
        objective=settings.objectives[0],
        split=SPLIT,
        seeds=seeds,
        equal_cost=by,
        left_out=len(neighbours) - len(chosen),
        variants=variants,
        trainings=tuple(
            training_of(one.neck, seed, proxy=settings.proxy, bank=bank, words=words)
            for one in variants
            for seed in seeds
        ),
    )


def asked(run: Run, winner: Entry, control: Entry, bank: Bank) -> str:
    """The hash of all that an explanation depends on."""
    settings = run.settings
    what = {
        "trial": winner.number,
        "control": control.number,
        "proxy": decisive(settings.proxy),
        "detector": settings.detector.model_dump(mode="json"),
        "explain": settings.explain.model_dump(exclude={"workers"}),
        "equal_cost": settings.confirm.equal_cost,
        "objective": settings.objectives[0],
        "seed": settings.seed,
        "bank": bank.key,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def training_of(neck: str, seed: int, *, proxy: ProxySettings, bank: Bank, words: Words) -> str:
    """The hash of all that decides what a training of a neck gives."""
    what = {
        "neck": neck,
        "words": [file.sha256 for file in words.files],
        "proxy": decisive(proxy),
        "bank": bank.key,
        "split": SPLIT,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _spread(neighbours: Sequence[Simpler], most: int) -> list[Simpler]:
    """At most so many, each kind in turn: merge, edge, cell, resampler, block; in program order."""
    kinds = ("merge", "edge", "cell", "resampler", "block")
    waiting = {kind: [one for one in neighbours if one.kind == kind] for kind in kinds}
    chosen: list[Simpler] = []
    while len(chosen) < min(most, len(neighbours)):
        for kind in kinds:
            if waiting[kind] and len(chosen) < most:
                chosen.append(waiting[kind].pop(0))
    return [one for one in neighbours if one in chosen]


def _variant(role: Role, label: str, kind: str, neck: Architecture, bank: Bank) -> Variant:
    price = neck_cost(neck, bank)
    return Variant(
        neck=identity(neck),
        role=role,
        label=label,
        kind=kind,
        text=str(neck),
        width=neck.width,
        params=price.params,
        macs=price.macs,
    )


def _sized(now: Architecture, before: Architecture) -> str:
    return "" if now.width == before.width else f", width {before.width} → {now.width}"


def _nearest(neck: Architecture, baselines: Sequence[Entry], words: Words) -> Entry:
    """The baseline with which the neck has the most in common: the fewest boxes and links apart."""

    def apart(entry: Entry) -> int:
        picture = together(parse(entry.text, words=words), neck)
        marks = [*(box.mark for box in picture.boxes), *(link.mark for link in picture.links)]
        return sum(mark != "common" for mark in marks)

    return min(baselines, key=lambda entry: (apart(entry), entry.number))


def _is_complete(entry: Entry) -> bool:
    return entry.outcome is not None and entry.outcome.state == "complete"
