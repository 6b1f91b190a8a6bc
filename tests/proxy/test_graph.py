"""A step replayed from where it was captured is the step itself; what cannot be is said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from nas_fpn.detect import detector as dense
from nas_fpn.detect.losses import detection_losses
from nas_fpn.language import find_neck
from nas_fpn.necks import Neck
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.feeding import Feed
from nas_fpn.proxy.graph import WARM, Recorder, Run
from nas_fpn.proxy.train import make_detector, prepare_training
from tests.proxy.replayed import (
    CLASSES,
    FEW,
    SETTINGS,
    Again,
    build,
    make_bank,
    make_split,
    parted,
    reports,
)
from tests.proxy.tape import Tape

NECKS = sorted(path.stem for path in find_neck("fpn").parent.glob("*.neck"))


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank()


@pytest.mark.parametrize("name", FEW)
def test_replayed_steps_are_the_steps_themselves_bit_for_bit(bank: Bank, name: str) -> None:
    recorder = Again()
    one, other = build(name), build(name)
    found, replayed = parted(reports(bank, one, recorder))
    assert found == reports(bank, other, None)
    assert replayed == [0.0, 1.0, 1.0]  # of steps 1 to 3, 4, 5 to 6
    assert (recorder.eager_steps, recorder.captures) == (WARM, 1)
    assert recorder.replays == 1 + SETTINGS.steps - WARM  # the first is held against its step
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize(
    ("name", "head", "precision"),
    [
        ("fpn", "fcos", "float32"),
        ("yolox", "retinanet", "float32"),
        ("yolox", "fcos", "bfloat16"),
        *(pytest.param(name, "fcos", "float32", marks=pytest.mark.slow) for name in NECKS),
    ],
)
def test_operations_noted_once_are_every_later_step(
    bank: Bank, name: str, head: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a device no shape depends on the data; all rows are known after the first steps.

    The tape holds every tensor, so that autograd adds gradients out of place: last digits differ.
    Stochastic gradient descent at a low rate keeps them last.
    """
    slow = {"optimiser": "sgd", "learning_rate": 1e-3, "head": head, "precision": precision}
    settings = SETTINGS.model_copy(update=slow)
    monkeypatch.setattr(dense, "detection_losses", lambda *given, static: detection_losses(*given))
    one, other = build(name), build(name)
    tape = Tape(one)
    taped, made = reports(bank, one, tape, settings), reports(bank, other, None, settings)
    assert tape.replays == 1 + settings.steps - WARM
    for mine, theirs in zip(taped, made, strict=True):
        assert mine.scores["loss"] == pytest.approx(theirs.scores["loss"], rel=1e-5)
    torch.testing.assert_close(
        dict(one.state_dict()), dict(other.state_dict()), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "head"),
    [
        *(("yolox", head) for head in ("fcos", "retinanet")),
        *(pytest.param(name, "fcos", marks=pytest.mark.slow) for name in NECKS),
    ],
)
def test_a_step_reads_nothing_back_and_nothing_of_the_host(name: str, head: str) -> None:
    """On the meta device there is no value to read; numbers of the host come by torch.tensor."""
    settings = SETTINGS.model_copy(update={"head": head})
    detector = make_detector(build(name), settings, num_classes=CLASSES, seed=0).to("meta")
    meta = torch.device("meta")
    whole = make_split(6, 0)
    split = replace(
        whole,
        features={level: feature.to(meta) for level, feature in whole.features.items()},
        boxes=whole.boxes.to(meta),
        labels=whole.labels.to(meta),
    )
    feed, rows = Feed(split, detector.neck.inputs, meta), torch.zeros(2, dtype=torch.int64).to(meta)

    def step() -> None:
        boxes, labels = split.boxes[rows], split.labels[rows]
        detector.losses(
            feed(rows),
            boxes,
            labels,
            assign=lambda cells: torch.zeros(
                2, sum(cells.counts), dtype=torch.int64, device="meta"
            ),
        ).total.backward()

    step()
    with NothingOfTheHost():
        step()


class NothingOfTheHost(TorchFunctionMode):
    """Refuses to make tensors of Python's numbers, which cross to the device from the host."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func not in (torch.tensor, torch.as_tensor, torch.from_numpy)
        return func(*args, **(kwargs or {}))


class Rehearses(Again):
    """Goes through the step before it captures, which moves statistics and makes gradients."""

    def record(self, run: Run) -> Run:
        run()
        return super().record(run)


def test_a_rehearsal_leaves_no_trace(bank: Bank) -> None:
    one, other = build("yolox"), build("yolox")
    assert parted(reports(bank, one, Rehearses()))[0] == reports(bank, other, None)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


class Refuses(Again):
    def record(self, run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


class Wrong(Again):
    """Its replays lose a gradient's sign."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def record(self, run: Run) -> Run:
        def replay() -> Tensor:
            value = run()
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.abs_()
            return value

        return replay


@pytest.mark.parametrize(
    ("recorder", "why"),
    [
        (lambda _: Refuses(), r"cannot be captured \(operation not permitted when .* capturing\)"),
        (Wrong, "its first replay gives other gradients than the step itself"),
    ],
)
def test_what_cannot_be_replayed_is_said_and_trained_without(
    bank: Bank, recorder: Callable[[nn.Module], Recorder], why: str
) -> None:
    one, other = build("yolox"), build("yolox")
    with pytest.warns(RuntimeWarning, match=f"not replayed from a CUDA graph, .*: .*{why}"):
        found, replayed = parted(reports(bank, one, recorder(one)))
    assert found == reports(bank, other, None)
    assert replayed == [0.0, 0.0, 0.0]
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


class RefusesLate(Refuses):
    def record(self, run: Run) -> Run:
        run()
        return super().record(run)


def with_dropout(neck: Neck) -> Neck:
    """As a word of one's own may be."""
    neck.register_forward_hook(lambda _, __, made: [functional.dropout(p, 0.2) for p in made])
    return neck


@pytest.mark.parametrize(("recorder", "part"), [(Rehearses, 1.0), (RefusesLate, 0.0)])
@pytest.mark.filterwarnings("ignore:the steps of this training are not replayed")
def test_a_step_that_draws_numbers_draws_them_once(
    bank: Bank, recorder: type[Again], part: float
) -> None:
    torch.manual_seed(0)
    found, replayed = parted(reports(bank, with_dropout(build("fpn")), recorder()))
    assert replayed[-1] == part
    torch.manual_seed(0)
    assert found == reports(bank, with_dropout(build("fpn")), None)
    drawn = torch.rand(())
    torch.manual_seed(0)
    reports(bank, build("fpn"), None)
    assert drawn != torch.rand(())  # the steps did draw


@contextmanager
def room_for(neck: Neck, images: int) -> Iterator[None]:
    """More images than so many at once are too many, in training."""

    def look(module: nn.Module, given: tuple[list[Tensor]]) -> None:
        if module.training and len(given[0][0]) > images:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    handle = neck.register_forward_pre_hook(look)
    yield
    handle.remove()


def test_a_batch_without_room_is_captured_in_parts(bank: Bank) -> None:
    settings = SETTINGS.model_copy(update={"batch_size": 4, "steps": WARM + 2})
    recorder, one, other = Again(), build("fpn"), build("fpn")
    with room_for(one, 2), room_for(other, 2):
        found, _ = parted(reports(bank, one, recorder, settings))
        assert found == reports(bank, other, None, settings)
    assert recorder.captures == 1
    assert recorder.eager_steps == 1 + WARM  # the one that failed


def test_a_training_goes_on_from_a_checkpoint_and_is_captured_anew(
    bank: Bank, tmp_path: Path
) -> None:
    whole = reports(bank, build("yolox"), None)
    parts = []
    for begin, pause in ((0, 4), (4, None)):
        checkpoint = Checkpoint(tmp_path, 0, "this one", begin, pause)
        parts += reports(bank, build("yolox"), Again(), checkpoint=checkpoint)
    assert parted(parts)[0] == whole


def test_a_graph_makes_room_for_an_evaluation(bank: Bank) -> None:
    recorder = Again()
    asked = []

    def evaluate() -> dict[str, float]:
        asked.append(recorder.replays)
        if len(asked) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {}

    with pytest.warns(RuntimeWarning, match="an evaluation has no memory beside it"):
        found = reports(bank, build("fpn"), recorder, evaluate=evaluate)
    without, replayed = parted(found)
    assert without == reports(bank, build("fpn"), None, evaluate=dict)
    assert replayed == [0.0, 1.0, 0.0]
    assert asked[1] == asked[2] == recorder.replays  # none afterwards


def test_gradients_are_let_go_with_the_graph(bank: Bank) -> None:
    neck = build("fpn")
    reports(bank, neck, Again())
    assert all(parameter.grad is None for parameter in neck.parameters())


def test_no_recorder_on_a_cpu(bank: Bank) -> None:
    assert prepare_training(build("fpn"), bank, SETTINGS, seed=0).recorder is None
