"""What a person may set about data, backbone and proxy: three tables of ``run.toml``.

Every setting has a default that works on one CPU with the embedded data. The models are frozen
and refuse unknown keys; paths are made absolute by whoever reads the file.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from nas_fpn.detect.shapes import COUNTS
from nas_fpn.proxy.url import Place, checked_url, is_url

__all__ = ["TUNING", "BackboneSettings", "DataSettings", "ProxySettings"]

Colour = tuple[float, float, float]
TUNING = ("tune_steps", "tune_folds", "tune_learning_rate")


class DataSettings(BaseModel):
    """Table ``[data]``: a COCO folder of the user's, or nothing for the embedded shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Place | None = Field(
        None, description="folder that the file names in the JSON start at; or a URL, s3://…"
    )
    train: Place | None = Field(None, description="COCO detection JSON that the necks train on")
    val: Place | None = Field(None, description="COCO JSON that the search sees; absent: split off")
    test: Place | None = Field(None, description="COCO JSON for verdicts; absent: split from val")
    warmup: Place | None = Field(
        None, description="COCO JSON for the backbone's warm-up; absent: half of train is set aside"
    )
    train_proposals: Path | None = Field(
        None,
        description="boxes for detector.kind = fast_rcnn, on the images of train (and of what is "
        "split off): a COCO results file",
    )
    val_proposals: Path | None = Field(None, description="the same of val, where that is a file")
    test_proposals: Path | None = Field(None, description="the same of test, where that is a file")
    skip_bad: bool = Field(False, description="leave bad images and boxes out instead of stopping")
    split_seed: int = Field(0, ge=0, description="seed of the splits made when a file is absent")
    shapes_seed: int = Field(0, ge=0, description="seed of the embedded data")
    shapes_train: int = Field(
        COUNTS["train"], ge=1, description="embedded images that the necks train on"
    )
    shapes_val: int = Field(COUNTS["val"], ge=1, description="embedded images that the search sees")
    shapes_test: int = Field(COUNTS["test"], ge=1, description="embedded images for verdicts")
    shapes_warmup: int = Field(
        COUNTS["warmup"], ge=0, description="embedded images for the warm-up only"
    )

    @model_validator(mode="after")
    def _own_data_is_whole(self) -> Self:
        files = (self.train, self.val, self.test, self.warmup)
        if self.images is None and any(files):
            raise ValueError("images must name the folder of images when a JSON file is given")
        for split in ("val", "test"):
            if (
                self.images is not None
                and getattr(self, split) is None
                and getattr(self, f"{split}_proposals") is not None
            ):
                raise ValueError(
                    f"{split}_proposals belongs to {split}, which is split off here; the proposals "
                    "of its images stand in the file of the split that it is taken from"
                )
        if self.images is not None and self.train is None:
            raise ValueError("train must name a COCO JSON file when images is given")
        return self


class BackboneSettings(BaseModel):
    """Table ``[backbone]``: which timm model, from which weights, warmed up and tuned how long.

    What is written out of it leaves the tuning out where there is none, as records did before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("mobilenetv3_small_050", description='a timm model, or "mine.py:build"')
    weights: str = Field(
        "none",
        description='"imagenet" (downloads), "none" (warm-up), a .safetensors file or its URL, or '
        '"own": as the function of mine.py gives it',
    )
    arguments: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description='arguments of the timm model, e.g. {pad_type = "same"}'
    )
    mean: Colour | None = Field(None, description="of the input, RGB in 0..1; absent: the model's")
    std: Colour | None = Field(None, description="of the input, RGB in 0..1; absent: the model's")
    warmup_steps: int = Field(800, ge=0, description='training steps of the warm-up ("none" only)')
    warmup_batch_size: int = Field(16, ge=1, description="images per step of the warm-up")
    warmup_learning_rate: float = Field(1e-2, gt=0, description="peak learning rate of the warm-up")
    warmup_weight_decay: float = Field(1e-4, ge=0, description="weight decay of the warm-up")
    tune_steps: int = Field(
        0,
        ge=0,
        description="training steps end to end on train, before its features are stored; 0: none",
    )
    tune_folds: int = Field(
        2,
        ge=1,
        le=10,
        description="parts of train, each seen by a backbone tuned on the others; 1: all by one "
        "tuned on all, whose features of what it has memorised may mislead",
    )
    tune_learning_rate: float = Field(
        2e-3, gt=0, description="peak learning rate of the head then; the backbone has a tenth"
    )

    @field_validator("weights")
    @classmethod
    def _url_is_one(cls, weights: str) -> str:
        return checked_url(weights) if is_url(weights) else weights

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        whole: dict[str, Any] = dump(self)
        return whole if self.tune_steps else {k: v for k, v in whole.items() if k not in TUNING}


class ProxySettings(BaseModel):
    """Table ``[proxy]``: the short training that scores an architecture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(128, ge=32, description="longer side of the image, in pixels")
    steps: int = Field(300, ge=1, description="training steps of neck and head")
    batch_size: int = Field(16, ge=1, description="images per step")
    threads: int = Field(1, ge=1, description="CPU threads of one worker")
    learning_rate: float = Field(5e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    optimiser: Literal["adamw", "sgd"] = Field(
        "adamw", description="sgd has a momentum of 0.9 and wants a larger learning rate"
    )
    warmup: float = Field(
        0.05, ge=0, le=1, description="part of the steps in which the learning rate rises"
    )
    clip: float = Field(10.0, gt=0, description="largest norm of the gradient; beyond, it is cut")
    device: Literal["cpu", "cuda", "auto"] = Field(
        "cpu", description='where a trial trains; "auto": CUDA where there is one'
    )
    head: Literal["fcos", "retinanet"] = Field(
        "fcos", description="the dense head, in small: without anchors, or with nine at each cell"
    )
    head_width: int = Field(64, ge=1, description="channels inside the dense head")
    head_depth: int = Field(1, ge=0, description="convolutions of a tower of the head")
    tower: Literal["coupled", "decoupled"] = Field(
        "decoupled", description="one tower for classes and boxes, or one each"
    )
    anchor_size: float | None = Field(
        None,
        gt=0,
        description="as in [detector]; absent: what stands there for a detector of this kind",
    )
    reach: float | None = Field(
        None, gt=0, description="as in [detector], for fcos; absent: what stands there, or 4"
    )
    evaluations: int = Field(3, ge=1, description="scores reported on the way, the last at the end")
    views: int = Field(
        3, ge=1, le=4, description="fixed views of a train image: plain, flip, zoom in, zoom out"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the stored features")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="that neck and head compute in; the losses always in float32"
    )
    graphs: bool = Field(
        True, description="on a CUDA device: replay a step captured once instead of launching it"
    )

    @model_validator(mode="after")
    def _reach_belongs_to_fcos(self) -> Self:
        if self.reach is not None and self.head != "fcos":
            raise ValueError(
                f'reach is an option of "fcos", but head is "{self.head}"; leave it out, or set '
                'head to "fcos"'
            )
        return self
