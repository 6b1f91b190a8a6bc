"""How fast the proxy trains on a GPU: its step with and without a graph, and several side by side.

    python -m benchmarks.proxy_gpu steps trials packing       # figures in runs/proxy_gpu/
    python -m benchmarks.proxy_gpu --write                    # benchmarks/results/proxy_gpu.md

It needs of this package's dependencies torch, torchvision, timm, safetensors, lark, pydantic and
faster-coco-eval, neither Ray nor Optuna. ``--device cpu --image-size 128 --widths 16 --necks fpn
--rounds 2 --block 4 --trial-steps 4 --seconds 1 --at-once 1 2 --images 8 --held-out 2`` goes
through all of it where there is none; a stand-in then takes the graph's place.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.proxy_gpu_page import PAGE, page
from benchmarks.proxy_gpu_workers import Job, settle, side_by_side
from benchmarks.proxy_steps import alone, at_width, build_neck, prepared, ratio
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.graph import WARM, CudaRecorder, Recorder, Run
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.packing import candidate_packings, measure_packing
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.timing import measure_trial, now
from nas_fpn.proxy.train import Training, make_detector, prepare_training, proxy_schedule
from nas_fpn.record import Report

FIGURES = Path(__file__).parents[1] / "runs" / "proxy_gpu"  # ignored by git
Row = dict[str, Any]


class Timed:
    """A recorder whose captures are timed; on a CPU one that goes through the step again."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self.seconds = 0.0

    def eager(self, run: Run) -> Tensor:
        return run() if self._recorder is None else self._recorder.eager(run)

    def record(self, run: Run) -> Run:
        began = now()
        replay = run if self._recorder is None else self._recorder.record(run)
        self.seconds = now() - began
        return replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="steps, trials, packing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--necks", nargs="+", default=["none", "fpn", "panet", "bifpn", "nas_fpn"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block", type=int, default=20, help="steps between two waits")
    parser.add_argument("--trial-steps", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20.0, help="of trials, for each row")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.figures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        if given.what:
            bank, _, _ = prepared(
                Path(place), given.image_size, images=given.images, held_out=given.held_out
            )
            keep(given.figures, "machine", machine(given))
            for what in given.what:
                rows: list[Row] = []
                for row in {"steps": steps, "trials": trials, "packing": packings}[what](
                    given, bank
                ):
                    rows.append(row)
                    print(row, flush=True)
                    keep(given.figures, what, rows)
    if given.write:
        PAGE.write_text("".join(page(given.figures)), encoding="utf-8")


def settings_of(given: argparse.Namespace, **changes: object) -> ProxySettings:
    asked = {"image_size": given.image_size, "views": 1, "device": given.device, **changes}
    return ProxySettings.model_validate(asked)


def machine(given: argparse.Namespace) -> Row:
    """What the device does, and what was asked of it."""
    device = torch.device(given.device)
    products, side = {}, 8192 if given.device == "cuda" else 1024
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        products[dtype] = best(lambda left=left, right=right: torch.mm(left, right))
    source = torch.randn(1 << 26, device=device)
    target = torch.empty_like(source)
    on_cuda = given.device == "cuda"
    asked = {key: value for key, value in vars(given).items() if key not in ("figures", "what")}
    return {
        "device": torch.cuda.get_device_name() if on_cuda else "a CPU",
        "torch": torch.__version__,
        "matrix_side": side,
        "matrix_tmacs": side**3 / products[torch.float32] / 1e12,
        "low_tmacs": side**3 / products[torch.bfloat16] / 1e12,
        "gb_per_second": 2 * 4 * source.numel() / best(lambda: target.copy_(source)) / 1e9,
        "asked": asked,
    }


def best(run: Callable[[], object], times: int = 5, each: int = 20) -> float:
    """The least seconds of a call, of so many behind one another."""
    return min(timed(run, each) for _ in range(times)) / each


def timed(run: Callable[[], object], times: int = 1) -> float:
    began = now()
    for _ in range(times):
        run()
    return now() - began


def steps(given: argparse.Namespace, bank: Bank) -> Iterator[Row]:
    """Step over alone, each with and without a graph, for each neck, width and precision."""
    for precision in given.precisions:
        for width in given.widths:
            for name in given.necks:
                settings = settings_of(
                    given,
                    precision=precision,
                    evaluations=1,
                    steps=given.block * (given.rounds + 1),
                )
                yield {
                    "neck": name,
                    "width": width,
                    "precision": precision,
                    **one(name, width, bank, settings, given.block, given.rounds),
                }


def one(name: str, width: int, bank: Bank, settings: ProxySettings, block: int, rounds: int) -> Row:
    architecture, device = at_width(name, width), torch.device(settings.device)
    with FlopCounterMode(display=False) as counter:  # of another one: its hooks touch no capture
        itself(architecture, bank, settings)()
    by_itself = itself(architecture, bank, settings)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    recorder = Timed(CudaRecorder(device) if device.type == "cuda" else None)
    trainings = {
        "step": blocks(prepared_training(architecture, bank, settings), None, settings, block),
        "step_captured": blocks(
            prepared_training(architecture, bank, settings), recorder, settings, block
        ),
    }
    turns: dict[str, Callable[[], object]] = {
        "alone": lambda: [by_itself() for _ in range(block)],
        "alone_captured": repeated(replayed(by_itself, device), block),
        **{key: (lambda of=of: next(of)) for key, of in trainings.items()},
    }
    taken: dict[str, list[float]] = {key: [] for key in turns}
    for _ in range(rounds + 1):  # the first warms up, and captures
        for key, run in turns.items():
            taken[key].append(timed(run))
    ms = {key: [1e3 * seconds / block for seconds in values[1:]] for key, values in taken.items()}
    timing = measure_trial(bank, settings, build_neck(architecture, bank, seed=0), seed=0)
    return {
        **{f"{key}_ms": statistics.median(values) for key, values in ms.items()},
        "ratio": ratio(ms["step"], ms["alone"]),
        "ratio_captured": ratio(ms["step_captured"], ms["alone_captured"]),
        "capture_s": recorder.seconds,
        "setup_s": timing.setup_s,
        "evaluation_s": timing.evaluation_s,
        "gmacs": counter.get_total_flops() / 2e9,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0,
    }


def itself(architecture: Any, bank: Bank, settings: ProxySettings) -> Callable[[], None]:
    """A step of neck and head alone, both new."""
    detector = make_detector(
        build_neck(architecture, bank, seed=0), settings, num_classes=len(bank.categories), seed=0
    )
    device = torch.device(settings.device)
    detector.to(device).to(memory_format=torch.channels_last)
    noise = {
        level: torch.randn(settings.batch_size, *bank.train.features[level].shape[1:]).to(device)
        for level in detector.neck.inputs
    }
    return alone(detector, noise, precision=settings.precision)


def prepared_training(architecture: Any, bank: Bank, settings: ProxySettings) -> Training:
    return prepare_training(build_neck(architecture, bank, seed=0), bank, settings, seed=0)


def blocks(
    training: Training, recorder: Recorder | None, settings: ProxySettings, block: int
) -> Iterator[Report]:
    """The training; whoever asks for the next report has so many steps made."""
    ends = tuple(range(block, settings.steps + 1, block))
    return optimise(
        training.detector,
        proxy_schedule(settings, ends),
        loss=training.loss,
        evaluate=dict,
        halve=training.halve,
        recorder=recorder,
    )


def replayed(run: Callable[[], None], device: torch.device) -> Callable[[], object]:
    """What does the same from a graph; on a CPU the thing itself."""

    def value() -> Tensor:
        run()
        return torch.empty(0, device=device)

    if device.type != "cuda":
        return value
    recorder = CudaRecorder(device)
    for _ in range(WARM):
        recorder.eager(value)
    return recorder.record(value)


def repeated(run: Callable[[], object], times: int) -> Callable[[], object]:
    return lambda: [run() for _ in range(times)]


def trials(given: argparse.Namespace, bank: Bank) -> Iterator[Row]:
    """Trials an hour of several at once."""
    texts = tuple(str(at_width(name, width)) for width in given.widths for name in given.necks)
    for precision in given.precisions:
        settings = settings_of(given, precision=precision, steps=given.trial_steps)
        job = Job(bank.path, texts, settings, given.seconds)
        settle(job)
        for row in side_by_side(job, given.at_once):
            yield {"precision": precision, **row}


def packings(given: argparse.Namespace, bank: Bank) -> Iterator[Row]:
    """What a run that is to choose by itself measures."""
    candidates = candidate_packings(
        os.cpu_count() or 1, gpus=torch.cuda.device_count() if given.device == "cuda" else 0
    )
    text = str(at_width("fpn", given.widths[0]))
    yield from map(
        asdict, measure_packing(bank.path, text, settings_of(given), candidates=candidates)
    )


def keep(figures: Path, name: str, rows: object) -> None:
    (figures / f"{name}.json").write_text(json.dumps(rows, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
