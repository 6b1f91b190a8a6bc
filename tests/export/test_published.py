"""Published names: a state dict of a reference becomes ours, and nothing is lost on the way."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from nas_fpn.export.published import REFERENCES, from_published, published_names
from nas_fpn.language import find_neck, parse
from nas_fpn.necks import Neck

GOLDEN = Path(__file__).parents[1] / "golden" / "export"

SHIPPED = {
    "torchvision.fpn": "fpn",
    "mmdet.fpn": "fpn_maxpool",
    "mmdet.pafpn": "panet",
    "mmdet.nas_fpn": "nas_fpn_mmdet",
    "mmdet.bfp": "bfp",
    "mmdet.fpg": "fpg",
    "mmdet.hrfpn": "hrfpn",
    "mmdet.nas_fcos": "nas_fcos",
    "mmdet.yolox": "yolox",
    "effdet.bifpn": "bifpn",
    "tensorflow.nas_fpn": "nas_fpn",
}
KEYS = {
    "tensorflow.nas_fpn": {
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
}


def text_of(reference: str) -> str:
    return find_neck(SHIPPED[reference]).read_text(encoding="utf-8")


def make(text: str, *, seed: int = 0) -> Neck:
    """The program at width 8, every number drawn."""
    architecture = parse(text).with_width(8)
    levels = [k for k in range(2, 6) if f"c{k}" in str(architecture)]
    neck = Neck(architecture, [4 * k for k in levels])
    generator = torch.Generator().manual_seed(seed)
    for value in neck.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return neck.eval()


def renamed(neck: Neck, reference: str) -> dict[str, Tensor]:
    """The neck's own numbers under the reference's names."""
    state = {}
    for there, here in published_names(reference, neck.architecture).items():
        for key, value in neck.state_dict().items():
            if key == here:
                state[there] = value
            elif key.rpartition(".")[0] == here:
                last = key.rpartition(".")[2]
                state[f"{there}.{KEYS.get(reference, {}).get(last, last)}"] = value
    return state


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_name_of_a_shipped_neck_is_known(reference: str) -> None:
    neck, other = make(text_of(reference), seed=1), make(text_of(reference), seed=2)
    state = from_published(reference, renamed(neck, reference), other)
    assert list(state) == list(other.state_dict())
    for key, value in neck.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize("reference", ["mmdet.nas_fpn", "effdet.bifpn", "tensorflow.nas_fpn"])
def test_a_bias_before_a_norm_goes_into_its_mean(reference: str) -> None:
    plain = text_of(reference)
    biased = plain.replace("conv3 bn", "conv3[bias] bn").replace("conv1 bn", "conv1[bias] bn")
    biased = biased.replace("sep3 bn", "sep3[bias] bn")
    theirs, ours = make(biased, seed=1), make(plain, seed=2)
    ours.load_state_dict(from_published(reference, renamed(theirs, reference), ours))
    generator = torch.Generator().manual_seed(3)
    features = [
        torch.randn(2, 4 * k, 128 >> k, 128 >> k, generator=generator) for k in theirs.inputs
    ]
    with torch.inference_mode():
        for training in (False, True):
            theirs.train(training)
            ours.train(training)
            for got, wanted in zip(ours(features), theirs(features), strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda channels: nn.GroupNorm(2, channels)])
def test_a_neck_inside_a_detector_with_norms_and_old_names(norm: type[nn.Module]) -> None:
    said = "bn" if norm is nn.BatchNorm2d else "gn[groups=2]"
    neck = make(f"""
width 8
p3..p5 = c3..c5 -> conv1 {said}
p4..p3 = sum(p4..p3, p5..p4)
p3..p5 = p3..p5 -> conv3 {said}
p6 = p5 -> stride
p7 = p6 -> relu stride
""")
    theirs = FeaturePyramidNetwork((12, 16, 20), 8, LastLevelP6P7(8, 8), norm).eval()
    whole = {f"backbone.fpn.{key}": value for key, value in theirs.state_dict().items()}
    whole["head.weight"] = torch.zeros(1)
    neck.load_state_dict(from_published("torchvision.fpn", whole, neck, prefix="backbone.fpn."))
    features = [torch.randn(1, 4 * k, 9 >> k - 3, 7 >> k - 3) for k in (3, 4, 5)]
    with torch.inference_mode():
        wanted = theirs({str(k): feature for k, feature in enumerate(features)})
        for got, one in zip(neck(features), wanted.values(), strict=True):
            torch.testing.assert_close(got, one)


def test_names_of_torchvisions_first_version() -> None:
    neck = make("p4..p5 = c4..c5 -> conv1\np4 = sum(p4, p5)\np4..p5 = p4..p5 -> conv3")
    state = {
        key.replace(".0.weight", ".weight").replace(".0.bias", ".bias"): value
        for key, value in FeaturePyramidNetwork((16, 20), 8).state_dict().items()
    }
    assert "inner_blocks.1.weight" in state
    assert torch.equal(
        from_published("torchvision.fpn", state, neck)["p5_2.0.bias"], state["layer_blocks.1.bias"]
    )


@pytest.mark.parametrize("golden", ["reference", "no_place", "unfilled", "shape"])
def test_messages(golden: str) -> None:
    neck = make(text_of("torchvision.fpn"))
    state = renamed(neck, "torchvision.fpn")
    reference = "torchvison.fpn" if golden == "reference" else "torchvision.fpn"
    if golden == "no_place":
        state["inner_blocks.3.0.weight"] = torch.zeros(8, 8, 1, 1)
    elif golden == "unfilled":
        state = {key: value for key, value in state.items() if "p7" not in key}
    elif golden == "shape":
        state["inner_blocks.1.0.weight"] = torch.zeros(16, 16, 1, 1)
    with pytest.raises(ValueError) as caught:
        from_published(reference, state, neck)
    path = GOLDEN / f"published_{golden}.txt"
    assert f"{caught.value}\n" == path.read_text(encoding="utf-8")
