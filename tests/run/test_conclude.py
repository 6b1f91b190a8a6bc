"""What a verdict says of scores on record: pairs, the neck that it names, other images."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas_fpn.detect import DetectorSettings
from nas_fpn.detect.dataset import Category
from nas_fpn.detect.evaluate import Detections
from nas_fpn.language import SHIPPED
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.record import History
from nas_fpn.report import VerdictPlan
from nas_fpn.run import Run, RunSettings
from nas_fpn.run.conclude import conclude, earlier_comparisons, scores_by_neck
from nas_fpn.run.contest import Contender, Contest
from nas_fpn.run.trainings import Common, make_training
from nas_fpn.training import TrainingSettings, write_detections

SEEDS = (101, 102, 103)
CLASSES = (Category(1, "fish"),)
IMAGES = 6
TRUTH = {
    "images": [{"id": at, "width": 60, "height": 60, "file_name": f"{at}.png"}
               for at in range(IMAGES)],
    "annotations": [
        {"id": at + 1, "image_id": at, "category_id": 1, "bbox": [10.0, 10.0, 20.0, 20.0],
         "area": 400.0, "iscrowd": 0}
        for at in range(IMAGES)
    ],
    "categories": [{"id": 1, "name": "fish"}],
}  # fmt: skip
BANK: Any = SimpleNamespace(truth={"test": TRUTH}, categories=CLASSES)


def contender(neck: str, role: Any) -> Contender:
    return Contender(
        neck=neck, role=role, trial=0, name=neck, text=f"program of {neck}", width=64, repeats=0,
        was=None, cost={"params_m": 1.0, "gmacs": 1.0, "latency_ms": 1.0},
    )  # fmt: skip


CONTEST = Contest(
    of="0" * 16,
    objective="ap",
    equal_cost="latency",
    seeds=SEEDS,
    plan=VerdictPlan(
        pairs=tuple((found, one) for found in ("a", "b") for one in ("fpn", f"fpn like {found}")),
        max_seeds=3,
    ),
    contenders=(
        contender("a", "found"),
        contender("fpn", "control"),
        contender("fpn like a", "control"),
        contender("b", "found"),
        contender("fpn like b", "control"),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, RunSettings(), DataSettings(), BackboneSettings())


@pytest.fixture
def common(run: Run) -> Common:
    return Common(
        folder=run.folder / "confirm", words=SHIPPED, detector=DetectorSettings(),
        training=TrainingSettings(), backbone=BackboneSettings(), data=DataSettings(), bank="0",
        proposals={}, warmed=None,
    )  # fmt: skip


def told(common: Common, **scores: list[float | None]) -> dict[str, Any]:
    """Events "training" by what decides them; "_" of a name stands for a space, None diverged."""
    events = {}
    for name, row in scores.items():
        neck = name.replace("_", " ")
        for seed, score in zip(SEEDS, row, strict=False):
            folder = common.folder / f"{name}-{seed}"
            of = make_training(CONTEST.contender(neck), seed, common).of
            event = {
                "of": of,
                "scores": {} if score is None else {"ap": score}, "seed": seed,
                "reason": "diverged" if score is None else None, "split": "test",
                "folder": f"confirm/{folder.name}",
                "detections": None if score is None else detected(folder, round(10 * score)),
            }  # fmt: skip
            events[of] = event
    return events


def detected(folder: Path, count: int) -> str:
    """Find the object of the first ``count`` images; the hash of the file."""
    folder.mkdir(parents=True)
    path = folder / "detections-test.safetensors"
    boxes = torch.tensor([[10.0, 10.0, 30.0, 30.0]]).repeat(count, 1)
    found = Detections(
        torch.arange(count), boxes, torch.full((count,), 0.9), torch.zeros(count, dtype=torch.int64)
    )
    write_detections(path, found, categories=CLASSES, split="test")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def said(run: Run, common: Common, events: dict[str, Any], contest: Contest = CONTEST) -> Any:
    steps = conclude(run, contest, common, events, BANK)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


GOOD = {
    "a": [0.5, 0.51, 0.52],
    "fpn": [0.2, 0.22, 0.21],
    "fpn_like_a": [0.3, 0.3, 0.311],
    "b": [0.25, 0.2, 0.24],
    "fpn_like_b": [],
}


def test_the_neck_that_beats_both_controls_is_named(run: Run, common: Common) -> None:
    verdict = said(run, common, told(common, **GOOD))
    outcomes = {(one["found"], one["control"]): one["outcome"] for one in verdict["pairs"]}
    assert outcomes["a", "fpn"] == outcomes["a", "fpn like a"] == "better"
    assert outcomes["b", "fpn"] == "not shown" and outcomes["b", "fpn like b"] == "not reached"
    assert (verdict["best"], verdict["keep"]) == ("a", "fpn like a")
    assert verdict["ended"] == "decided"
    assert {one["neck"]: len(one["seeds"]) for one in verdict["necks"]}["fpn like b"] == 0


def test_of_two_that_beat_their_controls_the_better_is_named(run: Run, common: Common) -> None:
    both = GOOD | {"b": [0.6, 0.62, 0.61], "fpn_like_b": [0.3, 0.3, 0.3]}
    assert said(run, common, told(common, **both))["best"] == "b"


def test_a_control_that_is_not_trained_yet_leaves_no_winner(run: Run, common: Common) -> None:
    verdict = said(run, common, told(common, **GOOD | {"fpn_like_a": []}))
    assert verdict["best"] is None and verdict["ended"] == "budget"
    pair = verdict["pairs"][1]
    assert (pair["outcome"], pair["difference"], pair["seeds"]) == ("not shown", None, 0)
    assert verdict["keep"] == "fpn", "the only control that is trained"


def test_nothing_trained_says_nothing(run: Run, common: Common) -> None:
    verdict = said(run, common, {})
    assert (verdict["best"], verdict["keep"], verdict["ended"]) == (None, None, "budget")
    assert all(pair["difference"] is None for pair in verdict["pairs"])


def test_scores_end_at_the_first_seed_that_is_missing(run: Run, common: Common) -> None:
    events = told(common, **GOOD)
    second = make_training(CONTEST.contender("a"), SEEDS[1], common).of
    del events[second]
    assert scores_by_neck(CONTEST, common, events)["a"] == [0.5]


def test_a_training_that_diverged_scores_0_and_is_counted(run: Run, common: Common) -> None:
    events = told(common, **GOOD | {"a": [0.5, None, 0.52]})
    assert scores_by_neck(CONTEST, common, events)["a"] == [0.5, 0.0, 0.52]
    verdict = said(run, common, events)
    assert verdict["necks"][0]["diverged"] == 1
    assert verdict["necks"][0]["scores"]["ap"] == [0.5, None, 0.52]
    assert verdict["best"] is None


def test_other_images_are_drawn_from_the_detections_on_record(run: Run, common: Common) -> None:
    verdict = said(run, common, told(common, **GOOD))
    drawn = [pair["other_images"] for pair in verdict["pairs"]]
    assert drawn[0]["low"] < drawn[0]["high"] and drawn[0]["images_error"] > 0
    assert drawn[3] is None, "it was not reached"


@pytest.mark.parametrize("harm", ["gone", "another"])
def test_detections_that_are_not_those_on_record_are_not_drawn_from(
    run: Run, common: Common, harm: str
) -> None:
    events = told(common, **GOOD)
    path = common.folder / "fpn-102" / "detections-test.safetensors"
    path.unlink()
    if harm == "another":
        path.parent.rmdir()
        detected(path.parent, 5)
    verdict = said(run, common, events)
    lost = {p["control"] for p in verdict["pairs"] if p["seeds"] and p["other_images"] is None}
    assert lost == {"fpn"}, "only the pairs of that training"
    assert verdict["best"] == "a", "the scores are on record all the same"


def test_of_a_training_that_diverged_other_images_say_0(run: Run, common: Common) -> None:
    verdict = said(run, common, told(common, **GOOD | {"b": [0.25, None, 0.24]}))
    first, second, third, _ = (pair["other_images"] for pair in verdict["pairs"])
    assert first is not None and second is not None
    assert third["low"] < -0.22 < third["high"], "its own pair counts it as 0"


def test_the_control_to_keep_is_the_better_one_on_the_seeds_that_both_have(
    run: Run, common: Common
) -> None:
    """Their means over all seeds would say the other: the third seed is a good one for all."""
    some = GOOD | {"a": [0.3] * 3, "b": [0.9, 0.91, 0.92], "fpn": [0.2, 0.2, 0.8]}
    plan = replace(CONTEST.plan, min_seeds=2)
    contest = replace(CONTEST, plan=plan)
    few = told(common, **some | {"fpn_like_a": [0.3, 0.3], "fpn_like_b": []})
    assert said(run, common, few, contest)["keep"] == "fpn like a"
    one = {
        k: v for k, v in few.items() if (v["folder"], v["seed"]) != ("confirm/fpn_like_a-102", 102)
    }
    assert said(run, common, one, contest)["keep"] == "fpn", "one seed is too few to look at"


def test_a_verdict_says_which_trainings_it_counts(run: Run, common: Common) -> None:
    events = told(common, **GOOD)
    necks = {one["neck"]: one["trainings"] for one in said(run, common, events)["necks"]}
    assert [events[of]["seed"] for of in necks["a"]] == list(SEEDS)
    assert {of for row in necks.values() for of in row} == set(events)


def test_comparisons_with_other_settings_are_counted_once_each() -> None:
    def verdict(of: str, where: str = "end to end") -> dict[str, str]:
        return {"event": "verdict", "where": where, "of": of}

    events = (verdict("a"), verdict("a"), verdict("b"), verdict("c", "proxy"), {"event": "verdict"})
    counts = [earlier_comparisons(History(events), of) for of in ("a", "b", "d")]
    assert counts == [1, 1, 2]
    assert earlier_comparisons(History(), "a") == 0
