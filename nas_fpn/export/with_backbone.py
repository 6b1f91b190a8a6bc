"""Backbone and neck as one module: a folder within the exported one, which stands alone.

``model.py`` is the neck's source with one class more, which makes the backbone with timm and gives
the pyramid features by name. The weights of both, and what the features between them are scaled
by, are one file.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path
from textwrap import wrap

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas_fpn.errors import RunError
from nas_fpn.export.header import inert, packages, span
from nas_fpn.export.hub import hub_files
from nas_fpn.export.layout import Group, lay_out
from nas_fpn.language.canonical import identity
from nas_fpn.language.lower import lower
from nas_fpn.language.program import Architecture

__all__ = ["WITH_BACKBONE", "BackboneParts", "add_backbone"]

WITH_BACKBONE = "with_backbone"  # the folder

_README = """\
# {name} and neck {identity} as one module

Images [B, 3, H, W] in 0..1 in, an ordered dict of {outputs} out. {said}
It needs {needs} and safetensors, to load the weights. The neck alone is in the folder above.

```python
import json
from safetensors.torch import load_file
from model import Model

model = Model(**json.load(open("config.json")))
model.load_state_dict(load_file("model.safetensors"))
features = model.eval()(images)  # {features}
```

or `torch.hub.load(FOLDER, "model", source="local")`, or, where `huggingface_hub` is installed,
`from hub import Model; model = Model.from_pretrained(".")`.

| file | holds |
| --- | --- |
| `model.py` | the module |
| `model.safetensors` | all weights: `backbone.*`, `neck.*`, and what features are scaled by |
| `config.json` | the arguments of `Model` |
| `hub.py`, `hubconf.py` | the entries for the Hugging Face hub and `torch.hub` |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneParts:
    """A timm model with ``features_only``, and what its features are scaled by.

    ``out_indices`` and ``arguments`` make it; ``stages`` says which of its features each level is.
    ``mean`` and ``std`` are those of images in 0..1, ``state`` is its state dict. ``statistics``
    has (mean, std) [C] by level, or nothing. ``said`` tells in a sentence where its weights are
    from.
    """

    name: str
    arguments: Mapping[str, object]
    out_indices: tuple[int, ...]
    stages: Mapping[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state: Mapping[str, Tensor]
    statistics: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    said: str


def add_backbone(folder: Path, architecture: Architecture, parts: BackboneParts) -> Path:
    """Write ``with_backbone/`` into the folder of an exported neck; give that folder back.

    The neck's source and weights are those of ``folder``. Raises RunError where an argument of the
    backbone has a name or a value that Python cannot write.
    """
    to = folder / WITH_BACKBONE
    to.mkdir(exist_ok=True)
    source = _source((folder / "neck.py").read_text(encoding="utf-8"), architecture, parts)
    files = {
        "model.py": source,
        "config.json": json.dumps({"width": architecture.width}, indent=2) + "\n",
        "README.md": _readme(architecture, parts, " and ".join(packages(source))),
        **hub_files("model", "Model", identity=identity(architecture), needs=packages(source)),
    }
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8", newline="\n")
    state = {f"backbone.{key}": value for key, value in parts.state.items()}
    state |= {f"neck.{key}": v for key, v in load_file(folder / "model.safetensors").items()}
    for level in lower(architecture).inputs if parts.statistics else ():
        for kind, value in zip(("mean", "std"), parts.statistics[level], strict=True):
            state[f"{kind}_c{level}"] = value.float().view(1, -1, 1, 1)
    kept = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    row = f"| `{WITH_BACKBONE}/` | {parts.name} and the neck as one module |\n"
    if row not in (folder / "README.md").read_text(encoding="utf-8"):  # else it is added again
        with (folder / "README.md").open("a", encoding="utf-8", newline="\n") as readme:
            readme.write(row)
    return to


def _source(neck_source: str, architecture: Architecture, parts: BackboneParts) -> str:
    """The neck's source, with timm among its imports and the class of both at its end."""
    head, found, body = neck_source.partition("\n\n\nclass Neck(nn.Module):")
    assert found
    docstring, _, imports = head.rpartition('"""\n\n')
    rows = imports.replace("import torch\n", "").split("\n")
    first = next(i for i, row in enumerate(rows) if row.startswith("from collections.abc"))
    rows.insert(first, "from collections import OrderedDict")
    last = max(i for i, row in enumerate(rows) if not row)  # between the sections
    rows[last + 1 : last + 1] = ["import timm", "import torch"]
    model = "\n".join(_model(architecture, parts))
    head = docstring + '"""\n\n' + "\n".join(rows)
    return f"{head}\n\n\n{model}{found}{body}"


def _model(architecture: Architecture, parts: BackboneParts) -> Iterator[str]:
    graph = lower(architecture)
    inputs, outputs = graph.inputs, [f"p{level}" for level, _ in graph.outputs]
    stages = [f"channels[{parts.stages[level]}]" for level in inputs]
    one = "," if len(inputs) == 1 else ""
    yield "class Model(nn.Module):"
    yield f'    """{inert(parts.name)} and the neck: images to pyramid features by name.'
    yield ""
    yield from (f"    {row}" for row in wrap(inert(parts.said), 90, break_long_words=False))
    yield "    ``pretrained`` fetches timm's own weights of the backbone."
    yield '    """'
    yield ""
    yield (
        f"    def __init__(self, width: int = {architecture.width}, *, "
        "pretrained: bool = False) -> None:"
    )
    yield "        super().__init__()"
    yield from lay_out("self.backbone = ", Group("timm.create_model(", _made(parts)), indent=8)
    yield "        channels = self.backbone.feature_info.channels()"
    yield f"        self.neck = Neck(({', '.join(stages)}{one}), width)"
    yield "        self.levels, self.strides = self.neck.levels, self.neck.strides"
    yield "        self.out_channels = self.neck.out_channels"
    for kind, values in (("mean", parts.mean), ("std", parts.std)):
        made = f"torch.tensor({list(map(_short, values))}).view(3, 1, 1)"
        call = Group("self.register_buffer(", (f'"{kind}"', made, "persistent=False"))
        yield from lay_out("", call, indent=8)
    if parts.statistics:
        for level, stage in zip(inputs, stages, strict=True):
            yield f'        self.register_buffer("mean_c{level}", torch.zeros(1, {stage}, 1, 1))'
            yield f'        self.register_buffer("std_c{level}", torch.ones(1, {stage}, 1, 1))'
    yield ""
    yield "    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:"
    yield '        """Take images [B, 3, H, W] in 0..1 to features [B, C, h, w], finest first."""'
    yield "        stages = self.backbone((images - self.mean) / self.std)"
    for level in inputs:
        c = f"c{level}"
        scaled = f"(stages[{parts.stages[level]}] - self.mean_{c}) / self.std_{c}"
        yield f"        {c} = {scaled if parts.statistics else f'stages[{parts.stages[level]}]'}"
    yield (
        f"        {', '.join(outputs)}{',' if len(outputs) == 1 else ''} = "
        f"self.neck(({', '.join(f'c{level}' for level in inputs)}{one}))"
    )
    yield f"        return OrderedDict({', '.join(f'{name}={name}' for name in outputs)})"


def _made(parts: BackboneParts) -> tuple[str, ...]:
    """The arguments of timm.create_model."""
    for key, value in parts.arguments.items():
        if not key.isidentifier() or iskeyword(key) or not _is_plain(value):
            raise RunError(
                f"[backbone] arguments: {key!r} = {value!r} cannot be written in Python source\n"
                "export the neck without --with-backbone"
            )
    return (
        json.dumps(parts.name),
        "features_only=True",
        f"out_indices={tuple(parts.out_indices)}",
        "pretrained=pretrained",
        *(f"{key}={_text(value)}" for key, value in parts.arguments.items()),
    )


def _text(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _short(value: float) -> float:
    """The decimal that a 32 bit number was made of, where seven digits say it."""
    short = float(f"{value:.7g}")
    return short if torch.tensor(short) == torch.tensor(value) else value


def _readme(architecture: Architecture, parts: BackboneParts, needs: str) -> str:
    levels = [level for level, _ in lower(architecture).outputs]
    more = ", …" if len(levels) > 1 else ""
    return _README.format(
        name=parts.name,
        identity=identity(architecture),
        outputs=span("p", levels),
        said=parts.said,
        needs=needs,
        features=f'{{"p{levels[0]}": [B, C, h, w]{more}}}',
    )
