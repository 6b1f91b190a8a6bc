"""Parity of ASFF and ESD-1 with their authors' code, as programs of the language.

The cases lie beside the project (``../shared/parity``): the same weights in both modes, outputs,
running statistics after a training pass, gradients of the inputs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas_fpn.language import cost, parse
from nas_fpn.necks import Neck

PARITY = Path(__file__).parents[2] / ".." / "shared" / "parity"
FAMILIES = ("asff", "esd1")
ACTIVATIONS = {
    "LeakyReLU(0.1)": ("leaky", "leaky[slope=0.1]"),
    "ReLU6": ("relu6", "relu6"),
}
MODES = tuple(
    f"{name}_{mode}"
    for name in (
        *(f"asff_level{level}{odd}" for level in range(3) for odd in ("", "_odd")),
        "asff_level1_rfb_odd",
        *(f"asffmobile_level{level}" for level in range(3)),
        *(f"esd1_{kind}_channels" for kind in ("same", "double")),
        "esd1_same_channels_2x2",
    )
    for mode in ("eval", "train")
)

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not there"
)

Names = dict[str, str]  # prefix in the reference: prefix here


def asff(config: dict[str, Any]) -> tuple[str, Names]:
    """The program of a case, and where its weights go. Level 0 there is level 5 here.

    The laterals carry the raw features over as they are: they are set to the identity.
    """
    level, inner = config["level"], config["inter_channels"]
    act, block = ACTIVATIONS[config["activation"]]
    text = f"width {inner}\n"
    for k, channels in enumerate(config["in_channels"]):
        text += f"p{5 - k} = c{5 - k} -> conv1[{channels}, nobias]\n"
    operands, names = [], {}
    for k, channels in enumerate(config["in_channels"]):
        source, number = f"p{5 - k}", k + 1
        if k - level == 2:  # two levels finer: a pool first, a line of its own
            text += f"pooled@4 = {source} -> maxpool3\n"
            source = "pooled"
        if k > level:
            source += f" -> stride bn {block}"
            names[f"stride_level_{k}.conv"] = f"p{5 - level}_2.operand{number}.0.0"
            names[f"stride_level_{k}.batch_norm"] = f"p{5 - level}_2.operand{number}.1"
        elif k < level and channels != inner:
            source += f" -> conv1 bn {block}"
            names[f"compress_level_{k}.conv"] = f"p{5 - level}_2.operand{number}.0"
            names[f"compress_level_{k}.batch_norm"] = f"p{5 - level}_2.operand{number}.1"
        operands.append(source)
        names[f"weight_level_{k}.conv"] = f"p{5 - level}_2.merge.embeddings.{k}"
        names[f"weight_level_{k}.batch_norm"] = f"p{5 - level}_2.merge.norms.{k}"
    names["weight_levels"] = f"p{5 - level}_2.merge.weights"
    names["expand.conv"] = f"p{5 - level}_2.0"
    names["expand.batch_norm"] = f"p{5 - level}_2.1"
    merge = f"asff[compress={config['compress_channels']}, act={act}]"
    text += f"p{5 - level} = {merge}({', '.join(operands)})"
    return f"{text} -> conv3[{config['out_channels']}] bn {block}", names


def esd1(config: dict[str, Any]) -> tuple[str, Names]:
    names = {"dense_feature.conv": "p4.0.convolutions.0", "dense_feature.bn": "p4.0.norms.0"}
    return f"p4 = c3 -> esd1[{config['c_out']}]", names


def test_every_case_of_these_families_is_here() -> None:
    there = {path.stem for path in PARITY.glob("*.safetensors") if path.stem.startswith(FAMILIES)}
    assert there == set(MODES)


@pytest.mark.parametrize("name", MODES)
def test_a_published_operation_is_a_program(name: str) -> None:
    about = json.loads((PARITY / f"{name}.json").read_text())
    tensors = load_file(PARITY / f"{name}.safetensors")
    program: Callable[[dict[str, Any]], tuple[str, Names]] = asff if name[0] == "a" else esd1
    text, names = program(about["config"])
    inputs = [tensors[key].requires_grad_() for key in sorted(tensors) if key[:3] == "in."]
    neck = Neck(parse(text), [feature.shape[1] for feature in inputs[::-1]])
    load(neck, {key[2:]: value for key, value in tensors.items() if key[:2] == "w."}, names)
    neck.train(about["mode"] == "train")
    logits: list[Tensor] = []
    if name[0] == "a":
        neck.get_submodule(names["weight_levels"]).register_forward_hook(
            lambda module, given, made: logits.append(made)
        )
    found = dict(zip(neck.levels, neck(inputs[::-1]), strict=True))
    outputs = [found[5 - about["config"]["level"] if name[0] == "a" else 4]]
    outputs += [weights.softmax(dim=1) for weights in logits]
    wanted = [tensors[key] for key in sorted(tensors) if key[:4] == "out."]
    tolerance = {k: about["tolerance"][f"float32_{k}"] for k in ("atol", "rtol")}
    for got, expected in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(got, expected, **tolerance)
    state = neck.state_dict()
    after = {key[6:]: value for key, value in tensors.items() if key[:6] == "after."}
    assert bool(after) == neck.training
    for key, value in after.items():
        torch.testing.assert_close(state[here(key, names)], value, **tolerance)
    loss = sum((y * torch.arange(y.numel()).view(y.shape).float().cos()).sum() for y in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()
    for k, feature in enumerate(inputs):
        assert feature.grad is not None
        torch.testing.assert_close(feature.grad, tensors[f"grad_in.{k}"], **tolerance)


@pytest.mark.parametrize(
    ("channels", "activation", "params"),
    [
        ((512, 256, 256), "LeakyReLU(0.1)", (7_106_803, 1_915_123, 734_451)),
        ((512, 256, 128), "ReLU6", (6_516_979, 1_620_211, 400_627)),
    ],
)
@pytest.mark.parametrize("level", range(3))
def test_asff_has_the_published_size(
    channels: tuple[int, ...], activation: str, params: tuple[int, ...], level: int
) -> None:
    text, _ = asff(
        {
            "level": level,
            "in_channels": channels,
            "inter_channels": channels[level],
            "out_channels": (1024, 512, 256)[level],
            "compress_channels": 16,
            "activation": activation,
        }
    )
    given = dict(zip((5, 4, 3), channels, strict=True))
    laterals = sum(n * n for n in channels)
    assert cost(parse(text), given, image_size=416).params - laterals == params[level]


def load(neck: Neck, weights: dict[str, Tensor], names: Names) -> None:
    """Load a case's weights under our names; what is left are the laterals, made identities."""
    given = {here(key, names): value for key, value in weights.items()}
    state = neck.state_dict()
    for key in state.keys() - given.keys():
        channels = state[key].shape[0]
        assert state[key].shape == (channels, channels, 1, 1), key
        given[key] = torch.eye(channels)[:, :, None, None]
    neck.load_state_dict(given)


def here(name: str, names: Names) -> str:
    """Our name of a tensor."""
    prefix, _, last = name.rpartition(".")
    return f"{names[prefix]}.{last}"
