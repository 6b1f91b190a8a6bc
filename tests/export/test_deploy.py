"""The deployed form gives what the neck gives in evaluation mode, up to rounding, with less."""

import copy
import inspect
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas_fpn.errors import RunError
from nas_fpn.export import PLAIN, Form, deployed_weights, export_neck, neck_source
from nas_fpn.export.deploy import REPLACED
from nas_fpn.export.formats import load_exported
from nas_fpn.language import Architecture, load_words, parse
from nas_fpn.necks import Neck
from nas_fpn.necks.deployed import Constant
from tests.export.architectures import architectures
from tests.export.test_folder import features, make

ALL = architectures()
NORMS = nn.BatchNorm2d | nn.GroupNorm
DEPLOYED = Form(deploy=True)


def lively(architecture: Architecture) -> Neck:
    """A neck in evaluation mode whose statistics and fusion weights are none of the first ones."""
    neck = make(architecture).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in neck.state_dict().items():
            drawn = torch.rand(value.shape, generator=generator)
            if name.endswith("running_mean"):
                value.copy_(drawn - 0.5)
            elif name.endswith("running_var"):
                value.copy_(drawn + 0.5)
            elif name.endswith("merge.weight") and value.dim() == 1:
                value.copy_(2 * drawn - 0.4)  # some below zero, which `fast` switches off
    return neck


def deployed(neck: Neck) -> nn.Module:
    text = neck_source(neck.architecture, neck.in_channels, provenance={}, deploy=True)
    there: dict[str, type[nn.Module]] = {}
    exec(compile(text, "neck.py", "exec"), there)
    made = there["Neck"](neck.in_channels).eval()
    made.load_state_dict(deployed_weights(neck))
    return made


def distances(neck: nn.Module, other: nn.Module, given: list[Tensor]) -> Iterator[float]:
    """How far apart two necks are, relative to the largest value of each feature."""
    with torch.inference_mode():
        for ours, theirs in zip(neck(given), other(given), strict=True):
            yield ((ours - theirs).abs().max() / ours.abs().max()).item()


@pytest.mark.parametrize("name", ALL)
def test_the_deployed_neck_equals_the_neck(name: str) -> None:
    """In 32 bits, as wide as the neck's own rounding is where that is coarser; in 64 bits."""
    neck = lively(ALL[name])
    exact = copy.deepcopy(neck).double()
    given = features(neck)
    fine = [feature.double() for feature in given]
    with torch.inference_mode():
        pairs = list(zip(neck(given), exact(fine), strict=True))
    rounding = max(((one - two).abs().max() / two.abs().max()).item() for one, two in pairs)
    assert max(distances(neck, deployed(neck), given)) < max(1e-4, 10 * rounding)
    twin = deployed(neck).double()
    twin.load_state_dict(deployed_weights(exact))
    assert max(distances(exact, twin, fine)) < 1e-9


KEPT = {  # norms that stay, of the lines below the laterals
    "p4 = c4 -> conv3 bn relu": 0,
    "p4 = c4 -> conv3 bn relu conv3 bn": 0,
    "p4 = c4 -> conv3[bias] bn bn": 0,
    "p4 = c4 -> sep3 bn": 0,
    "p4 = c4 -> dw3 bn conv1 bn": 0,
    "p4 = c4 -> repconv bn": 0,
    "p4 = c4 -> deform3[mask=none] bn": 0,
    "p4 = c3 -> stride bn silu": 0,
    "p5 = c3 -> stride[conv=sep] bn": 0,
    "p5 = c3 -> stride[conv=deform] bn": 0,
    "p3 = c4 -> deconv bn": 0,
    "p3 = c5 -> deconv[kernel=4] bn": 0,
    "p3 = c5 -> conv1 nearest bn": 0,
    "p3 = c5 -> conv1 bilinear bn": 0,
    "p5 = c4 -> conv1 avgpool bn": 0,
    "p5 = c4 -> conv1 subsample bn gap bn": 0,
    "p5 = c4 -> conv1 maxpool bn": 1,
    "p3 = c4 -> conv1 sni bn": 1,
    "p4 = c4 -> relu bn conv1": 0,
    "p4 = c4 -> bn conv1 bn": 0,
    "p4 = c5 -> bn nearest conv1": 0,
    "p4 = c4 -> bn conv3": 1,
    "p4 = c4 -> bn relu conv1": 1,
    "p4 = c4 -> conv1 relu bn conv3": 1,
    "p4 = c4 -> conv3 gn": 1,
    "p4 = concat(c4, c5) -> bn": 0,
    "p5 = c5 -> conv1\np5 = concat(c4 -> conv1 maxpool, p5) + p5 -> bn": 1,
    "p4 = concat[plain](c4, c5) -> bn relu conv1": 1,
    "p4 = concat[plain](c4, c5) -> bn conv1": 0,
    "p4 = sum(c4 -> conv1 bn, c5 -> conv1 nearest bn)": 0,
    "p4 = sum(c4 -> conv1, c5 -> conv1) -> bn": 1,
    "p4 = cat(c4 -> conv1, c5 -> conv1)": 1,
    "p4 = asff(c4 -> conv1, c5 -> conv1)": 0,
    "p4 = dyhead(c4 -> conv1, c5 -> conv1)": 2,
    "p4 = c4 -> gsconv gsconve1 gsconve2 gsconvns vovgscsp csp[inner=rep] ihp": 0,
    "p4 = c3 -> stride[conv=gsconv]\np5 = c4 -> stride[conv=gsconve1]": 0,
    "p5 = sum(c3 -> conv1 esd1, c4 -> conv1 esd2)": 0,
}


@pytest.mark.parametrize("line", KEPT)
def test_a_norm_is_folded_where_that_is_exact(line: str) -> None:
    try:
        neck = lively(parse(f"width 8\n{line}\n"))
    except ValueError as error:
        pytest.fail(str(error))
    made = deployed(neck)
    assert max(distances(neck, made, features(neck)), default=0) < 1e-4
    assert sum(isinstance(part, NORMS) for part in made.modules()) == KEPT[line]


def test_normalised_weights_are_constants() -> None:
    text = (
        "p3..p4 = c3..c4 -> conv1\np3 = fast(p3, p4)\np4 = softmax(p4, p3)\np3 = weighted(p3, p4)"
    )
    neck = lively(parse(f"width 8\n{text}\n"))
    made = deployed(neck)
    assert [name for name, _ in made.named_buffers()] == [
        f"{name}.merge.weight" for name in ("p3_2", "p4_2", "p3_3")
    ]
    source = neck_source(neck.architecture, neck.in_channels, provenance={}, deploy=True)
    assert f"{Constant.__name__}(2)" in source
    assert "softmax" not in source.split("class Neck")[1].split("def forward")[0]


def test_the_deployed_folder_stands_alone(tmp_path: Path) -> None:
    neck = lively(ALL["repgfpn"])
    plain = export_neck(neck, tmp_path / "plain")
    folder = export_neck(neck, tmp_path / "deployed", form=DEPLOYED)
    assert {path.name for path in folder.iterdir()} == {path.name for path in plain.iterdir()}
    assert json.loads((folder / "config.json").read_text()) == json.loads(
        (plain / "config.json").read_text()
    )
    made = load_exported(folder).eval()
    assert max(distances(neck, made, features(neck))) < 1e-4
    text = (folder / "neck.py").read_text()
    assert "import nas_fpn" not in text
    assert "BatchNorm2d(" not in text.split("class Csp(")[0]
    assert "* form: deployed" in text
    assert "| form | deployed" in (folder / "README.md").read_text()
    small = sum(one.numel() for one in load_file(folder / "model.safetensors").values())
    assert small < sum(one.numel() for one in load_file(plain / "model.safetensors").values())


def test_equal_necks_give_equal_deployed_bytes(tmp_path: Path) -> None:
    first, second = (
        export_neck(lively(ALL["bifpn"]), tmp_path / name, form=DEPLOYED) for name in "ab"
    )
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_plain_export_is_what_it_was() -> None:
    neck = make(ALL["bifpn"])
    assert Form() == PLAIN
    source = neck_source(neck.architecture, neck.in_channels, provenance={})
    assert "Constant" not in source


def test_what_stands_for_an_operation_has_its_name_and_arguments() -> None:
    for one, other in REPLACED.items():
        assert one.__name__ == other.__name__
        assert inspect.signature(one) == inspect.signature(other)


OWN = """
from torch import nn
from nas_fpn.language import Row
from nas_fpn.necks.slim import ConvNorm


class Louder(ConvNorm):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)


class Twice(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inner = ConvNorm(channels, channels, 3)

    def forward(self, feature):
        return 2 * self.inner(feature)


words = {
    "louder": Row("block", (), operation=Louder, cost=lambda use: (0, 0)),
    "twice": Row("block", (), operation=Twice, cost=lambda use: (0, 0)),
}
"""


def own(line: str, folder: Path) -> Neck:
    (folder / "mine.py").write_text(OWN)
    return lively(parse(f"width 8\n{line}\n", words=load_words([folder / "mine.py"])))


def test_an_own_word_may_use_what_is_merged(tmp_path: Path) -> None:
    neck = own("p4 = c4 -> conv1 twice", tmp_path)
    made = deployed(neck)
    assert max(distances(neck, made, features(neck))) < 1e-4
    assert not any(isinstance(part, NORMS) for part in made.modules())


def test_an_own_word_on_top_of_what_is_merged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as raised:
        deployed_weights(own("p4 = c4 -> conv1 louder", tmp_path))
    assert str(raised.value) == (
        "p4.1 is a Louder, a word of your own on top of ConvNorm, and has no deployed form\n"
        "export it without --deploy"
    )
