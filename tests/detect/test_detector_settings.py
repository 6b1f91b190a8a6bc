"""Table [detector]: an option that the kind does not have is refused by name."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nas_fpn.detect import DetectorSettings, inference_settings, label_offset

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"


def message(**options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        DetectorSettings(**options)
    return "\n".join(error["msg"] for error in caught.value.errors()) + "\n"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("option_of_another_kind", {"kind": "retinanet", "rpn_samples": 64}),
        ("option_of_other_kinds", {"kind": "faster_rcnn", "tower": "coupled"}),
        ("rule_without_a_level", {"kind": "faster_rcnn", "roi": "soft", "roi_rule": "mmdet"}),
        ("laterals_unread", {"kind": "faster_rcnn", "laterals": ("p3",)}),
        ("thresholds_crossed", {"kind": "faster_rcnn", "rpn_negative_iou": 0.8}),
        ("recursion_of_one_step", {"recursive_shared": True}),
    ],
)
def test_message(name: str, options: dict[str, Any]) -> None:
    assert message(**options) == (GOLDEN / f"detector_{name}.txt").read_text(encoding="utf-8")


def test_an_option_at_its_default_belongs_to_every_kind() -> None:
    for kind in ("fcos", "retinanet", "ssd", "faster_rcnn", "fast_rcnn"):
        written = DetectorSettings(kind=kind).model_dump()
        assert DetectorSettings(**written) == DetectorSettings(kind=kind)


def test_background_is_a_label_where_torchvision_has_a_softmax() -> None:
    offsets = [
        label_offset(DetectorSettings(kind=kind))
        for kind in ("fcos", "retinanet", "ssd", "faster_rcnn", "fast_rcnn")
    ]
    assert offsets == [0, 0, 1, 1, 1]


def test_what_only_training_needs_is_off_at_test() -> None:
    trained = DetectorSettings(kind="faster_rcnn", consistent=0.25, laterals=("p3",), box_width=8)
    assert inference_settings(trained) == DetectorSettings(kind="faster_rcnn", box_width=8)
