"""Warm start: necks that somebody trusts, which every controller asks for before its own.

``[controller_settings] prior = ["fpn", "panet", "../earlier"]`` names shipped necks, ``.neck``
files and earlier runs. Their genotypes in this run's space are the first proposals; they are
trained here like any other, so that scores of other data or another budget are never mixed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.language import Space, encode, find_neck, fit, parse, read_neck
from nas_fpn.objectives import objective_scores
from nas_fpn.record import Genotype, read_history
from nas_fpn.run.question import Frame, named_file
from nas_fpn.run.settings import Run

__all__ = ["FROM_A_RUN", "Prior", "prior_names", "read_prior"]

FROM_A_RUN = 16  # of an earlier run's necks, the best


@dataclass(frozen=True, slots=True)
class Prior:
    """Genotypes to begin with, each once, and the name that each came by; what to say of it."""

    genotypes: tuple[Genotype, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def prior_names(run: Run) -> tuple[str, ...]:
    """What ``prior`` names. Raises :class:`RunError` where it is no list of strings."""
    given = run.settings.controller_settings.get("prior", [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise RunError(
            f"{run.folder / 'run.toml'}: controller_settings.prior = {given!r}: should be a list "
            'of necks and runs, e.g. ["fpn", "../earlier"]'
        )
    return tuple(given)


def read_prior(run: Run, space: Space, frame: Frame) -> Prior:
    """Find what ``prior`` names, as genotypes of ``space``.

    A neck is brought to the space's levels, and to the largest of its widths that encodes. Of a
    run the necks of its complete trials are taken, best by its first objective first, at most
    16 of those that this space holds.

    Raises:
        RunError: for a name that is not found, a neck that is no member of the space, and a run
            none of whose necks is.
    """
    found: list[tuple[str, Genotype]] = []
    notes = []
    for name in prior_names(run):
        if (run.folder / name / "history.jsonl").is_file():
            genotypes, note = _of_run(run, name, space)
            notes.append(note)
        else:
            genotypes = [_of_neck(run, name, space, frame)]
        found += [(name, genotype) for genotype in genotypes]
    first = {genotype: name for name, genotype in reversed(found)}
    order = list(dict.fromkeys(genotype for _, genotype in found))
    return Prior(tuple(order), tuple(first[genotype] for genotype in order), tuple(notes))


def _of_neck(run: Run, name: str, space: Space, frame: Frame) -> Genotype:
    try:
        shipped = read_neck(find_neck(named_file(run, name)), words=space.words)
    except SpaceError as fault:
        raise _fault(run, name, f"{fault}\nor name a run: a folder with a history.jsonl") from None
    refused: SpaceError | None = None
    for width in _widths(space):
        try:
            return encode(space, fit(shipped, width=width, levels=frame.levels))
        except SpaceError as fault:
            refused = refused or fault
    raise _fault(run, name, f"is no member of the space:\n{refused}\nleave it out")


def _of_run(run: Run, name: str, space: Space) -> tuple[list[Genotype], str]:
    history = read_history(run.folder / name / "history.jsonl")
    objective = history.events[0].get("settings", {}).get("objective", "ap")
    first = objective if isinstance(objective, str) else objective[0]
    scored = [
        (objective_scores((first,), entry.outcome.scores)[first], -entry.number, entry.text)
        for entry in history.entries
        if entry.outcome is not None
        and entry.outcome.state == "complete"
        and first.removeprefix("-") in entry.outcome.scores
    ]
    genotypes: list[Genotype] = []
    for _, _, text in sorted(scored, reverse=True):
        genotype = _member(space, text)
        if genotype is not None and len(genotypes) < FROM_A_RUN:
            genotypes.append(genotype)
    if not genotypes:
        what = f"none of its {len(scored)} complete necks is a member of the space"
        raise _fault(run, name, f"{what}\nleave it out, or take the space of that run")
    return genotypes, f"prior {name}: the best {len(genotypes)} of {len(scored)} complete necks"


def _member(space: Space, text: str) -> Genotype | None:
    try:
        return encode(space, parse(text, words=space.words))
    except SpaceError:  # it was searched in another space, perhaps with other words
        return None


def _widths(space: Space) -> Sequence[int]:
    options = (space.width,) if isinstance(space.width, int) else space.width.options
    return sorted(options, reverse=True)


def _fault(run: Run, name: str, what: str) -> RunError:
    rows = what.replace("\n", "\n  ")
    return RunError(f"{run.folder / 'run.toml'}: controller_settings.prior: {name!r}: {rows}")
