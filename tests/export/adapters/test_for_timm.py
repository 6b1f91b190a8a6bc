"""The adapter for timm, with timm's own models."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.export.adapters.adapted import adapt, adapter, neck_of, run_alone, scaled, snippet


@pytest.mark.parametrize("of_run", [False, True])
def test_it_is_used_as_a_model_with_features_only(
    of_run: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("fpn", "from c2", "one level", "a gap", "names that adapters have")
    for number, name in enumerate(names):
        neck = neck_of(name)
        folder = adapt(neck, tmp_path / f"timm{of_run}{number}", "timm", of_run=of_run)
        made = adapter(folder, "timm", monkeypatch)
        model = made.FeaturesWithNeck("resnet18").eval()
        images = torch.rand(1, 3, 95, 70)
        features = model.body(images)
        expected = neck(scaled(neck, features) if of_run else features)
        found = model(images)
        assert isinstance(found, list)
        assert all(map(torch.equal, found, expected)), name
        assert model.feature_info.channels() == [feature.shape[1] for feature in found]
        assert model.feature_info.reduction() == [2**level for level in neck.levels]
        model.train()(torch.rand(2, 3, 64, 64))[-1].sum().backward()


def test_what_lies_behind_the_levels_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that all parameters learn, as DistributedDataParallel asks for."""
    made = adapter(adapt(neck_of("one level"), tmp_path / "cut", "timm"), "timm", monkeypatch)
    model: nn.Module = made.FeaturesWithNeck("resnet18")
    model(torch.rand(2, 3, 64, 64))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_channels_and_strides_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(adapt(neck_of("fpn"), tmp_path / "refused", "timm"), "timm", monkeypatch)
    name = "mobilenetv3_small_050"
    with pytest.raises(ValueError, match=r"\(128, 256, 512\) .* neck_weights=False"):
        made.FeaturesWithNeck(name)
    other = made.FeaturesWithNeck(name, neck_weights=False).eval()
    assert [tuple(p.shape[1:]) for p in other(torch.rand(1, 3, 64, 64))][:2] == [
        (32, 8, 8),
        (32, 4, 4),
    ]
    with pytest.raises(ValueError, match=r"of strides \[16, 16, 16\], none of \[8, 32\]"):
        made.FeaturesWithNeck("vit_tiny_patch16_224", neck_weights=False)


@pytest.mark.slow
def test_channels_last_are_put_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = adapter(adapt(neck_of("fpn"), tmp_path / "swin", "timm"), "timm", monkeypatch)
    model = made.FeaturesWithNeck("swin_tiny_patch4_window7_224", neck_weights=False).eval()
    found = model(torch.rand(1, 3, 224, 224))
    assert [tuple(p.shape) for p in found][:2] == [(1, 32, 28, 28), (1, 32, 14, 14)]


@pytest.mark.slow
def test_the_readme_is_followed_without_this_package(tmp_path: Path) -> None:
    program = "images = torch.rand(1, 3, 64, 64)\n" + snippet(
        adapt(neck_of("panet"), tmp_path, "timm"), "timm"
    )
    said = run_alone(tmp_path, f"{program}print([tuple(p.shape) for p in features][:2])\n")
    assert said == f"{[32] * 5} {[8, 16, 32, 64, 128]}\n[(1, 32, 8, 8), (1, 32, 4, 4)]\n"
