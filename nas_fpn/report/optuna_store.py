"""The one place that writes to an Optuna storage: whole trials at a time, as ``study.ask`` cannot.

Some of these calls and keys are semi-public (Optuna 5.0, optuna-dashboard 0.21): trials made from a
template, intermediate values of several objectives, notes and artifacts without that package.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_fpn.errors import RunError

__all__ = [
    "Row",
    "Shown",
    "Study",
    "TrialState",
    "delete_study",
    "find_study",
    "in_memory",
    "journal",
    "make_study",
    "open_url",
    "put",
    "rows",
    "set_attribute",
    "set_study_note",
]

NOTE_PART = 2045  # characters of a note in one attribute, as optuna-dashboard reads it
Value = str | int | float


@dataclass(frozen=True, slots=True)
class Study:
    """A study in a storage, by its id there."""

    storage: BaseStorage
    id: int


@dataclass(frozen=True, slots=True)
class Row:
    """One trial as a study shows it; ``number`` counts from 0 without a gap.

    ``params`` are options taken, of the study's ``options``. ``drawing`` is the id of an artifact
    (hexadecimal digits), None where there is none; the note begins with it.
    """

    number: int
    state: TrialState
    begun: datetime
    params: Mapping[str, str] = field(default_factory=dict)
    values: tuple[float, ...] | None = None
    reports: Mapping[int, float] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)
    note: str = ""
    drawing: str | None = None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a study has of one trial, by the trial's id in the storage."""

    id: int
    state: TrialState
    attributes: Mapping[str, Value]
    reports: Mapping[int, float]


def in_memory() -> BaseStorage:
    """A storage that is gone with the process."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return InMemoryStorage()


def journal(path: Path) -> BaseStorage:
    """A storage in one file, made if it is not there. Raises ValueError for a broken one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return JournalStorage(JournalFileBackend(str(path)))


def open_url(url: str) -> BaseStorage:
    """A database by its URL. Raises RunError where it cannot be opened."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return get_storage(url)
    except (ImportError, SQLAlchemyError) as fault:  # no driver, no such dialect, no server
        raise RunError(
            f"[report] cannot open storage: {fault}\n"
            "write sqlite:///file.db, or install the driver; for postgresql:// with: "
            "pip install 'psycopg[binary]'"
        ) from None


def make_study(
    storage: BaseStorage,
    name: str,
    *,
    objectives: Sequence[str],
    attributes: Mapping[str, Value],
) -> Study:
    """A new study; an objective with a minus is minimised, and shown without it."""
    directions = [
        StudyDirection.MINIMIZE if one.startswith("-") else StudyDirection.MAXIMIZE
        for one in objectives
    ]
    study = Study(storage, storage.create_new_study(directions, name))
    storage.set_study_system_attr(
        study.id, "study:metric_names", [one.removeprefix("-") for one in objectives]
    )
    for key, value in attributes.items():
        set_attribute(study, key, value)
    return study


def find_study(storage: BaseStorage, name: str) -> tuple[Study, Mapping[str, Any]] | None:
    """The study of a name with its attributes, if there is one."""
    for one in storage.get_all_studies():
        if one.study_name == name:
            return Study(storage, one._study_id), one.user_attrs
    return None


def delete_study(study: Study) -> None:
    """Take a study out of its storage."""
    study.storage.delete_study(study.id)


def set_attribute(study: Study, key: str, value: Value) -> None:
    """A fact of the study."""
    study.storage.set_study_user_attr(study.id, key, value)


def rows(study: Study) -> list[Shown]:
    """The trials of a study, by number."""
    return [
        Shown(one._trial_id, one.state, one.user_attrs, one.intermediate_values)
        for one in study.storage.get_all_trials(study.id, deepcopy=False)
    ]


def put(
    study: Study,
    row: Row,
    *,
    before: Shown | None,
    options: Mapping[str, Sequence[str]],
) -> Shown:
    """Bring one trial to what ``row`` says; ``before`` is what the study has of it.

    A trial that has ended stays as it is, and keeps the times at which that was seen.
    """
    if before is None:
        identity = _create(study, row, options)
    else:
        identity = before.id
        if before.state.is_finished():
            return before
        _advance(study, row, before)
    return Shown(identity, row.state, row.attributes, row.reports)


def set_study_note(study: Study, note: str) -> None:
    """The text on the study's first page, Markdown."""
    _note(study, None, note)


def _create(study: Study, row: Row, options: Mapping[str, Sequence[str]]) -> int:
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(tuple(options[name])) for name in row.params
    }
    system: dict[str, str] = {}
    if row.drawing is not None:
        meta = {
            "artifact_id": row.drawing,
            "filename": "neck.svg",
            "mimetype": "image/svg+xml",
            "encoding": None,
        }
        system[f"artifacts:{row.drawing}"] = json.dumps(meta)
    template = FrozenTrial(
        number=-1,
        trial_id=-1,
        state=row.state,
        value=None,
        values=row.values,
        datetime_start=row.begun,
        datetime_complete=row.ended if row.state.is_finished() else None,
        params=dict(row.params),
        distributions=distributions,
        user_attrs=dict(row.attributes),
        system_attrs=system,
        intermediate_values=dict(row.reports),
    )
    identity = study.storage.create_new_trial(study.id, template_trial=template)
    number = study.storage.get_trial_number_from_id(identity)
    if number != row.number:
        raise RunError(f"the study has got trial {number} in place of {row.number}")
    picture = ""
    if row.drawing is not None:
        picture = f"![drawing of the neck](/artifacts/{study.id}/{identity}/{row.drawing})\n\n"
    _note(study, identity, picture + row.note)
    return identity


def _advance(study: Study, row: Row, before: Shown) -> None:
    storage, identity = study.storage, before.id
    for steps, value in row.reports.items():
        if steps not in before.reports:
            storage.set_trial_intermediate_value(identity, steps, value)
    for key, fact in row.attributes.items():
        if before.attributes.get(key) != fact:
            storage.set_trial_user_attr(identity, key, fact)
    if row.state != before.state:
        if row.state.is_finished() and before.state == TrialState.WAITING:
            storage.set_trial_state_values(identity, TrialState.RUNNING)
        storage.set_trial_state_values(identity, row.state, row.values)


def _note(study: Study, trial: int | None, body: str) -> None:
    """Write a note in parts under the keys of optuna-dashboard; a longer one before is cleared."""
    head = "dashboard:" if trial is None else f"dashboard:{trial}:"
    storage, old = study.storage, {}
    if trial is None:
        old = storage.get_study_system_attrs(study.id)
    parts = list(_parts(body))
    while f"{head}note_str:{len(parts)}" in old:
        parts.append("")
    for k, part in enumerate(parts):
        if old.get(f"{head}note_str:{k}") != part:
            storage.set_study_system_attr(study.id, f"{head}note_str:{k}", part)
    version = int(old.get(f"{head}note_ver", 0)) + 1
    storage.set_study_system_attr(study.id, f"{head}note_ver", version)


def _parts(body: str) -> Iterator[str]:
    for k in range(math.ceil(len(body) / NOTE_PART)):
        yield body[k * NOTE_PART : (k + 1) * NOTE_PART]
