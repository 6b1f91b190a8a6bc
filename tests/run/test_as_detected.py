"""The proxy learns boxes as the detector trained end to end does: on the same levels, as far."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nas_fpn.detect import build_detector
from nas_fpn.detect.cell_anchors import make_anchors
from nas_fpn.detect.detector import Detector
from nas_fpn.errors import RunError
from nas_fpn.language import parse
from nas_fpn.necks import Neck
from nas_fpn.proxy.train import make_detector
from nas_fpn.run import RunSettings, read_run
from nas_fpn.run.settings import changed

LEVELS = (3, 4, 5)
FPN = "width 8\np3..p5 = c3..c5 -> conv1\np4..p3 = sum(p4..p3, p5..p4)"
CHANNELS = dict.fromkeys(LEVELS, 8)


class Features(nn.Module):
    """A backbone of as many convolutions as it has levels."""

    levels = LEVELS
    channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3, 8, 2**level, stride=2**level) for level in LEVELS)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        return {level: stage(images) for level, stage in zip(LEVELS, self.stages, strict=True)}


def both(settings: RunSettings) -> tuple[nn.Module, nn.Module]:
    """The detector of the proxy, and that trained end to end at the proxy's image size."""
    size = settings.proxy.image_size
    necks = [Neck(parse(FPN), [8, 8, 8], seed=0) for _ in range(2)]
    small = make_detector(necks[0], settings.proxy, num_classes=3, seed=0)
    whole = build_detector(
        settings.detector, Features(), necks[1], num_classes=3, image_size=size, seed=0
    )
    return small, whole


@given(
    image_size=st.sampled_from((64, 128, 320, 512, 800)),
    anchor_size=st.none() | st.floats(2, 40),
    reach=st.floats(0.25, 6),
)
def test_a_level_learns_the_same_boxes_and_starts_them_as_far(
    image_size: int, anchor_size: float | None, reach: float
) -> None:
    detector = {"anchor_size": anchor_size, "reach": reach, "head_depth": 1}
    proxy = {"image_size": image_size, "head_width": 8}
    small, whole = both(RunSettings.model_validate({"detector": detector, "proxy": proxy}))
    assert isinstance(small, Detector)
    sides = [side for (side,) in whole.anchor_generator.sizes]
    # torchvision's FCOS.compute_loss: from 4 to 8 sides, the first from 0, the last to infinity
    lower, upper = [0, *(4 * s for s in sides[1:])], [*(8 * s for s in sides[:-1]), math.inf]
    assert small.ranges == tuple(zip(lower, upper, strict=True))
    starts = functional.softplus(small.head.distances.bias)  # in strides
    begins = whole.head.regression_head.bbox_reg.bias.relu()  # in sides
    for stride, side in zip(small.neck.strides, sides, strict=True):
        torch.testing.assert_close(stride * starts, side * begins)


@pytest.mark.parametrize("anchor_size", [None, 12.0])
def test_retinanets_smallest_anchor_is_as_large(anchor_size: float | None) -> None:
    detector = {"kind": "retinanet", "anchor_size": anchor_size, "head_depth": 1}
    settings = RunSettings.model_validate({"detector": detector, "proxy": {"head": "retinanet"}})
    small, whole = both(settings)
    anchors = make_anchors(
        [(16, 16)], (8,), image_size=128, smallest=settings.proxy.anchor_size
    ).boxes
    area = ((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])).min()
    assert area.sqrt().item() == pytest.approx(whole.anchor_generator.sizes[0][0], abs=1e-3)
    features = [torch.zeros(1, 8, 2 ** (7 - level), 2 ** (7 - level)) for level in LEVELS]
    _, told = small(dict(zip(LEVELS, features, strict=True)))
    assert torch.equal(told.boxes[: len(anchors)], anchors)


def test_what_proxy_says_itself_counts_and_another_kind_says_nothing() -> None:
    detector = {"anchor_size": 8, "reach": 2}
    own = RunSettings.model_validate({"detector": detector, "proxy": {"anchor_size": 4}}).proxy
    assert (own.anchor_size, own.reach) == (4, 2)
    other = RunSettings.model_validate({"detector": detector, "proxy": {"head": "retinanet"}})
    assert (other.proxy.anchor_size, other.proxy.reach) == (None, None)
    none = RunSettings.model_validate({"detector": {"reach": 0}}).proxy  # a softplus is above 0
    assert (none.anchor_size, none.reach) == (None, 4)


def test_a_detector_changed_later_changes_the_proxy_before_a_record_and_not_after(
    tmp_path: Path,
) -> None:
    (tmp_path / "run.toml").write_text("[detector]\nanchor_size = 8\nreach = 2\n")
    run = read_run(tmp_path)
    assert (run.settings.proxy.anchor_size, run.settings.proxy.reach) == (8, 2)
    other = changed(run, {"detector": {"anchor_size": 6}}, where="--set")
    assert other.settings.proxy.anchor_size == 6
    header = {"event": "run", "version": 1, "settings": run.settings.model_dump(mode="json")}
    (tmp_path / "history.jsonl").write_text(json.dumps(header) + "\n")
    (tmp_path / "run.toml").write_text("[detector]\nanchor_size = 6\n")
    later = read_run(tmp_path).settings
    assert (later.detector.anchor_size, later.detector.reach) == (6, 4)
    assert (later.proxy.anchor_size, later.proxy.reach) == (8, 2)
    again = changed(read_run(tmp_path), {"seed": 1}, where="--set").settings.proxy
    assert (again.anchor_size, again.reach) == (8, 2)
    (tmp_path / "run.toml").write_text("[proxy]\nanchor_size = 6\nreach = 3\n")
    own = read_run(tmp_path).settings.proxy
    assert (own.anchor_size, own.reach) == (6, 3), "written: whoever goes on refuses it"


def test_a_run_begun_with_sizes_by_the_image_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    header = {"event": "run", "settings": read_run(tmp_path).settings.model_dump(mode="json")}
    (tmp_path / "history.jsonl").write_text(json.dumps(header) + "\n")
    (tmp_path / "run.toml").write_text("[detector]\nanchor_size = 8\n")
    later = read_run(tmp_path)
    assert later.settings.proxy.anchor_size is None
    assert changed(later, {"seed": 1}, where="--set").settings.proxy.anchor_size is None


def test_a_reach_without_fcos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[proxy]\nhead = "retinanet"\nreach = 2\n')
    with pytest.raises(RunError) as fault:
        read_run(tmp_path)
    assert str(fault.value).splitlines()[1:] == [
        '  proxy: reach is an option of "fcos", but head is "retinanet"; leave it out, or set head '
        'to "fcos"'
    ]


@pytest.mark.parametrize("side", ["8", -1, True, [8], 1e999])
def test_a_record_that_says_no_length_is_not_taken(tmp_path: Path, side: object) -> None:
    (tmp_path / "run.toml").write_text("[detector]\nanchor_size = 6\n")
    proxy = {"head": "fcos", "anchor_size": side, "reach": side}
    header = {"event": "run", "settings": {"proxy": proxy}}
    (tmp_path / "history.jsonl").write_text(json.dumps(header) + "\n")
    kept = read_run(tmp_path).settings.proxy
    assert (kept.anchor_size, kept.reach) == (6, 4)
