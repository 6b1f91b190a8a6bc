"""Backbones: any timm model with ``features_only``, or a module of the user's; features by level.

A stage of stride ``2**k`` gives level k. Models that give one stride only (plain ViTs) or
channels last are refused with the reason; a pyramid needs neither.
"""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import Format
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.proxy.own_backbone import build_own, own_file
from nas_fpn.proxy.remote import local_file
from nas_fpn.proxy.settings import BackboneSettings
from nas_fpn.proxy.url import is_url

__all__ = ["Backbone", "build_backbone"]

OURS = ("features_only", "out_indices", "pretrained", "in_chans", "checkpoint_path")
PROBE = 64  # pixels
SHOWN_KEYS = 5


class Backbone(nn.Module):
    """Images in 0..1 to features by level, finest first; input statistics are inside.

    ``levels`` and ``channels`` (by level) say what it gives; ``code`` names what a user's own one
    was made by. A frozen backbone has no gradients
    and stays in evaluation mode whatever ``train()`` says, so its running statistics stand still.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        settings: BackboneSettings,
        *,
        stages: Mapping[int, int | str],
        channels: Mapping[int, int],
        mean: Sequence[float],
        std: Sequence[float],
        code: str | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.settings = settings
        self.levels = tuple(stages)
        self.channels = dict(channels)
        self.frozen = False
        self.code = code
        self.stages = dict(stages)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """[B, 3, S, S] in 0..1 to one [B, C, H, W] by level, H and W about S / 2**level."""
        stages = self.net((images - self.mean) / self.std)
        return {level: stages[stage] for level, stage in self.stages.items()}

    def freeze(self) -> Self:
        """Stop gradients and stay in evaluation mode from now on; return itself."""
        self.requires_grad_(False)
        self.frozen = True
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, unless frozen."""
        return super().train(mode and not self.frozen)

    def fingerprint(self) -> str:
        """Hash of all that decides its features: model, arguments, input statistics, weights."""
        digest = hashlib.sha256()
        digest.update(
            repr(
                (self.code or self.settings.name, sorted(self.settings.arguments.items()))
            ).encode()
        )
        digest.update(repr((self.levels, self.mean.tolist(), self.std.tolist())).encode())
        for key, value in sorted(self.net.state_dict().items()):
            digest.update(repr((key, tuple(value.shape), str(value.dtype))).encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def build_backbone(settings: BackboneSettings, levels: Sequence[int], *, seed: int = 0) -> Backbone:
    """Make the timm model of the settings, or the user's own, with its weights, giving ``levels``.

    Weights "none" start from ``seed`` and leave the global generator alone; "imagenet" are
    timm's (a download, or its cache); a file must fit all stages of the model, key for key.
    Stages of timm's beyond the coarsest level are cut off. Weights of one's own backbone: "own"
    are those that its function gave it. The result is in training mode, not frozen.
    Raises ``RunError`` if the model, its arguments, its features or the weights do not fit.
    """
    if not levels:
        raise ValueError(f"levels must name one level at least, but got levels={tuple(levels)}")
    wanted = tuple(sorted(set(levels)))
    if own_file(settings.name) is not None:
        return _own(settings, wanted, seed=seed)
    if settings.weights == "own":
        raise RunError(
            f'[backbone] weights = "own": {settings.name!r} is a timm model; "own" is for a '
            'function of yours, name = "mine.py:build"'
        )
    whole = _create(settings, stages=None, seed=seed)
    stages = _stages_of(whole, settings.name)
    _check_levels(wanted, tuple(stages), settings.name)
    if settings.weights not in ("none", "imagenet"):
        _load(whole, _weights_file(settings.weights))
    net, stages = _cut(whole, settings, stages={level: stages[level] for level in wanted})
    config = whole.default_cfg
    channels = net.feature_info.channels()
    backbone = Backbone(
        net,
        settings,
        stages=stages,
        channels={level: channels[stage] for level, stage in stages.items()},
        mean=settings.mean or config["mean"],
        std=_positive(settings.std or config["std"]),
    )
    _probe(backbone)
    return backbone


def _own(settings: BackboneSettings, levels: tuple[int, ...], *, seed: int) -> Backbone:
    """The user's module, whole: what its unused stages cost is for its author to cut."""
    if settings.weights == "imagenet":
        raise RunError(
            f'[backbone] weights = "imagenet": {settings.name!r} is your own; "own" takes the '
            'weights that the function gives it, "none" warms it up, a .safetensors file loads them'
        )
    made = build_own(settings, seed=seed)
    _check_levels(levels, tuple(made.stages), settings.name)
    if settings.weights not in ("none", "own"):
        _load(made.net, _weights_file(settings.weights))
    return Backbone(
        made.net,
        settings,
        stages={level: made.stages[level] for level in levels},
        channels={level: made.channels[level] for level in levels},
        mean=settings.mean or (0.0, 0.0, 0.0),
        std=_positive(settings.std or (1.0, 1.0, 1.0)),
        code=made.code,
    ).train()


def _check_levels(wanted: Sequence[int], given: Sequence[int], name: str) -> None:
    if missing := [level for level in wanted if level not in given]:
        raise RunError(
            f"[backbone] name = {name!r}: the model gives levels {tuple(given)}, not "
            f"{', '.join(map(str, missing))}; let the space start from {_names(given)}, or "
            "take another model"
        )


def _create(settings: BackboneSettings, *, stages: tuple[int, ...] | None, seed: int) -> Any:
    """Make the model with all its stages, or those of ``stages`` without the weights."""
    where = f"[backbone] name = {settings.name!r}"
    if not timm.is_model(settings.name):
        near = difflib.get_close_matches(settings.name, timm.list_models(), n=3)
        mean = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise RunError(f"{where}: timm has no such model; {mean}")
    if taken := [key for key in settings.arguments if key in OURS]:
        raise RunError(f"[backbone] arguments: {', '.join(taken)} cannot be set here; leave it out")
    pretrained = settings.weights == "imagenet" and stages is None
    if pretrained and not get_pretrained_cfg(settings.name).has_weights:
        raise RunError(
            f'{where}: timm has no weights for it; set weights = "none" or a .safetensors file'
        )
    chosen: dict[str, Any] = {} if stages is None else {"out_indices": stages}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(
                settings.name,
                pretrained=pretrained,
                features_only=True,
                **chosen,
                **settings.arguments,
            )
    except OSError as error:
        if not pretrained:
            raise
        raise RunError(
            f'{where}: the weights "imagenet" could not be fetched ({type(error).__name__}); '
            "connect this machine once, or copy them and set weights to the .safetensors file "
            '(timm\'s features_only state dict), or set weights = "none" for a warm-up'
        ) from error
    except (TypeError, ValueError, RuntimeError, AttributeError, AssertionError, KeyError) as error:
        raise RunError(
            f"{where}, arguments = {settings.arguments}: timm cannot make it with features_only: "
            f"{type(error).__name__}: {error}; mend the arguments, or take another model"
        ) from error


def _stages_of(net: Any, name: str) -> dict[int, int]:
    """Index of the stage that gives each level; of several with one stride the last."""
    where = f"[backbone] name = {name!r}"
    layout = getattr(net, "output_fmt", Format.NCHW)
    if layout != Format.NCHW:
        raise RunError(
            f"{where}: its features are {layout.value}, channels last, and a neck takes "
            "[B, C, H, W]; take a convolutional model, e.g. resnet18 or mobilenetv3_small_100"
        )
    strides = net.feature_info.reduction()
    if len(set(strides)) < 2:
        raise RunError(
            f"{where}: all its features have stride {strides[0]}, and a pyramid needs several; "
            "take a model with stages, e.g. resnet18 or mobilenetv3_small_100"
        )
    stages = {stride.bit_length() - 1: stage for stage, stride in enumerate(strides)}
    if any(
        stride != 1 << level for level, stride in zip(stages, sorted(set(strides)), strict=True)
    ):
        raise RunError(f"{where}: its strides {strides} are not powers of two; take another model")
    return stages


def _weights_file(weights: str) -> Path:
    return local_file(weights) if is_url(weights) else Path(weights)


def _load(net: nn.Module, path: Path) -> None:
    where = f"[backbone] weights = {str(path)!r}"
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise RunError(f'{where}: no such file; name one, or set "imagenet" or "none"') from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{where}: not a readable .safetensors file: {error}") from None
    expected = net.state_dict()
    faults = {
        "missing": sorted(expected.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{key} {tuple(weights[key].shape)} for {tuple(value.shape)}"
            for key, value in expected.items()
            if key in weights and weights[key].shape != value.shape
        ],
    }
    if any(faults.values()):
        lines = [
            f"  {len(keys)} {fault}: {', '.join(keys[:SHOWN_KEYS])}"
            + (", …" if len(keys) > SHOWN_KEYS else "")
            for fault, keys in faults.items()
            if keys
        ]
        hint = "the file must be the state dict of this model made with features_only"
        raise RunError("\n".join([f"{where}: does not fit the model", *lines, hint]))
    net.load_state_dict(weights, strict=True)


def _cut(
    whole: Any, settings: BackboneSettings, *, stages: Mapping[int, int]
) -> tuple[Any, dict[int, int]]:
    """The model without what lies behind these stages (by level), and where they are in it."""
    if max(stages.values()) == len(whole.feature_info.channels()) - 1:
        return whole.train(), dict(stages)
    net = _create(settings, stages=tuple(stages.values()), seed=0)
    weights = whole.state_dict()
    net.load_state_dict({key: weights[key] for key in net.state_dict()}, strict=True)
    return net.train(), {level: place for place, level in enumerate(stages)}


def _probe(backbone: Backbone) -> None:
    """Look at the features of an empty image: shapes are facts, feature_info is a promise."""
    where = f"[backbone] name = {backbone.settings.name!r}"
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 3, PROBE, PROBE))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise RunError(
            f"{where}: the model takes no image of {PROBE} x {PROBE} pixels ({error}); take one "
            "without a fixed input size"
        ) from error
    for level, feature in features.items():
        side = -(-PROBE // 2**level)
        expected = (1, backbone.channels[level], side, side)
        if tuple(feature.shape) != expected:
            raise RunError(
                f"{where}: the feature of level {level} is {tuple(feature.shape)} for an image "
                f"of {PROBE} pixels, not {expected}; take another model"
            )
    backbone.train()


def _positive(std: Sequence[float]) -> Sequence[float]:
    if min(std) <= 0:
        raise RunError(f"[backbone] std = {tuple(std)}: must be above 0")
    return std


def _names(levels: Sequence[int]) -> str:
    return ", ".join(f"c{level}" for level in levels)
