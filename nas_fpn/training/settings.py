"""What a person may set about training real detectors: the table ``[training]`` of ``run.toml``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["TrainingSettings"]


class TrainingSettings(BaseModel):
    """Table ``[training]``: a detector end to end, its backbone included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(256, ge=64, description="side of the network's square input, in pixels")
    steps: int = Field(600, ge=1, description="training steps")
    epochs: float | None = Field(
        None, gt=0, description="instead of steps: how often each image is seen"
    )
    batch_size: int = Field(8, ge=1, description="images per step")
    optimiser: Literal["adamw", "sgd"] = Field(
        "adamw", description="sgd has a momentum of 0.9 and wants a larger learning rate"
    )
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of neck and head")
    backbone_rate: float = Field(
        0.1, ge=0, le=1, description="of a backbone with weights, as a part of learning_rate"
    )
    schedule: Literal["cosine", "step"] = Field(
        "cosine", description="falls to 0; or to a tenth at 2/3 of the steps, and again at 8/9"
    )
    warmup: float = Field(
        0.1, ge=0, le=1, description="part of the steps in which the learning rate rises"
    )
    weight_decay: float = Field(1e-4, ge=0, description="weight decay, of kernels only")
    clip: float = Field(10.0, gt=0, description="largest norm of the gradient; beyond, it is cut")
    ema: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="decay of the averaged weights, which are what is kept; 0: none",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="the second is mixed precision in training; scores are in float32"
    )
    freeze_level: int = Field(
        2,
        ge=0,
        description="of a backbone with weights: all up to the feature of this level stands still",
    )
    freeze_norms: bool = Field(
        True, description="of a backbone with weights: its batch norms stand still"
    )
    flip: float = Field(0.5, ge=0, le=1, description="part of the images that is mirrored")
    zoom: tuple[float, float] = Field(
        (0.7, 1.4), description="least and largest random scale; 1 fits the image into the square"
    )
    colour: float = Field(
        0.2, ge=0, lt=1, description="random change of brightness, contrast and saturation"
    )
    evaluations: int = Field(
        3, ge=1, description="scores on val while it trains, the last at the end"
    )
    checkpoint_steps: int = Field(
        200, ge=1, description="a killed training goes on from the last multiple of these steps"
    )
    threads: int = Field(1, ge=1, description="CPU threads of one training")
    loaders: int = Field(
        0, ge=0, description="processes that read images ahead; 0: this one, best on few cores"
    )
    device: Literal["cpu", "cuda", "auto"] = Field(
        "cpu", description='where it trains; "auto": CUDA where there is one'
    )

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> Self:
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError("zoom should be two numbers above 0, the smaller first")
        return self

    def steps_for(self, images: int) -> int:
        """The training steps on a data set of so many images."""
        if self.epochs is None:
            return self.steps
        return max(round(self.epochs * images / self.batch_size), 1)
