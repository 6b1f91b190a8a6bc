"""Targets and losses: torchvision's FCOS on the same numbers, without loops or synchronisation."""

import math

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList

from nas_fpn.detect.boxes import Grid, boxes_to_distances, distances_to_boxes, make_grid
from nas_fpn.detect.head import Predictions
from nas_fpn.detect.losses import Losses, detection_losses, focal_loss, focal_sums
from nas_fpn.detect.targets import assign_targets, size_ranges

SIZE = 256
STRIDES = (8, 16, 32, 64, 128)
SIZES = tuple((SIZE // stride, SIZE // stride) for stride in STRIDES)
RANGES = ((0.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, math.inf))
CLASSES = 5


def random_truth(seed: int, images: int, most: int) -> tuple[Tensor, Tensor]:
    """Boxes [B, M, 4] of 8 px to the image, and labels; the first image has none."""
    g = torch.Generator().manual_seed(seed)
    size = 8 * (SIZE / 8) ** torch.rand(images, most, 2, generator=g)
    corner = torch.rand(images, most, 2, generator=g) * (SIZE - size)
    labels = torch.randint(CLASSES, (images, most), generator=g)
    count = torch.randint(1, most + 1, (images, 1), generator=g)
    count[0] = 0
    padding = torch.arange(most) >= count
    boxes = torch.cat((corner, corner + size), dim=2).masked_fill(padding[..., None], 0.0)
    return boxes, labels.masked_fill(padding, -1)


def random_predictions(seed: int, images: int, points: int, classes: int = CLASSES) -> Predictions:
    g = torch.Generator().manual_seed(seed)
    return Predictions(
        torch.randn(images, points, classes, generator=g),
        (2 * torch.randn(images, points, 4, generator=g) + 2).relu(),
        torch.randn(images, points, generator=g),
    )


def our_losses(predictions: Predictions, boxes: Tensor, labels: Tensor, *, offset: float) -> Losses:
    grid = make_grid(SIZES, STRIDES, offset=offset)
    targets = assign_targets(grid, boxes, labels, ranges=RANGES)
    return detection_losses(predictions, targets, grid)


def torchvision_losses(
    predictions: Predictions, boxes: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    backbone = torch.nn.Identity()
    backbone.out_channels = 32  # type: ignore[assignment]
    detector = FCOS(backbone, CLASSES)
    anchors = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES))(
        ImageList(torch.zeros(len(boxes), 3, SIZE, SIZE), [(SIZE, SIZE)] * len(boxes)),
        [torch.zeros(len(boxes), 1, *size) for size in SIZES],
    )
    truth = [
        {"boxes": box[label >= 0], "labels": label[label >= 0]}
        for box, label in zip(boxes, labels, strict=True)
    ]
    outputs = {
        "cls_logits": predictions.logits,
        "bbox_regression": predictions.distances,
        "bbox_ctrness": predictions.centreness[..., None],
    }
    return detector.compute_loss(truth, outputs, anchors, [h * w for h, w in SIZES])


@pytest.mark.parametrize("seed", range(6))
def test_losses_equal_torchvision(seed: int) -> None:
    boxes, labels = random_truth(seed, images=4, most=9)
    predictions = random_predictions(seed, 4, sum(h * w for h, w in SIZES))
    ours = our_losses(predictions, boxes, labels, offset=0.0)
    theirs = torchvision_losses(predictions, boxes, labels)
    torch.testing.assert_close(ours.classification, theirs["classification"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.boxes, theirs["bbox_regression"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.centreness, theirs["bbox_ctrness"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_equal_torchvision(seed: int) -> None:
    boxes, labels = random_truth(seed + 20, images=3, most=6)
    gradients = []
    for losses in (
        lambda p: our_losses(p, boxes, labels, offset=0.0).total,
        lambda p: sum(torchvision_losses(p, boxes, labels).values()),
    ):
        p = random_predictions(seed, 3, sum(h * w for h, w in SIZES))
        leaves = [p.logits, p.distances, p.centreness]
        for leaf in leaves:
            leaf.requires_grad_()
        gradients.append(torch.autograd.grad(losses(p), leaves))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_batch_without_boxes_has_classification_loss_only() -> None:
    predictions = random_predictions(0, 2, sum(h * w for h, w in SIZES))
    boxes, labels = torch.zeros(2, 3, 4), torch.full((2, 3), -1)
    ours = our_losses(predictions, boxes, labels, offset=0.0)
    theirs = torchvision_losses(predictions, boxes, labels)
    assert ours.boxes == ours.centreness == 0
    torch.testing.assert_close(ours.classification, theirs["classification"], rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_for_empty_predictions_and_no_boxes() -> None:
    points = sum(h * w for h, w in SIZES)
    for boxes, labels in (
        (torch.zeros(1, 2, 4), torch.full((1, 2), -1)),
        (torch.tensor([[[10.0, 10, 60, 90], [0, 0, 0, 0]]]), torch.tensor([[1, -1]])),
    ):
        distances = torch.zeros(1, points, 4, requires_grad=True)
        predictions = Predictions(torch.zeros(1, points, 2), distances, torch.zeros(1, points))
        total = our_losses(predictions, boxes, labels, offset=0.5).total
        (gradient,) = torch.autograd.grad(total, [distances])
        assert total.isfinite()
        assert gradient.isfinite().all()


def test_padding_changes_nothing() -> None:
    boxes, labels = random_truth(3, images=3, most=5)
    predictions = random_predictions(3, 3, sum(h * w for h, w in SIZES))
    more = our_losses(
        predictions,
        torch.cat((boxes, torch.full((3, 4, 4), 7.0)), dim=1),
        torch.cat((labels, torch.full((3, 4), -1)), dim=1),
        offset=0.5,
    )
    less = our_losses(predictions, boxes, labels, offset=0.5)
    assert more == less


def test_a_crowd_is_no_box() -> None:
    grid = make_grid(((8, 8),), (8,))
    box = torch.tensor([[[8.0, 8, 40, 40]]])
    ranges = ((0.0, math.inf),)
    assert (assign_targets(grid, box, torch.tensor([[0]]), ranges=ranges).labels == 0).any()
    assert (assign_targets(grid, box, torch.tensor([[-1]]), ranges=ranges).labels == -1).all()


def test_the_smallest_object_wins() -> None:
    grid = make_grid(((8, 8),), (8,))
    boxes = torch.tensor([[[0.0, 0, 64, 64], [16, 16, 48, 48], [0, 0, 64, 63]]])
    targets = assign_targets(
        grid, boxes, torch.tensor([[0, 1, 2]]), ranges=((0.0, math.inf),), radius=9.0
    )
    labels = targets.labels.view(8, 8)
    assert (labels[2:6, 2:6] == 1).all()
    assert labels[0, 0] == 2
    assert (labels >= 0).all()


def test_only_points_near_the_centre_learn() -> None:
    grid = make_grid(((8, 8),), (8,))
    targets = assign_targets(
        grid, torch.tensor([[[0.0, 0, 64, 64]]]), torch.tensor([[3]]), ranges=((0.0, math.inf),)
    )
    assert (targets.labels.view(8, 8) == 3).nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]


def test_a_box_belongs_to_the_level_of_its_reach() -> None:
    grid = make_grid(SIZES, STRIDES)
    boxes = torch.tensor([[[100.0, 100, 112, 112], [0, 0, 256, 256]]])
    targets = assign_targets(grid, boxes, torch.tensor([[0, 1]]), ranges=RANGES)
    levels = targets.labels.split(grid.counts, dim=1)
    assert [sorted(set(level.flatten().tolist())) for level in levels] == [
        [-1, 0],
        [-1],
        [-1, 1],
        [-1],
        [-1],
    ]


def test_ranges_are_torchvisions_at_its_image_size() -> None:
    assert size_ranges((3, 4, 5, 6, 7), 800) == RANGES


def test_ranges_scale_with_the_image_and_follow_the_level() -> None:
    assert size_ranges((3, 4), 400)[0] == (0.0, 32.0)
    assert size_ranges((4, 5), 400)[0] == (0.0, 64.0)
    assert size_ranges((5,), 400) == ((0.0, math.inf),)


def test_a_small_image_does_not_push_boxes_to_levels_without_a_point_inside() -> None:
    assert size_ranges((3, 4, 5), 64) == ((0.0, 32.0), (32.0, 64.0), (64.0, math.inf))


def test_distances_and_boxes_are_inverse() -> None:
    grid = make_grid(((3, 5), (2, 3)), (8, 16))
    distances = torch.rand(2, 21, 4)
    boxes = distances_to_boxes(distances, grid.points, grid.strides)
    torch.testing.assert_close(boxes_to_distances(boxes, grid.points, grid.strides), distances)


def test_a_grid_goes_row_by_row_from_the_finest_level() -> None:
    grid = make_grid(((1, 2), (1, 1)), (8, 16))
    assert grid.points.tolist() == [[4, 4], [12, 4], [8, 8]]
    assert grid.strides.tolist() == [8, 8, 16]
    assert grid.counts == (2, 1)


def step(
    logits: Tensor, distances: Tensor, centreness: Tensor, boxes: Tensor, labels: Tensor
) -> Tensor:
    predictions = Predictions(logits, distances, centreness)
    losses = our_losses(predictions, boxes, labels, offset=0.5)
    (gradient,) = torch.autograd.grad(losses.total, [logits])
    return losses.total + gradient.sum()


def step_arguments() -> tuple[Tensor, ...]:
    boxes, labels = random_truth(1, images=2, most=4)
    p = random_predictions(1, 2, sum(h * w for h, w in SIZES))
    return p.logits.requires_grad_(), p.distances, p.centreness, boxes, labels


def test_no_value_leaves_the_device_and_no_shape_depends_on_data() -> None:
    """Fake tensors have no data: a synchronisation or a data-dependent shape raises."""
    graph = make_fx(step, tracing_mode="fake")(*step_arguments())
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    forbidden = ("nonzero", "_local_scalar_dense", "masked_select", "aten.item")
    assert not [name for name in called if name.startswith(forbidden) or "nonzero" in name]
    arguments = step_arguments()
    torch.testing.assert_close(graph(*arguments), step(*arguments))


def test_losses_run_without_data() -> None:
    meta = [a.detach().to("meta") for a in step_arguments()]
    grid = make_grid(SIZES, STRIDES)
    grid = Grid(grid.points.to("meta"), grid.strides.to("meta"), grid.counts)
    with torch.device("meta"):
        targets = assign_targets(grid, meta[3], meta[4], ranges=RANGES)
        losses = detection_losses(Predictions(*meta[:3]), targets, grid)
    assert losses.total.shape == ()


@pytest.mark.parametrize("seed", range(3))
def test_positive_points_alone_give_the_same_losses_and_gradients(seed: int) -> None:
    boxes, labels = random_truth(seed, images=3, most=4)
    grid = make_grid(SIZES, STRIDES)
    targets = assign_targets(grid, boxes, labels, ranges=RANGES)
    found = []
    for static in (True, False):
        p = random_predictions(seed, 3, len(grid.points))
        parts = [part.requires_grad_() for part in (p.logits, p.distances, p.centreness)]
        losses = detection_losses(Predictions(*parts), targets, grid, static=static)
        found.append([losses.total, *torch.autograd.grad(losses.total, parts)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_without_a_positive_point_the_box_losses_are_zero_on_either_way() -> None:
    grid = make_grid(SIZES, STRIDES)
    targets = assign_targets(grid, torch.zeros(2, 1, 4), torch.full((2, 1), -1), ranges=RANGES)
    p = random_predictions(0, 2, len(grid.points))
    for static in (True, False):
        losses = detection_losses(p, targets, grid, static=static)
        assert losses.boxes == losses.centreness == 0
        assert losses.total.isfinite()


def test_focal_sums_are_sums_of_the_focal_loss_with_its_gradient() -> None:
    g = torch.Generator().manual_seed(0)
    logits = (6 * torch.randn(2, 50, 4, generator=g)).double().requires_grad_()
    labels = torch.randint(-2, 4, (2, 50), generator=g)
    wanted = (labels[..., None] == torch.arange(4)).double()
    weight = torch.rand(2, 50, generator=g).double()
    pairs = []
    for sums in (focal_sums(logits, labels), focal_loss(logits, wanted).sum(dim=2)):
        pairs.append((sums, *torch.autograd.grad((sums * weight).sum(), [logits])))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)
