"""What a search may take: ``[budget]``, ``[limits]`` and ``[soft_constraint]`` of ``run.toml``."""

import shlex
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["BudgetSettings", "LimitSettings", "SoftConstraintSettings"]


class BudgetSettings(BaseModel):
    """Table ``[budget]``: when the search is over, and how far each trial is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float | None = Field(
        None,
        gt=0,
        description="of the whole run, from the command to best/; absent: as long as it takes",
    )
    trials: int = Field(
        50,
        ge=1,
        description="proposals of the controller, beyond the baselines; with minutes at most so "
        "many, or, without this line, as many as fit",
    )
    halving: Literal["auto", "none", "stop", "promote"] = Field(
        "auto",
        description="as the plan finds best (all to the end, unless minutes are few and a "
        "calibration shows that rungs rank); all to the end; stop poor trials; pause all, promote "
        "good",
    )
    eta: int = Field(3, ge=2, description="of so many trials at a rung, one goes on")
    rungs: int = Field(
        2, ge=1, description="how often trials are compared: after steps / eta, steps / eta² …"
    )
    trial_minutes: float | None = Field(
        None, gt=0, description="a trial that trains for longer has failed; absent: none has"
    )


class LimitSettings(BaseModel):
    """Table ``[limits]``: a proposal above one of them is rejected before it trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    params_m: float | None = Field(None, gt=0, description="parameters of the neck, in millions")
    gmacs: float | None = Field(
        None, gt=0, description="multiply-adds of the neck for one image, in 1e9"
    )
    latency_ms: float | None = Field(
        None, gt=0, description="of the neck for one image, measured where a trial trains"
    )
    memory_mb: float | None = Field(
        None, gt=0, description="of neck and head for one image, in 1e6 bytes"
    )
    measure: str | None = Field(
        None,
        description="your own command for both: it gets the folder of the exported neck and prints "
        "milliseconds, or JSON",
    )
    measure_seconds: float | None = Field(
        None, gt=0, description="what that command may take; absent: 60"
    )

    @field_validator("measure")
    @classmethod
    def _is_a_line(cls, measure: str | None) -> str | None:
        try:
            words = None if measure is None else shlex.split(measure)
        except ValueError as fault:
            raise ValueError(f"should be a command and its arguments: {fault}") from None
        if words == []:
            raise ValueError("should name a program")
        return measure


class SoftConstraintSettings(BaseModel):
    """Table ``[soft_constraint]``: several objectives as one score, for the controller alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost: Literal["params_m", "gmacs", "latency_ms"] = Field(
        "latency_ms", description="a cost among the objectives, without its minus"
    )
    target: float | None = Field(
        None,
        gt=0,
        description="the controller is told ap · (cost / target)^weight (MnasNet); absent: every "
        "objective by itself",
    )
    weight: float = Field(-0.07, le=0, description="exponent of cost / target")
