"""What a person may set about explaining a neck: the table ``[explain]`` of ``run.toml``."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ExplainSettings"]


class ExplainSettings(BaseModel):
    """Table ``[explain]``: how a neck found is held against simpler ones, in the proxy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: int = Field(4, ge=2, description="trainings of each neck, the same seeds for all")
    most: int = Field(
        12, ge=0, description="simpler neighbours that nas-fpn explain trains; 0: none"
    )
    workers: int = Field(0, ge=0, description="trainings at a time; 0: one, in this process")
