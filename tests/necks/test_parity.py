"""Parity with the public implementations: weights go in by name, the same numbers come out.

The cases lie beside the project (``../shared/parity``). A case gives inputs, weights, outputs in
both modes, running statistics after one training pass, and gradient norms; all are compared at
the tolerance that it states.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.export.published import from_published, name_here, published_names
from nas_fpn.language import find_space, parse
from nas_fpn.necks import MERGES, Cell, Chain, Neck
from nas_fpn.necks.blocks import BatchNorm, Conv3, relu
from nas_fpn.necks.merges import global_mean
from nas_fpn.necks.resample import Sni, bilinear, maxpool_zero, nearest

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
FAMILIES = (
    "bifpn_fastattn",
    "fpn_torchvision",
    "merge_",
    "nasfpn_mmdet",
    "nasfpn_tf",
    "pafpn",
    "sni_",
)

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not there"
)


@dataclass(frozen=True)
class Case:
    name: str
    about: dict[str, Any]
    tensors: dict[str, Tensor]

    def all(self, prefix: str) -> list[Tensor]:
        """The tensors ``prefix0``, ``prefix1`` and so on."""
        count = sum(key.startswith(prefix) for key in self.tensors)
        return [self.tensors[f"{prefix}{i}"] for i in range(count)]


def read(name: str) -> Case:
    about = json.loads((PARITY / f"{name}.json").read_text())
    return Case(name, about, load_file(PARITY / f"{name}.safetensors"))


# FPN of torchvision


def fpn(tail: str = "", norm: str = "") -> str:
    return f"""
width 16
p2..p5 = c2..c5 -> conv1 {norm}
p4..p2 = sum(p4..p2, p5..p3)
p2..p5 = p2..p5 -> conv3 {norm}
{tail}"""


# PAFPN of mmdetection


def pafpn(tail: str = "", after: str = "") -> str:
    return f"""
width 16
p2..p5 = c2..c5 -> conv1 {after}
p4..p2 = sum(p4..p2, p5..p3)
p2..p5 = p2..p5 -> conv3 {after}
p3..p5 = sum(p3..p5, p2..p4 -> stride {after})
p3..p5 = p3..p5 -> conv3 {after}
{tail}"""


# BiFPN of effdet: the shipped program, with as many cells as the case


def bifpn(*, same: bool = False) -> str:
    text = shipped("bifpn").replace("repeat 2:", "repeat 1:").replace("width 64", "width 16")
    if same:
        text = text.replace("maxpool3", "maxpool3[pad=same]")
        text = text.replace("conv1", "conv1[bias]").replace("sep3 ", "sep3[bias] ")
    return text


# NAS-FPN: the shipped programs are both forms, here with their idle biases


def nas_fpn_tensorflow() -> str:
    text = shipped("nas_fpn").replace("repeat 7:", "repeat 2:").replace("width 256", "width 16")
    text = text.replace("conv1 bn", "conv1[bias] bn").replace("conv3 bn", "conv3[bias] bn")
    return text.replace(" bn\n", " bn[eps=1e-3, momentum=0.01]\n")


def nas_fpn_mmdet() -> str:
    text = shipped("nas_fpn_mmdet").replace("repeat 7:", "repeat 2:")
    return text.replace("width 256", "width 16").replace("conv3 bn", "conv3[bias] bn")


NECKS: dict[str, tuple[Callable[[], str], str]] = {
    "fpn_torchvision": (fpn, "torchvision.fpn"),
    "fpn_torchvision_odd": (fpn, "torchvision.fpn"),
    "fpn_torchvision_bn": (lambda: fpn(norm="bn"), "torchvision.fpn"),
    "fpn_torchvision_maxpool": (lambda: fpn("p6 = p5 -> subsample"), "torchvision.fpn"),
    "fpn_torchvision_p6p7_from_p5": (
        lambda: fpn("p6 = p5 -> stride\np7 = p6 -> relu stride"),
        "torchvision.fpn",
    ),
    "fpn_torchvision_p6p7_from_c5": (
        lambda: fpn("p6 = c5 -> stride\np7 = p6 -> relu stride"),
        "torchvision.fpn",
    ),
    "pafpn": (lambda: pafpn("p6 = p5 -> subsample"), "mmdet.pafpn"),
    "pafpn_odd": (pafpn, "mmdet.pafpn"),
    "pafpn_bn_relu": (lambda: pafpn(after="bn relu"), "mmdet.pafpn"),
    "pafpn_extra_on_output": (
        lambda: pafpn("p6 = p5 -> stride\np7 = p6 -> relu stride"),
        "mmdet.pafpn",
    ),
    "bifpn_fastattn_r2": (bifpn, "effdet.bifpn"),
    "bifpn_fastattn_r2_train": (bifpn, "effdet.bifpn"),
    "bifpn_fastattn_r2_same": (lambda: bifpn(same=True), "effdet.bifpn"),
    "nasfpn_tf_stack2": (nas_fpn_tensorflow, "tensorflow.nas_fpn"),
    "nasfpn_tf_stack2_big": (nas_fpn_tensorflow, "tensorflow.nas_fpn"),
    "nasfpn_mmdet_stack2": (nas_fpn_mmdet, "mmdet.nas_fpn"),
    "nasfpn_mmdet_stack2_train": (nas_fpn_mmdet, "mmdet.nas_fpn"),
}
CELLS = (
    "merge_gp_down_up_bn",
    "merge_gp_noconv",
    "merge_gp_swapped",
    "merge_sum_default_size",
    "merge_sum_down",
    "merge_sum_input_convs",
    "merge_sum_odd_down",
    "merge_sum_up_bn",
)
SNI = ("sni_x2", "sni_x2_odd", "sni_x3_odd", "sni_x4")
SNI_FPN = ("sni_fpn_bilinear_even", "sni_fpn_bilinear_odd")


def test_every_case_of_these_families_is_here() -> None:
    there = {path.stem for path in PARITY.glob("*.json") if path.stem.startswith(FAMILIES)}
    assert there == {*NECKS, *CELLS, *SNI, *SNI_FPN}


@pytest.mark.parametrize("name", NECKS)
def test_a_published_neck_is_a_program(name: str) -> None:
    case = read(name)
    text, reference = NECKS[name]
    inputs = case.all("in.")
    neck = Neck(parse(text()), [x.shape[1] for x in inputs])
    weights = {key[2:]: value for key, value in case.tensors.items() if key[:2] == "w."}
    neck.load_state_dict(from_published(reference, weights, neck))
    names = published_names(reference, neck.architecture)
    assert_same(case, neck, names, lambda *features: neck(features))


@pytest.mark.parametrize("name", CELLS)
def test_a_merge_cell_of_mmcv_is_a_cell(name: str) -> None:
    case = read(name)
    config = case.about["config"]
    size = tuple(case.tensors["out.0"].shape[-2:])
    convolved = config.get("with_input1_conv", False)
    chains = []
    for feature in case.all("in."):
        ops: list[Callable[..., Tensor]] = []
        if convolved:
            ops = [Conv3(16, 16, bias=True), BatchNorm(16), relu]
        at = len(ops)
        if feature.shape[-2] < size[0]:
            ops.append(bilinear if config.get("upsample_mode") == "bilinear" else nearest)
        elif feature.shape[-2] > size[0]:
            ops.append(maxpool_zero)
        chains.append(Chain(*ops, resampler=at) if ops else None)
    after: list[Callable[..., Tensor]] = []
    if config.get("with_out_conv", True):
        after = [relu, Conv3(16, 16, bias=True)]
    if config.get("out_norm_cfg"):
        after.append(BatchNorm(16))
    gated = config["type"] == "GlobalPoolingCell"
    order = -1 if gated else 1  # there the second operand gates, here the first
    merge = global_mean if gated else MERGES["sum"]
    cell = Cell(*after, merge=merge, via=tuple(chains[::order]))
    names = {"out_conv.conv": "1", "out_conv.bn": "2"}
    for i in (1, 2):
        names |= {f"input{i}_conv.conv": f"operand{i}.0", f"input{i}_conv.bn": f"operand{i}.1"}
    cell.load_state_dict(
        {here(key[2:], names): value for key, value in case.tensors.items() if key[:2] == "w."}
        | {key: value for key, value in cell.state_dict().items() if "tracked" in key}
    )
    assert_same(case, cell, names, lambda *features: (cell(size, *features[::order]),))


@pytest.mark.parametrize("name", SNI)
def test_sni_is_soft_nearest_neighbour_interpolation(name: str) -> None:
    case = read(name)
    wanted = case.tensors["out.0"]
    assert_close(case, Sni()(case.tensors["in.0"], wanted.shape[-2:]), wanted)


@pytest.mark.parametrize("name", SNI_FPN)
def test_sni_of_the_two_stage_fpn_is_a_cell(name: str) -> None:
    case = read(name)
    top, lateral = case.all("in.")
    softened = Chain(Sni(mode="bilinear", alpha=0.25), resampler=0)
    cell = Cell(merge=MERGES["sum"], via=(None, softened))
    assert_close(case, cell(lateral.shape[-2:], lateral, top), case.tensors["out.0"])


def shipped(name: str) -> str:
    return find_space(f"baselines/{name}").read_text()


def assert_same(
    case: Case,
    module: nn.Module,
    names: Mapping[str, str],
    run: Callable[..., tuple[Tensor, ...]],
) -> None:
    """Compare all that the case holds; ``module`` has its weights."""
    module.eval()
    for got, wanted in zip(run(*case.all("in.")), case.all("out."), strict=True):
        assert_close(case, got, wanted)
    inputs = [x.requires_grad_() for x in case.all("in.")]
    module.train()
    outputs = run(*inputs)
    for got, wanted in zip(outputs, case.all("out_train.") or outputs, strict=True):
        assert_close(case, got, wanted)
    state = module.state_dict()
    after = {key[9:]: value for key, value in case.tensors.items() if key.startswith("bn_after.")}
    for key, value in after.items():
        assert_close(case, state[here(key, names)], value)
    norms = case.about.get("gradients") or case.about.get("train_gradients")
    if norms is None:
        return
    loss = sum(y.square().mean() for y in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()
    assert_close(case, loss, torch.tensor(norms["loss_value"]))
    parameters = dict(module.named_parameters())
    wanted_norms = norms["l2_norm_of_gradient"]
    assert len(wanted_norms) == len(inputs) + len(parameters)
    for key, norm in wanted_norms.items():
        kind, name = key.split(".", 1)
        tensor = inputs[int(name)] if kind == "in" else parameters[here(name, names)]
        assert tensor.grad is not None
        assert_close(case, tensor.grad.norm(), torch.tensor(norm))


def here(name: str, names: Mapping[str, str]) -> str:
    ours = name_here(name, names)
    assert ours is not None, f"no name for {name}"
    return ours


def assert_close(case: Case, got: Tensor, wanted: Tensor) -> None:
    given = case.about.get("suggested_tolerance") or case.about["tolerance"]
    atol = given.get("atol", given.get("float32_atol"))
    rtol = given.get("rtol", given.get("float32_rtol"))
    torch.testing.assert_close(got, wanted, atol=atol, rtol=rtol)
