"""The record as an Optuna study: every state, live equal to rebuilt, and nothing in it alive."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from nas_fpn import language
from nas_fpn.errors import RunError
from nas_fpn.record import (
    Entry,
    Event,
    Outcome,
    Record,
    Report,
    ask_event,
    pause_event,
    promote_event,
    read_history,
    report_event,
    tell_event,
)
from nas_fpn.report.drawings import DrawnOnDemand
from nas_fpn.report.mirror import Mirror
from nas_fpn.report.mirrors import drawings_of, journal_of, mirror_of, rebuild
from nas_fpn.report.notes import fenced
from nas_fpn.report.opened import Opened, open_run
from nas_fpn.report.options import OUTSIDE, chosen, options
from nas_fpn.report.optuna_store import Study, in_memory, journal, open_url

EVIL = "<script>alert(1)</script>"
PATH = language.find_space("quick")
SPACE = language.read(PATH)
COST = {"params": 1000, "macs": 2_000_000}


def header(*objectives: str) -> Event:
    return {
        "event": "run",
        "version": 1,
        "space": sha256(PATH.read_bytes()).hexdigest(),
        "settings": {
            "space": "quick",
            "controller": "surrogate",
            "objective": list(objectives),
            "notes": [f"a note with {EVIL}"],
        },
        "machine": {"ray": {"workers": 2}},
    }


def asked(number: int, *, source: str = "controller", member: bool = True) -> Event:
    genotype = tuple((number + k) % one.count for k, one in enumerate(language.choices(SPACE)))
    neck = language.decode(SPACE, genotype)
    known = language.identity(neck), str(neck), COST
    return ask_event(Entry(number, source, genotype if member else None, *known))


def scores(ap: float) -> dict[str, float]:
    return {"ap": ap, "ap_small": ap / 2, "loss": 1.0, "latency_ms": 10 * ap, "ap/fish": ap}


def reported(number: int, steps: int, ap: float) -> Event:
    return report_event(number, Report(steps, scores(ap), steps / 10))


def ended(number: int, state: Any, ap: float | None, **more: Any) -> Event:
    known = {} if ap is None else scores(ap)
    return tell_event(number, Outcome(state, known, steps=30, seconds=3.0, **more))


# Every state, in an order in which several workers could have brought them.
EVENTS: tuple[Event, ...] = (
    asked(0, source=f"baseline:{EVIL}", member=False),
    reported(0, 10, 0.1),
    asked(1),
    reported(0, 30, 0.2),
    ended(0, "complete", 0.2),
    reported(1, 10, 0.2),
    asked(2),
    ended(2, "rejected", None, reason="params 1000 above 500"),
    pause_event(1, 10),
    asked(3),
    reported(3, 10, 0.05),
    ended(3, "stopped", 0.05),
    asked(4),
    ended(4, "failed", None, reason=f"ValueError: {EVIL} ```"),
    promote_event(1, 10),
    reported(1, 30, 0.4),
    ended(1, "complete", 0.4),
    asked(5, source="prior:fpn"),
    ended(5, "repeated", 0.4, of=1),
    asked(6),
    reported(6, 10, 0.3),
    pause_event(6, 10),
    asked(7),
    reported(7, 10, 0.1),
    asked(8),
    reported(8, 10, 0.1),
    pause_event(8, 10),
    ended(8, "stopped", 0.1),
)


def write(folder: Path, events: Sequence[Event], *objectives: str) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(one) for one in (header(*objectives or ("ap",)), *events)]
    (folder / "history.jsonl").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def open_mirror(storage: BaseStorage, run: Opened) -> Mirror:
    return Mirror(
        storage, run, drawings=DrawnOnDemand(), name=run.name, written=datetime(2026, 1, 1)
    )


def grown(folder: Path, events: Sequence[Event]) -> Iterator[Entry]:
    """What a search says of each event: the entry as it is after it."""
    write(folder, ())
    for count, event in enumerate(events, 1):
        write(folder, events[:count])
        yield read_history(folder / "history.jsonl").entries[event["trial"]]


def told(study: Study) -> tuple[Any, ...]:
    """All that a study shows but its times, its ids, and how often a note was written."""
    storage = study.storage
    (summary,) = storage.get_all_studies()
    trials = storage.get_all_trials(study.id)
    numbers = {str(one._trial_id): str(one.number) for one in trials}
    attributes = {
        re.sub(r"(?<=^dashboard:)\d+", lambda found: numbers[found[0]], key): (
            re.sub(r"/artifacts/\d+/\d+/", "", value) if isinstance(value, str) else value
        )
        for key, value in summary.system_attrs.items()
        if not key.endswith("note_ver")
    }
    shown = [
        (one.number, one.state, one.params, one.distributions, one.values) for one in trials
    ] + [(one.intermediate_values, one.user_attrs, one.system_attrs) for one in trials]
    return summary.directions, summary.user_attrs, attributes, shown


def trials_of(study: Study) -> list[FrozenTrial]:
    return study.storage.get_all_trials(study.id)


def note_of(study: Study, trial: int | None = None) -> str:
    """The note as optuna-dashboard reads it."""
    dashboard = pytest.importorskip("optuna_dashboard._note", reason="optuna-dashboard is absent")
    known = study.storage.get_study_system_attrs(study.id)
    body = dashboard.get_note_from_system_attrs(known, trial)["body"]
    assert isinstance(body, str)
    return body


def test_every_state_is_shown(tmp_path: Path) -> None:
    run = open_run(write(tmp_path / "mine", EVENTS))
    trials = trials_of(open_mirror(in_memory(), run).study)
    assert [one.state for one in trials] == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.WAITING,
        TrialState.RUNNING,
        TrialState.PRUNED,
    ]
    states = [one.user_attrs["state"] for one in trials]
    assert states == [
        *("complete", "complete", "rejected", "stopped", "failed", "repeated", "paused", "running"),
        "stopped",
    ]
    assert [one.values for one in trials][:2] == [[0.2], [0.4]]
    assert trials[3].values is None, "a score of fewer steps compares with nothing"
    assert trials[1].intermediate_values == {10: 0.2, 30: 0.4}
    assert trials[1].user_attrs["ap_small"] == 0.2
    assert trials[1].user_attrs["params"] == 1000
    assert "ap/fish" not in trials[1].user_attrs
    assert trials[5].user_attrs["of trial"] == 1
    assert trials[0].user_attrs["baseline"] == EVIL and "baseline" not in trials[1].user_attrs


def test_live_and_rebuilt_are_equal(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder, ())
    live = open_mirror(in_memory(), open_run(folder))
    for entry in grown(folder, EVENTS):
        live.follow(entry)
    live.say(read_history(folder / "history.jsonl"))
    assert told(live.study) == told(open_mirror(in_memory(), open_run(folder)).study)


@pytest.mark.parametrize("kind", ["journal", "sqlite", "memory"])
def test_every_cut_of_the_record_goes_on_to_the_same(tmp_path: Path, kind: str) -> None:
    whole = open_run(write(tmp_path / "mine", EVENTS, "ap", "-latency_ms"))
    expected = told(open_mirror(in_memory(), whole).study)
    for cut in (9, 22) if kind == "sqlite" else (1, 3, 9, 14, 22, len(EVENTS)):
        storage = {
            "journal": lambda cut=cut: journal(tmp_path / f"{cut}.journal"),
            "sqlite": lambda cut=cut: open_url(f"sqlite:///{tmp_path}/{cut}.db"),
            "memory": in_memory,
        }[kind]()
        folder = write(tmp_path / "mine", EVENTS[:cut], "ap", "-latency_ms")
        open_mirror(storage, open_run(folder))
        assert told(open_mirror(storage, whole).study) == expected


def test_several_objectives_keep_their_directions_and_names(tmp_path: Path) -> None:
    run = open_run(write(tmp_path / "mine", EVENTS, "ap", "-latency_ms"))
    storage = in_memory()
    open_mirror(storage, run)
    study = optuna.load_study(study_name="mine", storage=storage)
    assert [one.name for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["ap", "latency_ms"]
    assert study.trials[1].values == [0.4, 4.0]
    assert study.trials[1].intermediate_values == {10: 0.2, 30: 0.4}
    assert {one.number for one in study.best_trials} >= {0, 1}


@pytest.mark.filterwarnings("ignore:PedAnova")  # it says to turn a maximised target, as we do
def test_choices_have_readable_names_and_every_trial_has_them_all(tmp_path: Path) -> None:
    run = open_run(write(tmp_path / "mine", EVENTS))
    storage = in_memory()
    open_mirror(storage, run)
    study = optuna.load_study(study_name="mine", storage=storage)
    names = [choice.name for choice in language.choices(SPACE)]
    assert all(list(one.params) == names for one in study.trials)
    assert study.trials[1].params["u4.operand3.present"] in {"absent", "present"}
    assert set(study.trials[0].params.values()) == {OUTSIDE}
    found = optuna.importance.get_param_importances(study, target=lambda one: -one.values[0])
    assert set(found) <= set(names) and found, "a baseline outside takes nothing away"


@pytest.mark.parametrize("name", ["nas_fpn", "mobile", "everything", "weighted"])
def test_what_is_chosen_is_among_the_options(name: str) -> None:
    space = language.read(language.find_space(name))
    offered = options(space)
    rng = random.Random(0)
    for _ in range(50):
        for choice, option in chosen(space, offered, language.sample(space, rng)).items():
            assert option in offered[choice]


def test_a_run_whose_space_has_changed_has_no_params(tmp_path: Path) -> None:
    run = open_run(write(tmp_path / "mine", EVENTS))
    trials = trials_of(open_mirror(in_memory(), replace(run, space=None)).study)
    assert all(one.params == {} for one in trials) and len(trials) == 9


def test_the_note_has_drawing_and_program_and_the_drawing_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", EVENTS)
    rebuild(folder)
    study = mirror_of(folder).study
    first = trials_of(study)[1]
    (meta,) = optuna.artifacts.get_all_artifact_meta(first, storage=study.storage)
    assert (meta.filename, meta.mimetype) == ("neck.svg", "image/svg+xml")
    link = f"![drawing of the neck](/artifacts/{study.id}/{first._trial_id}/{meta.artifact_id})"
    note = note_of(study, first._trial_id)
    assert note.startswith(link)
    assert read_history(folder / "history.jsonl").entries[1].text in note
    store = optuna.artifacts.FileSystemArtifactStore(drawings_of(folder))
    with store.open_reader(meta.artifact_id) as file:
        assert file.read().startswith(b"<svg")


def test_a_run_under_way_has_its_drawings_too(tmp_path: Path) -> None:
    study = open_mirror(in_memory(), open_run(write(tmp_path / "mine", EVENTS))).study
    running = trials_of(study)[7]
    assert optuna.artifacts.get_all_artifact_meta(running, storage=study.storage)


def test_the_note_of_the_study_is_the_verdict(tmp_path: Path) -> None:
    study = open_mirror(in_memory(), open_run(write(tmp_path / "mine", EVENTS))).study
    note = note_of(study)
    assert "Verdict so far" in note and "| baseline | 0 |" in note and "| best | 1 |" in note


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    study = open_mirror(in_memory(), open_run(write(tmp_path / "mine", EVENTS))).study
    notes = [note_of(study), *(note_of(study, one._trial_id) for one in trials_of(study))]
    assert not any("<script" in note for note in notes)
    assert "&lt;script&gt;" in notes[0] and "&lt;script&gt;" in notes[1]


def test_a_program_cannot_leave_its_fence() -> None:
    assert fenced("a\n```\n<b>") == "````text\na\n```\n<b>\n````"


def test_a_lost_mirror_is_built_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", EVENTS)
    expected = told(mirror_of(folder).study)
    journal_of(folder).unlink()
    assert rebuild(folder) == 9
    assert told(mirror_of(folder).study) == expected
    assert [one.name for one in journal_of(folder).parent.iterdir() if "part" in one.name] == []


@pytest.mark.parametrize("harm", ["torn", "broken", "empty", "another"])
def test_a_killed_mirror_is_made_anew(tmp_path: Path, harm: str) -> None:
    folder = write(tmp_path / "mine", EVENTS)
    expected = told(mirror_of(folder).study)
    path = journal_of(folder)
    whole = path.read_bytes()
    if harm == "torn":
        path.write_bytes(whole[:-20])
    elif harm == "broken":
        path.write_bytes(whole[:500] + b"\n{}\n" + whole[500:])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(whole.replace(b"surrogate", b"evolution"))
        other = json.loads((folder / "history.jsonl").read_text().splitlines()[0])
        assert other["settings"]["controller"] == "surrogate"
    study = mirror_of(folder).study
    if harm != "another":
        assert told(study) == expected
    assert len(trials_of(study)) == 9


def test_a_mirror_of_another_search_is_made_anew(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", EVENTS)
    mirror_of(folder)
    write(folder, EVENTS[:3], "ap50")
    assert len(trials_of(mirror_of(folder).study)) == 2


def test_nothing_is_rebuilt_under_a_search(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", EVENTS)
    with Record(folder / "history.jsonl"), pytest.raises(RunError, match="is searching this run"):
        rebuild(folder)
    with pytest.raises(RunError, match="no run: it has neither"):
        rebuild(tmp_path)


def test_a_database_is_shared_by_name_and_relative_to_the_run(tmp_path: Path) -> None:
    one = write(tmp_path / "one", EVENTS)
    (tmp_path / "there").mkdir()
    other = write(tmp_path / "there" / "one", EVENTS[:5])
    rebuild(one, storage="sqlite:///../all.db")
    rebuild(other, storage="sqlite:///../../all.db")
    rebuild(one, storage="sqlite:///../all.db")
    storage = open_url(f"sqlite:///{tmp_path}/all.db")
    names = [study.study_name for study in storage.get_all_studies()]
    assert len(set(names)) == 2 and all(name.startswith("one ") for name in names)


def test_a_database_that_cannot_be_opened_says_how() -> None:
    with pytest.raises(RunError, match="or install the driver"):
        open_url("nosuch://x")


def test_the_times_fill_the_workers(tmp_path: Path) -> None:
    study = open_mirror(in_memory(), open_run(write(tmp_path / "mine", EVENTS))).study
    for one in trials_of(study):
        assert one.datetime_start is not None and one.datetime_start <= datetime(2026, 1, 1)
        if one.datetime_complete is not None:
            assert one.datetime_start <= one.datetime_complete <= datetime(2026, 1, 1)


def test_a_session_with_other_workers_fills_its_own(tmp_path: Path) -> None:
    def first_start(folder: Path, events: Sequence[Event]) -> datetime:
        study = open_mirror(in_memory(), open_run(write(folder, events))).study
        return min(one.datetime_start for one in trials_of(study) if one.datetime_start)

    alone = first_start(tmp_path / "alone", EVENTS)
    beside = first_start(tmp_path / "beside", (*EVENTS, {"event": "workers", "workers": 9}))
    assert alone < beside, "nine at a time were done in less"


@pytest.mark.slow
def test_a_thousand_trials(tmp_path: Path) -> None:
    events: list[Event] = []
    for number in range(1000):
        events += [asked(number), reported(number, 10, 0.1), reported(number, 30, 0.2)]
        events.append(ended(number, "complete", number / 1000))
    folder = write(tmp_path / "mine", events)
    assert rebuild(folder) == 1000
    assert len(trials_of(mirror_of(folder).study)) == 1000
    assert journal_of(folder).stat().st_size < 8e6
