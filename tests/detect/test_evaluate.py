"""Average precision equals pycocotools' and says nothing where there is nothing to find."""

import contextlib
import copy
import gc
import io
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nas_fpn.detect.dataset import Category
from nas_fpn.detect.evaluate import Detections, average_precision

CATEGORIES = (Category(4, "cat"), Category(2, "sea lion/old"), Category(9, "never there"))


def scene(seed: int, *, images: int = 30) -> tuple[dict[str, Any], Detections]:
    """Random boxes of all sizes, one in ten a crowd, and detections scattered around them."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    found = []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 8)):
            x, y = rng.uniform(0, 300, 2)
            w, h = np.exp(rng.uniform(np.log(5), np.log(200), 2))
            label = int(rng.integers(0, 2))
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image,
                    "category_id": CATEGORIES[label].id,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            for _ in range(rng.integers(0, 4)):
                shift = rng.normal(0, 0.15, 4) * [w, h, w, h]
                corners = np.array([x, y, x + w, y + h]) + shift
                guess = int(rng.integers(0, 3)) if rng.random() < 0.2 else label
                found.append((image, corners, rng.random(), guess))
    truth = {
        "images": [{"id": i, "width": 600, "height": 600} for i in range(1, images + 1)],
        "annotations": rows,
        "categories": [{"id": c.id, "name": c.name} for c in CATEGORIES],
    }
    return truth, Detections(
        torch.tensor([row[0] for row in found]),
        torch.tensor(np.array([row[1] for row in found]), dtype=torch.float32),
        torch.tensor([row[2] for row in found], dtype=torch.float32),
        torch.tensor([row[3] for row in found]),
    )


def nothing() -> Detections:
    whole = torch.zeros(0, dtype=torch.int64)
    return Detections(whole, torch.zeros(0, 4), torch.zeros(0), whole)


def oracle(truth: dict[str, Any], detections: Detections) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        boxes = detections.boxes.double()
        sides = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1)
        rows = [
            {"image_id": i, "category_id": CATEGORIES[label].id, "bbox": box, "score": score}
            for i, label, box, score in zip(
                detections.image_ids.tolist(),
                detections.labels.tolist(),
                sides.tolist(),
                detections.scores.tolist(),
                strict=True,
            )
        ]
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats[:6])


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_pycocotools(seed):
    truth, detections = scene(seed)
    before = copy.deepcopy(truth)
    scores = average_precision(truth, detections, categories=CATEGORIES)
    names = ["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"]
    assert [scores[name] for name in names] == pytest.approx(oracle(truth, detections), abs=1e-12)
    assert truth == before


def test_classes_average_to_the_whole_and_keep_their_names():
    truth, detections = scene(0)
    scores = average_precision(truth, detections, categories=CATEGORIES)
    classes = {key: value for key, value in scores.items() if key.startswith("ap/")}
    assert set(classes) == {"ap/cat", "ap/sea lion/old"}
    assert scores["ap"] == pytest.approx(sum(classes.values()) / 2)


def test_finding_nothing_is_zero():
    truth, _ = scene(1)
    scores = average_precision(truth, nothing(), categories=CATEGORIES)
    assert set(scores.values()) == {0.0}
    assert "ap/cat" in scores


def test_finding_all_is_one():
    truth, _ = scene(2)
    rows = truth["annotations"]
    boxes = torch.tensor([row["bbox"] for row in rows])
    boxes[:, 2:] += boxes[:, :2]
    labels = {category.id: label for label, category in enumerate(CATEGORIES)}
    perfect = Detections(
        torch.tensor([row["image_id"] for row in rows]),
        boxes,
        torch.ones(len(rows)),
        torch.tensor([labels[row["category_id"]] for row in rows]),
    )
    scores = average_precision(truth, perfect, categories=CATEGORIES)
    assert set(scores.values()) == {1.0}


def test_no_key_without_ground_truth():
    truth, detections = scene(0)
    empty = {**truth, "annotations": []}
    assert average_precision(empty, detections, categories=CATEGORIES) == {}
    crowds = {**truth, "annotations": [{**row, "iscrowd": 1} for row in truth["annotations"]]}
    assert average_precision(crowds, detections, categories=CATEGORIES) == {}
    small = [row for row in truth["annotations"] if row["area"] < 32**2]
    scores = average_precision({**truth, "annotations": small}, detections, categories=CATEGORIES)
    assert "ap_small" in scores
    assert "ap_large" not in scores


def test_garbage_is_collected_again_afterwards_also_behind_an_error() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError):
        average_precision({}, nothing(), categories=())
    assert gc.isenabled()
