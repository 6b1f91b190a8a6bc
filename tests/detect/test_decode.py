"""Decoding: torchvision's detections on the same numbers, back in original pixels."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms

from nas_fpn.detect.boxes import Grid, boxes_to_distances, make_grid
from nas_fpn.detect.decode import decode, shifted_nms
from nas_fpn.detect.evaluate import Detections
from nas_fpn.detect.head import Predictions

STRIDES = (8, 16)
SIZES = ((8, 8), (4, 4))
POINTS = 80


def random_predictions(seed: int, images: int) -> Predictions:
    g = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(images, POINTS, 3, generator=g) - 1,
        torch.rand(images, POINTS, 4, generator=g) * 3,
        torch.randn(images, POINTS, generator=g),
    )


def whole_images(
    count: int, *, scale: float = 1.0, width: int = 64, height: int = 64
) -> dict[str, Tensor]:
    return {
        "image_ids": torch.arange(count) + 100,
        "scales": torch.full((count,), scale),
        "sizes": torch.tensor([[width, height]] * count),
    }


def only(boxes: Tensor, *, score: float = 4.0) -> tuple[Predictions, Grid]:
    """Predictions that see the given boxes, each at the point of its index, and nothing else."""
    grid = make_grid(SIZES, STRIDES)
    logits = torch.full((1, POINTS, 3), -30.0)
    logits[0, : len(boxes), 0] = score
    distances = torch.zeros(1, POINTS, 4)
    distances[0, : len(boxes)] = boxes_to_distances(
        boxes, grid.points[: len(boxes)], grid.strides[: len(boxes)]
    )
    return Predictions(logits, distances, torch.full((1, POINTS), 30.0)), grid


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("most", [5, 100])
def test_detections_equal_torchvision(seed: int, most: int) -> None:
    predictions = random_predictions(seed, 3)
    backbone = torch.nn.Identity()
    backbone.out_channels = 32  # type: ignore[assignment]
    fcos = FCOS(
        backbone, 3, score_thresh=0.4, nms_thresh=0.5, topk_candidates=20, detections_per_img=most
    )
    anchors = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * 2)(
        ImageList(torch.zeros(3, 3, 64, 64), [(64, 64)] * 3),
        [torch.zeros(3, 1, *size) for size in SIZES],
    )
    counts = [h * w for h, w in SIZES]
    theirs = fcos.postprocess_detections(
        {
            "cls_logits": predictions.logits.split(counts, dim=1),
            "bbox_regression": predictions.distances.split(counts, dim=1),
            "bbox_ctrness": predictions.centreness[..., None].split(counts, dim=1),
        },
        [list(a.split(counts)) for a in anchors],
        [(64, 64)] * 3,
    )
    ours = decode(
        predictions,
        make_grid(SIZES, STRIDES, offset=0.0),
        **whole_images(3),
        threshold=0.4,
        top_k=20,
        overlap=0.5,
        most=most,
    )
    assert ours.image_ids.tolist() == [100 + i for i, d in enumerate(theirs) for _ in d["scores"]]
    for name in ("boxes", "scores", "labels"):
        torch.testing.assert_close(getattr(ours, name), torch.cat([d[name] for d in theirs]))


def test_boxes_return_to_original_pixels_and_stay_in_the_image() -> None:
    predictions, grid = only(torch.tensor([[-5.0, 2, 30, 40], [10, 3, 60, 20]]))
    found = decode(predictions, grid, **whole_images(1, scale=0.5, width=100, height=70))
    assert sorted(found.boxes.round().tolist()) == [[0, 4, 60, 70], [20, 6, 100, 40]]


def test_a_box_in_the_padding_is_left_out() -> None:
    predictions, grid = only(torch.tensor([[0.0, 50, 40, 60]]))
    found = decode(predictions, grid, **whole_images(1, width=64, height=48))
    assert len(found.boxes) == 0


def test_a_batch_equals_its_images_one_by_one() -> None:
    whole = random_predictions(7, 4)
    grid = make_grid(SIZES, STRIDES)
    together = decode(whole, grid, **whole_images(4), top_k=30)
    singles = [
        decode(
            Predictions(whole.logits[[i]], whole.distances[[i]], whole.centreness[[i]]),
            grid,
            image_ids=torch.tensor([100 + i]),
            scales=torch.ones(1),
            sizes=torch.tensor([[64, 64]]),
            top_k=30,
        )
        for i in range(4)
    ]
    for name in Detections.__slots__:
        torch.testing.assert_close(
            getattr(together, name), torch.cat([getattr(one, name) for one in singles])
        )


def test_nothing_above_the_threshold_is_no_detection() -> None:
    predictions, grid = only(torch.zeros(0, 4))
    found = decode(predictions, grid, **whole_images(1))
    assert found.boxes.shape == (0, 4)
    assert found.labels.dtype == found.image_ids.dtype == torch.int64


@pytest.mark.parametrize(("groups", "side"), [(1, 64.0), (3, 64.0), (2000, 4096.0)])
def test_suppression_in_one_call_is_that_group_by_group(groups: int, side: float) -> None:
    g = torch.Generator().manual_seed(groups)
    corner = torch.rand(1500, 2, generator=g) * side
    boxes = torch.cat((corner, corner + torch.rand(1500, 2, generator=g) * 40 + 1), dim=1)
    boxes = torch.cat((boxes, boxes + torch.rand(1500, 4, generator=g) * 3))  # near doubles
    scores = torch.rand(3000, generator=g)
    group = torch.randint(groups, (1500,), generator=g).repeat(2)
    expected = batched_nms(boxes, scores, group, 0.6)  # group by group for so many on a CPU
    assert torch.equal(shifted_nms(boxes, scores, group, 0.6), expected)
    assert 100 < len(expected) < 3000
    assert len(shifted_nms(boxes[:0], scores[:0], group[:0], 0.6)) == 0
