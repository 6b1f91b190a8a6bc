"""Regions of interest: the level of a box, and RoIAlign over the levels of a pyramid.

A two-stage detector reads each proposed box (RoI) from one level, chosen by its size (FPN: Lin et
al. 2017, arXiv:1612.03144, section 4.2), or from all of them, for :mod:`nas_fpn.detect.roi_fusion`
to merge. RoIAlign (Mask R-CNN: He et al. 2017, arXiv:1703.06870, section 3) is torchvision's.

A level ``k`` has stride ``2**k`` here as everywhere, so its scale is known. torchvision's
``MultiScaleRoIAlign`` guesses the scales from the heights of its first maps and keeps them, which
goes wrong for very oblong images and for other strides later on.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torchvision.ops import roi_align

__all__ = ["LevelRule", "pool_rois", "pool_rois_from_all", "roi_levels"]

LevelRule = Literal["torchvision", "detectron", "mmdet", "natural"]
EPSILON = 1e-6  # of every published rule: a box of exactly a power of two belongs above


def roi_levels(
    boxes: Tensor,
    *,
    levels: Sequence[int],
    canonical_size: float = 224,
    canonical_level: int = 4,
    rule: LevelRule = "torchvision",
) -> Tensor:
    """The level of each box: [n, 4] (x0, y0, x1, y1) in network pixels to int64 [n].

    ``k = floor(k0 + log2(s / s0))`` clamped to ``levels``, with ``s = sqrt(w * h)``, ``s0`` the
    ``canonical_size`` (ImageNet's 224 px) and ``k0`` the ``canonical_level`` on which a box of
    that size lies (arXiv:1612.03144, equation 1). What is told is the level itself, not its place
    in ``levels``, which are consecutive, finest first; only 2..5 pool in FPN, P6 is for proposals.
    A box without area goes to the finest level.

    The published codes differ near the boundaries. ``rule`` is one of

    - ``"torchvision"``: ``floor(k0 + log2(s / s0) + 1e-6)``;
    - ``"mmdet"``: ``floor(k0 + log2(s / s0 + 1e-6))``, mmdetection 3 with ``s0 = 56, k0 = 2``;
    - ``"detectron"``: the same of ``s = sqrt((w + 1) * (h + 1))``: Detectron and PANet, and
      mmdetection of 2019 with ``s0 = 56, k0 = 2``;
    - ``"natural"``: ``round(k0 + ln(s / s0))``, ``s`` as Detectron's: fpn.pytorch, whose natural
      logarithm is not the paper's rule; for comparison only.
    """
    _check_levels(levels)
    if rule not in get_args(LevelRule):
        names = ", ".join(repr(name) for name in get_args(LevelRule))
        raise ValueError(f"rule must be one of {names}, but got {rule!r}")
    more = 1.0 if rule in ("detectron", "natural") else 0.0
    exact = boxes if boxes.dtype == torch.float64 else boxes.float()
    sides = exact[:, 2:] - exact[:, :2] + more  # [n, 2]
    ratio = sides.prod(dim=1).clamp(min=0).sqrt() / canonical_size
    if rule == "torchvision":
        level = torch.floor(canonical_level + torch.log2(ratio) + EPSILON)
    elif rule == "natural":
        level = torch.round(canonical_level + torch.log(ratio))
    else:
        level = torch.floor(canonical_level + torch.log2(ratio + EPSILON))
    return level.clamp(levels[0], levels[-1]).to(torch.int64)


def pool_rois(
    features: Sequence[Tensor],
    boxes: Sequence[Tensor] | Tensor,
    *,
    levels: Sequence[int],
    output_size: int | tuple[int, int] = 7,
    sampling_ratio: int = 2,
    aligned: bool = False,
    canonical_size: float = 224,
    canonical_level: int = 4,
    rule: LevelRule = "torchvision",
    static: bool = False,
) -> Tensor:
    """Pool each box from the one level that :func:`roi_levels` gives it: [n, C, h, w].

    ``features`` are [B, C, H, W], one per level, finest first. ``boxes`` are in network pixels,
    [n_i, 4] for each of the B images or [B, M, 4] in one tensor; the result has all n of them in
    their order. ``output_size`` is (h, w), or one number for both. ``sampling_ratio`` samples are
    taken along each side of a cell, 0 means as many as the cell has pixels. ``aligned`` shifts by
    half a pixel, so that a sample lies where its pixel does: detectron2 and mmdetection do so,
    torchvision's and the older codes do not.

    Each box is pooled once, so the shapes inside depend on how many boxes a level has.
    ``static=True`` pools all boxes from all levels and picks: the same numbers with no shape
    depending on data, as a graph capture needs, for as many times the work as there are levels.

    Features of less than 32 bits are pooled in float32 and the result is rounded: torchvision
    would round the boxes' coordinates instead, by whole pixels in bfloat16.
    """
    rois = _rois(features, boxes, levels)
    found = roi_levels(
        rois[:, 1:],
        levels=levels,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
        rule=rule,
    )
    sizes = _pair(output_size)
    if static:
        everywhere = torch.stack(
            [
                _align(feature, rois, level, sizes, sampling_ratio, aligned)
                for feature, level in zip(features, levels, strict=True)
            ]
        )  # [L, n, C, h, w]
        return everywhere[found - levels[0], torch.arange(len(rois), device=rois.device)]
    members = [torch.nonzero(found == level).squeeze(1) for level in levels]
    pooled = [
        _align(feature, rois[member], level, sizes, sampling_ratio, aligned)
        for feature, level, member in zip(features, levels, members, strict=True)
    ]
    return torch.cat(pooled)[torch.argsort(torch.cat(members))]  # [n, C, h, w]


def pool_rois_from_all(
    features: Sequence[Tensor],
    boxes: Sequence[Tensor] | Tensor,
    *,
    levels: Sequence[int],
    output_size: int | tuple[int, int] = 7,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> tuple[Tensor, ...]:
    """Pool every box from every level: one [n, C, h, w] per level, finest first.

    The arguments are those of :func:`pool_rois`. This is the first half of PANet's adaptive
    feature pooling (Liu et al. 2018, arXiv:1803.01534, section 3.2) and of AugFPN's soft RoI
    selection (Guo et al. 2020, arXiv:1912.05384); AugFPN's code counts the last pixel of a box
    (x1 + 1) as older detectors do, which is left to the caller's boxes here.
    """
    rois = _rois(features, boxes, levels)
    sizes = _pair(output_size)
    return tuple(
        _align(feature, rois, level, sizes, sampling_ratio, aligned)
        for feature, level in zip(features, levels, strict=True)
    )


def _align(
    feature: Tensor,
    rois: Tensor,
    level: int,
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign of ``rois`` [n, 5] (image, x0, y0, x1, y1) on one level: [n, C, h, w]."""
    exact = feature.to(_exact(feature))
    pooled: Tensor = roi_align(
        exact, rois.to(exact.dtype), output_size, 2.0**-level, sampling_ratio, aligned
    )
    return pooled.to(feature.dtype)


def _exact(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def _pair(output_size: int | tuple[int, int]) -> tuple[int, int]:
    return (output_size, output_size) if isinstance(output_size, int) else output_size


def _rois(
    features: Sequence[Tensor], boxes: Sequence[Tensor] | Tensor, levels: Sequence[int]
) -> Tensor:
    """All boxes behind the number of their image, [n, 5]; checks what the caller gave."""
    _check_levels(levels)
    if len(features) != len(levels):
        raise ValueError(
            f"features must have one entry per level {tuple(levels)}, but got {len(features)}"
        )
    channels = tuple(feature.shape[1] for feature in features)
    if len(set(channels)) != 1:
        raise ValueError(
            f"RoIs are pooled at one width, but levels {tuple(levels)} have channels {channels}; "
            "end each output with conv1 of one width"
        )
    images = features[0].shape[0]
    per_image = list(boxes)
    if len(per_image) != images:
        raise ValueError(
            f"boxes must have one entry per image, but the features are of {images} images "
            f"and boxes has {len(per_image)} entries"
        )
    for image, some in enumerate(per_image):
        if some.dim() != 2 or some.shape[1] != 4:
            raise ValueError(
                f"boxes[{image}] must be [n, 4] (x0, y0, x1, y1) in network pixels, "
                f"but has shape {tuple(some.shape)}; an image without boxes has [0, 4]"
            )
    return torch.cat(
        [
            torch.cat((some.new_full((len(some), 1), image, dtype=_exact(some)), some), dim=1)
            for image, some in enumerate(per_image)
        ]
    )


def _check_levels(levels: Sequence[int]) -> None:
    if not levels or list(levels) != list(range(levels[0], levels[0] + len(levels))):
        raise ValueError(
            f"levels must be consecutive, finest first, as in (2, 3, 4, 5), "
            f"but got levels={tuple(levels)}"
        )
