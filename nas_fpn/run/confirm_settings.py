"""What a person may set about comparing necks on test: the table ``[confirm]`` of ``run.toml``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ConfirmSettings"]


class ConfirmSettings(BaseModel):
    """Table ``[confirm]``: necks found against baselines, on test, as a search and a verb do it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(
        3,
        ge=0,
        description="the search's own check: new seeds that both are trained with in the proxy; "
        "0: no check",
    )
    screened: int = Field(
        24,
        ge=0,
        description="the best so many necks found are scored again in the proxy with new seeds, "
        "the worse half leaving each round, to choose the finalists; 0: the best as they are",
    )
    finalists: int = Field(
        2, ge=1, description="necks found that nas-fpn confirm trains end to end"
    )
    controls: int = Field(1, ge=1, description="baselines that each of them has to beat: the best")
    equal_cost: Literal["latency", "params", "gmacs", "none"] = Field(
        "latency",
        description="a baseline is to be beaten as it was searched, and at the width, then the "
        "repeats, at which neck and head cost what the neck found does; none: as searched only",
    )
    min_seeds: int = Field(3, ge=2, description="trainings of each neck before anything is decided")
    max_seeds: int = Field(10, ge=2, description="trainings of each neck at most")
    minutes: float | None = Field(
        None, gt=0, description="no training begins that would end after so many minutes"
    )
    workers: int = Field(0, ge=0, description="trainings at a time; 0: one, in this process")

    @model_validator(mode="after")
    def _seeds_have_room(self) -> Self:
        if self.max_seeds < self.min_seeds:
            raise ValueError(
                f"max_seeds = {self.max_seeds} is below min_seeds = {self.min_seeds}; raise it"
            )
        return self
