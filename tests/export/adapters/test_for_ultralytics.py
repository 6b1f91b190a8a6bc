"""The adapter for ultralytics, with a fake of its interface: its code is AGPL, and is not read.

The fake is what its documentation says of a YAML: rows ``[from, repeats, module, args]``, a list of
channels by row, ``Index`` rows that take one of a list, outputs kept by row number.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from tests.export.adapters.adapted import adapt, adapter, neck_of, run_alone, scaled, snippet

WIDTHS = [16, 32, 64, 128, 128, 256, 256, 512, 512, 512]  # of the rows of a backbone
STRIDES = [2, 4, 1, 8, 1, 16, 1, 32, 1, 1]  # a stride where a level begins, else 1


class Index(nn.Module):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[self.index]


class Detect(nn.Module):
    def __init__(self, nc: int, ch: list[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(channels, nc, 1) for channels in ch)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(feature) for head, feature in zip(self.heads, features, strict=True)]


def backbone() -> list[nn.Module]:
    rows, before = list[nn.Module](), 3
    for width, stride in zip(WIDTHS, STRIDES, strict=True):
        rows.append(nn.Conv2d(before, width, 3, 2 if stride > 1 else 1, 1))
        before = width
    return rows


def parse_rows(text: str, made: ModuleType, *, nc: int) -> list[tuple[Any, nn.Module]]:
    """Each row and the module it stands for, the adapter's by the branch that the text gives."""
    edit = re.search(r"#( +)elif m is Pyramid:\n#\1 {4}(.*)\n", text)
    assert edit is not None
    ch = list(WIDTHS)
    rows: list[tuple[Any, nn.Module]] = [(k - 1, row) for k, row in enumerate(backbone())]
    for f, n, kind, args in yaml.safe_load(text)["head"]:
        assert n == 1
        if kind == "Pyramid":
            space = {"args": args, "ch": ch, "f": f}
            exec(edit[2], space)
            c2, module = space["c2"], made.Pyramid(*space["args"])
        elif kind == "Index":
            c2, module = args[0], Index(args[1])
        else:
            assert (kind, args) == ("Detect", ["nc"])
            c2, module = 0, Detect(nc, [ch[x] for x in f])
        ch.append(c2)
        rows.append((f, module))
    return rows


def run_rows(rows: list[tuple[Any, nn.Module]], images: Tensor) -> list[Any]:
    kept: list[Any] = []
    for f, module in rows:
        given = images if not kept else kept[f] if isinstance(f, int) else [kept[x] for x in f]
        kept.append(module(given))
    return kept


@pytest.mark.parametrize("of_run", [False, True])
def test_the_head_of_the_yaml_detects_on_the_necks_levels(
    of_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("fpn", "a gap", "names that adapters have")):
        neck = neck_of(name)
        folder = adapt(neck, tmp_path / f"u{of_run}{number}", "ultralytics", of_run=of_run)
        made = adapter(folder, "ultralytics", monkeypatch)
        rows = parse_rows((folder / "for_ultralytics.yaml").read_text(), made, nc=4)
        for _, module in rows:
            module.eval()
        kept = run_rows(rows, torch.rand(1, 3, 96, 64))
        features = [kept[{3: 4, 4: 6, 5: 9}[level]] for level in neck.inputs]
        expected = neck(scaled(neck, features) if of_run else features)
        assert all(map(torch.equal, kept[10], expected)), name
        assert len(kept[-1]) == len(neck.levels)
        assert all(map(torch.equal, kept[11 : 11 + len(expected)], expected))


def test_other_channels_start_anew_by_an_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapt(neck_of("fpn"), tmp_path / "anew", "ultralytics")
    made = adapter(folder, "ultralytics", monkeypatch)
    with pytest.raises(ValueError, match="neck_weights=False starts anew"):
        made.Pyramid([8, 8, 8])
    features = [torch.rand(1, 8, size, size) for size in (8, 4, 2)]
    assert len(made.Pyramid([8, 8, 8], False)(features)) == 5


def test_levels_without_a_row_are_said(tmp_path: Path) -> None:
    text = (adapt(neck_of("from c2"), tmp_path, "ultralytics") / "for_ultralytics.yaml").read_text()
    assert "[[2, 4, 6, 9], 1, Pyramid, [32]]" in text


@pytest.mark.slow
def test_the_readme_is_followed_without_this_package(tmp_path: Path) -> None:
    folder = adapt(neck_of("panet"), tmp_path, "ultralytics")
    given = "c3, c4, c5 = [torch.rand(1, n, s, s) for n, s in ((128, 8), (256, 4), (512, 2))]\n"
    program = given + snippet(folder, "ultralytics") + "print(len(features))\n"
    assert run_alone(folder, program) == "5\n"
