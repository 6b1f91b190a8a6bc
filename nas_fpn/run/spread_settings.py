"""Where trials train and where their record is seen: the tables ``[ray]`` and ``[report]``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["RaySettings", "ReportSettings"]

MOST = 1 << 20  # workers, or GPUs of a trial
LEAST = 0.0001  # of a GPU, the finest part that Ray knows


class RaySettings(BaseModel):
    """Table ``[ray]``: how trials are spread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | Literal["auto"] = Field(
        "auto",
        description='trials at a time; "auto": as many, on as many threads, as are found fastest '
        "when the run begins; 0: in this process, without Ray",
    )
    cpus_per_trial: float = Field(1.0, ge=0, description="CPU cores that a trial takes")
    gpus_per_trial: float | Literal["auto"] = Field(
        "auto",
        description='GPUs that a trial takes, or a part of one; "auto": those here, shared among '
        "the workers, or one of a cluster's; 0: trials are on the CPU",
    )
    address: str = Field("local", description='"local", "auto", or the address of a Ray cluster')
    inputs: Literal["everywhere", "driver"] = Field(
        "everywhere",
        description="nodes of a cluster that must reach data and weights; trials read features",
    )

    @field_validator("workers", mode="plain")
    @classmethod
    def _is_a_number_or_auto(cls, workers: object) -> int | Literal["auto"]:
        if workers == "auto":
            return "auto"
        if isinstance(workers, int) and not isinstance(workers, bool) and 0 <= workers <= MOST:
            return workers
        raise ValueError('should be "auto", or a number of trials from 0')

    @field_validator("gpus_per_trial", mode="plain")
    @classmethod
    def _is_given_by_ray(cls, gpus: object) -> float | Literal["auto"]:
        if gpus == "auto":
            return "auto"
        if isinstance(gpus, int | float) and not isinstance(gpus, bool):
            is_whole = 1 <= gpus <= MOST and gpus == int(gpus)
            if gpus == 0 or LEAST <= gpus <= 1 or is_whole:
                return float(gpus)
        raise ValueError(
            f'should be "auto", 0, a part of a GPU from {LEAST}, or a whole number of them'
        )


class ReportSettings(BaseModel):
    """Table ``[report]``: where else the record can be looked at while the search runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror: bool = Field(True, description="keep an Optuna study of the record, for dashboards")
    storage: str = Field(
        "", description='where: "sqlite:///FILE", "postgresql://…"; "" is mirror/ in the folder'
    )
    tensorboard: bool = Field(False, description="write curves for TensorBoard to tensorboard/")

    @field_validator("storage")
    @classmethod
    def _is_a_url(cls, storage: str) -> str:
        if storage and "://" not in storage:
            raise ValueError('should be a URL, like "sqlite:///mirror.db", or ""')
        return storage
