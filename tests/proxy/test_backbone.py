"""Any timm pyramid is a backbone; what cannot be one is refused with the reason."""

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from nas_fpn.errors import RunError
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.settings import BackboneSettings

GOLDEN = Path(__file__).parents[1] / "golden" / "proxy"
WEIGHTS = Path(__file__).parents[2] / ".." / "shared" / "weights"
SMALL = "mobilenetv3_small_050"


def build(*, levels: tuple[int, ...] = (3, 4, 5), seed: int = 0, **changes: object):
    return build_backbone(BackboneSettings.model_validate(changes), levels, seed=seed)


def images(batch: int = 2, side: int = 96) -> torch.Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [SMALL, "resnet10t", "convnext_atto"])
@pytest.mark.parametrize("levels", [(3, 4, 5), (4, 2), (5,)])
def test_features_come_by_level_with_the_promised_shapes(name, levels):
    backbone = build(name=name, levels=levels)
    features = backbone.eval()(images())
    assert backbone.levels == tuple(features) == tuple(sorted(levels))
    for level, feature in features.items():
        assert feature.shape == (2, backbone.channels[level], 96 >> level, 96 >> level)


def test_features_equal_those_of_timm_on_normalised_images():
    backbone = build(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)).eval()
    whole = timm.create_model(SMALL, features_only=True).eval()
    whole.load_state_dict(backbone.net.state_dict())
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    expected = whole((images() - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    for level, feature in backbone(images()).items():
        assert torch.equal(feature, expected[level - 1])


def test_the_models_own_mean_and_std_are_the_default():
    backbone = build()
    assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert backbone.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_a_seed_decides_the_weights_and_the_global_generator_stands_still():
    before = torch.random.get_rng_state()
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()


def test_stages_beyond_the_coarsest_level_are_cut_off():
    cut, whole = build(name="resnet10t", levels=(2, 4)), build(name="resnet10t", levels=(2, 5))
    assert cut.net.state_dict().keys() < whole.net.state_dict().keys()


def test_a_frozen_backbone_stays_in_evaluation_mode():
    backbone = build().freeze()
    before = backbone.fingerprint()
    outer = torch.nn.Sequential(backbone).train()
    assert outer.training
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    backbone(images())
    assert backbone.fingerprint() == before


def test_a_backbone_starts_in_training_mode_with_untouched_statistics():
    backbone = build()
    assert all(module.training for module in backbone.modules())
    assert all(
        not value.any() for key, value in backbone.net.state_dict().items() if "batches" in key
    )


def test_weights_of_a_file_are_loaded_key_for_key(tmp_path):
    source = build(seed=5)
    save_file(source.net.state_dict(), tmp_path / "own.safetensors")
    loaded = build(weights=str(tmp_path / "own.safetensors"))
    fewer = build(weights=str(tmp_path / "own.safetensors"), levels=(3, 4))
    for one, other in zip(source.net.parameters(), loaded.net.parameters(), strict=True):
        assert torch.equal(one, other)
    expected = source.eval()(images())
    for level, feature in fewer.eval()(images()).items():
        assert torch.equal(feature, expected[level])


def test_the_shared_mobilenet_loads_and_sees():
    path = WEIGHTS / "mobilenetv2_100_features.safetensors"
    if not path.is_file():
        pytest.skip("the ImageNet weights (../shared/weights) are absent")
    backbone = build(
        name="mobilenetv2_100",
        weights=str(path),
        arguments={"pad_type": "same"},
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ).freeze()
    features = backbone(images())
    assert backbone.channels == {3: 32, 4: 96, 5: 320}
    assert features[5].shape == (2, 320, 3, 3)
    assert 1 < features[4].std() < 8


def own_file(tmp_path: Path, change: str) -> str:
    weights = dict(build().net.state_dict())
    if change == "keys":
        del weights["conv_stem.weight"]
        weights["classifier.weight"] = torch.zeros(2)
        weights["bn1.weight"] = torch.zeros(3)
    path = tmp_path / "own.safetensors"
    save_file(weights, path)
    if change == "bytes":
        path.write_bytes(b"PK not this")
    return path.name


@pytest.mark.parametrize(
    ("case", "changes", "levels"),
    [
        ("unknown_model", {"name": "mobilenetv3_smal_050"}, (3, 4)),
        ("one_stride", {"name": "vit_tiny_patch16_224"}, (3, 4)),
        ("channels_last", {"name": "swin_tiny_patch4_window7_224"}, (3, 4)),
        ("missing_level", {}, (3, 6, 7)),
        ("wrong_argument", {"arguments": {"padding": "same"}}, (3, 4)),
        ("own_argument", {"arguments": {"out_indices": 3}}, (3, 4)),
        ("zero_std", {"std": (0.2, 0.0, 0.2)}, (3, 4)),
        ("fixed_size", {"name": "coatnet_nano_rw_224"}, (3, 4)),
        ("no_file", {"weights": "absent.safetensors"}, (3, 4)),
        ("broken_file", {"weights": "bytes"}, (3, 4)),
        ("other_keys", {"weights": "keys"}, (3, 4)),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(case, changes, levels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if changes.get("weights") in ("bytes", "keys"):
        changes = {"weights": own_file(tmp_path, changes["weights"])}
    with pytest.raises(RunError) as caught:
        build(levels=levels, **changes)
    assert f"{caught.value}\n" == (GOLDEN / f"backbone_{case}.txt").read_text()


def test_weights_that_cannot_be_fetched_say_how_to_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError, match=r"could not be fetched .*; connect this machine once"):
        build(weights="imagenet")


def test_no_levels_is_a_wrong_call():
    with pytest.raises(ValueError, match=r"levels=\(\)"):
        build(levels=())
