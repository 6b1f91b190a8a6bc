"""What a confirm leaves in ``best/``: the neck of the verdict, with its weights from a detector.

They go with the backbone that was trained with them, so the whole detector lies beside: the
features of another backbone, or of this one before, are not what these weights expect.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nas_fpn.export import PLAIN, Form, export_neck
from nas_fpn.language import Words, parse
from nas_fpn.necks import Neck
from nas_fpn.record import Entry, Event, History
from nas_fpn.report import confirmed_brief, last_confirmed, name_of
from nas_fpn.run.leave import OWN_BACKBONE, STATISTICS
from nas_fpn.run.settings import Run
from nas_fpn.run.trainings import training_folder
from nas_fpn.strange import inside

__all__ = [
    "MARK",
    "EndToEnd",
    "end_to_end",
    "export_end_to_end",
    "is_settled",
    "keep_confirmed",
    "named_neck",
    "untrained_neck",
]

MARK = "trial.json"  # which trial of which record a folder holds
DETECTOR = "detector"
PARTS = ("detector.py", "config.json", "model.safetensors", OWN_BACKBONE)


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """A neck trained end to end: the run's folder, its trial, event "training", event "verdict"."""

    run: Path
    entry: Entry
    training: Event
    verdict: Event

    def file(self, name: str) -> Path:
        """A file of its training. Raises RunError where it, or a link, leads out of the run."""
        return inside(self.run, f"{self.training['folder']}/{name}")


def end_to_end(run: Path, history: History) -> dict[str, EndToEnd]:
    """The necks of the last verdict end to end by id, with the training of its first seed.

    Not the best of its trainings: that would be chosen on test. Nor one of other settings with that
    seed, where the verdict says which it counts. Left out are those whose folder is gone, or whose
    training diverged. ``run`` is the folder of the run.
    """
    verdict = last_confirmed(history)
    if verdict is None:
        return {}
    compared = {one["neck"]: one for one in verdict["necks"]}
    found: dict[str, EndToEnd] = {}
    for event in history.events:
        if event["event"] != "training" or event["reason"] is not None:
            continue
        if event["neck"] not in compared or not _is_first(event, compared[event["neck"]]):
            continue
        if (folder := training_folder(run, event)) is None:
            continue
        there = {**event, "folder": str(folder.relative_to(run))}
        one = EndToEnd(run, history.entries[event["trial"]], there, verdict)
        if one.file("neck/model.safetensors").is_file():
            found[event["neck"]] = one
    return found


def _is_first(event: Event, neck: Mapping[str, Any]) -> bool:
    """Whether a training is the first that a verdict counts of a neck; older ones say but seeds."""
    if "trainings" in neck:
        return event["of"] in neck["trainings"][:1]
    return event["seed"] in neck["seeds"][:1]


def export_end_to_end(one: EndToEnd, to: Path, *, words: Words, form: Form = PLAIN) -> None:
    """Export the neck to ``to``, its detector to ``to/detector``, and say where both come from.

    Raises:
        RunError: where a file of the training is a link that leads out of the run.
    """
    training, verdict = one.training, one.verdict
    neck = untrained_neck(one, words=words)
    neck.load_state_dict(load_file(one.file("neck/model.safetensors")))
    export_neck(
        neck.eval(),
        to,
        image_size=verdict["image_size"],
        scores=training["scores"],
        provenance={
            "trial": _origin(one),
            "verdict": confirmed_brief(verdict).replace("\n", " "),
            "weights": f"trained end to end with its backbone in {verdict['detector']}, "
            f"seed {training['seed']}, the first of {len(_seeds(one))}",
            "scores": "of that detector on test",
            "steps": str(training["steps"]),
            "input": f"features of the backbone in {DETECTOR}/, as trained there and not as it was "
            f"before, scaled as (c - mean) / std with {STATISTICS}",
        },
        beside={
            STATISTICS: "mean and std of each channel of the backbone's features",
            f"{DETECTOR}/": "the whole detector: detector.py loads it without the package",
            MARK: "which trial this is, and its scores on record",
        },
        form=form,
    )
    shutil.copyfile(one.file(f"neck/{STATISTICS}"), to / STATISTICS)
    shutil.rmtree(to / DETECTOR, ignore_errors=True)
    (to / DETECTOR / "neck").mkdir(parents=True)
    names = [*PARTS, *(f"neck/{path.name}" for path in sorted(one.file("neck").iterdir()))]
    for name in names:
        if (path := one.file(name)).is_file():
            shutil.copyfile(path, to / DETECTOR / name)
    (to / MARK).write_text(json.dumps(_mark(one), indent=2) + "\n", encoding="utf-8")


def untrained_neck(one: EndToEnd, *, words: Words) -> Neck:
    """The neck on the channels of the backbone that it was trained with, without its weights."""
    settings: Mapping[str, Any] = json.loads(one.file("neck/config.json").read_text())
    return Neck(parse(one.training["text"], words=words), settings["in_channels"], seed=0)


def named_neck(one: EndToEnd) -> str:
    """The neck that the verdict names: the better one, or the baseline to keep."""
    named: str = one.verdict["best"] or one.verdict["keep"]
    return named


def keep_confirmed(run: Run, history: History, *, words: Words) -> None:
    """Put what the last verdict names into ``best/``; of several objectives all that it compared.

    Each of these has a folder there already, by trial and neck.
    """
    confirmed, best = end_to_end(run.folder, history), run.folder / "best"
    for neck, one in confirmed.items():
        if len(run.settings.objectives) > 1:
            folder = best / f"{one.entry.number}-{one.entry.neck}"
            if folder.is_dir() and one.entry.neck == neck:
                export_end_to_end(one, folder, words=words)
        elif neck == named_neck(one) and not _holds(best, one):
            export_end_to_end(one, best, words=words)


def is_settled(entry: Entry, folder: Path) -> bool:
    """Whether ``folder`` holds the neck of a verdict that the neck of ``entry`` was compared in.

    The best of a search does not replace it then.
    """
    mark = folder / MARK
    if not mark.is_file():
        return False
    known = json.loads(mark.read_text(encoding="utf-8"))
    return entry.number in known.get("confirmed", {}).get("trials", ())


def _holds(folder: Path, one: EndToEnd) -> bool:
    mark = folder / MARK
    return mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == _mark(one)


def _seeds(one: EndToEnd) -> list[int]:
    (seeds,) = (n["seeds"] for n in one.verdict["necks"] if n["neck"] == one.training["neck"])
    return list(seeds)


def _origin(one: EndToEnd) -> str:
    (was,) = (n["was"] for n in one.verdict["necks"] if n["neck"] == one.training["neck"])
    resized = "" if was is None else f", re-sized from width {was['width']}"
    return f"{one.entry.number} ({one.entry.source}){resized}"


def _mark(one: EndToEnd) -> dict[str, object]:
    entry = one.entry
    assert entry.outcome is not None
    return {
        "trial": entry.number,
        "source": entry.source,
        "name": name_of(entry),
        "neck": one.training["neck"],
        "scores": dict(entry.outcome.scores),
        "confirmed": {
            "of": one.verdict["of"],
            "seed": one.training["seed"],
            "trials": sorted({n["trial"] for n in one.verdict["necks"]}),
        },
    }
