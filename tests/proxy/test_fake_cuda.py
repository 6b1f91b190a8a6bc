"""Where there is no CUDA device: tensors that only say they are on one, and mix with no other.

torch's fake tensors have a device and a shape, and every operation checks both as CUDA would. They
have no values, and backward on a device that is not there cannot be done.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from nas_fpn.language import find_neck
from nas_fpn.proxy.bank import Split
from nas_fpn.proxy.feeding import Table
from tests.proxy.replayed import FEW, SETTINGS, build, make_bank, make_split

decode = import_module("nas_fpn.detect.decode")
train = import_module("nas_fpn.proxy.train")
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
NECKS = sorted({path.stem for path in find_neck("fpn").parent.glob("*.neck")} - {*FEW})


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Fake tensors, and a CUDA device that is picked."""
    monkeypatch.setattr(train, "pick_device", lambda name: CUDA)
    monkeypatch.setattr(Table, "index", assigned)
    monkeypatch.setattr(train, "_images_and_views", lambda split: (6, 1))  # it reads values
    shapes = ShapeEnv(allow_dynamic_output_shape_ops=True)  # of what depends on values
    with FakeTensorMode(shape_env=shapes) as mode:
        yield mode


def assigned(
    table: Table,
    rows: Tensor,
    assign: Callable[[Tensor, Tensor], Tensor],
    *,
    device: torch.device,
) -> Tensor:
    """What a table does whose rows are all new: which they are, fake tensors do not know."""
    split = table._split
    boxes, labels = split.boxes[rows].to(device), split.labels[rows].to(device)
    return assign(boxes, labels).to(split.labels.device)


def moved(split: Split, device: torch.device) -> Split:
    return replace(
        split,
        features={level: feature.to(device) for level, feature in split.features.items()},
        boxes=split.boxes.to(device),
        labels=split.labels.to(device),
    )


def move(model: nn.Module) -> None:
    """``model.to(CUDA)``: of a fake parameter torch's own would swap the contents, and cannot."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(CUDA))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(CUDA)
    model.to = lambda *given, **more: model  # type: ignore[method-assign]


def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector is made on the CPU and moved, as ever."""
    make = train.make_detector

    def made(*given: object, **more: object) -> nn.Module:
        model = make(*given, **more)  # type: ignore[arg-type]
        move(model)
        return model

    monkeypatch.setattr(train, "make_detector", made)


@pytest.mark.parametrize(
    ("name", "head", "is_resident"),
    [
        *((name, "fcos", is_resident) for name in FEW for is_resident in (True, False)),
        ("yolox", "retinanet", True),
        *(pytest.param(name, "fcos", True, marks=pytest.mark.slow) for name in NECKS),
    ],
)
def test_a_step_and_an_evaluation_mix_no_devices(
    fakes: FakeTensorMode,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    head: str,
    is_resident: bool,
) -> None:
    on_cuda(monkeypatch)
    monkeypatch.setattr(
        train, "placed", lambda split, device: moved(split, device if is_resident else CPU)
    )
    monkeypatch.setattr(
        decode, "apart_nms", lambda boxes, *_: torch.zeros(3, dtype=torch.int64, device=CUDA)
    )
    settings = SETTINGS.model_copy(update={"head": head, "device": "cuda", "batch_size": 4})
    training = train.prepare_training(build(name), make_bank(), settings, seed=0)
    assert (training.recorder is not None) == is_resident
    for step in (0, 1):
        for part in training.loss(step):
            assert part.device == CUDA
    assert training.halve()
    assert [part.device for part in training.loss(2)] == [CUDA, CUDA]
    training.detector.eval()
    split = make_split(2, 1)
    batches = train._batches(split, training.detector.neck.inputs, 2, CUDA)
    for inputs, ids, scales in batches:
        sizes = torch.full((2, 2), 64)
        found = training.detector.detect(inputs, image_ids=ids, scales=scales, sizes=sizes)
        assert found.boxes.device == found.image_ids.device == CPU
