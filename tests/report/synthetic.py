"""Records that no run made: necks of the quick space with scores that a formula gives."""

import json
import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas_fpn import language
from nas_fpn.record import (
    Entry,
    Event,
    Outcome,
    Report,
    ask_event,
    pause_event,
    report_event,
    tell_event,
)

CHANNELS = {3: 24, 4: 40, 5: 96}
BASELINES = ("none", "fpn", "panet", "bifpn")


def write_run(folder: Path, trials: int, *, seed: int = 0, **settings: Any) -> Path:
    """A run folder with a record of ``trials`` proposals, the last two still under way."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(event) for event in events(trials, seed=seed, settings=settings)]
    (folder / "history.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def events(trials: int, *, seed: int = 0, settings: dict[str, Any]) -> Iterator[Event]:
    """The lines of the record."""
    path = language.find_space("quick")
    space = language.read(path)
    rng = random.Random(seed)
    asked = {
        "space": "quick",
        "controller": "evolution",
        "objective": "ap",
        "budget": {"trials": trials},
        "proxy": {"steps": 300, "image_size": 128, "batch_size": 16},
        "notes": ["baseline none: width 64"],
        **settings,
    }
    yield {
        "event": "run",
        "version": 1,
        "seed": seed,
        "space": sha256(path.read_bytes()).hexdigest(),
        "bank": "0" * 64,
        "settings": asked,
        "machine": {"cpus": 2},
    }
    for number, name in enumerate(BASELINES):
        neck = language.fit(
            language.read_neck(language.find_neck(name)), width=space.width, levels=(3, 4, 5)
        )
        yield from _trial(number, f"baseline:{name}", None, neck, rng, gain=0.0)
    for k in range(trials):
        genotype = language.sample(space, rng)
        number = len(BASELINES) + k
        gain = 0.02 * k / trials
        neck = language.decode(space, genotype)
        ends = k < trials - 2
        yield from _trial(number, "controller", genotype, neck, rng, gain=gain, ends=ends)


def _trial(
    number: int,
    source: str,
    genotype: Any,
    neck: language.Architecture,
    rng: random.Random,
    *,
    gain: float,
    ends: bool = True,
) -> Iterator[Event]:
    price = language.cost(neck, CHANNELS, image_size=128)
    cost = {"params": price.params, "macs": price.macs, "activation_bytes": price.activation_bytes}
    yield ask_event(Entry(number, source, genotype, language.identity(neck), str(neck), cost))
    top = 0.1 + 0.1 * (price.params / 4e5) ** 0.3 + gain + rng.gauss(0, 0.006)
    latency = 2 + price.macs / 2e7 + rng.random() * 0.2
    if ends and source == "controller" and number % 17 == 9:
        yield tell_event(number, Outcome("failed", reason="RuntimeError: no memory"))
        return
    stopped = ends and source == "controller" and number % 5 == 4
    steps = (100,) if stopped or not ends else (100, 200, 300)
    for step in steps:
        scores = _scores(top * (1 - 0.8 * 0.99**step), latency)
        yield report_event(number, Report(step, scores, step / 10))
    if ends:
        state = "stopped" if stopped else "complete"
        yield tell_event(number, Outcome(state, scores, steps[-1], steps[-1] / 10))
    elif number % 2:
        yield pause_event(number, 100)


def _scores(ap: float, latency: float) -> dict[str, float]:
    sizes = {"ap_small": 0.5 * ap, "ap_medium": ap, "ap_large": 1.3 * ap}
    return {"ap": ap, "ap50": 1.7 * ap, **sizes, "latency_ms": latency, "ap/disc": 0.9 * ap}
