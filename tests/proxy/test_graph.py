"""A step replayed from where it was captured is the step itself; what cannot be is said."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nas_fpn.detect import detector as dense
from nas_fpn.detect.dataset import Category
from nas_fpn.detect.losses import detection_losses
from nas_fpn.language import find_neck, lower, parse
from nas_fpn.necks import Neck
from nas_fpn.proxy import graph
from nas_fpn.proxy.bank import Bank, Split
from nas_fpn.proxy.checkpoint import Checkpoint
from nas_fpn.proxy.feeding import Feed, placed
from nas_fpn.proxy.graph import WARM, CudaRecorder, Recorder, Run
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import make_detector, prepare_training, proxy_schedule, train
from nas_fpn.record import Report
from tests.proxy.tape import Tape

SIZE, LEVELS, CLASSES, BOXES = 64, (2, 3, 4, 5), 2, 3
NECKS = sorted(path.stem for path in find_neck("fpn").parent.glob("*.neck"))
FEW = ("fpn", "yolox")  # the second has batch norms, whose statistics a step moves
SETTINGS = ProxySettings(
    image_size=SIZE, steps=WARM + 3, batch_size=2, views=1, head_width=8, evaluations=2
)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def make_split(rows: int, seed: int) -> Split:
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, BOXES, 2, generator=g) * 30
    return Split(
        {k: torch.randn(rows, 8, SIZE >> k, SIZE >> k, generator=g) for k in LEVELS},
        boxes=torch.cat((corner, corner + 10 + torch.rand(rows, BOXES, 2, generator=g) * 20), 2),
        labels=torch.randint(CLASSES, (rows, BOXES), generator=g),
        image_ids=torch.arange(rows),
        scales=torch.ones(rows),
    )


@pytest.fixture(scope="module")
def bank() -> Bank:
    train, val = make_split(6, 0), make_split(2, 1)
    boxes = [
        (image, box, label)
        for image in range(2)
        for box, label in zip(val.boxes[image].tolist(), val.labels[image].tolist(), strict=True)
    ]
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIZE, "height": SIZE} for i in range(2)
        ],
        "annotations": [
            {
                "id": number + 1,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            for number, (image, (x0, y0, x1, y1), label) in enumerate(boxes)
        ],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(CLASSES)],
    }
    return Bank(
        path=Path("nowhere"),
        key="fake",
        levels=LEVELS,
        channels=dict.fromkeys(LEVELS, 8),
        image_size=SIZE,
        categories=tuple(Category(c + 1, str(c)) for c in range(CLASSES)),
        train=train,
        val=val,
        test=val,
        truth={"val": truth, "test": truth},
    )


def build(name: str) -> Neck:
    """A shipped neck, narrow."""
    text = re.sub(r"width \d+", "width 16", find_neck(name).read_text(encoding="utf-8"))
    architecture = parse(text)
    return Neck(architecture, (8,) * len(lower(architecture).inputs), seed=0)


class Again:
    """Captures nothing: a replay goes through the step again, on what the step now reads."""

    def __init__(self) -> None:
        self.eager_steps = self.replays = self.captures = 0

    def eager(self, run: Run) -> Tensor:
        self.eager_steps += 1
        return run()

    def record(self, run: Run) -> Run:
        self.captures += 1

        def replay() -> Tensor:
            self.replays += 1
            return run()

        return replay


def reports(
    bank: Bank,
    neck: Neck,
    recorder: Recorder | None,
    settings: ProxySettings = SETTINGS,
    checkpoint: Checkpoint | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> list[Report]:
    training = prepare_training(neck, bank, settings, seed=3)
    found = optimise(
        training.detector,
        proxy_schedule(settings, (4,)),
        loss=training.loss,
        evaluate=evaluate or training.evaluate,
        halve=training.halve,
        checkpoint=checkpoint,
        recorder=recorder,
    )
    return [replace(report, seconds=0.0) for report in found]


def parted(found: list[Report]) -> tuple[list[Report], list[float]]:
    """Reports without the part of their steps that was replayed, and that part."""
    parts = [report.scores["replayed"] for report in found]
    rest = [{k: v for k, v in report.scores.items() if k != "replayed"} for report in found]
    return [replace(r, scores=scores) for r, scores in zip(found, rest, strict=True)], parts


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


class Device:
    """What a recorder asks of CUDA, noted; nothing is captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, current: str) -> None:
        self.said: list[str] = []
        self.mode: int | str = 0
        streams = {name: Stream(name, self.said) for name in ("default", "side", "own")}
        monkeypatch.setattr(graph, "_side_stream", lambda device: streams["side"])
        for name, value in {
            "current_stream": lambda device: streams[current],
            "default_stream": lambda device: streams["default"],
            "set_stream": lambda stream: self.said.append(f"on {stream.name}"),
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": self.set_mode,
            "stream": self.stream,
            "graph": self.graph,
            "CUDAGraph": Graph,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def set_mode(self, mode: int | str) -> None:
        self.mode = mode

    @contextmanager
    def stream(self, stream: "Stream") -> Iterator[None]:
        self.said.append(f"with {stream.name}")
        yield

    @contextmanager
    def graph(self, made: "Graph", *, stream: "Stream", capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.said.append(f"capture on {stream.name}")
        yield

    def run(self) -> Tensor:
        self.said.append(f"run, mode {self.mode}")
        return torch.ones(())

    def fail(self) -> Tensor:
        self.run()
        raise RuntimeError("called a synchronizing CUDA operation")


class Stream:
    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said

    def wait_stream(self, other: "Stream") -> None:
        self.said.append(f"{self.name} waits for {other.name}")


class Graph:
    def replay(self) -> None:
        pass


BESIDE = ["side waits for default", "with side", "run, mode 0", "default waits for side"]


def test_a_step_beside_the_current_stream_is_waited_for_even_if_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch, current="default")
    assert CudaRecorder(torch.device("cuda")).eager(device.run) == 1
    assert device.said == BESIDE
    device.said.clear()
    with pytest.raises(RuntimeError, match="synchronizing"):
        CudaRecorder(torch.device("cuda")).eager(device.fail)
    assert device.said == BESIDE


def test_a_capture_is_rehearsed_where_to_wait_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, current="default")
    rehearsed = [line.replace("mode 0", "mode error") for line in BESIDE]
    CudaRecorder(torch.device("cuda")).record(device.run)
    assert device.said == [*rehearsed, "capture on side", "run, mode 0", "on default"]
    device.said.clear()
    with pytest.raises(RuntimeError, match="synchronizing"):
        CudaRecorder(torch.device("cuda")).record(device.fail)
    assert device.said == rehearsed  # a capture that would be broken is not begun
    assert device.mode == 0


def test_a_stream_of_its_own_is_captured_on_without_a_rehearsal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(monkeypatch, current="own")
    CudaRecorder(torch.device("cuda")).record(device.run)
    assert device.said == ["capture on own", "run, mode 0", "on own"]


def test_no_recorder_on_a_cpu(bank: Bank) -> None:
    assert prepare_training(build("fpn"), bank, SETTINGS, seed=0).recorder is None


@CUDA
@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("name", [*FEW, "nas_fpn", "opanas"])
def test_a_captured_training_is_the_eager_one(
    bank: Bank, name: str, precision: str, apart: float
) -> None:
    slow = {"optimiser": "sgd", "learning_rate": 1e-3, "precision": precision, "steps": 30}
    last = []
    for graphs in (True, False):
        settings = SETTINGS.model_copy(update={**slow, "device": "cuda", "graphs": graphs})
        training = prepare_training(build(name), bank, settings, seed=3)
        assert (training.recorder is not None) is graphs
        *_, report = train(build(name), bank, settings, seed=3)  # a refusal would be a warning
        last.append(report.scores["loss"])
    assert last[0] == pytest.approx(last[1], rel=apart)


@CUDA
@pytest.mark.parametrize("name", ["fpn", "nas_fpn"])
def test_a_capture_is_made_anew_for_each_training(bank: Bank, name: str) -> None:
    settings = SETTINGS.model_copy(update={"device": "cuda", "steps": WARM, "evaluations": 1})
    training = prepare_training(build(name), bank, settings, seed=3)
    assert placed(bank.train, torch.device("cuda")).boxes.is_cuda
    moments = []

    def now() -> None:
        torch.cuda.synchronize()
        moments.append(perf_counter())

    def loss(step: int) -> Iterable[Tensor]:
        now()
        return training.loss(step)

    def end() -> dict[str, float]:
        now()
        return {}

    plan, recorder = proxy_schedule(settings), training.recorder
    list(optimise(training.detector, plan, loss=loss, evaluate=end, recorder=recorder))
    print(f"{name}: a step with its capture takes {moments[-1] - moments[-2]:.3f} s")


def on_cuda(**changes: object) -> ProxySettings:
    return SETTINGS.model_copy(update={"device": "cuda", "optimiser": "sgd", **changes})


@CUDA
def test_a_step_that_reads_a_value_back_is_refused_and_spoils_no_later_capture(bank: Bank) -> None:
    neck, read = build("fpn"), []
    handle = neck.register_forward_hook(
        lambda module, given, made: read.append(made[0].sum().item())  # it returns None
    )
    with pytest.warns(RuntimeWarning, match="cannot be captured .*synchronizing"):
        found = list(train(neck, bank, on_cuda(), seed=3))
    handle.remove()
    assert [report.scores["replayed"] for report in found] == [0.0, 0.0]
    *_, last = train(build("fpn"), bank, on_cuda(), seed=3)  # a refusal would be a warning
    assert last.scores["replayed"] == 1.0


@CUDA
@pytest.mark.parametrize("head", ["fcos", "retinanet"])
def test_a_bank_without_room_on_the_device_is_trained_on_from_the_host(
    bank: Bank, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = on_cuda(head=head, learning_rate=1e-3)
    *_, there = train(build("fpn"), bank, settings, seed=3)
    placed.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "mem_get_info", lambda device: (0, 1))
        with pytest.warns(RuntimeWarning, match="stay in the host's memory"):
            *_, here = train(build("fpn"), bank, settings, seed=3)
    placed.cache_clear()
    assert "replayed" not in here.scores
    assert here.scores["loss"] == pytest.approx(there.scores["loss"], rel=1e-3)
