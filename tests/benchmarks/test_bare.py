"""An environment of a few distributions holds what they require, and nothing else."""

import importlib
import subprocess
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("bare")


def install(site: Path, name: str, *requires: str) -> None:
    kept = site / f"{name}-1.dist-info"
    kept.mkdir(parents=True)
    rows = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {one}" for one in requires)]
    (kept / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *rows, ""]))
    (site / "shared").mkdir(exist_ok=True)
    (site / "shared" / f"{name}.py").write_text("")
    (kept / "RECORD").write_text(f"shared/{name}.py,,\n{name}-1.dist-info/METADATA,,\n")


def test_it_holds_what_is_required_and_nothing_else(tmp_path: Path, bare: ModuleType) -> None:
    site = tmp_path / "site"
    install(site, "asked", "below[more]", 'extra; extra == "all"', 'old; python_version < "3"')
    install(site, "below", 'through; extra == "more"', 'not_asked; extra == "less"')
    for name in ("through", "extra", "old", "not_asked"):
        install(site, name)
    known: dict[str, Distribution] = bare.installed([str(site)])
    made = bare.make_bare(tmp_path / "made", ["asked"], known)
    assert made.versions == {"asked": "1", "below": "1", "through": "1"}
    names = "sorted(one.stem for path in shared.__path__ for one in Path(path).glob('*.py'))"
    program = f"import shared; from pathlib import Path; print({names})"
    asked = [str(made.python), "-I", "-c", program]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "['asked', 'below', 'through']"
