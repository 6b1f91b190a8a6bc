"""Fast R-CNN: proposals from the targets in the place of an RPN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_fpn.detect import propose

GOLDEN = Path(__file__).parents[1] / "golden" / "detect"
Make = Callable[..., Any]


def test_on_the_rpns_proposals_it_tells_what_faster_rcnn_tells(make: Make) -> None:
    faster, fast = make(kind="faster_rcnn").eval(), make(kind="fast_rcnn", seed=5).eval()
    fast.load_state_dict(
        {key: v for key, v in faster.state_dict().items() if not key.startswith("rpn.")}
    )
    images = [torch.rand(3, 64, 64), torch.rand(3, 32, 100)]
    with torch.no_grad():
        expected = faster(images)
        proposals = propose(faster, images)
        told = fast(images, [{"proposals": boxes} for boxes in proposals])
    assert all(len(boxes) for boxes in proposals)
    assert proposals[1][:, 2].max() > 64, "in pixels of the image"
    for one, two in zip(expected, told, strict=True):
        torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)


def test_proposals_are_cut_to_the_image_and_need_area(make: Make) -> None:
    model = make(kind="fast_rcnn").eval()
    image = torch.rand(3, 32, 32)
    outside = torch.tensor([[-9.0, 4.0, 90.0, 20.0], [40.0, 4.0, 50.0, 9.0], [3.0, 3.0, 3.0, 9.0]])
    batch, targets = model.transform([image], [{"proposals": outside}])
    (kept,), losses = model.rpn(batch, {}, targets)
    assert kept.tolist() == [[0.0, 8.0, 64.0, 40.0]], "at the network's size of 64"
    assert losses == {}


def test_an_image_may_have_no_proposal(make: Make, batch: Make) -> None:
    images, targets = batch("fast_rcnn")
    targets = [target | {"proposals": torch.zeros(0, 4)} for target in targets]
    model = make(kind="fast_rcnn")
    assert torch.isfinite(sum(model(images, targets).values())), "boxes are proposals too"
    told = model.eval()(images, [{"proposals": torch.zeros(0, 4)}] * 2)
    assert [len(seen["boxes"]) for seen in told] == [0, 0]


def test_a_batch_without_proposals_and_boxes_is_background(make: Make, batch: Make) -> None:
    images, targets = batch("fast_rcnn")
    empty = targets[1] | {"proposals": torch.zeros(0, 4)}
    model = make(kind="fast_rcnn")
    losses = model(images, [empty, empty])
    assert torch.isfinite(sum(losses.values()))
    assert losses["loss_classifier"] > 0 and losses["loss_box_reg"] == 0
    whole = model(images, [targets[1] | {"proposals": torch.tensor([[0.0, 0.0, 64.0, 64.0]])}] * 2)
    assert losses == whole


@pytest.mark.parametrize("training", [True, False])
def test_message_without_proposals(make: Make, batch: Make, training: bool) -> None:
    images, _ = batch("fast_rcnn")
    _, targets = batch("fcos")
    with pytest.raises(ValueError, match="proposals") as caught:
        make(kind="fast_rcnn").train(training)(images, targets if training else None)
    golden = (GOLDEN / "detector_no_proposals.txt").read_text(encoding="utf-8")
    assert f"{caught.value}\n" == golden
