"""A step of the proxy, its floor, its parts, and torchvision's step, in turns in one process."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import process_time
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_fpn.detect.body import BackboneWithNeck
from nas_fpn.detect.boxes import make_grid
from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.detector import Detector
from nas_fpn.detect.losses import detection_losses
from nas_fpn.detect.mixed import mixed_precision
from nas_fpn.detect.one_stage import make_fcos
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.detect.targets import chosen_targets
from nas_fpn.language import Architecture, find_neck, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.bank import Bank, open_bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.feeding import Feed, memory_of
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.proxy.train import make_detector, prepare_training, proxy_schedule
from nas_fpn.proxy.warmup import Images, load_images

NECKS = ("none", "fpn", "panet", "bifpn", "nas_fpn")
SHAPES = ((128, 64), (256, 64), (128, 128))
TRAIN, VAL = 64, 8  # images
WARM = 3
PARTS = ("data", "neck", "head", "targets", "loss", "optimiser")
CPU = torch.device("cpu")

Row = dict[str, Any]
Precision = Literal["float32", "bfloat16"]


def machine() -> Row:
    """What one thread of this machine does: multiply-adds and bytes a second."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    image, filters = torch.randn(16, 64, 64, 64), torch.randn(64, 64, 3, 3)
    image = image.contiguous(memory_format=torch.channels_last)
    source, target = torch.randn(1 << 24), torch.empty(1 << 24)
    products = best(lambda: torch.mm(left, right))
    convolutions = best(lambda: nn.functional.conv2d(image, filters, padding=1))
    return {
        "matrix_gmacs": 1024**3 / products / 1e9,
        "convolution_gmacs": 16 * 64 * 64 * 64 * 64 * 9 / convolutions / 1e9,
        "gb_per_second": 4 * source.numel() / best(lambda: target.copy_(source)) / 1e9,
    }


def best(run: Callable[[], object], times: int = 15) -> float:
    """The least seconds of a call: what the machine can do when nothing is in the way."""
    return min(timed(run) for _ in range(times))


def timed(run: Callable[[], object]) -> float:
    """Seconds of the process that a call takes."""
    began = process_time()
    run()
    return process_time() - began


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def steps(folder: Path, rounds: int) -> Iterator[Row]:
    """One row for each neck, size and width."""
    for image_size in sorted({size for size, _ in SHAPES}):
        bank, backbone, images = prepared(folder, image_size)
        for size, width in SHAPES:
            for name in NECKS if size == image_size else ():
                yield one(name, width, bank, backbone, images, rounds)


def prepared(
    folder: Path, image_size: int, *, images: int = TRAIN, held_out: int = VAL
) -> tuple[Bank, Backbone, Images]:
    """A bank of scenes, the backbone that made it, and the same train images as pixels."""
    data = folder / f"data-{image_size}"
    counts = {"train": images, "val": held_out, "test": VAL, "warmup": 0}
    write_shapes(data, seed=0, image_size=image_size, **counts)
    train, val, test = (
        read_coco(data / f"{name}.json", data / "images")[0] for name in ("train", "val", "test")
    )
    backbone = build_backbone(BackboneSettings(), (3, 4, 5), seed=0).freeze()
    settings = ProxySettings(image_size=image_size, views=1)
    *_, built = build_bank(
        folder / "bank", backbone=backbone, train=train, val=val, test=test, settings=settings
    )
    return open_bank(built.path), backbone, load_images(train, image_size)


def at_width(name: str, width: int) -> Architecture:
    """A shipped neck at another width."""
    text = find_neck(name).read_text(encoding="utf-8")
    for shipped in (64, 256):
        text = text.replace(f"width {shipped}\n", f"width {width}\n")
    return parse(text)


def build_neck(architecture: Architecture, bank: Bank, *, seed: int) -> Neck:
    """An untrained neck on the channels of a bank."""
    channels = [bank.channels[level] for level in lower(architecture).inputs]
    return Neck(architecture, channels, seed=seed)


def one(name: str, width: int, bank: Bank, backbone: Backbone, images: Images, rounds: int) -> Row:
    """The step of one neck, its floor, its parts and torchvision's, in turns."""
    settings = ProxySettings(
        image_size=bank.image_size, steps=rounds + WARM, evaluations=1, views=1
    )
    architecture = at_width(name, width)

    def detector() -> Detector:
        neck = build_neck(architecture, bank, seed=0)
        made = make_detector(neck, settings, num_classes=len(bank.categories), seed=0)
        assert isinstance(made, Detector)
        return made

    last, first = (detector() for _ in range(2))
    last.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)
    noise = {
        level: torch.randn(settings.batch_size, *stored.shape[1:], generator=generator)
        for level, stored in bank.train.features.items()
        if level in last.neck.inputs
    }
    others: dict[str, Callable[[], object]] = {
        "floor": alone(last, noise),
        "floor_first": alone(first, noise),
        "bfloat16": alone(last, noise, precision="bfloat16"),
        "torchvision": torchvisions(architecture, bank, backbone, images, settings),
    }
    with FlopCounterMode(display=False) as counter:
        others["floor"]()
    seconds: dict[str, list[float]] = {key: [] for key in (*others, "step", *PARTS)}
    staged = stages(detector(), bank, settings)
    training = prepare_training(build_neck(architecture, bank, seed=0), bank, settings, seed=0)
    seen = memory_of(bank.train)
    everything = torch.arange(len(bank.train.labels)).split(settings.batch_size)
    began = 0.0

    def loss(step: int) -> Iterator[Tensor]:
        nonlocal began
        if step:
            seconds["step"].append(process_time() - began)
        else:  # which box a point learns is known from now on, as after the first epoch
            for rows in everything:
                grid = training.detector(Feed(bank.train, last.neck.inputs, CPU)(rows))[1]
                rule, assign = training.detector.rule, training.detector.assign
                seen.index(rows, grid, rule=rule, assign=assign)  # type: ignore[arg-type]
        for key, run in others.items():
            seconds[key].append(timed(run))
        for key, value in staged(step).items():
            seconds[key].append(value)
        began = process_time()
        return training.loss(step)

    def end() -> dict[str, float]:
        seconds["step"].append(process_time() - began)
        return {}

    for _ in optimise(training.detector, proxy_schedule(settings), loss=loss, evaluate=end):
        pass
    warm = {key: values[WARM:] for key, values in seconds.items()}
    stored = sum(f[0].numel() for k, f in bank.train.features.items() if k in noise)
    return {
        "neck": name,
        "image_size": bank.image_size,
        "width": width,
        "step_ms": 1e3 * statistics.median(warm["step"]),
        "gmacs": counter.get_total_flops() / 2e9,
        "feature_mb": 4e-6 * stored * settings.batch_size,
        "parts": {key: statistics.median(warm[key]) for key in PARTS},
        "low": ratio(warm["bfloat16"], warm["floor"]),
        **{key: ratio(warm["step"], warm[key]) for key in others},
    }


def alone(
    detector: Detector, features: Mapping[int, Tensor], *, precision: Precision = "float32"
) -> Callable[[], None]:
    """Forward and backward of neck and head on the same features, with a sum for a loss."""
    last = all(p.is_contiguous(memory_format=torch.channels_last) for p in _filters(detector))
    layout = torch.channels_last if last else torch.contiguous_format
    given = {level: feature.contiguous(memory_format=layout) for level, feature in features.items()}
    (where, *_) = {feature.device for feature in features.values()}

    def run() -> None:
        with mixed_precision(where, precision):
            said, _ = detector(given)
        detector.zero_grad()
        (said.logits.sum() + said.distances.sum() + said.centreness.sum()).backward()

    return run


def stages(
    detector: Detector, bank: Bank, settings: ProxySettings
) -> Callable[[int], dict[str, float]]:
    """A step cut into its parts, each forward and backward; what they take adds up to a step."""
    detector.to(memory_format=torch.channels_last)
    feed, memory = Feed(bank.train, detector.neck.inputs, CPU), memory_of(bank.train)
    parameters = list(detector.parameters())
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, fused=True)

    def run(step: int) -> dict[str, float]:
        taken = dict.fromkeys(PARTS, 0.0)
        rows = torch.randperm(len(bank.train.labels))[: settings.batch_size]
        clock = _Clock(taken)
        features = feed(rows)
        boxes, labels = bank.train.boxes[rows], bank.train.labels[rows]
        clock.add("data")
        pyramid = detector.neck([features[level] for level in detector.neck.inputs])
        clock.add("neck")
        levels = [feature.detach().requires_grad_() for feature in pyramid]
        said = detector.head(levels)
        clock.add("head")
        cut = type(said)(
            *(
                part.detach().requires_grad_()
                for part in (said.logits, said.distances, said.centreness)
            )
        )
        grid = make_grid([f.shape[2:] for f in pyramid], detector.neck.strides)  # type: ignore[misc]
        index = memory.index(rows, grid, rule=detector.rule, assign=detector.assign)
        targets = chosen_targets(index, boxes, labels)
        clock.add("targets")
        detection_losses(cut, targets, grid, static=False).total.backward()
        clock.add("loss")
        torch.autograd.backward(
            [said.logits, said.distances, said.centreness],
            [part.grad for part in (cut.logits, cut.distances, cut.centreness)],
        )
        clock.add("head")
        pairs = [(f, g.grad) for f, g in zip(pyramid, levels, strict=True) if f.requires_grad]
        torch.autograd.backward([f for f, _ in pairs], [g for _, g in pairs])
        clock.add("neck")
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        optimiser.zero_grad()
        clock.add("optimiser")
        return taken

    return run


def torchvisions(
    architecture: Architecture,
    bank: Bank,
    backbone: Backbone,
    images: Images,
    settings: ProxySettings,
) -> Callable[[], None]:
    """A train step of torchvision's FCOS on the images: the backbone frozen, towers as ours."""
    neck = build_neck(architecture, bank, seed=0)
    model = make_fcos(
        BackboneWithNeck(backbone, neck),
        levels=neck.levels,
        channels=neck.out_channels[0],
        num_classes=len(bank.categories),
        image_size=bank.image_size,
        depth=settings.head_depth,
    ).train()
    backbone.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, settings.learning_rate, fused=True)

    def run() -> None:
        rows = torch.randperm(len(images.labels))[: settings.batch_size].tolist()
        pixels = [images.pixels[row].float() / 255 for row in rows]
        kept = [images.labels[row] >= 0 for row in rows]
        targets = [
            {"boxes": images.boxes[row][one], "labels": images.labels[row][one]}
            for row, one in zip(rows, kept, strict=True)
        ]
        loss = sum(model(pixels, targets).values())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()

    return run


def _filters(detector: Detector) -> list[Tensor]:
    return [p for p in detector.parameters() if p.ndim == 4]


class _Clock:
    """Adds the time since the last call to a part."""

    def __init__(self, taken: dict[str, float]) -> None:
        self._taken, self._since = taken, process_time()

    def add(self, part: str) -> None:
        now = process_time()
        self._taken[part] += now - self._since
        self._since = process_time()
