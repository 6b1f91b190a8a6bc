"""Any module that gives a pyramid of features is a backbone; what is none is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas_fpn.errors import RunError
from nas_fpn.proxy.backbone import build_backbone
from nas_fpn.proxy.settings import BackboneSettings

SOURCE = """
import torch
from torch import nn


class Mine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.stages = nn.ModuleList(nn.Conv2d(width, width, 2, 2) for _ in range(3))

    def forward(self, images):
        feature, given = self.stem(images), {}
        for level, stage in zip((3, 4, 5), self.stages):
            feature = given[f"c{level}"] = stage(feature)
        return given


def build(width: int = 8):
    return Mine(width)


def as_list(width: int = 8):
    net = Mine(width)
    net.forward = lambda images: list(Mine.forward(net, images).values())
    return net


def odd():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 3))


def stretched():
    net = Mine(4)
    net.forward = lambda images: [images[:, :, ::8, ::4]]
    return net


def no_module():
    return 7


def loud():
    net = Mine(4)
    net.stem = nn.Conv2d(1, 4, 4)
    return net
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(SOURCE)
    return Path("mine.py")


def build(name: str = "mine.py:build", *, levels=(3, 4, 5), seed: int = 0, **changes: object):
    return build_backbone(
        BackboneSettings.model_validate({"name": name, **changes}), levels, seed=seed
    )


@pytest.mark.parametrize("function", ["build", "as_list"])
def test_levels_and_channels_are_read_off_the_features(mine, function):
    backbone = build(f"mine.py:{function}", levels=(5, 3), arguments={"width": 6}).eval()
    assert (backbone.levels, backbone.channels) == ((3, 5), {3: 6, 5: 6})
    features = backbone(torch.rand(2, 3, 64, 64))
    assert {level: tuple(f.shape) for level, f in features.items()} == {
        3: (2, 6, 8, 8),
        5: (2, 6, 2, 2),
    }


def test_a_seed_decides_the_weights_and_the_code_is_part_of_the_fingerprint(mine):
    before = torch.random.get_rng_state()
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    mine.write_text(SOURCE + "\n# another\n")
    assert build(seed=1).fingerprint() != one.fingerprint()


def test_images_enter_as_they_are_unless_a_mean_is_set(mine):
    images = torch.rand(1, 3, 64, 64)
    plain = build().eval()
    shifted = build(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).eval()
    assert torch.equal(plain.net(images)["c3"], plain(images)[3])
    assert torch.equal(shifted((images + 1) / 2)[3], plain(images)[3]) or torch.allclose(
        shifted((images + 1) / 2)[3], plain(images)[3], atol=1e-6
    )


def test_weights_come_from_the_function_or_from_a_file(mine):
    built = build(weights="own", seed=3)
    save_file(built.net.state_dict(), "mine.safetensors")
    loaded = build(weights="mine.safetensors", seed=4)
    assert loaded.fingerprint() == built.fingerprint()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("mine.py:missing", {}, "defines no function missing"),
        ("away.py:build", {}, "No such file"),
        ("mine.py:no_module", {}, "must give an nn.Module"),
        ("mine.py:odd", {}, "must give a list or dict of features"),
        ("mine.py:stretched", {}, "its stride must be a power of two"),
        ("mine.py:loud", {}, "it takes no image [1, 3, 256, 256]"),
        ("mine.py:build", {"arguments": {"depth": 3}}, "takes others"),
        ("mine.py:build", {"weights": "imagenet"}, '"own" takes the weights'),
        ("mine.py:build", {"levels": (3, 6)}, "gives levels (3, 4, 5), not 6"),
        ("resnet18", {"weights": "own"}, "is a timm model"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(mine, name, changes, said):
    with pytest.raises(RunError) as caught:
        build(name, **changes)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[backbone] ")


@pytest.mark.parametrize("content", ["def build(:", "import not_installed_here"])
def test_a_file_that_cannot_run_is_named(mine, content):
    mine.write_text(content)
    with pytest.raises(RunError, match=r"mine\.py"):
        build()
