"""The cost that shapes give is the cost of the module."""

import math
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nas_fpn.language import find_space, parse, read_neck
from nas_fpn.language.cost import Cost, cost, level_sizes
from nas_fpn.language.lower import lower
from nas_fpn.necks import Neck
from tests.necks.zoo import CHANNELS, ZOO

every_neck = pytest.mark.parametrize("name", ZOO)


def deform_flops(feature, weight, *_, out_shape, **__) -> int:  # type: ignore[no-untyped-def]
    return 2 * math.prod(weight) * math.prod(out_shape[2:])


DEFORM = {torch.ops.torchvision.deform_conv2d: deform_flops}


def build(name: str) -> Neck:
    return Neck(ZOO[name], [CHANNELS[k] for k in lower(ZOO[name]).inputs], seed=0).eval()


def features(neck: Neck, image_size: int) -> list[Tensor]:
    sides = [(k, -(-image_size // 2**k)) for k in neck.inputs]
    return [torch.randn(1, CHANNELS[k], side, side) for k, side in sides]


@every_neck
@pytest.mark.parametrize("image_size", [128, 100, 1])
def test_parameters_and_multiply_adds_are_those_of_the_module(name: str, image_size: int) -> None:
    neck = build(name)
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=DEFORM) as counter:
        neck(features(neck, image_size))
    counted = cost(ZOO[name], CHANNELS, image_size=image_size)
    assert counted.params == sum(p.numel() for p in neck.parameters())
    assert counted.macs * 2 == counter.get_total_flops()


class Live(TorchDispatchMode):
    """Sees the largest number of bytes of features alive after any operation."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.seen = [weakref.ref(tensor) for tensor in given]
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor) and tensor.dim() == 4:
                self.seen.append(weakref.ref(tensor))
        storages = (t.untyped_storage() for t in (ref() for ref in self.seen) if t is not None)
        alive = {storage.data_ptr(): storage.nbytes() for storage in storages}
        self.peak = max(self.peak, sum(alive.values()))
        return made


PLAIN = ("fpn", "panet", "none", "sni_fpn", "the word conv3", "the word stride", "addends")


@every_neck
def test_activation_bytes_are_what_is_alive(name: str) -> None:
    """Exact where no word needs anything inside itself, and no resampler gives a view."""
    neck = build(name)
    given = features(neck, 256)
    with torch.no_grad(), Live(given) as live:
        neck(given)
    counted = cost(ZOO[name], CHANNELS, image_size=256).activation_bytes
    if name in PLAIN:
        assert live.peak == counted
    else:
        assert 0.9 * counted <= live.peak <= 1.7 * counted


def test_a_cost_by_hand() -> None:
    architecture = parse("width 8\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4)")
    counted = cost(architecture, {3: 2, 4: 3, 5: 99}, image_size=32)
    inputs, fine, coarse = 2 * 16 + 3 * 4, 8 * 16, 8 * 4
    assert counted == Cost(
        params=2 * 8 + 8 + 3 * 8 + 8,
        macs=2 * 8 * 16 + 3 * 8 * 4,
        activation_bytes=4 * (inputs + coarse + 3 * fine),  # p3, p4 resampled, their sum
    )


@pytest.mark.parametrize(
    ("name", "channels", "params"),
    [
        ("fpn", (512, 1024, 2048), 3_868_672),
        ("bifpn", (40, 112, 320), 194_361),
        # published with a bias before each norm: 29,858,816
        ("nas_fpn", (512, 1024, 2048), 29_858_816 - (3 + 7 * 7) * 256),
    ],
)
def test_shipped_necks_have_the_published_size(
    name: str, channels: tuple[int, ...], params: int
) -> None:
    architecture = read_neck(find_space(f"baselines/{name}"))
    counted = cost(architecture, dict(enumerate(channels, 3)), image_size=512)
    assert counted.params == params


def test_the_sizes_of_levels() -> None:
    graph = lower(
        parse("p3 = c3 -> conv1\np4 = p3 -> maxpool\np5 = c5 -> conv1\np2 = p3 -> nearest")
    )
    assert level_sizes(graph, {3: (9, 5), 5: (2, 1)}) == {
        2: (18, 10),
        3: (9, 5),
        4: (5, 3),
        5: (2, 1),
    }


def test_a_missing_level_is_named() -> None:
    with pytest.raises(ValueError, match=r"but level 4, 5 is missing from in_channels=\{3: 8\}"):
        cost(ZOO["fpn"], {3: 8}, image_size=64)
