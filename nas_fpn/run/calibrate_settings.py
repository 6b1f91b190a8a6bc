"""What a person may set about calibrating the proxy: the table ``[calibrate]`` of ``run.toml``."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["CalibrateSettings"]

# What a fidelity may change, and the least and most that it may be set to.
RANGES: Final = {
    "steps": (0.0, 100.0),
    "image_size": (0.1, 10.0),
    "views": (1.0, 4.0),
    "width": (0.1, 10.0),
    "learning_rate": (0.0, 1000.0),
    "tune_steps": (0.0, 1e6),
    "tune_folds": (1.0, 10.0),
}
EXACT: Final = {"views": 1.0, "width": 1.0, "tune_steps": 0.0, "tune_folds": 1.0}  # allowed too


class CalibrateSettings(BaseModel):
    """Table ``[calibrate]``: how the ranking of the proxy is held against one end to end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    necks: int = Field(
        16, ge=4, description="baselines, the lightest and heaviest of the space, random ones"
    )
    seeds: int = Field(2, ge=1, description="trainings of each neck at each fidelity")
    tau: float = Field(0.7, gt=0, lt=1, description="Kendall's tau that a fidelity must reach")
    minutes: float = Field(60.0, gt=0, description="no training begins that would end later")
    reference_steps: float = Field(
        2.0, gt=0, description="of the training end to end, as a multiple of steps in [proxy]"
    )
    reference_images: int = Field(
        2000, ge=1, description="at most so many images of train, and of val, are in it"
    )
    fidelities: tuple[dict[str, float], ...] = Field(
        ({"steps": 0.33}, {"image_size": 0.75}, {"width": 0.5}, {"views": 1}),
        description="tried beside [proxy]: parts of its steps, learning_rate, image_size, necks' "
        "width; or views, tune_steps, tune_folds themselves",
    )
    workers: int = Field(0, ge=0, description="trainings at a time; 0: one, in this process")

    @field_validator("fidelities")
    @classmethod
    def _are_known(cls, fidelities: tuple[dict[str, float], ...]) -> tuple[dict[str, float], ...]:
        for one in fidelities:
            for name, value in one.items():
                if name not in RANGES:
                    raise ValueError(f"{name!r} is none of {', '.join(RANGES)}")
                least, most = RANGES[name]
                if not least < value <= most and value != EXACT.get(name):
                    raise ValueError(f"{name} = {value:g} should be from {least:g} to {most:g}")
            if not one:
                raise ValueError("{} changes nothing; [proxy] as it is stands first by itself")
        return fidelities
