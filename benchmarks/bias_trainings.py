"""The trainings that benchmarks/bias.py compares: one neck, one condition, one seed, one row.

Embedded scenes of 96 pixels. A condition says what backbone serves the features, how many views of
an image there are, how many steps are made, and what of the backbone learns.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas_fpn.detect import build_detector
from nas_fpn.detect.dataset import Dataset
from nas_fpn.language import find_neck, fit, lower, parse, read_neck
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.optimise import draw_order, optimise
from nas_fpn.proxy.train import prepare_training, proxy_schedule
from nas_fpn.proxy.views import View, see
from nas_fpn.proxy.warmup import load_images, warm_up
from nas_fpn.run.data import Data, read_data
from nas_fpn.run.settings import Run, read_run
from nas_fpn.run.trainer import build_neck
from nas_fpn.training import Standardised, fit_detector

RUN = """# Small: benchmarks/bias.py trains some hundred necks on it.
space     = "quick"
baselines = ["none", "fpn", "panet", "bifpn"]

[data]
shapes_train  = 300
shapes_val    = 200
shapes_test   = 4
shapes_warmup = 300

[backbone]
warmup_steps = 400

[proxy]
image_size = 96
steps      = 150

[detector]
head_depth = 1

[training]
evaluations = 1
steps       = 150
"""
LEVELS = (3, 4, 5)
WIDTH = 64
ZOOM = (2 / 3, 1.5)  # of fresh views: the range of the fixed ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``warmed_on`` is "other" images or the "train" images themselves, with the neck ``warmed``.

    ``views`` is a number of fixed ones, or "fresh". ``learns`` is "" in the proxy; end to end with
    torchvision's FCOS it is "nothing" of the backbone, its "last stage", or "all" but the stem.
    """

    label: str
    warmed_on: str = "other"
    warmed: str = "fpn"
    warm_seed: int = 0
    views: int | str = 3
    steps: int = 150
    learns: str = ""


def folder_of(path: Path) -> Run:
    """The run of this benchmark, its ``run.toml`` written if there is none."""
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "run.toml").is_file():
        (path / "run.toml").write_text(RUN, encoding="utf-8")
    return read_run(path)


@lru_cache(maxsize=1)
def data_of(folder: Path) -> Data:
    """The scenes, drawn once."""
    run = read_run(folder)
    size = run.settings.proxy.image_size
    return read_data(run.data, folder / "data", image_size=size, needs_warmup=True)


def train_once(folder: Path, condition: Condition, text: str, seed: int) -> dict[str, Any]:
    """Train the neck of a program under a condition; its scores on val and its CPU seconds."""
    began = time.process_time()
    if condition.learns:
        scores = _end_to_end(folder, condition, text, seed)
    else:
        scores = _in_proxy(folder, condition, text, seed)
    kept = {k: v for k, v in scores.items() if k.startswith("ap") and "/" not in k}
    return {"scores": kept, "cpu_seconds": time.process_time() - began}


@lru_cache(maxsize=2)
def backbone_of(folder: Path, warmed_on: str, warmed: str, seed: int) -> Backbone:
    """A backbone after its warm-up, frozen; its weights are kept in the folder."""
    run, data = read_run(folder), data_of(folder)
    backbone = build_backbone(run.backbone, LEVELS, seed=seed)
    path = folder / "bank" / f"warm-{warmed_on}-{warmed}-{seed}.safetensors"
    if not path.is_file():
        program = fit(read_neck(find_neck(warmed)), width=WIDTH, levels=LEVELS)
        neck = Neck(program, [backbone.channels[k] for k in lower(program).inputs], seed=seed)
        images = data.train if warmed_on == "train" else data.warmup
        assert images is not None
        settings = run.settings.proxy
        loaded = load_images(images, settings.image_size)
        for _ in warm_up(backbone, neck, loaded, settings, run.backbone, seed=seed):
            pass
        path.parent.mkdir(exist_ok=True)
        save_file({k: v.contiguous() for k, v in backbone.net.state_dict().items()}, path)
    backbone.net.load_state_dict(load_file(path))
    return backbone.freeze()


@lru_cache(maxsize=3)
def bank_of(folder: Path, warmed_on: str, warmed: str, seed: int, views: int) -> Bank:
    """The bank of a backbone."""
    run, data = read_run(folder), data_of(folder)
    steps = build_bank(
        folder / "bank",
        backbone=backbone_of(folder, warmed_on, warmed, seed),
        train=data.train,
        val=data.val,
        test=data.test,
        settings=run.settings.proxy.model_copy(update={"views": views}),
    )
    *_, last = steps
    return open_bank(last.path)


def _in_proxy(folder: Path, condition: Condition, text: str, seed: int) -> dict[str, float]:
    is_fresh = isinstance(condition.views, str)
    views = 1 if isinstance(condition.views, str) else condition.views
    warm = (condition.warmed_on, condition.warmed, condition.warm_seed)
    bank = bank_of(folder, *warm, views)
    settings = read_run(folder).settings.proxy.model_copy(
        update={"views": views, "steps": condition.steps, "evaluations": 1}
    )
    neck = build_neck(parse(text), bank, seed=seed)
    training = prepare_training(neck, bank, settings, seed=seed)
    loss = training.loss
    if is_fresh:
        order = draw_order(
            len(bank.train.image_ids),
            1,
            batch_size=settings.batch_size,
            steps=settings.steps,
            seed=seed,
        )
        loss = _fresh(
            data_of(folder).train, backbone_of(folder, *warm), bank, order, training.detector, seed
        )
    schedule = proxy_schedule(settings)
    *_, last = optimise(training.detector, schedule, loss=loss, evaluate=training.evaluate)
    return dict(last.scores)


def _fresh(
    data: Dataset, backbone: Backbone, bank: Bank, order: Tensor, detector: Any, seed: int
) -> Callable[[int], Tensor]:
    """The loss on views drawn anew: mirrored or not, zoomed as far as the fixed ones, placed so."""
    chance = np.random.default_rng(seed)
    pictures = [PILImage.open(image.path).convert("RGB") for image in data.images]

    def loss(step: int) -> Tensor:
        seen = []
        for row in order[step].tolist():
            zoom = float(np.exp(chance.uniform(*np.log(ZOOM))))
            view = View("fresh", zoom, bool(chance.integers(2)))
            kept, number = ~data.crowd[row], int(chance.integers(5))
            seen.append(
                see(
                    pictures[row],
                    data.boxes[row][kept],
                    data.labels[row][kept],
                    view=view,
                    image_size=bank.image_size,
                    number=number,
                )
            )
        most = max(1, *(len(one.labels) for one in seen))
        boxes = torch.zeros(len(seen), most, 4)
        labels = torch.full((len(seen), most), -1)
        for at, one in enumerate(seen):
            boxes[at, : len(one.labels)] = one.boxes
            labels[at, : len(one.labels)] = one.labels
        with torch.no_grad():
            images = torch.stack([one.image for one in seen]).float() / 255
            features = {
                level: (feature - bank.mean[level][:, None, None]) / bank.std[level][:, None, None]
                for level, feature in backbone(images).items()
            }
        total: Tensor = detector.losses(features, boxes, labels).total
        return total

    return loss


def _end_to_end(folder: Path, condition: Condition, text: str, seed: int) -> dict[str, float]:
    run, data = read_run(folder), data_of(folder)
    warm = (condition.warmed_on, condition.warmed, condition.warm_seed)
    bank = bank_of(folder, *warm, 3)
    backbone = build_backbone(run.backbone, LEVELS, seed=seed)
    backbone.net.load_state_dict(backbone_of(folder, *warm).net.state_dict())
    architecture = parse(text)
    levels = lower(architecture).inputs
    neck = Neck(architecture, [backbone.channels[level] for level in levels], seed=seed)
    body = Standardised(backbone, {k: (bank.mean[k], bank.std[k]) for k in LEVELS})
    size = run.settings.proxy.image_size
    model = build_detector(
        run.settings.detector,
        body,
        neck,
        num_classes=len(data.train.categories),
        image_size=size,
        seed=seed,
    )
    frozen = {"nothing": 5, "last stage": 4, "all": 2}[condition.learns]
    training = run.settings.training.model_copy(
        update={"image_size": size, "steps": condition.steps, "freeze_level": frozen}
    )
    reports = fit_detector(
        model, data.train, training, seed=seed, val=data.val, backbones=[backbone]
    )
    *_, last = reports
    return dict(last.scores)


class Rows:
    """The trainings on file, one line each; found again by all that decides them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.rows = {row["of"]: row for row in map(json.loads, lines)}

    def of(self, folder: Path, condition: Condition, text: str, seed: int) -> dict[str, Any]:
        """The row of a training, trained now if it is not on file."""
        decides = {k: v for k, v in asdict(condition).items() if k != "label"}
        what = json.dumps([decides, text, seed], sort_keys=True)
        key = hashlib.sha256(what.encode()).hexdigest()[:16]
        if key not in self.rows:
            row = {"of": key, "seed": seed, **decides, **train_once(folder, condition, text, seed)}
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            self.rows[key] = row
            print(f"{condition.label}, seed {seed}: {row['scores']['ap']:.4f}", flush=True)
        return self.rows[key]

    def seconds(self) -> float:
        """CPU seconds of all of them."""
        return sum(row["cpu_seconds"] for row in self.rows.values())


def every(necks: int, seeds: int) -> Iterator[tuple[int, int]]:
    """Places of necks, and seeds, seed by seed."""
    return ((neck, seed) for seed in range(seeds) for neck in range(necks))
