"""One training of a calibration: a neck at a fidelity of the proxy, or end to end; its scores.

Both travel to worker processes as paths, texts and numbers.
"""

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter, process_time

from safetensors.torch import load_file
from torch import nn

from nas_fpn.detect import DetectorSettings, build_detector, label_offset
from nas_fpn.detect.dataset import Dataset, take
from nas_fpn.detect.recursive import all_backbones
from nas_fpn.language import SHIPPED, Words, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.bank import Bank, Split
from nas_fpn.proxy.settings import BackboneSettings, DataSettings, ProxySettings
from nas_fpn.proxy.train import train
from nas_fpn.run.data import Data, read_data
from nas_fpn.run.trainer import build_neck, cached_bank
from nas_fpn.training import Standardised, TrainingSettings, fit_detector, measure

__all__ = ["EndToEnd", "InProxy", "Reference", "Scored", "some_of"]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a training gave: scores on val, or why it has none.

    ``cpu_seconds`` are of this process, its evaluation counted; ``seconds`` by the clock.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What all trainings end to end share beside neck and seed.

    ``warmed`` are the backbone's weights from a warm-up, a state dict of its net; ``levels`` are
    those that the bank's backbone gives, with their standardisation in ``bank``. ``needs_warmup``
    says that images were set aside for the warm-up: they are no part of train. Of train and of val
    at most ``images`` are taken, drawn by ``drawn_by``: the same for all trainings.
    """

    bank: Path
    data: DataSettings
    cache: Path
    drawn_at: int
    needs_warmup: bool
    backbone: BackboneSettings
    warmed: Path | None
    detector: DetectorSettings
    training: TrainingSettings
    images: int
    drawn_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InProxy:
    """Train the neck of ``text`` on a bank, in its first ``settings.views`` views."""

    label: str
    neck: str
    text: str
    seed: int
    of: str
    bank: Path
    settings: ProxySettings
    words: Words = SHIPPED

    def __call__(self) -> Generator[float, None, Scored]:
        """Yield the part done at each report."""
        clock = _Clock()
        bank = _in_views(self.bank, self.settings.views)
        neck = build_neck(parse(self.text, words=self.words), bank, seed=self.seed)
        scores = dict[str, float]()
        try:
            for report in train(neck, bank, self.settings, seed=self.seed):
                scores = dict(report.scores)
                yield report.steps / self.settings.steps
        except FloatingPointError as fault:
            return clock.stop({}, str(fault))
        return clock.stop(scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Train a detector of backbone, neck and heads, the backbone unfrozen, as ``confirm`` does."""

    label: str
    neck: str
    text: str
    seed: int
    of: str
    reference: Reference
    words: Words = SHIPPED

    def __call__(self) -> Generator[float, None, Scored]:
        """Yield the part done at each report."""
        clock, reference = _Clock(), self.reference
        data = _data(
            reference.data,
            reference.cache,
            reference.drawn_at,
            reference.needs_warmup,
            reference.images,
            reference.drawn_by,
        )
        model, backbone = self._build(data.train)
        settings = reference.training
        steps = settings.steps_for(len(data.train.images))
        has_weights = reference.warmed is not None or reference.backbone.weights != "none"
        reports = fit_detector(
            model,
            data.train,
            settings,
            seed=self.seed,
            val=data.val,
            label_offset=label_offset(reference.detector),
            backbones=all_backbones(model, backbone) if has_weights else (),
        )
        scores = dict[str, float]()
        try:
            for report in reports:
                scores = dict(report.scores)
                yield report.steps / steps
        except FloatingPointError as fault:
            return clock.stop({}, str(fault))
        return clock.stop(scores)

    def _build(self, train: Dataset) -> tuple[nn.Module, nn.Module]:
        reference = self.reference
        architecture = parse(self.text, words=self.words)
        levels = lower(architecture).inputs
        backbone = build_backbone(reference.backbone, levels, seed=self.seed)
        if reference.warmed is not None:
            warmed = load_file(reference.warmed)  # its other necks may read deeper stages
            backbone.net.load_state_dict({key: warmed[key] for key in backbone.net.state_dict()})
        neck = Neck(architecture, [backbone.channels[level] for level in levels], seed=self.seed)
        if reference.backbone.tune_steps:  # the bank's are of features after that
            statistics = measure(backbone, train, image_size=reference.training.image_size)
        else:
            bank = cached_bank(reference.bank)
            statistics = {k: (bank.mean[k], bank.std[k]) for k in levels}
        body = Standardised(backbone, statistics)
        model = build_detector(
            reference.detector,
            backbone if reference.detector.recursive_steps > 1 else body,
            neck,
            num_classes=len(train.categories),
            image_size=reference.training.image_size,
            seed=self.seed,
        )
        return model, backbone


class _Clock:
    def __init__(self) -> None:
        self.began, self.cpu_began = perf_counter(), process_time()

    def stop(self, scores: Mapping[str, float], reason: str | None = None) -> Scored:
        told = {k: v for k, v in scores.items() if k != "rate" and not k.startswith("loss")}
        return Scored(told, process_time() - self.cpu_began, perf_counter() - self.began, reason)


@lru_cache(maxsize=1)
def _data(
    settings: DataSettings,
    cache: Path,
    drawn_at: int,
    needs_warmup: bool,
    images: int,
    drawn_by: int,
) -> Data:
    whole = read_data(settings, cache, image_size=drawn_at, needs_warmup=needs_warmup)
    train, val = (some_of(one, images, seed=drawn_by) for one in (whole.train, whole.val))
    return replace(whole, train=train, val=val)


def some_of(dataset: Dataset, most: int, *, seed: int) -> Dataset:
    """At most so many of the images, drawn by ``seed``, in their order."""
    count = len(dataset.images)
    if count <= most:
        return dataset
    return take(dataset, sorted(random.Random(seed).sample(range(count), most)))


@lru_cache(maxsize=4)
def _in_views(path: Path, views: int) -> Bank:
    """A bank whose train split holds only the first views: its rows stand view by view."""
    bank = cached_bank(path)
    train = bank.train
    images = int((train.image_ids == train.image_ids[0]).sum())
    rows = slice(0, views * (len(train.image_ids) // images))
    return replace(
        bank,
        train=Split(
            {level: feature[rows] for level, feature in train.features.items()},
            train.boxes[rows],
            train.labels[rows],
            train.image_ids[rows],
            train.scales[rows],
        ),
    )
