"""What a capture asks of CUDA: noted where there is none, and done where there is a device."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

import pytest
import torch
from torch import Tensor

from nas_fpn.necks.deform import Deformable
from nas_fpn.proxy import graph
from nas_fpn.proxy.bank import Bank
from nas_fpn.proxy.feeding import placed
from nas_fpn.proxy.graph import WARM, CudaRecorder
from nas_fpn.proxy.optimise import optimise
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.proxy.train import prepare_training, proxy_schedule, train
from tests.proxy.replayed import FEW, SETTINGS, build, make_bank

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank()


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
    device, recorder = Device(monkeypatch, current="default"), CudaRecorder(torch.device("cuda"))
    assert recorder.eager(device.run) == 1
    assert device.said == ["run, mode 0"], "the first is made where it stands"
    device.said.clear()
    assert recorder.eager(device.run) == 1
    assert device.said == BESIDE
    device.said.clear()
    with pytest.raises(RuntimeError, match="synchronizing"):
        recorder.eager(device.fail)
    assert device.said == BESIDE


def test_a_step_with_an_operation_that_is_not_torchs_stays_and_is_not_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its kernels may run on the default stream, in nobody's order, and in no capture."""
    device, recorder = Device(monkeypatch, current="default"), CudaRecorder(torch.device("cuda"))
    deformable = Deformable(4, 4, bias=False)

    def step() -> Tensor:
        device.run()
        loss = deformable(torch.randn(1, 4, 8, 8)).sum()
        loss.backward()
        return loss.detach()

    for _ in range(2):
        recorder.eager(step)
    assert device.said == ["run, mode 0"] * 2
    with pytest.raises(RuntimeError, match="torchvision::deform_conv2d, not of torch itself"):
        recorder.record(step)
    assert device.said == ["run, mode 0"] * 2


@pytest.mark.parametrize("name", [*FEW, "nas_fpn"])
def test_all_that_a_plain_neck_calls_is_torchs(
    bank: Bank, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, recorder = Device(monkeypatch, current="default"), CudaRecorder(torch.device("cuda"))
    training = prepare_training(build(name), bank, SETTINGS, seed=3)

    def step() -> Tensor:
        (part,) = training.loss(0)
        part.backward()
        return part.detach()

    recorder.eager(step)
    recorder.eager(step)
    assert device.said == [line for line in BESIDE if not line.startswith("run")]


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


@CUDA
@pytest.mark.parametrize(("precision", "apart"), [("float32", 1e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("name", [*FEW, "nas_fpn"])
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
def test_a_deformable_neck_is_trained_without_a_graph(bank: Bank) -> None:
    with pytest.warns(RuntimeWarning, match="torchvision::deform_conv2d"):
        *_, last = train(build("opanas"), bank, on_cuda(), seed=3)
    assert last.scores["replayed"] == 0.0


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
