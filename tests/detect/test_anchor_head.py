"""The anchor head gives torchvision's numbers, a batch at once."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from nas_fpn.detect.anchor_detector import AnchorDetector
from nas_fpn.detect.anchor_head import AnchorHead, AnchorPredictions, anchor_losses
from nas_fpn.detect.cell_anchors import (
    OCTAVES,
    RATIOS,
    assign_anchors,
    boxes_to_deltas,
    deltas_to_boxes,
    make_anchors,
    match_anchors,
)

SIZE, STRIDES = 800, (8, 16, 32)
SIZES = [(100, 100), (50, 50), (25, 25)]
CLASSES = 3


class Levels(nn.Module):
    """A neck that passes its features: three levels of 8 channels."""

    inputs = levels = (3, 4, 5)
    strides = STRIDES
    out_channels = (8, 8, 8)

    def forward(self, features):
        return features


def scene(seed: int, *, boxes: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, boxes, 2, generator=generator) * 500
    side = torch.rand(2, boxes, 2, generator=generator) ** 2 * 280 + 6
    labels = torch.randint(0, CLASSES, (2, boxes), generator=generator)
    labels[1, 4:] = -1
    return torch.cat((corner, corner + side), dim=2), labels


def torchvisions() -> RetinaNet:
    backbone = nn.Conv2d(3, 8, 1)
    backbone.out_channels = 8
    sides = tuple(tuple(4 * stride * 2**octave for octave in OCTAVES) for stride in STRIDES)
    return RetinaNet(backbone, CLASSES, anchor_generator=AnchorGenerator(sides, (RATIOS,) * 3))


def matched(model: RetinaNet, anchors, boxes, labels):
    """Boxes as torchvision takes them, and what its matcher says, image by image."""
    targets, found = [], []
    for image, rows in zip(boxes, labels, strict=True):
        kept = rows >= 0
        targets.append({"boxes": image[kept], "labels": rows[kept]})
        found.append(model.proposal_matcher(box_iou(image[kept], anchors)))
    return targets, found


def test_anchors_are_torchvisions_up_to_its_rounding_to_whole_pixels():
    ours = make_anchors(SIZES, STRIDES, image_size=SIZE)
    images = ImageList(torch.zeros(1, 3, SIZE, SIZE), [(SIZE, SIZE)])
    maps = [torch.zeros(1, 8, *size) for size in SIZES]
    (theirs,) = torchvisions().anchor_generator(images, maps)
    assert ours.counts == tuple(9 * h * w for h, w in SIZES)
    assert (ours.boxes - theirs).abs().max() <= 0.5


@pytest.mark.parametrize("seed", range(5))
def test_assignment_is_that_of_torchvisions_matcher(seed):
    anchors = make_anchors(SIZES, STRIDES, image_size=SIZE)
    boxes, labels = scene(seed)
    targets, found = matched(torchvisions(), anchors.boxes, boxes, labels)
    ours = assign_anchors(anchors, boxes, labels)
    for row, (target, index) in enumerate(zip(targets, found, strict=True)):
        expected = torch.where(index >= 0, target["labels"][index.clamp(min=0)], index)
        assert torch.equal(ours.labels[row], expected)
        positive = index >= 0
        assert positive.any()
        assert torch.equal(ours.boxes[row][positive], target["boxes"][index[positive]])


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_those_of_torchvision(seed):
    anchors = make_anchors(SIZES, STRIDES, image_size=SIZE)
    boxes, labels = scene(seed)
    model = torchvisions()
    targets, found = matched(model, anchors.boxes, boxes, labels)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, len(anchors.boxes), CLASSES, generator=generator)
    deltas = torch.randn(2, len(anchors.boxes), 4, generator=generator)
    theirs = model.head.compute_loss(
        targets, {"cls_logits": logits, "bbox_regression": deltas}, [anchors.boxes] * 2, found
    )
    ours = anchor_losses(
        AnchorPredictions(logits, deltas), assign_anchors(anchors, boxes, labels), anchors
    )
    assert ours.classification.item() == pytest.approx(theirs["classification"].item(), rel=1e-5)
    assert ours.boxes.item() == pytest.approx(theirs["bbox_regression"].item(), rel=1e-5)


def test_an_image_without_boxes_is_all_background():
    anchors = make_anchors(SIZES, STRIDES, image_size=SIZE)
    targets = assign_anchors(anchors, torch.zeros(1, 2, 4), torch.full((1, 2), -1))
    assert (targets.labels == -1).all()
    head = AnchorHead((8, 8, 8), CLASSES, levels=(3, 4, 5), width=8)
    losses = anchor_losses(head([torch.zeros(1, 8, *size) for size in SIZES]), targets, anchors)
    assert losses.boxes.item() == 0.0
    assert torch.isfinite(losses.total)


def test_a_box_that_overlaps_no_anchor_is_learnt_by_none():
    anchors = make_anchors(SIZES, STRIDES, image_size=SIZE)
    outside = torch.tensor([[[9000.0, 9000.0, 9050.0, 9040.0]]])
    assert (match_anchors(anchors, outside, torch.zeros(1, 1)) == -1).all()


def test_deltas_come_back_as_boxes():
    anchors = make_anchors(SIZES, STRIDES, image_size=SIZE).boxes[::999]
    boxes = anchors + torch.tensor([1.0, -2.0, 9.0, 3.0])
    assert torch.allclose(
        deltas_to_boxes(boxes_to_deltas(boxes, anchors), anchors), boxes, atol=1e-3
    )


def test_detections_are_those_of_torchvision():
    head = AnchorHead((8, 8, 8), CLASSES, levels=(3, 4, 5), width=8, seed=1)
    detector = AnchorDetector(Levels(), head, image_size=SIZE).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.logits.weight.normal_(std=0.3, generator=generator)
        head.deltas.weight.normal_(std=0.05, generator=generator)
        features = {
            level: torch.randn(2, 8, *size, generator=generator)
            for level, size in zip((3, 4, 5), SIZES, strict=True)
        }
        predictions, anchors = detector(features)
        ours = detector.detect(
            features,
            image_ids=torch.tensor([5, 9]),
            scales=torch.ones(2),
            sizes=torch.full((2, 2), SIZE),
        )
        model = torchvisions()
        model.topk_candidates, model.detections_per_img = 300, 100
        split = {
            "cls_logits": list(predictions.logits.split(anchors.counts, dim=1)),
            "bbox_regression": list(predictions.deltas.split(anchors.counts, dim=1)),
        }
        per_level = list(anchors.boxes.split(anchors.counts))
        theirs = model.postprocess_detections(split, [per_level] * 2, [(SIZE, SIZE)] * 2)
    for image_id, expected in zip((5, 9), theirs, strict=True):
        mine = ours.image_ids == image_id
        assert torch.allclose(ours.scores[mine], expected["scores"], atol=1e-6)
        assert torch.allclose(ours.boxes[mine], expected["boxes"], atol=1e-2)
        assert torch.equal(ours.labels[mine], expected["labels"])


def test_a_step_reads_no_value_back():
    """No shape depends on the data: on the meta device there is no value to read."""
    head = AnchorHead((8, 8, 8), CLASSES, levels=(3, 4, 5), width=8)
    detector = AnchorDetector(Levels(), head, image_size=SIZE).to("meta")
    features = OrderedDict(
        (level, torch.zeros(2, 8, *size, device="meta"))
        for level, size in zip((3, 4, 5), SIZES, strict=True)
    )
    boxes = torch.zeros(2, 4, 4, device="meta")
    labels = torch.zeros(2, 4, dtype=torch.int64, device="meta")
    detector.losses(features, boxes, labels).total.backward()


def test_the_seed_alone_decides_the_weights():
    one, same, other = (
        AnchorHead((8,), CLASSES, levels=(3,), width=8, seed=seed) for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.deltas.weight, other.deltas.weight)
