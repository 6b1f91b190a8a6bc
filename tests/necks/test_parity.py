"""Parity with the public implementations: weights go in by name, the same numbers come out.

The cases lie beside the project (``../shared/parity``). A case gives inputs, weights, outputs in
both modes, running statistics after one training pass, and gradient norms; all are compared at
the tolerance that it states.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.language import find_space, parse
from nas_fpn.necks import MERGES, Cell, Chain, Neck
from nas_fpn.necks.blocks import BatchNorm, Conv3, relu
from nas_fpn.necks.resample import MaxPool, Sni, bilinear, nearest

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
Names = Iterator[tuple[str, str]]  # prefix in the reference, prefix here

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


def fpn_names() -> Names:
    for level in range(2, 6):
        yield f"inner_blocks.{level - 2}", f"p{level}"
        yield f"layer_blocks.{level - 2}", f"p{level}_3" if level < 5 else "p5_2"
    yield "extra_blocks.p6", "p6.0.0"
    yield "extra_blocks.p7", "p7.1.0"


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


def pafpn_names() -> Names:
    kept = {2: "p2_3", 3: "p3_3", 4: "p4_3", 5: "p5_2"}
    up = {3: "p3_4", 4: "p4_4", 5: "p5_3"}
    last = {3: "p3_5", 4: "p4_5", 5: "p5_4"}
    for level in range(2, 6):
        yield f"lateral_convs.{level - 2}.conv", f"p{level}.0"
        yield f"lateral_convs.{level - 2}.bn", f"p{level}.1"
        yield f"fpn_convs.{level - 2}.conv", f"{kept[level]}.0"
        yield f"fpn_convs.{level - 2}.bn", f"{kept[level]}.1"
    for level in range(3, 6):
        yield f"downsample_convs.{level - 3}.conv", f"{up[level]}.operand2.0.0"
        yield f"downsample_convs.{level - 3}.bn", f"{up[level]}.operand2.1"
        yield f"pafpn_convs.{level - 3}.conv", f"{last[level]}.0"
        yield f"pafpn_convs.{level - 3}.bn", f"{last[level]}.1"
    yield "fpn_convs.4.conv", "p6.0.0"
    yield "fpn_convs.5.conv", "p7.1.0"


# BiFPN of effdet: the shipped program, with as many cells as the case


def bifpn(*, same: bool = False) -> str:
    text = shipped("bifpn").replace("repeat 2:", "repeat 1:").replace("width 64", "width 16")
    if same:
        text = text.replace("maxpool3", "maxpool3[pad=same]")
        text = text.replace("conv1", "conv1[bias]").replace("sep3 ", "sep3[bias] ")
    return text


def bifpn_names() -> Names:
    first = ("p6_2", "p5", "p4", "p3", "p4_2", "p5_2", "p6_3", "p7_2")
    last = ("p6", "p5", "p4", "p3", "p4_2", "p5_2", "p6_2", "p7")
    later = tuple(f"repeat1.1.{name}" for name in last)
    projected = {1: 2, 2: 1, 3: 0, 4: 1, 5: 2}  # node: offset of the input that it projects
    yield "resample.3.conv.conv", "p6.0"
    yield "resample.3.conv.bn", "p6.1"
    for cell, nodes in enumerate((first, later)):
        for i, node in enumerate(nodes):
            there = f"cell.{cell}.fnode.{i}"
            yield f"{there}.combine.edge_weights", f"{node}.merge.weight"
            yield f"{there}.after_combine.conv.conv_dw", f"{node}.1.depthwise"
            yield f"{there}.after_combine.conv.conv_pw", f"{node}.1.pointwise"
            yield f"{there}.after_combine.conv.bn", f"{node}.2"
    for i, offset in projected.items():
        there = f"cell.0.fnode.{i}.combine.resample.{offset}.conv"
        yield f"{there}.conv", f"{first[i]}.operand1.0"
        yield f"{there}.bn", f"{first[i]}.operand1.1"


# NAS-FPN: the shipped programs are both forms, here with their idle biases


def nas_fpn_tensorflow() -> str:
    text = shipped("nas_fpn").replace("repeat 7:", "repeat 2:").replace("width 256", "width 16")
    text = text.replace("conv1 bn", "conv1[bias] bn").replace("conv3 bn", "conv3[bias] bn")
    return text.replace(" bn\n", " bn[eps=1e-3, momentum=0.01]\n")


def nas_fpn_tensorflow_names() -> Names:
    order = ("a", "b", "p3", "p4", "p5", "p7", "p6")
    laterals = [("p3", 0), ("p4", 0), ("p5", 0)]
    cells = [(f"repeat1.{n}.{name}", 1) for n in (1, 2) for name in order]
    for i, (cell, at) in enumerate(laterals + cells):
        number = f"_{i}" if i else ""
        yield f"conv2d{number}.kernel", f"{cell}.{at}.weight"
        yield f"conv2d{number}.bias", f"{cell}.{at}.bias"
        norm = f"batch_normalization{number}"
        yield f"{norm}.gamma", f"{cell}.{at + 1}.weight"
        yield f"{norm}.beta", f"{cell}.{at + 1}.bias"
        yield f"{norm}.moving_mean", f"{cell}.{at + 1}.running_mean"
        yield f"{norm}.moving_variance", f"{cell}.{at + 1}.running_var"


def nas_fpn_mmdet() -> str:
    text = shipped("nas_fpn_mmdet").replace("repeat 7:", "repeat 2:")
    return text.replace("width 256", "width 16").replace("conv3 bn", "conv3[bias] bn")


def nas_fpn_mmdet_names() -> Names:
    for i in range(3):
        yield f"lateral_convs.{i}.conv", f"p{i + 3}.0"
        yield f"lateral_convs.{i}.bn", f"p{i + 3}.1"
    for i in range(2):
        yield f"extra_downsamples.{i}.0.conv", f"p{i + 6}.0"
        yield f"extra_downsamples.{i}.0.bn", f"p{i + 6}.1"
    cells = {
        "gp_64_4": "a",
        "sum_44_4": "b",
        "sum_43_3": "p3",
        "sum_34_4": "p4",
        "sum_55_5": "p5",
        "sum_77_7": "p7",
        "gp_75_6": "p6",
    }
    for stage in range(2):
        for there, here in cells.items():
            yield f"fpn_stages.{stage}.{there}.out_conv.conv", f"repeat1.{stage + 1}.{here}.1"
            yield f"fpn_stages.{stage}.{there}.out_conv.bn", f"repeat1.{stage + 1}.{here}.2"


NECKS: dict[str, tuple[Callable[[], str], Callable[[], Names]]] = {
    "fpn_torchvision": (fpn, fpn_names),
    "fpn_torchvision_odd": (fpn, fpn_names),
    "fpn_torchvision_bn": (lambda: fpn(norm="bn"), fpn_names),
    "fpn_torchvision_maxpool": (lambda: fpn("p6 = p5 -> subsample"), fpn_names),
    "fpn_torchvision_p6p7_from_p5": (
        lambda: fpn("p6 = p5 -> stride\np7 = p6 -> relu stride"),
        fpn_names,
    ),
    "fpn_torchvision_p6p7_from_c5": (
        lambda: fpn("p6 = c5 -> stride\np7 = p6 -> relu stride"),
        fpn_names,
    ),
    "pafpn": (lambda: pafpn("p6 = p5 -> subsample"), pafpn_names),
    "pafpn_odd": (pafpn, pafpn_names),
    "pafpn_bn_relu": (lambda: pafpn(after="bn relu"), pafpn_names),
    "pafpn_extra_on_output": (
        lambda: pafpn("p6 = p5 -> stride\np7 = p6 -> relu stride"),
        pafpn_names,
    ),
    "bifpn_fastattn_r2": (bifpn, bifpn_names),
    "bifpn_fastattn_r2_train": (bifpn, bifpn_names),
    "bifpn_fastattn_r2_same": (lambda: bifpn(same=True), bifpn_names),
    "nasfpn_tf_stack2": (nas_fpn_tensorflow, nas_fpn_tensorflow_names),
    "nasfpn_tf_stack2_big": (nas_fpn_tensorflow, nas_fpn_tensorflow_names),
    "nasfpn_mmdet_stack2": (nas_fpn_mmdet, nas_fpn_mmdet_names),
    "nasfpn_mmdet_stack2_train": (nas_fpn_mmdet, nas_fpn_mmdet_names),
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
    text, names = NECKS[name]
    inputs = case.all("in.")
    neck = Neck(parse(text()), [x.shape[1] for x in inputs])
    assert_same(case, neck, dict(names()), lambda *features: neck(features))


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
            ops.append(MaxPool(feature.shape[-2] // size[0], pad="zero"))
        chains.append(Chain(*ops, resampler=at) if ops else None)
    after: list[Callable[..., Tensor]] = []
    if config.get("with_out_conv", True):
        after = [relu, Conv3(16, 16, bias=True)]
    if config.get("out_norm_cfg"):
        after.append(BatchNorm(16))
    gated = config["type"] == "GlobalPoolingCell"
    order = -1 if gated else 1  # there the second operand gates, here the first
    merge = MERGES["gp"](pool="mean") if gated else MERGES["sum"]
    cell = Cell(*after, merge=merge, operands=tuple(chains[::order]))
    names = {"out_conv.conv": "1", "out_conv.bn": "2"}
    for i in (1, 2):
        names |= {f"input{i}_conv.conv": f"operand{i}.0", f"input{i}_conv.bn": f"operand{i}.1"}
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
    cell = Cell(merge=MERGES["sum"], operands=(None, softened))
    assert_close(case, cell(lateral.shape[-2:], lateral, top), case.tensors["out.0"])


def shipped(name: str) -> str:
    return find_space(f"baselines/{name}").read_text()


def assert_same(
    case: Case,
    module: nn.Module,
    names: dict[str, str],
    run: Callable[..., tuple[Tensor, ...]],
) -> None:
    """Load the case's weights under our names and compare all that it holds."""
    module.load_state_dict(
        {here(key[2:], names): value for key, value in case.tensors.items() if key[:2] == "w."}
        | {key: value for key, value in module.state_dict().items() if "tracked" in key}
    )
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


def here(name: str, names: dict[str, str]) -> str:
    """Our name of a tensor: by the longest prefix that the table has."""
    prefix, rest = name, ""
    while prefix not in names:
        prefix, _, last = prefix.rpartition(".")
        assert prefix, f"no name for {name}"
        rest = f".{last}{rest}"
    return names[prefix] + rest


def assert_close(case: Case, got: Tensor, wanted: Tensor) -> None:
    given = case.about.get("suggested_tolerance") or case.about["tolerance"]
    atol = given.get("atol", given.get("float32_atol"))
    rtol = given.get("rtol", given.get("float32_rtol"))
    torch.testing.assert_close(got, wanted, atol=atol, rtol=rtol)
