"""Limits on what has to be measured: latency and memory of a neck, before it is trained."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from nas_fpn.export import export_neck
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.footprint import memory_mb
from nas_fpn.proxy.latency import forward_ms
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import make_detector, pick_device
from nas_fpn.run.measure import run_measure
from nas_fpn.run.settings import Run

__all__ = ["Limits", "limits_of"]

SECONDS = 60.0  # that a user's measurement may take
ABOUT = "measure.json"  # in the exported folder: what the neck is given


@dataclass(frozen=True, slots=True)
class Limits:
    """What a neck may take, measured on the device of the run. Travels to workers.

    ``most`` are pairs of "latency_ms" or "memory_mb" and a number. ``command`` is the user's own
    measurement, run in ``folder`` for at most ``seconds``.
    """

    most: tuple[tuple[str, float], ...] = ()
    command: str | None = None
    seconds: float = SECONDS
    folder: Path = Path()

    def measure(
        self, neck: Neck, bank: Bank, settings: ProxySettings, *, seed: int
    ) -> Mapping[str, float]:
        """What ``neck`` takes for one image: "latency_ms", "latency_head_ms", "memory_mb".

        Latency is that of the neck alone, and of neck and head: medians of 15 warm passes in turns,
        float32, evaluation mode. Memory is of neck and head. What the user's command gives stands
        in place of ours. The neck is moved to the device of the settings.

        Raises:
            RunError: where the user's command fails.
        """
        device = pick_device(settings.device)
        given = {} if self.command is None else self._by_command(neck, bank)
        detector = make_detector(neck, settings, num_classes=len(bank.categories), seed=seed)
        detector.to(device)
        sides = {level: -(-bank.image_size // 2**level) for level in neck.inputs}
        features = {
            k: torch.zeros(1, bank.channels[k], s, s, device=device) for k, s in sides.items()
        }
        inputs = list(features.values())
        alone, whole = forward_ms(
            [(neck, lambda: neck(inputs)), (detector, lambda: detector(features))]
        )
        memory = memory_mb(detector, inputs, lambda: detector(features))
        return {"latency_ms": alone, "latency_head_ms": whole, "memory_mb": memory, **given}

    def beyond(self, measured: Mapping[str, float]) -> list[str]:
        """The limits that are exceeded, as a person reads them."""
        return [
            f"{name} {measured[name]:.3g} is above the limit {most:g}"
            for name, most in self.most
            if measured[name] > most
        ]

    def _by_command(self, neck: Neck, bank: Bank) -> Mapping[str, float]:
        assert self.command is not None
        with tempfile.TemporaryDirectory(prefix="nas-fpn-") as place:
            folder = export_neck(neck, Path(place) / "neck", image_size=bank.image_size)
            about = {
                "image_size": bank.image_size,
                "levels": list(neck.inputs),
                "in_channels": list(neck.in_channels),
            }
            (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
            return run_measure(self.command, folder, seconds=self.seconds, folder=self.folder)


def limits_of(run: Run) -> Limits | None:
    """The limits of a run that have to be measured; None where nothing has."""
    asked = run.settings.limits
    given = {"latency_ms": asked.latency_ms, "memory_mb": asked.memory_mb}
    most = tuple((name, value) for name, value in given.items() if value is not None)
    if not most and asked.measure is None:
        return None
    seconds = SECONDS if asked.measure_seconds is None else asked.measure_seconds
    return Limits(most, asked.measure, seconds, run.folder)
