"""Which words leave as a torch.export program and as ONNX: the table of docs/export.md.

    python benchmarks/export_words.py [--write] [WORD …]

Each word stands in a neck, once for each option of its arguments, which is exported in both formats
and held against the neck as ``nas-fpn export --format`` does. ``--write`` puts the table into
docs/export.md.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from nas_fpn.errors import RunError
from nas_fpn.export import Form, export_neck
from nas_fpn.export.formats import onnx_operators
from nas_fpn.language import parse
from nas_fpn.language.words import WORDS, Row
from nas_fpn.necks import Neck

PAGE = Path(__file__).parents[1] / "docs" / "export.md"
BEGIN = "<!-- words: `python benchmarks/export_words.py --write` writes this table -->"
END = "<!-- end of words -->"
HEAD = ("| word | torch.export | ONNX | operators, or why not |", "| --- | --- | --- | --- |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("words", nargs="*", help="these alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.words or WORDS:
        rows.append(row_of(name))
        print(rows[-1], flush=True)
    if given.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        table = "\n".join([BEGIN, "", *HEAD, *rows, "", END])
        PAGE.write_text(before + table + rest.partition(END)[2], encoding="utf-8")


def row_of(name: str) -> str:
    """The row of one word."""
    neck = Neck(parse(program(name, WORDS[name])), (8, 16, 16), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in neck.parameters():  # a weight of 1 is no operator
            value.add_(torch.rand(value.shape, generator=generator) / 4)
    with tempfile.TemporaryDirectory() as base:
        try:
            folder = export_neck(neck, Path(base), form=Form(formats=("pt2", "onnx")))
        except RunError as error:
            return f"| `{name}` | no | no | {str(error).splitlines()[0]} |"
        kinds = onnx_operators(folder / "neck.onnx")
    operators = ", ".join(kind for kind in kinds if kind not in ("Conv", "Shape"))
    return f"| `{name}` | yes | yes | {operators} |"


def program(name: str, row: Row) -> str:
    """A neck that has a word with each option of its arguments, and little else."""
    return "\n".join(["width 16", "p3..p5 = c3..c5 -> conv1", *_lines(name, row), ""])


def _lines(name: str, row: Row) -> Iterator[str]:
    for option in _options(row):
        word = name + option
        if row.kind == "merge":
            others = "p4 -> conv1, p4 -> conv1" if row.operands[0] > 2 else "p4 -> conv1"
            yield f"p4 = {word}(p4, {others})" + (" -> conv1" if option == "[plain]" else "")
        elif row.kind == "block":
            yield f"p4 = p4 -> conv1 {word}"
        elif row.kind == "down":
            yield f"p5 = concat(p5, p3 -> {word})"
        else:
            yield f"p3 = concat(p3, p5 -> {word})"


def _options(row: Row) -> Sequence[str]:
    given = [""]
    for argument in row.arguments:
        if argument.name != "bias":
            given += [
                f"[{argument.name}={option}]"
                for option in argument.options
                if option != argument.default
            ]
            given += [f"[{argument.name}]"] * (argument.default is False)
    return given


if __name__ == "__main__":
    main()
