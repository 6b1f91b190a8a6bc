"""What a worker does with a trial: the text of a neck to its reports, on the shared bank."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from nas_fpn.language import SHIPPED, Architecture, Cost, Words, cost, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.latency import latency_ms
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import pick_device, train
from nas_fpn.record import Report
from nas_fpn.run.limits import Limits
from nas_fpn.search import CONSTRAINED, BeyondLimits, Due, SoftConstraint
from nas_fpn.search.header import PROXY_MAY_CHANGE

__all__ = ["Trainer", "build_neck", "cached_bank", "decisive", "neck_cost"]


@dataclass(frozen=True, slots=True)
class Trainer:
    """Train the neck of a text in the proxy. Travels to workers: a path and numbers, no tensors.

    Every trial has the same ``seed``: the same head, the same order of the same images (common
    random numbers), so that necks differ by what they are and not by luck. ``costs`` names what
    is told of the neck's cost beside its scores: "params_m" (millions), "gmacs" (1e9 an image),
    "latency_ms" (measured here, before the training). ``soft`` adds one score made of several.
    ``rungs`` are steps to report at beside the settings' evaluations; ``checkpoints`` is the
    folder of those that pause there. ``words`` are those of the texts; own ones travel along.
    ``limits`` are held against each neck before it is trained, and what was measured is told.
    """

    bank: Path
    settings: ProxySettings
    seed: int
    costs: tuple[str, ...] = ()
    soft: SoftConstraint | None = None
    rungs: tuple[int, ...] = ()
    words: Words = SHIPPED
    checkpoints: Path | None = None
    limits: Limits | None = None

    def __call__(self, due: Due) -> Iterator[Report]:
        """Yield the reports of one trial. The neck of a text is the same in every process.

        One that is to pause lies in ``checkpoints`` before its last report is given, and goes on
        from there in whichever process. Raises :class:`BeyondLimits` for a neck that exceeds one,
        unless it is a baseline.
        """
        architecture = parse(due.text, file=f"trial {due.number}", words=self.words)
        bank = cached_bank(self.bank)
        checkpoint = self._checkpoint(due, bank)
        neck = build_neck(architecture, bank, seed=self.seed)
        measured: Mapping[str, float] = {}
        if self.limits is not None:
            torch.set_num_threads(self.settings.threads)
            measured = self.limits.measure(neck, bank, self.settings, seed=self.seed)
            too_much = self.limits.beyond(measured)
            if too_much and due.bounded and due.begin == 0:
                raise BeyondLimits(", ".join(too_much))
        yield from self.reports(neck, checkpoint, measured=measured)

    def at(self, bank: Path) -> "Trainer":
        """The same where the bank lies elsewhere, as on another node."""
        return replace(self, bank=bank)

    def reports(
        self,
        neck: Neck,
        checkpoint: Checkpoint | None = None,
        *,
        measured: Mapping[str, float] = MappingProxyType({}),
    ) -> Iterator[Report]:
        """Train a neck of :func:`build_neck` in place and yield its reports.

        They tell what was ``measured`` of it.
        """
        torch.set_num_threads(self.settings.threads)
        bank = cached_bank(self.bank)
        price = neck_cost(neck.architecture, bank)
        known = {"params_m": price.params / 1e6, "gmacs": price.macs / 1e9, **measured}
        if "latency_ms" in self.costs and "latency_ms" not in known:
            neck.to(pick_device(self.settings.device))
            known["latency_ms"] = latency_ms(neck, bank.channels, image_size=bank.image_size)
        wanted = {name: known[name] for name in (*self.costs, *measured)}
        for report in train(
            neck, bank, self.settings, seed=self.seed, rungs=self.rungs, checkpoint=checkpoint
        ):
            scores = {**report.scores, **wanted}
            if self.soft is not None:
                scores[CONSTRAINED] = self.soft(scores)
            yield replace(report, scores=scores)

    def _checkpoint(self, due: Due, bank: Bank) -> Checkpoint | None:
        if self.checkpoints is None:
            return None
        settings = decisive(self.settings)
        what = json.dumps([due.text, settings, self.seed, bank.key, self.rungs])
        of = hashlib.sha256(what.encode()).hexdigest()
        return Checkpoint(self.checkpoints, due.number, of, due.begin, due.pause)


def decisive(settings: ProxySettings) -> dict[str, Any]:
    """What of ``[proxy]`` decides a score, for hashes of trainings: not how a step is launched.

    So what older versions hashed, without those settings, is found again.
    """
    return settings.model_dump(mode="json", exclude=set(PROXY_MAY_CHANGE))


@lru_cache(maxsize=2)
def cached_bank(path: Path) -> Bank:
    """A bank, opened once in a process: workers live longer than trials."""
    return open_bank(path)


def build_neck(architecture: Architecture, bank: Bank, *, seed: int) -> Neck:
    """An untrained neck on the channels of a bank."""
    channels = [bank.channels[level] for level in lower(architecture).inputs]
    return Neck(architecture, channels, seed=seed)


def neck_cost(architecture: Architecture, bank: Bank) -> Cost:
    """What a neck costs on the features of a bank, for one image."""
    return cost(architecture, bank.channels, image_size=bank.image_size)
