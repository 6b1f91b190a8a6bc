"""The adapter for transformers, with its own Deformable DETR.

pip install transformers
"""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.export.adapters.adapted import adapt, neck_of, run_alone, snippet, statistics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("transformers") is None, reason="not installed: transformers"),
]

DETR = """
from safetensors.torch import load_file
config.num_queries, config.d_model = 10, 32
config.encoder_layers = config.decoder_layers = 2
config.encoder_ffn_dim = config.decoder_ffn_dim = 32
model = DeformableDetrForObjectDetection(config)
neck = model.model.backbone.model.neck
ours = load_file("model.safetensors")
assert all(torch.equal(ours[key], value) for key, value in neck.state_dict().items())
images = torch.rand(2, 3, 192, 256)
labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])}] * 2
model(images, labels=labels).loss.backward()
assert all(parameter.grad is not None for parameter in neck.parameters())
model.eval().save_pretrained("kept")
again = DeformableDetrForObjectDetection.from_pretrained("kept").eval()
there, back = model.state_dict(), again.state_dict()
assert there.keys() == back.keys() and all(torch.equal(there[key], back[key]) for key in there)
torch.testing.assert_close(model(images).logits, again(images).logits)
print(tuple(again(images).logits.shape))
"""

BACKBONE = """
from for_transformers import NeckConfig
from transformers import AutoBackbone, AutoConfig, ResNetConfig
from neck import Neck
from safetensors.torch import load_file
inner = ResNetConfig(
    layer_type="basic", depths=[1, 1, 1, 1], hidden_sizes=[64, 128, 256, 512],
    out_features=["stage2", "stage3", "stage4"],
)
model = AutoBackbone.from_config(NeckConfig(inner, out_features=["p4", "p6"])).eval()
images = torch.rand(1, 3, 95, 70)
found = model(images).feature_maps
neck = Neck().eval()
neck.load_state_dict(load_file("model.safetensors"))
kept = load_file("features.safetensors")
features = [
    (c - kept[f"mean.c{k}"].view(-1, 1, 1)) / kept[f"std.c{k}"].view(-1, 1, 1)
    for k, c in zip((3, 4, 5), model.backbone(images).feature_maps)
]
expected = neck(features)
assert torch.equal(found[0], expected[1]) and torch.equal(found[1], expected[3])
assert torch.equal(model(images, return_dict=False)[0][0], found[0])
config = AutoConfig.for_model(**model.config.to_dict())
assert type(config) is NeckConfig and config.out_features == ["p4", "p6"]
assert config.backbone_config.hidden_sizes == [64, 128, 256, 512]
model.save_pretrained("kept")
again = type(model).from_pretrained("kept").eval()
torch.testing.assert_close(again(images).feature_maps, found)
inner.hidden_sizes = [8, 8, 8, 8]
try:
    AutoBackbone.from_config(NeckConfig(inner))
except ValueError as error:
    print(error)
print(model.channels, model.out_indices)
"""


ONE_LEVEL = """
from for_transformers import NeckConfig
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig
inner = ResNetConfig(
    layer_type="basic", depths=[1, 1, 1, 1], hidden_sizes=[64, 128, 256, 512],
    out_features=["stage2", "stage3", "stage4"],
)
model = DetrForObjectDetection(DetrConfig(
    backbone_config=NeckConfig(inner, out_features=["p5"]), use_timm_backbone=False,
    encoder_layers=1, decoder_layers=1, d_model=32, encoder_ffn_dim=32, decoder_ffn_dim=32,
))
labels = [{"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])}] * 2
model(torch.rand(2, 3, 128, 128), labels=labels).loss.backward()
print(sum(p.grad is not None for p in model.model.backbone.model.neck.parameters()) > 0)
"""


def test_a_detr_of_one_level_takes_one_of_the_pyramid(tmp_path: Path) -> None:
    folder = adapt(neck_of("names that adapters have"), tmp_path, "transformers")
    assert run_alone(folder, ONE_LEVEL).splitlines()[-1] == "True"


def test_a_detr_trains_by_the_readme_and_is_kept_as_its_own_are(tmp_path: Path) -> None:
    folder = adapt(neck_of("panet"), tmp_path, "transformers")
    said = run_alone(folder, snippet(folder, "transformers") + DETR)
    assert said.splitlines()[-1] == "(2, 10, 91)"


def test_it_is_a_backbone_of_the_library(tmp_path: Path) -> None:
    neck = neck_of("panet")
    folder = adapt(neck, tmp_path, "transformers", of_run=True)
    assert statistics(neck)
    rows = run_alone(folder, BACKBONE).splitlines()
    assert rows[-1] == "[32, 32] [1, 3]"
    assert "neck_weights=False starts anew" in rows[-2]
