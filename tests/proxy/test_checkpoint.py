"""A training that was put aside and goes on gives what one gives that never was, bit for bit."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from nas_fpn.language import lower, parse
from nas_fpn.language.files import shipped_folder
from nas_fpn.necks import Neck
from nas_fpn.proxy.checkpoint import Checkpoint, checkpoint_file, keep_only
from nas_fpn.proxy.optimise import Schedule, optimise
from nas_fpn.record import Report

RUNGS = (3, 9)


class Shared(nn.Module):
    """A convolution used twice, a norm with buffers, and a weight that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.one = nn.Conv2d(3, 3, 3, padding=1)
        self.two = self.one
        self.norm = nn.BatchNorm2d(3)
        self.idle = nn.Parameter(torch.ones(2))

    def forward(self, feature: Tensor) -> Tensor:
        out: Tensor = self.two(self.norm(self.one(feature)).relu())
        return out


def training(
    checkpoint: Checkpoint | None = None, *, model: Shared | None = None, **changes: Any
) -> Iterator[Report]:
    model = model or Shared()
    given = {"steps": 20, "learning_rate": 0.1, "weight_decay": 0.01, "evaluations": 2}
    schedule = Schedule(**{**given, "rungs": RUNGS, **changes})
    batches = torch.randn(20, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return optimise(
        model,
        schedule,
        loss=lambda step: (model(batches[step]) - batches[step]).square().mean(),
        evaluate=lambda: {"ap": float(model(batches[0]).mean().detach())},
        checkpoint=checkpoint,
    )


def plain(reports: Iterator[Report]) -> list[Report]:
    return [replace(report, seconds=0.0) for report in reports]


def in_parts(folder: Path, **changes: Any) -> list[Report]:
    reports: list[Report] = []
    for begin, pause in zip((0, *RUNGS), (*RUNGS, None), strict=True):
        checkpoint = Checkpoint(folder, 12, "this one", begin, pause)
        reports += plain(training(checkpoint, **changes))
    return reports


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_training_in_parts_reports_what_a_whole_one_does(tmp_path: Path, optimiser: str) -> None:
    whole = plain(training(optimiser=optimiser))
    assert [report.steps for report in whole] == [3, 9, 10, 20]
    assert in_parts(tmp_path, optimiser=optimiser) == whole


def test_the_weights_and_buffers_at_the_end_are_the_same(tmp_path: Path) -> None:
    one, two = Shared(), Shared()
    list(training(model=one))
    list(training(Checkpoint(tmp_path, 0, "a", 0, 9)))
    list(training(Checkpoint(tmp_path, 0, "a", 9, None), model=two))
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key


def test_seconds_go_on(tmp_path: Path) -> None:
    (*_, last) = training(Checkpoint(tmp_path, 0, "a", 0, 9))
    first = next(iter(training(Checkpoint(tmp_path, 0, "a", 9, None))))
    assert first.seconds > last.seconds > 0


def test_the_file_is_there_before_the_report_is_and_the_training_ends(tmp_path: Path) -> None:
    reports = training(Checkpoint(tmp_path, 7, "a", 0, 3))
    assert next(reports).steps == 3
    assert checkpoint_file(tmp_path, 7, 3).is_file()
    assert next(reports, None) is None
    assert [path.name for path in tmp_path.iterdir()] == ["7-3.safetensors"]


def test_a_checkpoint_is_numbers_and_text(tmp_path: Path) -> None:
    list(training(Checkpoint(tmp_path, 7, "a", 0, 3)))
    with safe_open(checkpoint_file(tmp_path, 7, 3), framework="pt") as file:
        names = set(file.keys())
        assert (file.metadata()["of"], file.metadata()["steps"]) == ("a", "3")
    assert {"model.one.weight", "model.norm.running_var", "optimiser.0.exp_avg"} <= names


@pytest.mark.parametrize("fault", ["gone", "cut", "empty", "another", "renamed"])
def test_what_cannot_be_taken_up_starts_anew_and_repeats_itself(tmp_path: Path, fault: str) -> None:
    list(training(Checkpoint(tmp_path, 7, "a", 0, 3)))
    list(training(Checkpoint(tmp_path, 7, "a", 3, 9)))
    path = checkpoint_file(tmp_path, 7, 9)
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "renamed":
        checkpoint_file(tmp_path, 7, 3).replace(path)
    of = "b" if fault == "another" else "a"
    assert plain(training(Checkpoint(tmp_path, 7, of, 9, None))) == plain(training())


def test_only_what_is_needed_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    keep_only(folder, [])  # there is none
    list(training(Checkpoint(folder, 7, "a", 0, 3)))
    list(training(Checkpoint(folder, 8, "a", 0, 9)))
    (folder / "9-3.17.partial").touch()
    keep_only(folder, [(7, 9), (8, 9)])
    assert [path.name for path in folder.iterdir()] == ["8-9.safetensors"]
    keep_only(folder, [])
    assert not folder.exists()


PROGRAM = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.proxy.test_checkpoint import training
from nas_fpn.proxy.checkpoint import Checkpoint
def die(*arguments, **settings):
    if sys.argv[3] == "opened":
        open(arguments[0], "wb").write(b"half")
    os.kill(os.getpid(), 9)
if sys.argv[3] == "written":
    os.fsync = die
else:
    Path.open = die
list(training(Checkpoint(Path(sys.argv[1]), 7, "a", 3, 9)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["opened", "written"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, moment: str
) -> None:
    list(training(Checkpoint(tmp_path, 7, "a", 0, 3)))
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), root, moment],
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL
    assert not checkpoint_file(tmp_path, 7, 9).exists()
    assert len(list(tmp_path.iterdir())) == 2  # the one before, and half a one
    keep_only(tmp_path, [(7, 3)])
    assert [path.name for path in tmp_path.iterdir()] == ["7-3.safetensors"]
    going_on = [*plain(training(Checkpoint(tmp_path, 7, "a", 3, 9)))]
    assert going_on == plain(training())[1:2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bifpn", "ihp", "mnasfpn", "nas_fpn_lite", "repgfpn", "slimneck"])
def test_shipped_necks_go_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    path = shipped_folder("search_spaces") / "baselines" / f"{name}.neck"
    architecture = parse(path.read_text(encoding="utf-8"))
    inputs = lower(architecture).inputs
    generator = torch.Generator().manual_seed(0)
    batches = [
        [torch.randn(2, 8, 2 ** (7 - k), 2 ** (7 - k), generator=generator) for k in inputs]
        for _ in range(6)
    ]

    def reports(checkpoint: Checkpoint | None) -> list[Report]:
        neck = Neck(architecture, [8] * len(inputs), seed=0)
        steps = optimise(
            neck,
            Schedule(6, 1e-3, 1e-4, rungs=(2, 4)),
            loss=lambda step: torch.stack([o.square().mean() for o in neck(batches[step])]).sum(),
            evaluate=lambda: {"ap": float(sum(o.detach().mean() for o in neck(batches[0])))},
            checkpoint=checkpoint,
        )
        return plain(steps)

    parts: list[Report] = []
    for begin, pause in ((0, 2), (2, 4), (4, None)):
        parts += reports(Checkpoint(tmp_path, 0, name, begin, pause))
    assert parts == reports(None)


def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(training(Checkpoint(tmp_path, 12, "this one", 0, 3)))
    assert caught.value.filename == str(checkpoint_file(tmp_path, 12, 3))
    assert list(tmp_path.iterdir()) == []
