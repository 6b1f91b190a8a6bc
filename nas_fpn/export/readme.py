"""The README of an exported folder."""

import re
from collections.abc import Iterator, Mapping, Sequence

from nas_fpn.export.adapters import Written
from nas_fpn.export.header import span
from nas_fpn.language.canonical import identity
from nas_fpn.language.cost import cost
from nas_fpn.necks.neck import Neck

__all__ = ["readme"]


def readme(
    neck: Neck,
    *,
    needs: Sequence[str],
    image_size: int,
    scores: Mapping[str, float],
    provenance: Mapping[str, str],
    beside: Mapping[str, str],
    adapters: Written,
) -> str:
    """What the neck is, how to load it, what it costs, what it scored, where it comes from.

    ``needs`` are the packages that ``neck.py`` imports.
    """
    return "\n".join(
        [
            *_program(neck),
            *_loading(neck, needs),
            *_adapters(adapters),
            *_cost(neck, image_size),
            *(_table("Scores", ("score", "value"), _scores(scores)) if scores else ()),
            *(_table("Provenance", ("", ""), provenance) if provenance else ()),
            *_files(beside, needs),
        ]
    )


def _program(neck: Neck) -> Iterator[str]:
    text = str(neck.architecture)
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    yield f"# Neck {identity(neck.architecture)}"
    yield ""
    yield f"A feature-pyramid neck: {span('c', neck.inputs)} of a backbone in,"
    yield f"{span('p', neck.levels)} out. Level k has stride 2^k."
    yield ""
    yield f"{fence}text"
    yield text.rstrip("\n")
    yield fence
    yield ""
    yield "![The neck as a graph of merge cells over pyramid levels](neck.svg)"
    yield ""


def _loading(neck: Neck, needs: Sequence[str]) -> Iterator[str]:
    yield "## Loading"
    yield ""
    yield f"`neck.py` needs {' and '.join(needs)}, and nothing of the package that wrote it; its"
    yield "weights are read with the small `safetensors`."
    yield ""
    yield "```python"
    yield "import json"
    yield "from safetensors.torch import load_file"
    yield "from neck import Neck"
    yield ""
    yield 'neck = Neck(**json.load(open("config.json")))'
    yield 'neck.load_state_dict(load_file("model.safetensors"))'
    features = [f"c{level}" for level in neck.inputs]
    outputs = [f"p{level}" for level in neck.levels]
    one = "," if len(outputs) == 1 else ""
    yield f"{', '.join(outputs)}{one} = neck([{', '.join(features)}])  # [B, C, H, W], finest first"
    yield "```"
    yield ""
    yield 'or `torch.hub.load(FOLDER, "neck", source="local")`, or, where `huggingface_hub` is'
    yield 'installed, `from hub import Neck; neck = Neck.from_pretrained(".")`. A feature of level'
    yield "k is expected to have 1/2^k of the image's sides; odd sides work."
    yield ""
    rows = zip(features, neck.in_channels, strict=True)
    yield f"Channels in: {', '.join(f'{channels} ({name})' for name, channels in rows)}. Others, or"
    yield "another `width`, are arguments of `Neck`; the weights then start anew."
    yield ""


def _adapters(adapters: Written) -> Iterator[str]:
    for library, text in adapters.uses.items():
        yield f"## With {library}"
        yield ""
        yield "```python"
        yield text.rstrip("\n")
        yield "```"
        yield ""
    for library, why in adapters.left_out.items():
        yield f"There is no adapter for {library}: {why}."
        yield ""


def _cost(neck: Neck, image_size: int) -> Iterator[str]:
    channels = dict(zip(neck.inputs, neck.in_channels, strict=True))
    spent = cost(neck.architecture, channels, image_size=image_size)
    rows = {
        "parameters": f"{spent.params / 1e6:.3f} M",
        f"multiply-adds at {image_size} × {image_size} px": f"{spent.macs / 1e9:.3f} G",
        "peak of the features held, 32 bit": f"{spent.activation_bytes / 2**20:.1f} MiB an image",
    }
    yield from _table("Cost", ("", ""), rows)


def _scores(scores: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in scores.items()}


def _table(title: str, head: tuple[str, str], rows: Mapping[str, str]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"| {head[0]} | {head[1]} |"
    yield "| --- | --- |"
    for name, value in rows.items():
        yield f"| {_cell(name)} | {_cell(value)} |"
    yield ""


def _cell(text: str) -> str:
    """Text that stays in its cell of a table, and text."""
    return re.sub(r"([\\|<>`*_\[\]])", r"\\\1", " ".join(text.split()))


def _files(beside: Mapping[str, str], needs: Sequence[str]) -> Iterator[str]:
    yield "## Files"
    yield ""
    yield "| file | holds |"
    yield "| --- | --- |"
    yield f"| `neck.py` | the module, imports only {' and '.join(needs)} |"
    yield "| `neck.neck` | the program |"
    yield "| `model.safetensors` | the weights; a line's name is its key prefix |"
    yield "| `config.json` | the arguments of `Neck` |"
    yield "| `neck.svg` | the drawing |"
    yield "| `hub.py`, `hubconf.py` | the entries for the Hugging Face hub and for `torch.hub` |"
    for name, what in beside.items():
        yield f"| `{name}` | {_cell(what)} |"
    yield ""
