"""The finalists: the best necks found, scored again in the proxy until few are left.

The best of many scores is a lucky one. So the best necks are trained again with new seeds, as the
search trained them and scored on val, and the worse half leaves after each round, by the rule of
:mod:`nas_fpn.report.screening`. Test is not touched.
"""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from nas_fpn.language import parse
from nas_fpn.proxy.train import train
from nas_fpn.record import Entry, Event, History, Record
from nas_fpn.report import ScreeningPlan, screen, screening_cost
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run
from nas_fpn.run.spread import Done, Work, spread
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank, decisive

__all__ = ["Rescore", "finalists"]

STAGE = "scoring the best necks again in the proxy"
FIRST_SEED = 1001  # beyond the run's own, and beyond those of its check


@dataclass(frozen=True, slots=True)
class Rescore:
    """Train a neck in the proxy from ``seed``; returns its scores on val."""

    trainer: Trainer
    neck: str
    text: str
    seed: int

    def __call__(self) -> Generator[float, None, Mapping[str, float]]:
        """Yield the part done at each evaluation; a training that diverged has no scores."""
        bank = cached_bank(self.trainer.bank)
        neck = build_neck(parse(self.text, words=self.trainer.words), bank, seed=self.seed)
        scores: Mapping[str, float] = {}
        try:
            for report in train(neck, bank, self.trainer.settings, seed=self.seed):
                scores = report.scores
                yield report.steps / self.trainer.settings.steps
        except FloatingPointError:
            return {}
        return scores


def finalists(
    run: Run, candidates: Sequence[Entry], record: Record, history: History, trainer: Trainer
) -> Generator[Step, None, tuple[Entry, ...]]:
    """Choose who is compared end to end among ``candidates``, best first; yield how far it is.

    Each training is put on record, as an event "screening", and is not repeated. Of several
    objectives the finalists are spread over the front instead, from its first neck to its last: one
    score does not choose among necks that were kept for others. A training that diverged has the
    score 0.
    """
    settings, objective = run.settings.confirm, run.settings.objectives[0]
    if len(run.settings.objectives) > 1:
        return _spread_over(candidates, settings.finalists)
    by_neck = {entry.neck: entry for entry in candidates}
    plan = ScreeningPlan(
        keep=max(settings.screened, settings.finalists), finalists=settings.finalists
    )
    told = {neck: _score(entry, objective) for neck, entry in by_neck.items()}
    seen = _on_record(history, trainer, objective)
    first = run.settings.seed + FIRST_SEED
    waiting: set[tuple[str, int]] = set()

    def scores() -> dict[str, list[float]]:
        rows = {}
        for neck, own in told.items():
            rows[neck] = [own]
            while (neck, first + len(rows[neck]) - 1) in seen:
                rows[neck].append(seen[neck, first + len(rows[neck]) - 1])
        return rows

    def due() -> Work[Mapping[str, float]] | None:
        for one in screen(scores(), plan).due:
            what = (one.neck, first + one.place - 1)
            if what not in waiting and what not in seen:
                waiting.add(what)
                return Rescore(trainer, one.neck, by_neck[one.neck].text, what[1])
        return None

    total = screening_cost(plan, len(by_neck))
    if total:
        yield Step(STAGE, min(len(seen), total - 1), total)
    for event in spread(due, workers=settings.workers, threads=trainer.settings.threads):
        if isinstance(event, Done):
            work = event.work
            assert isinstance(work, Rescore)
            seen[work.neck, work.seed] = event.result.get(objective, 0.0)
            record.append(_event(work, event.result))
            yield Step(STAGE, min(len(seen), total), total)
    return tuple(by_neck[neck] for neck in screen(scores(), plan).left[: settings.finalists])


def _spread_over(front: Sequence[Entry], count: int) -> tuple[Entry, ...]:
    """So many of a front, its ends among them.

    >>> _spread_over("abcde", 3)
    ('a', 'c', 'e')
    """
    if count == 1 or len(front) == 1:
        return tuple(front[:1])
    last, steps = len(front) - 1, min(count, len(front)) - 1
    return tuple(front[round(i * last / steps)] for i in range(steps + 1))


def _score(entry: Entry, objective: str) -> float:
    assert entry.outcome is not None
    return entry.outcome.scores[objective]


def _of(trainer: Trainer) -> str:
    """A hash of what decides a score in the proxy, beside neck and seed."""
    what = json.dumps([trainer.bank.name, decisive(trainer.settings)])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _event(work: Rescore, scores: Mapping[str, float]) -> Event:
    return {
        "event": "screening",
        "of": _of(work.trainer),
        "neck": work.neck,
        "seed": work.seed,
        "split": "val",
        "scores": dict(scores),
    }


def _on_record(history: History, trainer: Trainer, objective: str) -> dict[tuple[str, int], float]:
    """By neck and seed: the scores that are known."""
    of = _of(trainer)
    return {
        (event["neck"], event["seed"]): event["scores"].get(objective, 0.0)
        for event in history.events
        if event["event"] == "screening" and event["of"] == of
    }
