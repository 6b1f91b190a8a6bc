"""The front of a run with several objectives: each of its necks exported, and what joins them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas_fpn.errors import RunError
from nas_fpn.export import PLAIN, Form
from nas_fpn.record import Entry
from nas_fpn.report import draw_front, front, name_of
from nas_fpn.run.confirmed_weights import EndToEnd, export_end_to_end, is_settled, untrained_neck
from nas_fpn.run.export_trial import check_fits, export_trial, is_there, mark_of, neck_of_trial
from nas_fpn.run.prepare import Step
from nas_fpn.run.trainer import Trainer

__all__ = ["export_front"]


def export_front(
    entries: Sequence[Entry],
    objectives: Sequence[str],
    trainer: Trainer,
    folder: Path,
    *,
    notes: Sequence[str],
    form: Form = PLAIN,
    confirmed: Mapping[str, EndToEnd] | None = None,
) -> Iterator[Step]:
    """Export every neck of the front to ``folder``, and what joins them; yield how far it is.

    A folder each, named by trial and neck; ``front.svg`` draws them, ``front.json`` lists them,
    ``README.md`` shows both. Those ``confirmed`` leave with their weights from a detector. A neck
    that is there already is not trained again; one that is no longer on the front keeps its folder.
    """
    best = front(entries, objectives)
    if not best:
        return
    ends = confirmed if confirmed is not None and form.width is None else {}
    for entry in best if form.adapters else ():
        try:
            if entry.neck in ends:
                check_fits(untrained_neck(ends[entry.neck], words=trainer.words), form)
            else:
                check_fits(neck_of_trial(entry, trainer, form), form)
        except RunError as fault:
            raise RunError(
                f"trial {entry.number} of the front: {fault}; "
                "--adapter all has for each neck those that it fits"
            ) from fault
    for entry in best:
        place = folder / _folder_name(entry)
        if entry.neck in ends:
            export_end_to_end(ends[entry.neck], place, words=trainer.words, form=form)
        elif not is_there(entry, place, form) and not (form == PLAIN and is_settled(entry, place)):
            yield from export_trial(entry, trainer, place, notes=notes, form=form)
    rows = [mark_of(entry) | {"folder": _folder_name(entry)} for entry in best]
    listed = {"objectives": list(objectives), "front": rows}
    files = {
        "front.json": json.dumps(listed, indent=2) + "\n",
        "front.svg": draw_front(entries, objectives),
        "README.md": _front_page(best, objectives),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _front_page(best: Sequence[Entry], objectives: Sequence[str]) -> str:
    names = [name.removeprefix("-") for name in objectives]
    rows = [
        "# The front: necks that no other beats in every objective",
        "",
        f"![{names[0]} against {names[1]}](front.svg)",
        "",
        f"| neck | {' | '.join(names)} | |",
        f"| --- | {' | '.join('---:' for _ in names)} | --- |",
    ]
    for entry in best:
        assert entry.outcome is not None
        folder = _folder_name(entry)
        scores = " | ".join(f"{entry.outcome.scores[name]:.4g}" for name in names)
        picture = f"![its drawing]({folder}/neck.svg)"
        rows.append(f"| [{name_of(entry)}]({folder}/README.md) | {scores} | {picture} |")
    return "\n".join(rows) + "\n"


def _folder_name(entry: Entry) -> str:
    return f"{entry.number}-{entry.neck}"
