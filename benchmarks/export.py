"""Time of the exported forms of a neck, in one run with the reference that pip installs.

    python benchmarks/export.py [--rounds 9] [--write]

Per pair of ``benchmarks/necks.py``: the reference, the plain exported folder, the deployed one, and
the ONNX file of each under ONNX Runtime. All have the same weights and inputs and must give the
same numbers before they are timed. One process, one thread; a round runs every form once, the
order turning from round to round; times are of the process. ``--write`` puts the tables into
``benchmarks/results/export.md``.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.export import Form, export_neck, from_published
from nas_fpn.export.formats import load_exported
from nas_fpn.language import find_neck, parse
from nas_fpn.necks import Neck

sys.path.append(str(Path(__file__).parent))
from machine import processor
from necks import WIDTH, Pair, Run, build, features, pairs, randomise, ratios, runner, said, times

RESULTS = Path(__file__).parent / "results" / "export.md"
COMMAND = "python benchmarks/export.py --write"
ALONE = ("nas_fpn", "nas_fpn_lite", "mnasfpn", "asff", "gfpn", "yolo_pan", "repgfpn", "slimneck")
FORMS = ("reference", "plain", "deployed", "plain ONNX", "deployed ONNX")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--image-size", type=int, default=256, help="pixels")
    parser.add_argument("--only", nargs="*", help="these pairs alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*compared(given.rounds, given.image_size, given.only)]
    if not given.only:
        rows += ["", *deployed_alone(given.rounds, given.image_size)]
    if given.write:
        RESULTS.write_text(
            f"# Time of the exported forms\n\n`{COMMAND}` wrote this file, with torch "
            f"{torch.__version__}, ONNX Runtime {onnxruntime.__version__} and Python "
            f"{platform.python_version()} on one thread of {processor()}.\n\n"
            + "\n".join([*rows, ""]),
            encoding="utf-8",
        )


def compared(rounds: int, image_size: int, only: Sequence[str] | None) -> Iterator[str]:
    yield from said(
        f"One forward pass, features of a {image_size} px image, batch 1, evaluation mode. The "
        "deployed form and both ONNX files over the plain exported folder, and that over the "
        "reference: below 1 the first is faster. Medians of the rounds' ratios, and their middle "
        "half.",
        "",
        "| neck | reference | plain / reference | deployed / plain | ONNX / plain "
        "| deployed ONNX / plain | deployed / reference | plain ms | deployed ms |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    )
    for pair in pairs(image_size):
        if only and pair.name not in only:
            continue
        try:
            theirs = pair.make()
        except ImportError as fault:
            yield from said(f"| {pair.name} | {pair.against} | not run: {fault} |" + " |" * 6)
            continue
        torch.manual_seed(0)
        text = find_neck(pair.name).read_text(encoding="utf-8").replace(*pair.change)
        ours = Neck(parse(text), pair.channels)
        randomise(theirs)
        ours.load_state_dict(from_published(pair.reference, theirs.state_dict(), ours))
        inputs = features(ours, pair.channels, image_size, batch=1)
        with tempfile.TemporaryDirectory() as base:
            runs = {"reference": runner(theirs, inputs, training=False, mapping=pair.mapping)}
            runs |= forms(ours, inputs, Path(base))
            yield from said(_row(pair, runs, rounds))


def deployed_alone(rounds: int, image_size: int) -> Iterator[str]:
    yield from said(
        f"Shipped necks that hold norms, no reference, at width {WIDTH}: as above, without ONNX.",
        "",
        "| neck | deployed / plain | norms | when deployed | plain ms |",
        "| --- | ---: | ---: | ---: | ---: |",
    )
    for name in ALONE:
        neck = build(name)
        randomise(neck)
        inputs = features(neck, neck.in_channels, image_size, batch=1)
        with tempfile.TemporaryDirectory() as base:
            modules = [
                load_exported(export_neck(neck.eval(), Path(base) / str(deploy), form=Form(deploy)))
                for deploy in (False, True)
            ]
        runs = [runner(one, inputs, training=False, mapping=False) for one in modules]
        for one, other in zip(runs[0](), runs[1](), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        plain, deployed = times(runs, rounds)
        norms = [sum(isinstance(p, nn.BatchNorm2d) for p in one.modules()) for one in modules]
        yield from said(
            f"| {name} | {ratios(deployed, plain)} | {norms[0]} | {norms[1]} "
            f"| {statistics.median(plain) * 1e3:.1f} |"
        )


def forms(neck: Neck, inputs: list[Tensor], base: Path) -> dict[str, Run]:
    """What is timed of an exported neck, by name; without ONNX where that is refused."""
    found: dict[str, Run] = {}
    for name, deploy in (("plain", False), ("deployed", True)):
        try:
            folder = export_neck(neck.eval(), base / name, form=Form(deploy, ("onnx",)))
            found[f"{name} ONNX"] = under_onnx_runtime(folder / "neck.onnx", inputs)
        except RunError:
            folder = export_neck(neck.eval(), base / name, form=Form(deploy))
        found[name] = runner(load_exported(folder), inputs, training=False, mapping=False)
    return found


def under_onnx_runtime(file: Path, inputs: list[Tensor]) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(file), sess_options=options, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]
    given = {name: feature.numpy() for name, feature in zip(names, inputs, strict=True)}
    return lambda: [torch.from_numpy(made) for made in session.run(None, given)]


def _row(pair: Pair, runs: dict[str, Run], rounds: int) -> str:
    for run in runs.values():
        for one, other in zip(run(), runs["reference"](), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    names = [name for name in FORMS if name in runs]
    taken = dict(zip(names, times([runs[name] for name in names], rounds), strict=True))
    cells = [
        ratios(taken[one], taken[other]) if one in taken else "refused"
        for one, other in (
            ("plain", "reference"),
            ("deployed", "plain"),
            ("plain ONNX", "plain"),
            ("deployed ONNX", "plain"),
            ("deployed", "reference"),
        )
    ]
    ms = [f"{statistics.median(taken[name]) * 1e3:.1f}" for name in ("plain", "deployed")]
    return f"| {pair.name} | {pair.against} | {' | '.join([*cells, *ms])} |"


if __name__ == "__main__":
    main()
