"""The detector of a training with its first weights: a seed's, a backbone's, an exported neck's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.detect import DetectorSettings, build_detector
from nas_fpn.detect.dataset import Dataset
from nas_fpn.detect.recursive import all_backbones
from nas_fpn.errors import RunError
from nas_fpn.language import Architecture, lower
from nas_fpn.necks import Neck
from nas_fpn.proxy.backbone import Backbone, build_backbone
from nas_fpn.proxy.settings import BackboneSettings
from nas_fpn.run.leave import STATISTICS
from nas_fpn.training import Standardised, TrainingSettings, measure

__all__ = ["Parts", "first_detector"]


@dataclass(frozen=True, slots=True)
class Parts:
    """A detector, and what it is made of, to be looked at afterwards.

    ``backbones`` begin with weights, so that they are to be treated with care: the backbone, and
    what a recursive detector has of copies of it; none where it begins without any.
    """

    model: nn.Module
    backbone: Backbone
    standard: Standardised
    neck: Neck
    backbones: tuple[nn.Module, ...]


def first_detector(
    architecture: Architecture,
    train: Dataset,
    *,
    detector: DetectorSettings,
    training: TrainingSettings,
    backbone: BackboneSettings,
    seed: int,
    init: Path | None,
    warmed: Path | None,
) -> Parts:
    """Build the detector around a neck, for the classes of ``train``.

    ``init`` and ``warmed`` are those of a job. The features of a backbone with weights are
    standardised, as measured on ``train``, or as ``init`` says beside its weights.

    Raises:
        RunError: where backbone, neck, detector and weights do not fit together.
    """
    levels = lower(architecture).inputs
    features = build_backbone(backbone, levels, seed=seed)
    if warmed is not None:
        weights = load_file(warmed)  # of a run, whose other necks may read deeper stages
        features.net.load_state_dict({key: weights[key] for key in features.net.state_dict()})
    has_weights = warmed is not None or backbone.weights != "none"
    neck = Neck(architecture, [features.channels[level] for level in levels], seed=seed)
    statistics: Mapping[int, tuple[Tensor, Tensor]] = {}
    if init is not None:
        statistics = _start(neck, init)
    recursive = detector.recursive_steps > 1  # it feeds the bare backbone, stage by stage
    if recursive and statistics:
        raise RunError(
            f"{init}: its weights expect standardised features ({STATISTICS}), which a "
            "recursive detector does not have; leave --init out, or set recursive_steps = 1"
        )
    if not statistics and has_weights and not recursive:
        statistics = measure(features, train, image_size=training.image_size)
    standard = Standardised(features, statistics)
    try:
        model = build_detector(
            detector,
            features if recursive else standard,
            neck,
            num_classes=len(train.categories),
            image_size=training.image_size,
            seed=seed,
        )
    except ValueError as fault:
        raise RunError(f"[detector] kind = {detector.kind!r}: {fault}") from fault
    careful = all_backbones(model, features) if has_weights else ()
    return Parts(model, features, standard, neck, careful)


def _start(neck: Neck, folder: Path) -> dict[int, tuple[Tensor, Tensor]]:
    """Give ``neck`` the weights of an exported folder; return the statistics beside them.

    The weights expect features that are scaled so, whichever backbone they come from.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise RunError(f"{path}: no such file\n--init names an exported folder, as best/ of a run")
    given, expected = load_file(path), neck.state_dict()
    faults = [f"{key}: not in it" for key in expected if key not in given]
    faults += [f"{key}: not in the neck" for key in given if key not in expected]
    faults += [
        f"{key}: {tuple(given[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in given and given[key].shape != value.shape
    ]
    if faults:
        shown = "\n".join(f"  {fault}" for fault in faults[:5])
        more = f"\n  … and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise RunError(
            f"{path}: does not fit this neck, which reads channels {neck.in_channels} of "
            f"{', '.join(f'c{level}' for level in neck.inputs)}\n{shown}{more}\n"
            "give the same program, width and backbone as it was trained with"
        )
    neck.load_state_dict(given)
    beside = folder / STATISTICS
    if not beside.is_file():
        return {}
    numbers = load_file(beside)
    return {
        level: (numbers[f"mean.c{level}"], numbers[f"std.c{level}"])
        for level in neck.inputs
        if f"mean.c{level}" in numbers
    }
