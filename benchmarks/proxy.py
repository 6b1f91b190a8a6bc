"""How fast the proxy trains: its step against floors, its parts, torchvision, workers and Ray.

    python -m benchmarks.proxy steps packing ray      # each leaves its figures in runs/proxy_speed/
    python -m benchmarks.proxy --write                # benchmarks/results/proxy.md from those

The images are embedded scenes, the backbone the default one with random weights: what is timed
does not depend on what it has learnt. All that is compared takes turns in one process of one
thread; seconds are those of the process, and each figure is a median of the rounds, ratios of the
rounds' ratios, so that other work on the machine moves them little.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import processor
from benchmarks.proxy_steps import PARTS, Row, at_width, machine, prepared, steps
from benchmarks.proxy_workers import measure_hand_over, measure_packings
from nas_fpn.proxy.settings import ProxySettings

FIGURES = Path(__file__).parents[1] / "runs" / "proxy_speed"  # ignored by git
PAGE = Path(__file__).parent / "results" / "proxy.md"
SAYS = """# Speed of the proxy

`python -m benchmarks.proxy steps packing ray`, then `--write`, made this file, with torch {torch}
and Python {python} on {processor}, one thread unless it says otherwise. Batches of 16 scenes, the
default backbone, the FCOS-like head with towers of one convolution. Machines are shared, so
what is compared takes turns in one process, times are that process's own, figures are medians of
the rounds, and ratios medians of the rounds' ratios (*alone* is the step over its ratio). Which box
a point learns is known when the rounds begin, as it is after a first epoch.

## Two floors

One thread does {matrix:.0f} · 10⁹ multiply-adds a second in a product of matrices of 1,024 and
{convolution:.0f} in a 3x3 convolution of 64 channels, and copies {bytes:.1f} GB a second.
*Arithmetic* is the multiply-adds of neck and head, forward and backward, over the larger rate;
*bytes* the features of a batch over the last. *Alone* is what the step is held to: forward and
backward of the same neck and head on the same random features, with a sum for a loss; a step may
take 1.25 of it.

| neck | px | width | G multiply-adds | arithmetic ms | bytes ms | alone ms | step ms | ratio |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
SHARES = """
## Where a step's time goes

Shares of a step that is cut into its parts, each forward and backward, in per cent.

| neck | px | width | data | neck | head | targets | loss | optimiser |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""
OTHERS = """
## Against others

The step over that of torchvision's FCOS with the same frozen backbone, neck, towers, optimiser and
images (below 1 ours is faster); and over neck and head alone in the layout that tensors come in,
channels first: what channels last gain. The last column is *alone* in bfloat16 over *alone*.

| neck | px | width | step / torchvision | step / alone, channels first | bfloat16 |
| --- | ---: | ---: | ---: | ---: | ---: |
"""
PACKING = """
## Workers and threads

Steps a second of all workers together, FPN at width 64, medians of three turns. This is wall time:
other work on the machine would slow down threads most, which wait for one another.

| px | workers | threads each | steps a second |
| ---: | ---: | ---: | ---: |
"""
RAY = """
## Ray

{trials} trials of {trial_s:.2f} s that leave the processor alone, three reports each, on {workers}
warm workers: {wall_s:.1f} s of wall, **{ratio:.3f}** of the trials' seconds over the workers, which
is {hand_over_ms:.0f} ms for each hand-over from one trial to the next.
"""
GPU = """
## GPU

Not measured: the machine has none, and nothing of this page was run on one.
`python -m benchmarks.proxy_gpu steps trials packing` is what measures it where there is one.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="steps, packing, ray")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    FIGURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "steps" in given.what:
            keep("machine", machine())
            rows = []
            for row in steps(folder, given.rounds):
                rows.append(row)
                print({key: value for key, value in row.items() if key != "parts"}, flush=True)
                keep("steps", rows)
        if "packing" in given.what:
            keep("packing", list(packings(folder)))
        if "ray" in given.what:
            keep("ray", measure_hand_over(folder))
    if given.write:
        PAGE.write_text("".join(page()), encoding="utf-8")


def packings(folder: Path) -> Iterator[Row]:
    """Two workers of one thread against one of two, on FPN at two sizes."""
    for image_size in (128, 256):
        bank, _, _ = prepared(folder, image_size)
        settings = ProxySettings(image_size=image_size)
        for packing in measure_packings(bank.path, str(at_width("fpn", 64)), settings):
            yield {"image_size": image_size, **packing}


def page() -> Iterator[str]:
    """The page of what was measured."""
    rates, rows = measured("machine"), measured("steps")
    yield SAYS.format(
        torch=torch.__version__,
        python=platform.python_version(),
        processor=processor(),
        matrix=rates["matrix_gmacs"],
        convolution=rates["convolution_gmacs"],
        bytes=rates["gb_per_second"],
    )
    rate = max(rates["matrix_gmacs"], rates["convolution_gmacs"])
    for row in rows:
        arithmetic = 1e3 * row["gmacs"] / rate
        moved = row["feature_mb"] / rates["gb_per_second"]
        yield (
            f"{_of(row)} {row['gmacs']:.2f} | {arithmetic:.1f} | {moved:.2f} "
            f"| {row['step_ms'] / row['floor']:.1f} | {row['step_ms']:.1f} | {row['floor']:.2f} |\n"
        )
    yield SHARES
    for row in rows:
        whole = sum(row["parts"].values())
        cells = (f"{100 * row['parts'][part] / whole:.1f}" for part in PARTS)
        yield f"{_of(row)} {' | '.join(cells)} |\n"
    yield OTHERS
    for row in rows:
        cells = (f"{row[key]:.2f}" for key in ("torchvision", "floor_first", "low"))
        yield f"{_of(row)} {' | '.join(cells)} |\n"
    yield PACKING
    for row in measured("packing"):
        yield (
            f"| {row['image_size']} | {row['workers']} | {row['threads']} "
            f"| {row['steps_per_second']:.1f} |\n"
        )
    yield RAY.format(**measured("ray"))
    yield GPU


def keep(name: str, value: object) -> None:
    """Put what was measured where ``--write`` finds it."""
    (FIGURES / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def measured(name: str) -> Any:
    """What was measured under a name."""
    return json.loads((FIGURES / f"{name}.json").read_text(encoding="utf-8"))


def _of(row: Row) -> str:
    return f"| {row['neck']} | {row['image_size']} | {row['width']} |"


if __name__ == "__main__":
    main()
