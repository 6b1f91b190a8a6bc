"""``run.toml``, read and checked: every fault at once, each with its key and how to mend it.

Paths in the file are relative to the file. The settings keep them as they were written, so that
the record of a run does not depend on where its folder stands; :class:`Run` holds them resolved.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from nas_fpn.detect.settings import REACH, DetectorSettings
from nas_fpn.errors import RunError, command_line
from nas_fpn.proxy.own_backbone import own_file
from nas_fpn.proxy.settings import BackboneSettings, DataSettings, ProxySettings
from nas_fpn.proxy.url import is_url
from nas_fpn.run.budget_settings import BudgetSettings, LimitSettings, SoftConstraintSettings
from nas_fpn.run.calibrate_settings import CalibrateSettings
from nas_fpn.run.confirm_settings import ConfirmSettings
from nas_fpn.run.explain_settings import ExplainSettings
from nas_fpn.run.spread_settings import RaySettings, ReportSettings
from nas_fpn.search import CONSTRAINED, Halving, SoftConstraint, rung_steps
from nas_fpn.strange import MOST_BYTES as MOST_LINE
from nas_fpn.strange import bounded, decoded
from nas_fpn.training.settings import TrainingSettings

__all__ = ["Run", "RunSettings", "changed", "read_run", "spread_as"]

MOST_BYTES = 1 << 18  # of a run.toml
MOST_THREADS = 1 << 12
MOST_RUNGS = 10
BOXES = ("anchor_size", "reach")  # of [proxy]: what is absent there is that of [detector]
NO_GPUS = (
    'device = "cuda" in [proxy], but gpus_per_trial = 0 in [ray] gives trials none; set "auto"'
)
Setting = bool | int | float | str | list[str] | dict[str, bool | int | float | str]

OBJECTIVES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("-params_m", "-gmacs", "-latency_ms"),  # the neck's own, smaller is better
)


def _lacks_gpus(proxy: ProxySettings, ray: RaySettings) -> bool:
    """Whether trials would train on a device that Ray gives to none of them.

    Where their number is measured 0 was no answer before there was "auto", and is taken as that.
    """
    measured = ray.workers == "auto" and ray.address == "local"
    return proxy.device == "cuda" and bool(ray.workers) and not (measured or ray.gpus_per_trial)


def _as_detected(proxy: ProxySettings, detector: DetectorSettings) -> ProxySettings:
    """The proxy with the sizes and first sides of the detector's boxes, where it sets none itself.

    Those of a detector of its kind; of another, as that would be without any said.
    """
    alike = detector.kind == proxy.head
    boxes: dict[str, float | None] = {"anchor_size": detector.anchor_size if alike else None}
    if proxy.head == "fcos":  # a softplus is above 0
        boxes["reach"] = detector.reach if alike and detector.reach > 0 else REACH
    own = {k: value for k, value in dict(proxy).items() if k in proxy.model_fields_set}
    return ProxySettings.model_construct(
        _fields_set=proxy.model_fields_set, **{**dict(proxy), **boxes, **own}
    )


class RunSettings(BaseModel):
    """A whole ``run.toml``, defaults filled in, paths as written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str = Field("quick", description="a shipped name, or a path")
    words: tuple[str, ...] = Field(
        (), description="Python files of own words, which space and baselines may use"
    )
    controller: str = Field("surrogate", description="a shipped name, or a path")
    seed: int = Field(0, ge=0, description="of the controller and of every trial")
    objective: str | tuple[str, ...] = Field(
        "ap", description=f"what the controller is told, or a list: {', '.join(OBJECTIVES)}"
    )
    baselines: tuple[str, ...] = Field(
        ("none", "fpn", "panet", "bifpn"), description="hand-designed necks, the first trials"
    )
    controller_settings: dict[str, Setting] = Field(
        default_factory=dict, description="arguments of the controller"
    )
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    soft_constraint: SoftConstraintSettings = Field(default_factory=SoftConstraintSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    backbone: BackboneSettings = Field(default_factory=BackboneSettings)
    proxy: ProxySettings = Field(default_factory=ProxySettings)
    calibrate: CalibrateSettings = Field(default_factory=CalibrateSettings)
    confirm: ConfirmSettings = Field(default_factory=ConfirmSettings)
    explain: ExplainSettings = Field(default_factory=ExplainSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    report: ReportSettings = Field(default_factory=ReportSettings)

    @field_validator("objective")
    @classmethod
    def _is_measured(cls, objective: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = (objective,) if isinstance(objective, str) else objective
        unknown = [name for name in names if name not in OBJECTIVES]
        if unknown or not names:
            near = _near(unknown[0], OBJECTIVES) if unknown else ""
            raise ValueError(f"should be among {', '.join(OBJECTIVES)}{near}")
        if names[0].startswith("-"):
            raise ValueError("should begin with an AP: the best neck is the best by the first")
        if len(set(names)) < len(names):
            raise ValueError("should name each objective once")
        return objective

    @model_validator(mode="after")
    def _constraint_is_an_objective(self) -> Self:
        cost = self.soft_constraint.cost
        if self.soft_constraint.target is not None and f"-{cost}" not in self.objectives:
            raise ValueError(
                f'[soft_constraint] weighs {cost}, which is no objective; write objective = ["ap", '
                f'"-{cost}"], or another cost'
            )
        return self

    @model_validator(mode="after")
    def _workers_have_the_device(self) -> Self:
        if _lacks_gpus(self.proxy, self.ray):
            raise ValueError(NO_GPUS)
        return self

    @model_validator(mode="after")
    def _proxy_learns_boxes_as_the_detector(self) -> Self:
        object.__setattr__(self, "proxy", _as_detected(self.proxy, self.detector))  # being made
        return self

    @model_validator(mode="after")
    def _rungs_have_room(self) -> Self:
        try:
            rung_steps(self.proxy.steps, eta=self.budget.eta, count=self.budget.rungs)
        except ValueError as fault:
            if self.budget.halving in {"stop", "promote"}:
                raise ValueError(f"{fault}; write fewer rungs in [budget]") from None
        return self

    @property
    def halving(self) -> Halving | None:
        """Which trials go on at which steps; None: all, also where a plan has not decided yet."""
        if self.budget.halving in {"none", "auto"}:
            return None
        eta = self.budget.eta
        rungs = rung_steps(self.proxy.steps, eta=eta, count=self.budget.rungs)
        return Halving(rungs, eta, promotes=self.budget.halving == "promote")

    @property
    def most_trials(self) -> int | None:
        """Of a run with a time: what ``trials`` bounds, if it is written; None: time alone does."""
        return self.budget.trials if "trials" in self.budget.model_fields_set else None

    @property
    def trial_seconds(self) -> float | None:
        """How long a trial may train at a stretch; None: as long as it takes."""
        minutes = self.budget.trial_minutes
        return None if minutes is None else 60 * minutes

    @property
    def objectives(self) -> tuple[str, ...]:
        """The objectives; the best neck is the best by the first, or the front of several."""
        return (self.objective,) if isinstance(self.objective, str) else self.objective

    @property
    def told(self) -> tuple[str, ...]:
        """What the controller is told: the objectives, or the one score made of them."""
        return self.objectives if self.soft is None else (CONSTRAINED,)

    @property
    def soft(self) -> SoftConstraint | None:
        """How ``[soft_constraint]`` makes one score of the first objective and a cost."""
        given = self.soft_constraint
        if given.target is None:
            return None
        return SoftConstraint(
            score=self.objectives[0], cost=given.cost, target=given.target, weight=given.weight
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A question: its folder, its settings as written, and what they point at, resolved.

    ``threads`` are those that its backbone is warmed up on, whatever its trials have: those of
    ``[proxy]`` as they are written, whose place in ``settings`` measured ones may take. None: there
    they are.
    """

    folder: Path
    settings: RunSettings
    data: DataSettings
    backbone: BackboneSettings
    threads: int | None = None


def read_run(run: Path) -> Run:
    """Read ``run.toml`` in the folder ``run`` (or the file itself).

    A run keeps what its record begins with: steps and rungs of a plan, threads that were measured.

    Raises:
        RunError: naming every wrong setting of the file at once.
    """
    path = run if run.suffix == ".toml" else run / "run.toml"
    settings = _validated(path, _parsed(path))
    threads = settings.proxy.threads
    folder = path.parent.resolve()
    settings = _as_begun(settings, folder / "history.jsonl")
    return Run(
        folder=folder,
        settings=settings,
        data=_absolute(settings.data, folder),
        backbone=settings.backbone.model_copy(
            update={
                "name": _backbone(settings.backbone.name, folder),
                "weights": _weights(settings.backbone.weights, folder),
            }
        ),
        threads=threads,
    )


def changed(run: Run, table: Mapping[str, Any], *, where: str) -> Run:
    """A run with other settings: ``table`` as TOML would give it, its paths as they are to be used.

    Raises:
        RunError: naming every wrong setting at once; ``where`` says what gave them.
    """
    resolved = run.settings.model_copy(update={"data": run.data, "backbone": run.backbone})
    whole = resolved.model_dump(exclude_unset=True)
    for key, value in table.items():
        whole[key] = {**whole.get(key, {}), **value} if isinstance(value, Mapping) else value
    settings = _validated(where, whole)
    return Run(run.folder, settings, settings.data, settings.backbone)


def spread_as(run: Run, *, address: str | None, workers: int | str | None) -> Run:
    """The run with its trials spread as a command line says, where that says something.

    Raises:
        RunError: where trials would not have the device that they are to train on.
    """
    given = {"address": address, "workers": workers}
    update = {key: value for key, value in given.items() if value is not None}
    ray = run.settings.ray.model_copy(update=update)
    if _lacks_gpus(run.settings.proxy, ray):
        how = ", ".join(f"--{key} {value}" for key, value in update.items())
        raise RunError(f"{run.folder / 'run.toml'}: {NO_GPUS}" + (f", with {how}" if how else ""))
    return replace(run, settings=run.settings.model_copy(update={"ray": ray}))


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(bounded(path, MOST_BYTES).decode())
    except FileNotFoundError:
        raise RunError(
            f"{path}: no such file\nwrite one with: {command_line('init', path.parent)}"
        ) from None
    except UnicodeDecodeError as fault:
        raise RunError(f"{path}: not UTF-8: {fault.reason} at byte {fault.start}") from None
    except RecursionError:
        raise RunError(f"{path}: not TOML: nested too deeply") from None
    except tomllib.TOMLDecodeError as fault:
        raise RunError(f"{path}: not TOML: {fault}\nstrings stand in double quotes") from None


def _validated(path: Path | str, table: dict[str, Any]) -> RunSettings:
    try:
        return RunSettings.model_validate(table)
    except ValidationError as fault:
        raise RunError(_message(path, [_fault(error) for error in fault.errors()])) from None


def _message(path: Path | str, faults: list[str]) -> str:
    count = "1 setting is wrong" if len(faults) == 1 else f"{len(faults)} settings are wrong"
    return "\n".join([f"{path}: {count}", *(f"  {fault}" for fault in faults)])


def _fault(error: ErrorDetails) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = tuple(_model(error["loc"][:-1]).model_fields)
        near = _near(str(error["loc"][-1]), known)
        return f"{key}: unknown setting{near or '; there are ' + ', '.join(known)}"
    what = (
        error["msg"]
        .removeprefix("Value error, ")
        .replace("Input should", "should")
        .replace("tuple", "list")
    )
    given = error["input"]
    shown = "" if isinstance(given, dict) else f" = {json.dumps(given, default=str)}"
    return f"{key}{shown}: {what}" if key else what


def _model(keys: tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = RunSettings
    for key in keys:
        table = model.model_fields[str(key)].annotation
        assert isinstance(table, type)
        model = table
    return model


def _near(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _as_begun(settings: RunSettings, record: Path) -> RunSettings:
    """The settings with what was decided when a record was begun, if it was of these."""
    if not record.is_file():
        return settings
    with record.open("rb") as file:
        line = file.readline(MOST_LINE)
    try:
        header = decoded(line)
        plan, begun = header.get("plan") or {}, header.get("settings") or {}
        steps, most = plan.get("steps"), plan.get("most_steps")
        was = dict(begun.get("proxy", {}))
        threads = was.get("threads")
        was_auto = header.get("machine", {}).get("ray", {}).get("workers") == "auto"
        halving = begun.get("halving") or {}
        form = "promote" if halving.get("promotes") else "stop"
        eta, count = halving.get("eta", 0), len(halving.get("rungs", ()))
    except (AttributeError, TypeError, ValueError):
        return settings  # whoever reads the record says what is wrong with it
    proxy: dict[str, Any] = {}
    if most == settings.proxy.steps and isinstance(steps, int) and 0 < steps <= most:
        proxy["steps"] = steps
    if was_auto and isinstance(threads, int) and 0 < threads <= MOST_THREADS:
        proxy["threads"] = threads
    unset = set(BOXES) - settings.proxy.model_fields_set
    if was.get("head") == settings.proxy.head:
        proxy |= {k: was[k] for k in sorted(unset) if k in was and _is_side(was[k])}
    budget: dict[str, Any] = {}
    if settings.budget.halving == "auto":
        budget["halving"] = "none"
        if _has_room(proxy.get("steps", settings.proxy.steps), eta, count):
            budget = {"halving": form, "eta": eta, "rungs": count}
    return settings.model_copy(
        update={
            "proxy": settings.proxy.model_copy(update=proxy),
            "budget": settings.budget.model_copy(update=budget),
        }
    )


def _is_side(value: object) -> bool:
    """Whether a length of boxes, of a record, is one; None: by the image size."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and value is not True and 0 < value < math.inf


def _has_room(steps: int, eta: object, count: int) -> bool:
    """Whether so many rungs, of a record, are some."""
    if not isinstance(eta, int) or eta < 2 or not 0 < count <= MOST_RUNGS:
        return False
    try:
        rung_steps(steps, eta=eta, count=count)
    except ValueError:
        return False
    return True


def _absolute(data: DataSettings, folder: Path) -> DataSettings:
    files = ("train", "val", "test", "warmup")
    given = (f"{split}_proposals" for split in ("train", "val", "test"))
    named = {key: getattr(data, key) for key in ("images", *files, *given)}
    return data.model_copy(
        update={k: (folder / v).resolve() for k, v in named.items() if isinstance(v, Path)}
    )


def _weights(weights: str, folder: Path) -> str:
    named = weights in ("imagenet", "none", "own") or is_url(weights)
    return weights if named else str(folder / weights)


def _backbone(name: str, folder: Path) -> str:
    own = own_file(name)
    return name if own is None else f"{folder / own[0]}:{own[1]}"
