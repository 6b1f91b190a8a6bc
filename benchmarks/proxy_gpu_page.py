"""The page of the proxy on a GPU, from the figures that :mod:`benchmarks.proxy_gpu` left."""

import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import processor

PAGE = Path(__file__).parent / "results" / "proxy_gpu.md"
SAYS = """# Speed of the proxy on a GPU

`python -m benchmarks.proxy_gpu steps trials packing`, then `--write`, made this file, with torch
{torch} and Python {python} on {device} ({processor}). Scenes of {image_size} px, batches of 16,
the default backbone, the FCOS-like head with towers of one convolution. All that is compared takes
turns in one process, in blocks of {block} steps between two waits for the device; figures are
medians of the blocks, ratios medians of the turns' ratios.

A {side}² product does {matrix:.1f} · 10¹² multiply-adds a second in float32 and {low:.1f} in
bfloat16; {bytes:.0f} GB a second are copied. Convolutions in float32 may be faster than that
product: where the device has TF32, torch takes it for them and not for products.

*Alone* is forward and backward of the same neck and head on the same random features, with a sum
for a loss. *Captured* is the same step, or the same alone, replayed from a graph. *Capture* is how
long that takes, with the step that is rehearsed for it. *Start* is what a trial takes before its
first step and what its first steps take beyond others, the capture among it. *Peak* is the most
memory that torch had while all of a row took turns, the bank among it.

| neck | width | precision | G multiply-adds | alone ms | step ms | step / alone \
| captured: alone ms | step ms | step / alone | capture s | start s | evaluation s | peak GB |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
SIDE = """
## Side by side

Whole trials, {steps} steps and three evaluations on {held_out} images, of {necks} in turn at widths
{widths}, for {seconds:.0f} s: trials an hour of all together.

| | {heads} |
| --- | {lines} |
"""
PACKINGS = """
## What `candidate_packings` finds

FPN at width {width}, each process on one thread.

| processes | steps a second |
| ---: | ---: |
"""

Row = dict[str, Any]


def page(figures: Path) -> Iterator[str]:
    known = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in figures.glob("*.json")
    }
    machine, asked = known["machine"], known["machine"]["asked"]
    yield SAYS.format(
        torch=machine["torch"],
        python=platform.python_version(),
        device=machine["device"],
        processor=processor(),
        image_size=asked["image_size"],
        block=asked["block"],
        side=machine["matrix_side"],
        matrix=machine["matrix_tmacs"],
        low=machine["low_tmacs"],
        bytes=machine["gb_per_second"],
    )
    for row in known.get("steps", ()):
        yield (
            f"| {row['neck']} | {row['width']} | {row['precision']} | {row['gmacs']:.1f} "
            f"| {row['alone_ms']:.2f} | {row['step_ms']:.2f} | {row['ratio']:.2f} "
            f"| {row['alone_captured_ms']:.2f} | {row['step_captured_ms']:.2f} "
            f"| {row['ratio_captured']:.2f} | {row['capture_s']:.2f} | {row['setup_s']:.2f} "
            f"| {row['evaluation_s']:.2f} | {row['peak_gb']:.2f} |\n"
        )
    if "trials" in known:
        yield from _side(known["trials"], asked)
    if "packing" in known:
        yield PACKINGS.format(width=asked["widths"][0])
        for row in known["packing"]:
            rate = row["steps_per_second"]
            yield f"| {row['workers']} | {f'{rate:.1f}' if rate else 'no room'} |\n"


def _side(rows: Sequence[Row], asked: Row) -> Iterator[str]:
    at_once = sorted({row["at_once"] for row in rows})
    yield SIDE.format(
        steps=asked["trial_steps"],
        held_out=asked["held_out"],
        necks=", ".join(asked["necks"]),
        widths=", ".join(map(str, asked["widths"])),
        seconds=asked["seconds"],
        heads=" | ".join(f"{number} at once" for number in at_once),
        lines=" | ".join("---:" for _ in at_once),
    )
    for key in dict.fromkeys((row["how"], row["precision"]) for row in rows):
        found = {
            r["at_once"]: r["trials_per_hour"] for r in rows if (r["how"], r["precision"]) == key
        }
        told = (found.get(number) for number in at_once)
        cells = " | ".join("no room" if rate is None else f"{rate:.0f}" for rate in told)
        yield f"| {', '.join(key)} | {cells} |\n"
