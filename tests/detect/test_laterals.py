"""Where a neck has its laterals; and every shipped neck in every kind of detector."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_fpn.detect.laterals import Laterals, find_laterals
from nas_fpn.language import lower, parse, shipped_folder
from nas_fpn.necks import Neck

CHANNELS = {2: 8, 3: 8, 4: 16, 5: 32}  # of the backbone in conftest.py
NECKS = sorted((shipped_folder("search_spaces") / "baselines").glob("*.neck"))


def make_neck(path: Path) -> Neck:
    architecture = parse(path.read_text(encoding="utf-8"))
    return Neck(architecture, [CHANNELS[k] for k in lower(architecture).inputs], seed=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fpn", ("p3", "p4", "p5")),
        ("augfpn", ("p2", "p3", "p4", "p5.operand1")),  # before the residual augmentation
        ("bifpn", ("p3.operand1", "p4.operand1", "p5.operand1")),  # before the merge
    ],
)
def test_laterals_are_what_is_made_of_a_feature_before_the_merge(
    name: str, expected: tuple[str, ...]
) -> None:
    (path,) = [path for path in NECKS if path.stem == name]
    neck = make_neck(path)
    assert find_laterals(neck) == expected
    laterals = Laterals(neck, expected, levels=neck.inputs)
    features = [torch.rand(2, CHANNELS[k], 64 >> k, 64 >> k) for k in neck.inputs]
    neck(features)
    for level, lateral in zip(neck.inputs, laterals.take(), strict=True):
        assert lateral.shape[-2:] == (64 >> level, 64 >> level)
    neck.eval()(features)
    assert laterals.kept == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fcos", "faster_rcnn"])
@pytest.mark.parametrize("path", NECKS, ids=lambda path: path.stem)
def test_every_shipped_neck_fits_every_detector(
    make: Callable[..., Any], path: Path, kind: str
) -> None:
    model = make(kind=kind, neck=make_neck(path)).eval()
    with torch.no_grad():
        (seen,) = model([torch.rand(3, 64, 64)])
    assert torch.isfinite(seen["boxes"]).all()
