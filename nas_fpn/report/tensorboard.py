"""Trials as TensorBoard logs: a folder each with its curves, its choices and its neck.

Written with tensorboardX, which Ray Tune brings along; ``pip install tensorboard`` shows them.
"""

import math
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from nas_fpn.errors import SpaceError
from nas_fpn.language import explain, parse
from nas_fpn.language.draw import draw_text
from nas_fpn.record import Entry, History
from nas_fpn.report.notes import fenced, trial_note
from nas_fpn.report.opened import Opened

__all__ = ["Curves", "curves_of"]


def curves_of(folder: Path) -> Path:
    """The folder of the logs of a run."""
    return folder / "tensorboard"


class Curves:
    """The logs of a run in ``folder``. Making one writes what is on record and not yet there.

    A trial's scores are drawn over the steps; at its end come its choices as hyperparameters, with
    the scores of the full budget only. Raises what the disk raises.
    """

    def __init__(self, folder: Path, run: Opened) -> None:
        self._folder = folder
        self._run = run
        self._open: dict[int, SummaryWriter] = {}
        self._drawn: dict[int, int] = {}  # reports drawn, by trial
        self._ended = {
            entry.number
            for entry in run.history.entries
            if entry.outcome is not None and self._place(entry).is_dir()
        }
        for entry in run.history.entries:
            self.follow(entry)

    def follow(self, entry: Entry) -> None:
        """Write what has come of one trial."""
        if entry.number in self._ended:
            return
        drawn = self._drawn.get(entry.number, 0)
        if drawn == 0 and not entry.reports and entry.outcome is None:
            return  # no empty folder for one that waits
        writer = self._writer(entry)
        for report in entry.reports[drawn:]:
            for name, score in report.scores.items():
                writer.add_scalar(name, score, report.steps)
        self._drawn[entry.number] = len(entry.reports)
        if entry.outcome is not None:
            self._choices(writer, entry)
            writer.close()
            self._ended.add(entry.number)
            del self._open[entry.number]
        else:
            writer.flush()

    def say(self, history: History) -> None:
        """Nothing: TensorBoard has no place for a verdict."""

    def _writer(self, entry: Entry) -> SummaryWriter:
        if entry.number not in self._open:
            writer = SummaryWriter(str(self._place(entry)))
            writer.add_text("neck", f"{trial_note(entry)}\n{self._picture(entry)}", 0)
            self._open[entry.number] = writer
        return self._open[entry.number]

    def _picture(self, entry: Entry) -> str:
        try:
            return fenced(draw_text(parse(entry.text, words=self._run.words)))
        except SpaceError:  # a word of it is not at hand
            return ""

    def _choices(self, writer: SummaryWriter, entry: Entry) -> None:
        outcome, space = entry.outcome, self._run.space
        assert outcome is not None
        taken: dict[str, str | float] = {"source": entry.source, **entry.cost}
        if space is not None and entry.genotype is not None:
            taken |= dict(explain(space, entry.genotype))
        whole = outcome.state in {"complete", "repeated"}
        scores = outcome.scores if whole else dict.fromkeys(self._names(), math.nan)
        metrics = {f"final/{name}": value for name, value in scores.items() if "/" not in name}
        for one in hparams(taken, metrics):
            writer.file_writer.add_summary(one)
        if whole:
            for name, value in metrics.items():
                writer.add_scalar(name, value, outcome.steps)

    def _names(self) -> list[str]:
        return [name.removeprefix("-") for name in self._run.objectives]

    def _place(self, entry: Entry) -> Path:
        return self._folder / f"trial-{entry.number:05d}-{entry.neck}"
