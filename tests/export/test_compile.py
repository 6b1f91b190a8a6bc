"""torch.compile takes an exported neck as one graph, which gives the same numbers."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_fpn.language import Architecture
from tests.export.architectures import BASELINES
from tests.export.covering import WHOLE, covering, words_of
from tests.export.test_properties import exported, far, subjects

COMPILED = 20  # of the sampled
INDUCTED = ("fpn", "bifpn", "nas_fpn") if WHOLE else ("fpn",)


def compiles(module: nn.Module, backend: str, given: list[Tensor]) -> str | None:
    """One graph, without a break, that gives the module's numbers."""
    torch._dynamo.reset()
    compiled = torch.compile(module.eval(), backend=backend, fullgraph=True)
    with torch.no_grad():
        distance = far(compiled(given), module(given))
    return None if distance <= 1e-4 else f"{distance:.1e} away"


def test_a_neck_is_one_graph() -> None:
    module, _, given = exported(subjects()["fpn"])
    assert compiles(module, "aot_eager", given) is None


def shipped() -> dict[str, Architecture]:
    """Every shipped neck, and some of the sampled."""
    found = [*BASELINES, *(name for name in subjects() if " " in name)]
    return {name: subjects()[name] for name in found[: len(BASELINES) + COMPILED]}


@pytest.mark.slow
def test_compilers_take_necks_of_every_word_as_one_graph() -> None:
    necks, found = shipped(), {}
    names = covering(necks)
    assert words_of(necks[name] for name in names) == words_of(necks.values())
    for name in names:
        module, _, given = exported(necks[name])
        found[name] = compiles(module, "aot_eager", given)
    assert {name: fault for name, fault in found.items() if fault} == {}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", INDUCTED)
def test_inductor_takes_the_neck(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    module, _, given = exported(subjects()[name])
    assert compiles(module, "inductor", given) is None
