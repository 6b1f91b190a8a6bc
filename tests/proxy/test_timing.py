"""What a trial will take, in its parts; how many at a time, by processes of their own."""

import doctest
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from nas_fpn.detect.coco import read_coco
from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import RunError
from nas_fpn.language import find_neck, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy import packing, timing
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.building import build_bank
from nas_fpn.proxy.packing import (
    AHEAD,
    Lead,
    Packing,
    best_packing,
    candidate_packings,
    measure_packing,
)
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.proxy.timing import Timing, measure_trial, now
from nas_fpn.proxy.train import Training, prepare_training

SMALL = ProxySettings(image_size=64, batch_size=2, views=1, head_width=8)


def test_a_trial_is_its_parts() -> None:
    assert Timing(step_s=0.1, evaluation_s=2.0, setup_s=1.0).seconds(30, 3) == pytest.approx(10.0)


def test_a_device_that_nothing_was_asked_of_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To wait for it would take memory there, and fail where it is full."""
    waits: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(True))
    for is_initialized in (False, True):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda there=is_initialized: there)
        assert now() <= now()
    assert len(waits) == 2


class Event:
    """A step asked of a device; ``waited`` is how often somebody waited for one."""

    waited: ClassVar[list["Event"]] = []

    def __init__(self, *, blocking: bool) -> None:
        assert blocking

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        self.waited.append(self)


def test_a_timed_process_is_a_few_steps_ahead_of_its_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    lead = Lead()
    for is_initialized, waits in ((False, 0), (True, 10 - AHEAD)):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda there=is_initialized: there)
        for _ in range(10):
            lead.keep()
        assert len(Event.waited) == waits


def test_candidates_use_all_cores() -> None:
    assert doctest.testmod(packing).failed == 0
    assert candidate_packings(1) == (Packing(1, 1),)
    assert [(p.workers, p.threads) for p in candidate_packings(2)] == [(2, 1), (1, 2)]


def test_workers_share_devices_evenly_and_each_has_a_core() -> None:
    found = candidate_packings(16, gpus=1)
    assert [(p.workers, p.threads, p.gpus_per_trial) for p in found] == [
        (1, 1, 1.0),
        (2, 1, 0.5),
        (4, 1, 0.25),
        (8, 1, 0.125),
    ]
    assert [p.workers for p in candidate_packings(3, gpus=1)] == [1, 2]
    assert [p.workers for p in candidate_packings(1, gpus=2)] == [2]
    assert candidate_packings(2)[0].gpus_per_trial == 0.0


def test_the_packing_with_most_steps_is_the_best_and_of_equals_the_widest() -> None:
    two, one = Packing(2, 1, 8.0), Packing(1, 2, 8.0)
    assert best_packing([one, two]) is two
    assert best_packing([two, Packing(1, 2, 9.0)]).threads == 2


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bank")
    write_shapes(folder / "data", seed=0, image_size=64, train=4, val=2, test=1, warmup=0)
    data = {
        split: read_coco(folder / "data" / f"{split}.json", folder / "data" / "images")[0]
        for split in ("train", "val", "test")
    }
    backbone = build_backbone(BackboneSettings(), (3, 4, 5), seed=0).freeze()
    *_, built = build_bank(folder, backbone=backbone, settings=SMALL, **data)
    return built.path


def test_each_part_of_a_trial_takes_time(bank: Path) -> None:
    opened = open_bank(bank)
    none = parse(find_neck("none").read_text(encoding="utf-8"))
    channels = [opened.channels[level] for level in lower(none).inputs]
    found = measure_trial(opened, SMALL, Neck(none, channels, seed=0), seed=0, steps=2)
    assert min(found.step_s, found.evaluation_s, found.setup_s) > 0


def test_what_a_process_does_once_for_a_device_is_done_before_the_clock_starts(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []

    def prepare(*given: Any, **named: Any) -> Training:
        prepared.append(given[2].steps)
        return prepare_training(*given, **named)

    monkeypatch.setattr(timing, "prepare_training", prepare)
    opened = open_bank(bank)
    none = parse(find_neck("none").read_text(encoding="utf-8"))
    channels = [opened.channels[level] for level in lower(none).inputs]
    for device, trainings in (("cpu", [5]), ("cuda", [3, 5])):
        monkeypatch.setattr(timing, "pick_device", lambda name, kind=device: torch.device(kind))
        found = measure_trial(opened, SMALL, Neck(none, channels, seed=0), seed=0, steps=2)
        assert min(found.step_s, found.evaluation_s, found.setup_s) > 0
        assert prepared == trainings
        prepared.clear()


@pytest.mark.slow
def test_workers_are_timed_side_by_side(bank: Path) -> None:
    text = find_neck("none").read_text(encoding="utf-8")
    candidates = candidate_packings(2)
    measured = measure_packing(bank, text, SMALL, candidates=candidates, seconds=0.5)
    assert [(p.workers, p.threads) for p in measured] == [(2, 1), (1, 2)]
    assert all(one.steps_per_second > 0 for one in measured)


@pytest.mark.slow
def test_candidates_without_room_cannot_be(bank: Path) -> None:
    text = find_neck("none").read_text(encoding="utf-8")
    huge = SMALL.model_copy(update={"head_width": 2**40})  # more than any machine can address
    with pytest.raises(RunError, match=r"memory is out before 1 at a time have trained a step"):
        measure_packing(bank, text, huge, candidates=(Packing(1, 1),), seconds=0.1)


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_with_its_last_line(tmp_path) -> None:
    with pytest.raises(RunError, match=r"died: .*nowhere: no such bank"):
        measure_packing(
            tmp_path / "nowhere", "", ProxySettings(), candidates=(Packing(2, 1),), seconds=0.1
        )
