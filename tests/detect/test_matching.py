"""AP with weights of images: 1 is the COCO evaluation, whole numbers are repeated images."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from nas_fpn.detect import Category, Detections, average_precision
from nas_fpn.detect.matching import Matches, match_detections, weighted_ap, weighted_aps

CATEGORIES = (Category(4, "cat"), Category(2, "sea lion/old"), Category(9, "never there"))
Truth = dict[str, Any]


def scene(seed: int, *, images: int = 25, crowds: float = 0.1) -> tuple[Truth, Detections]:
    """Objects of all sizes in clusters, and detections scattered around them and elsewhere."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    found = []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 9)):
            x, y = rng.uniform(0, 250, 2)
            w, h = np.exp(rng.uniform(np.log(6), np.log(220), 2))
            label = int(rng.integers(0, 2))
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": CATEGORIES[label].id,
                    "bbox": [x, y, w, h],
                    "area": w * h * rng.uniform(0.5, 1),
                    "iscrowd": int(rng.random() < crowds),
                }
            )
            for _ in range(rng.integers(0, 5)):
                corners = np.array([x, y, x + w, y + h]) + rng.normal(0, 0.1, 4) * [w, h, w, h]
                guess = int(rng.integers(0, 3)) if rng.random() < 0.2 else label
                found.append((image, corners, rng.random(), guess))
    truth = {
        "images": [{"id": i, "width": 600, "height": 600} for i in range(images, 0, -1)],
        "annotations": rows,
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
    }
    return truth, Detections(
        torch.tensor([row[0] for row in found]),
        torch.tensor(np.array([row[1] for row in found]), dtype=torch.float32),
        torch.tensor([row[2] for row in found], dtype=torch.float32),
        torch.tensor([row[3] for row in found]),
    )


def repeated(truth: Truth, detections: Detections, times: list[int]) -> tuple[Truth, Detections]:
    """Image i (by ascending id) stands ``times[i]`` times, under ids of its own."""
    ids = sorted(row["id"] for row in truth["images"])
    copies = {
        image_id: [image_id * 100 + k for k in range(count)]
        for image_id, count in zip(ids, times, strict=True)
    }
    rows = [
        {**row, "image_id": new} for row in truth["annotations"] for new in copies[row["image_id"]]
    ]
    found = [(i, new) for i, old in enumerate(detections.image_ids.tolist()) for new in copies[old]]
    places = torch.tensor([i for i, _ in found], dtype=torch.int64)
    images = [{"id": new, "width": 600, "height": 600} for old in ids for new in copies[old]]
    annotations = [{**row, "id": place + 1} for place, row in enumerate(rows)]
    return {**truth, "images": images, "annotations": annotations}, Detections(
        torch.tensor([new for _, new in found], dtype=torch.int64),
        detections.boxes[places],
        detections.scores[places],
        detections.labels[places],
    )


def matched(truth: Truth, detections: Detections) -> Matches:
    return match_detections(truth, detections, categories=CATEGORIES)


@pytest.mark.parametrize("seed", range(6))
def test_with_weights_of_one_every_score_is_that_of_the_coco_evaluation(seed: int) -> None:
    truth, detections = scene(seed)
    before = copy.deepcopy(truth)
    expected = average_precision(truth, detections, categories=CATEGORIES)
    matches = matched(truth, detections)
    assert truth == before
    assert len(expected) == 8
    for name, value in expected.items():
        got = weighted_ap(matches, np.ones(25), score=name)
        assert got == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("seed", range(4))
def test_whole_weights_are_images_repeated(seed: int) -> None:
    truth, detections = scene(seed)
    times = np.random.default_rng(seed).integers(0, 4, 25).tolist()
    expected = average_precision(*repeated(truth, detections, times), categories=CATEGORIES)
    matches = matched(truth, detections)
    for name, value in expected.items():
        assert weighted_ap(matches, times, score=name) == pytest.approx(value, abs=1e-9), name


def test_only_the_proportions_of_weights_matter() -> None:
    matches = matched(*scene(0))
    weights = np.random.default_rng(0).uniform(0, 2, 25)
    assert weighted_ap(matches, weights) == pytest.approx(weighted_ap(matches, 7 * weights))


def test_many_weightings_at_once_are_each_by_itself() -> None:
    matches = matched(*scene(1))
    weights = np.random.default_rng(1).multinomial(25, [1 / 25] * 25, size=600)
    together = weighted_aps(matches, weights, score="ap_small")
    alone = [weighted_ap(matches, row, score="ap_small") for row in weights[::100]]
    assert together[::100] == pytest.approx(alone, abs=1e-12)


def test_equal_overlaps_and_equal_scores_are_decided_as_in_the_coco_evaluation() -> None:
    boxes = [[10, 10, 40, 40], [10, 10, 40, 40], [14, 10, 40, 40], [200, 200, 40, 40]]
    crowd = [0, 0, 1, 0]
    truth = {
        "images": [{"id": 1, "width": 600, "height": 600}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 4, "bbox": box, "area": 1600, "iscrowd": c}
            for i, (box, c) in enumerate(zip(boxes, crowd, strict=True))
        ],
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
    }
    corners = torch.tensor([[10, 10, 50, 50], [12, 10, 52, 50], [14, 10, 54, 50], [0, 0, 9, 9]])
    labels = torch.zeros(4, dtype=torch.int64)
    detections = Detections(
        torch.ones(4, dtype=torch.int64), corners.float(), torch.tensor([0.5] * 4), labels
    )
    expected = average_precision(truth, detections, categories=CATEGORIES)
    matches = matched(truth, detections)
    for name, value in expected.items():
        assert weighted_ap(matches, [1], score=name) == pytest.approx(value, abs=1e-9), name


def test_more_than_a_hundred_detections_of_an_image_are_cut() -> None:
    truth, _ = scene(3, images=1)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (300, 4))
    corners[:, 2:] += corners[:, :2]
    own = [row for row in truth["annotations"] if row["category_id"] == 4]
    best = np.array([row["bbox"] for row in own])
    corners[-len(own) :] = np.concatenate((best[:, :2], best[:, :2] + best[:, 2:]), axis=1)
    scores = np.linspace(1, 0.01, 300)
    detections = Detections(
        torch.ones(300, dtype=torch.int64),
        torch.tensor(corners, dtype=torch.float32),
        torch.tensor(scores, dtype=torch.float32),
        torch.zeros(300, dtype=torch.int64),
    )
    expected = average_precision(truth, detections, categories=CATEGORIES)
    got = weighted_ap(matched(truth, detections), [1], score="ap/cat")
    assert got == pytest.approx(expected["ap/cat"], abs=1e-9)
    assert got < 0.5


def test_nothing_detected_is_zero_and_nothing_to_find_is_no_number() -> None:
    truth, detections = scene(2)
    whole = torch.zeros(0, dtype=torch.int64)
    nothing = matched(truth, Detections(whole, torch.zeros(0, 4), torch.zeros(0), whole))
    assert weighted_ap(nothing, np.ones(25)) == 0
    assert np.isnan(weighted_ap(nothing, np.zeros(25)))
    assert np.isnan(weighted_ap(nothing, np.ones(25), score="ap/never there"))
    empty = matched({**truth, "annotations": []}, detections)
    assert np.isnan(weighted_ap(empty, np.ones(25)))


def test_what_cannot_be_asked_says_so() -> None:
    matches = matched(*scene(0, images=3))
    with pytest.raises(ValueError, match=r"no score 'ap90'; there are ap, ap50, ap75, ap_small"):
        weighted_ap(matches, [1, 1, 1], score="ap90")
    for wrong in ([1, 1], [1, 1, -1]):
        with pytest.raises(ValueError, match=r"weights must be numbers from 0 on, \[B, 3\]"):
            weighted_ap(matches, wrong)
