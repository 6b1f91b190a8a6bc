"""What a person may set about the detectors trained end to end: table ``[detector]``."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nas_fpn.detect.head import Tower
from nas_fpn.detect.roi import LevelRule

__all__ = ["REACH", "DetectorSettings", "Kind", "label_offset"]

Kind = Literal["fcos", "retinanet", "ssd", "faster_rcnn", "fast_rcnn"]

REACH: Final = 4.0  # where nothing says another, in [detector] and in [proxy]
TOWERS: Final = ("fcos", "retinanet")
PROPOSING: Final = ("faster_rcnn",)
TWO_STAGE: Final = ("faster_rcnn", "fast_rcnn")
OWNERS: Final[dict[str, tuple[Kind, ...]]] = {  # fields that some kinds have and others do not
    "tower": TOWERS,
    "head_depth": TOWERS,
    "head_norm": TOWERS,
    "reach": ("fcos",),
    "anchor_size": ("fcos", "retinanet", "ssd", "faster_rcnn"),
    "rpn_depth": PROPOSING,
    "rpn_positive_iou": PROPOSING,
    "rpn_negative_iou": PROPOSING,
    "rpn_samples": PROPOSING,
    "proposals_train": PROPOSING,
    "proposals_test": PROPOSING,
    "roi": TWO_STAGE,
    "roi_rule": TWO_STAGE,
    "roi_levels": TWO_STAGE,
    "roi_canonical_size": TWO_STAGE,
    "box_head": TWO_STAGE,
    "box_width": TWO_STAGE,
    "box_samples": TWO_STAGE,
    "consistent": TWO_STAGE,
    "laterals": TWO_STAGE,
}


class DetectorSettings(BaseModel):
    """Table ``[detector]``: which of torchvision's detectors, and its options.

    The defaults are torchvision's, but for ``score_threshold``, since AP counts boxes of all scores
    and a short training gives low ones, and for ``reach``. A field set for a kind that does not
    have it is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field("fcos", description="fast_rcnn reads data.train_proposals …")
    width: int | None = Field(
        None,
        ge=1,
        description="channels of all levels before the heads, by 1x1 convolutions; absent: the "
        "neck's own",
    )
    score_threshold: float = Field(0.01, ge=0, le=1, description="boxes below are not told")
    nms_threshold: float | None = Field(
        None, gt=0, le=1, description="IoU above which the lesser box goes; absent: torchvision's"
    )
    detections: int = Field(100, ge=1, description="boxes told of an image at most")

    tower: Tower = Field("decoupled", description="one tower for classes and boxes, or one each")
    head_depth: int = Field(4, ge=0, description="convolutions of a tower")
    head_norm: Literal["group", "none"] | None = Field(
        None, description='norms of the towers; absent: "group" for fcos, "none" for retinanet'
    )
    reach: float = Field(
        REACH,
        ge=0,
        description="distance of the sides that boxes start with, in squares of their level; "
        "torchvision: 0, where a half of them has no gradient",
    )
    anchor_size: float | None = Field(
        None,
        gt=0,
        description="side in pixels of the smallest anchor, the largest is 16 times it; absent: "
        "32 at an image size of 800, 10 at 256 and below; fcos: of the square of its finest level, "
        "which learns boxes up to 8 of them; absent: 8 at 800 and 4 at 256, at level 3",
    )

    rpn_depth: int = Field(1, ge=1, description="convolutions before objectness and boxes")
    rpn_positive_iou: float = Field(0.7, gt=0, le=1, description="an anchor from here is an object")
    rpn_negative_iou: float = Field(0.3, ge=0, le=1, description="an anchor below is background")
    rpn_samples: int = Field(256, ge=2, description="anchors of an image that the RPN learns from")
    proposals_train: int = Field(2000, ge=1, description="of a level before, of all after NMS")
    proposals_test: int = Field(1000, ge=1, description="the same when it is tested")

    roi: Literal["level", "adaptive", "soft"] = Field(
        "level", description="a box reads one level; or all: PANet's pooling, AugFPN's selection"
    )
    roi_rule: LevelRule = Field("torchvision", description="how a box finds its level")
    roi_levels: tuple[int, ...] | None = Field(
        None, description="levels that boxes read; absent: those up to 5"
    )
    roi_canonical_size: float | None = Field(
        None,
        gt=0,
        description="side in pixels of a box that reads level 4; absent: 224 at an image size of "
        "800, 70 at 250 and below",
    )
    box_head: Literal["linear", "convs"] = Field(
        "linear", description="two linear layers; or four convolutions and one"
    )
    box_width: int = Field(1024, ge=1, description="channels of the linear layers")
    box_samples: int = Field(512, ge=1, description="boxes of an image that the head learns from")
    consistent: float = Field(
        0.0, ge=0, description="weight of AugFPN's consistent supervision, there 0.25; 0: without"
    )
    laterals: tuple[str, ...] = Field(
        (), description="cells that it reads; absent: the first that reads each backbone feature"
    )

    recursive_steps: int = Field(
        1, ge=1, description="passes of backbone and neck, each fed with the last (DetectoRS)"
    )
    recursive_width: int = Field(256, ge=4, description="channels of what is fed back")
    recursive_shared: bool = Field(False, description="one backbone for all passes")
    switchable: bool = Field(
        False, description="switchable 3x3 convolutions in the backbone (DetectoRS)"
    )

    @model_validator(mode="after")
    def _options_belong_to_the_kind(self) -> Self:
        for name, kinds in OWNERS.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[
                name
            ].get_default(call_default_factory=True):
                raise ValueError(
                    f"{name} is an option of {_either(kinds)}, but kind is {self.kind!r}; "
                    f"leave it out, or set kind to {_either(kinds)}"
                )
        return self

    @model_validator(mode="after")
    def _options_fit_together(self) -> Self:
        if self.rpn_negative_iou > self.rpn_positive_iou:
            raise ValueError(
                "rpn_negative_iou must not be above rpn_positive_iou, but got "
                f"{self.rpn_negative_iou} and {self.rpn_positive_iou}"
            )
        if self.roi != "level" and (
            self.roi_rule != "torchvision" or self.roi_canonical_size is not None
        ):
            raise ValueError(
                "roi_rule and roi_canonical_size choose the one level of a box, but with "
                f'roi = {self.roi!r} it reads all; leave them out, or set roi = "level"'
            )
        if self.laterals and not self.consistent:
            raise ValueError(
                "laterals are read by consistent supervision, which is off; set consistent = 0.25, "
                "or leave them out"
            )
        if self.recursive_steps == 1 and (self.recursive_shared or self.recursive_width != 256):
            raise ValueError(
                "recursive_width and recursive_shared are options of a recursive neck, but "
                "recursive_steps is 1; set it to 2, or leave them out"
            )
        return self


def label_offset(settings: DetectorSettings) -> int:
    """What is added to a class index 0, 1, … to make the label of a detector of this kind.

    torchvision's FCOS and RetinaNet count classes from 0; where it takes a softmax over classes
    and background, SSD and both R-CNNs, 0 is the background.
    """
    return 0 if settings.kind in TOWERS else 1


def _either(names: tuple[str, ...]) -> str:
    *most, last = (f'"{name}"' for name in names)
    return f"{', '.join(most)} or {last}" if most else last
