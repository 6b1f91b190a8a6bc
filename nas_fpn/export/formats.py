"""An exported neck in one more file: a ``torch.export`` program, or ONNX.

Batch and image size stay open in both. What is written is read again and held against the module,
at sizes of which some are odd. A size that a backbone gives is expected: each level half the one
below, rounded up (exactly half is that too).

TorchScript is left out: torch has deprecated it in favour of ``torch.export``.
"""

import copy
import importlib
import importlib.util
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.errors import RunError

__all__ = ["FORMATS", "load_exported", "onnx_operators", "write_formats"]

OPSET = 18
OPSET_DEFORM = 19  # the first that has deformable convolutions
TOLERANCE = 1e-4  # of the largest value
EXAMPLE = (2, 544, 416)  # images, their height and width: 17 x 13 at level 5, 5 x 4 at level 7
CHECKED = ((1, 256, 256), (2, 200, 333), (3, 95, 131), (1, 641, 480))  # odd ones too


def write_formats(folder: Path, formats: Sequence[str]) -> dict[str, str]:
    """Write ``neck.onnx``, ``neck.pt2`` into an exported folder; say of each file what it holds.

    Each is made of the folder's ``neck.py`` with its weights, in evaluation mode. Raises RunError
    for a format that there is not, where a package is missing, where the neck cannot be written so
    (docs/export.md lists the words), and where the file gives other numbers than the neck.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise RunError(f"--format {unknown[0]}: is not known\nthere are {', '.join(FORMATS)}")
    if "onnx" in formats:
        _need_onnx()
    if not formats:
        return {}
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    source = _Source(load_exported(folder).eval(), tuple(settings["in_channels"]))
    program = _traced(source, folder)
    held = {}
    for name in dict.fromkeys(formats):
        file = folder / f"neck.{name}"
        try:
            held[file.name] = FORMATS[name](program, source, file)
        except RunError:
            file.unlink(missing_ok=True)  # what is there is held against the neck
            raise
    return held


@dataclass(frozen=True, slots=True)
class _Source:
    """The module that is written, and what it reads."""

    module: nn.Module
    in_channels: tuple[int, ...]

    def levels(self, name: str) -> tuple[int, ...]:
        """The levels that the neck reads (``inputs``) or gives (``levels``)."""
        found = getattr(self.module, name)
        assert isinstance(found, tuple)
        return found

    def features(self, size: tuple[int, int, int]) -> list[Tensor]:
        """What a backbone gives for images of a size: each level half the one below."""
        images, high, wide = size
        generator = torch.Generator().manual_seed(0)
        return [
            torch.randn(images, n, -(high // -(2**k)), -(wide // -(2**k)), generator=generator)
            for k, n in zip(self.levels("inputs"), self.in_channels, strict=True)
        ]


def load_exported(folder: Path) -> nn.Module:
    """Load the module of an exported folder, with its weights, as its README says."""
    spec = importlib.util.spec_from_file_location("neck", folder / "neck.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    module = found.Neck(**settings)
    assert isinstance(module, nn.Module)
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module


def onnx_operators(file: Path) -> tuple[str, ...]:
    """The kinds of operators in an ONNX file, by name; of another domain with that in front."""
    graph = importlib.import_module("onnx").load(file, load_external_data=False).graph
    kinds = {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in graph.node}
    return tuple(sorted(kinds))


def _program(program: torch.export.ExportedProgram, source: _Source, file: Path) -> str:
    torch.export.save(program, file)
    again = torch.export.load(file).module()
    _hold(source, again, file)
    return f"the same for `torch.export.load`, torch {torch.__version__.partition('+')[0]}"


def _onnx(program: torch.export.ExportedProgram, source: _Source, file: Path) -> str:
    inputs = [f"c{level}" for level in source.levels("inputs")]
    outputs = [f"p{level}" for level in source.levels("levels")]
    deforms = any("deform_conv2d" in str(node.target) for node in program.graph.nodes)
    opset = OPSET_DEFORM if deforms else OPSET
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            written = torch.onnx.export(
                program,
                (),
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
            assert written is not None
            written.save(file, external_data=False)
        run = _runner(file.read_bytes(), inputs, outputs)
    except Exception as error:  # exporter and runtime have no one type for what they refuse
        raise _refusal(file, error) from error
    try:
        _hold(source, run, file)
    except RunError:
        if "Sigmoid" not in onnx_operators(file):
            raise
        _hold(source, _runner(with_exact_sigmoids(file), inputs, outputs), file)
    return f"the same in ONNX, opset {opset}: {', '.join(onnx_operators(file))}"


def _runner(
    content: bytes, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[list[Tensor]], list[Tensor]]:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what fails is told by the caller
    session = runtime.InferenceSession(
        content, sess_options=options, providers=["CPUExecutionProvider"]
    )

    def run(given: list[Tensor]) -> list[Tensor]:
        named = {name: feature.numpy() for name, feature in zip(inputs, given, strict=True)}
        return [torch.from_numpy(made) for made in session.run(outputs, named)]

    return run


def with_exact_sigmoids(file: Path) -> bytes:
    """The same ONNX graph, with each Sigmoid as 1 / (1 + exp(-x)).

    ONNX Runtime's Sigmoid is right to 1e-7, not to its last digit: where it should be 1e-6 it may
    be a tenth off, and a norm of values that are all small (``silu`` before ``gn``) shows it.
    What is left of a difference when it is spelt out is not the runtime's.
    """
    onnx = importlib.import_module("onnx")
    model, node = onnx.load(file), onnx.helper.make_node
    one, nodes = "sigmoid_one", []
    for k, found in enumerate(model.graph.node):
        if found.op_type != "Sigmoid":
            nodes.append(found)
            continue
        minus, power, below = (f"sigmoid_{k}_{part}" for part in ("minus", "power", "below"))
        nodes.append(node("Neg", list(found.input), [minus]))
        nodes.append(node("Exp", [minus], [power]))
        nodes.append(node("Add", [power, one], [below]))
        nodes.append(node("Reciprocal", [below], list(found.output)))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(onnx.helper.make_tensor(one, onnx.TensorProto.FLOAT, [], [1.0]))
    content = model.SerializeToString()
    assert isinstance(content, bytes)
    return content


FORMATS: dict[str, Callable[[torch.export.ExportedProgram, _Source, Path], str]] = {
    "onnx": _onnx,
    "pt2": _program,
}


def _traced(source: _Source, folder: Path) -> torch.export.ExportedProgram:
    auto = torch.export.Dim.AUTO
    open_sizes = [{0: auto, 2: auto, 3: auto} for _ in source.in_channels]
    try:
        # a size that happens to fit the example (a crop of nothing, a side of 1) is no constant
        tracing = importlib.import_module("torch.fx.experimental._config")
        with tracing.patch(backed_size_oblivious=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about itself
            return torch.export.export(
                source.module, (source.features(EXAMPLE),), dynamic_shapes=(open_sizes,)
            )
    except Exception as error:  # a tracer has no one type for what it cannot follow
        raise _refusal(folder / "neck.py", error) from error


def _hold(source: _Source, other: Callable[[list[Tensor]], Any], file: Path) -> None:
    """Raise RunError where a file gives other numbers than the module that it is made of.

    Both are held against the module in 64 bits, output by output. The bound is relative to the
    largest value, and wider where the module's own rounding is already coarser. A feature that is
    nothing but rounding (``gap`` before ``gn`` gives 0) is not compared.
    """
    module, exact = source.module, copy.deepcopy(source.module).double()
    with torch.inference_mode():
        for size in CHECKED:
            given = source.features(size)
            expected, fine = module(given), exact([feature.double() for feature in given])
            place = f"{size[0]} images of {size[1]} x {size[2]} pixels"
            try:
                made = other(given)
            except Exception as error:  # a guard of the program, a fault of the runtime
                raise _refusal(file, error, f"at {place}: ") from error
            shapes = [[tuple(one.shape) for one in features] for features in (made, expected)]
            if shapes[0] != shapes[1]:
                raise RunError(f"{file}: at {place}, gives {shapes[0]}, not {shapes[1]}\n{_MEND}")
            own = [_distance(one, right) for one, right in zip(expected, fine, strict=True)]
            if not all(map(math.isfinite, own)):
                raise RunError(
                    f"{file}: at {place}, the neck itself gives values that are no numbers, so "
                    "there is nothing to hold it to\nexport other weights of it"
                )
            for one, right, rounding in zip(made, fine, own, strict=True):
                apart = _distance(one, right)
                if rounding < 1 and not apart <= max(TOLERANCE, 10 * rounding):
                    raise RunError(
                        f"{file}: differs from the neck at {place}, by {apart:.1e} of the largest "
                        f"value\n{_MEND}"
                    )


def _distance(made: Tensor, expected: Tensor) -> float:
    return float((made - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


_MEND = "docs/export.md lists the words that cannot be written so"


def _refusal(file: Path, error: Exception, where: str = "") -> RunError:
    said = next((row for row in str(error).splitlines() if row.strip()), "")
    return RunError(
        f"{file}: cannot be written: {where}{type(error).__name__}: {said.strip()[:200]}\n{_MEND}"
    )


def _need_onnx() -> None:
    wanted = ("onnx", "onnxscript", "onnxruntime")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(
            f"--format onnx: needs {', '.join(wanted)}, and {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed\npip install 'nas-fpn[onnx]'"
        )
