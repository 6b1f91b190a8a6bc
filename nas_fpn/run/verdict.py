"""The check on test: the best neck found and the best baseline, trained with new seeds.

The search chose on val, and the best of many is flattered there. So both are trained again in the
proxy with seeds that the search has not used, the same ones for both, and scored on the test split,
which nothing has seen. Still a proxy: the backbone stays frozen.

Where the run's time is bounded there are as many seeds as fit, whatever they say.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter

from nas_fpn.language import parse
from nas_fpn.proxy.train import train
from nas_fpn.record import Entry, Event, History, Record
from nas_fpn.report import best_entry, proxy_checks
from nas_fpn.run.clock import RunClock
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank
from nas_fpn.search.limit import Late, alarm

__all__ = ["Checked", "check_on_test"]

STAGE = "training the best neck and the best baseline with new seeds, scored on test"


@dataclass(frozen=True, slots=True)
class Checked:
    """The check on test has been put on record, as this event "verdict"."""

    line: Event


def check_on_test(
    run: Run,
    record: Record,
    history: History,
    entries: Sequence[Entry],
    trainer: Trainer,
    *,
    clock: RunClock | None = None,
) -> Generator[Step | Checked, None, bool]:
    """Append the event "verdict" to the record, unless it holds this very one; yield how far.

    With a ``clock`` it takes the seeds of ``[confirm]``, more while there is time up to
    ``max_seeds``, or fewer; one on record for the same two necks is enough. Does nothing where
    ``[confirm] seeds`` is 0, or where a neck or a baseline is missing. A training that diverged
    has the score 0; "diverged" counts them where there are any. Returns whether there was no time
    for a single pair.
    """
    objective = run.settings.objectives[0]
    control = best_entry([e for e in entries if e.is_baseline], objective)
    found = best_entry([e for e in entries if not e.is_baseline], objective)
    asked_for = run.settings.confirm
    most = asked_for.seeds if clock is None else max(asked_for.seeds, asked_for.max_seeds)
    seeds = [run.settings.seed + 1 + i for i in range(most if asked_for.seeds else 0)]
    if found is None or control is None or not seeds:
        return False
    asked: Event = {
        "event": "verdict",
        "split": "test",
        "objective": objective,
        "trial": found.number,
        "control": control.number,
        **({} if clock is not None else {"seeds": seeds}),
    }
    if any(asked.items() <= event.items() for event in proxy_checks(history.events)):
        return False
    began = perf_counter()
    total = 2 * len(seeds)
    scores: dict[str, list[float]] = {"trial": [], "control": []}
    diverged = 0
    took = _seconds(found) + _seconds(control)  # of a pair, the last one
    for seed in seeds:
        since = monotonic()
        export = took / 2
        if clock is not None and clock.to_end() < took + export:
            break
        until = None if clock is None else since + clock.to_end() - export
        pair: list[float | None] = []
        try:
            for entry in (found, control):
                yield Step(STAGE, 2 * len(scores["trial"]) + len(pair), total)
                with alarm(until):
                    pair.append(_score(entry, trainer, objective, seed=seed))
        except Late:  # half a pair says nothing
            break
        for side, score in zip(scores, pair, strict=True):
            scores[side].append(0.0 if score is None else score)
            diverged += score is None
        took = monotonic() - since
    if not scores["trial"]:
        return True
    spent = {} if clock is None else {"spent": round(clock.spent(), 3)}
    checked = {
        **asked,
        "seeds": seeds[: len(scores["trial"])],
        "where": "proxy",
        "scores": scores,
        **({"diverged": diverged} if diverged else {}),
        "seconds": perf_counter() - began,
        **spent,
    }
    record.append(checked)
    yield Step(STAGE, total, total)
    yield Checked(checked)
    return False


def _seconds(entry: Entry) -> float:
    return 0.0 if entry.outcome is None else entry.outcome.seconds


def _score(entry: Entry, trainer: Trainer, objective: str, *, seed: int) -> float | None:
    """The score on test; None of a training that diverged."""
    bank = cached_bank(trainer.bank)
    neck = build_neck(parse(entry.text, words=trainer.words), bank, seed=seed)
    try:
        *_, last = train(neck, bank, trainer.settings, seed=seed, split="test")
    except FloatingPointError:
        return None
    return float(last.scores[objective])
