"""The check on test: the best neck found and the best baseline, trained with new seeds.

The search chose on val, and the best of many is flattered there. So both are trained again in the
proxy with seeds that the search has not used, the same ones for both, and scored on the test split,
which nothing has seen. Still a proxy: the backbone stays frozen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from nas_fpn.language import parse
from nas_fpn.proxy.train import train
from nas_fpn.record import Entry, Event, History, Record
from nas_fpn.report import best_entry, proxy_checks
from nas_fpn.run.prepare import Step
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import Trainer, build_neck, cached_bank

__all__ = ["Checked", "check_on_test"]

STAGE = "training the best neck and the best baseline with new seeds, scored on test"


@dataclass(frozen=True, slots=True)
class Checked:
    """The check on test has been put on record, as this event "verdict"."""

    line: Event


def check_on_test(
    run: Run, record: Record, history: History, entries: Sequence[Entry], trainer: Trainer
) -> Iterator[Step | Checked]:
    """Append the event "verdict" to the record, unless it holds this very one; yield how far.

    Does nothing where ``[confirm] seeds`` is 0, or where a neck or a baseline is missing. Raises
    ``FloatingPointError`` if a training diverged.
    """
    objective = run.settings.objectives[0]
    control = best_entry([e for e in entries if e.is_baseline], objective)
    found = best_entry([e for e in entries if not e.is_baseline], objective)
    seeds = [run.settings.seed + 1 + i for i in range(run.settings.confirm.seeds)]
    if found is None or control is None or not seeds:
        return
    asked: Event = {
        "event": "verdict",
        "split": "test",
        "objective": objective,
        "trial": found.number,
        "control": control.number,
        "seeds": seeds,
    }
    if any(asked.items() <= event.items() for event in proxy_checks(history.events)):
        return
    began = perf_counter()
    total = 2 * len(seeds)
    scores: dict[str, list[float]] = {"trial": [], "control": []}
    for position, (side, entry, seed) in enumerate(
        (side, entry, seed)
        for seed in seeds
        for side, entry in (("trial", found), ("control", control))
    ):
        yield Step(STAGE, position, total)
        scores[side].append(_score(entry, trainer, objective, seed=seed))
    checked = {**asked, "where": "proxy", "scores": scores, "seconds": perf_counter() - began}
    record.append(checked)
    yield Step(STAGE, total, total)
    yield Checked(checked)


def _score(entry: Entry, trainer: Trainer, objective: str, *, seed: int) -> float:
    bank = cached_bank(trainer.bank)
    neck = build_neck(parse(entry.text, words=trainer.words), bank, seed=seed)
    *_, last = train(neck, bank, trainer.settings, seed=seed, split="test")
    return float(last.scores[objective])
