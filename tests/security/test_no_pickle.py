"""Nothing is unpickled, and no text becomes code but where it is said: read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "nas_fpn").rglob("*.py"), *(ROOT / "controllers").glob("*.py")])

PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "_pickle"}
OPENS = {"read_pickle", "load_pickle", "to_pickle", "unpickle"}
RUNS = {"eval", "exec", "compile", "__import__", "exec_module", "import_module", "system", "popen"}
RUNS |= {"spec_from_file_location", "spec_from_loader"}

# Every place where text or a file becomes code, and whose code it is. SECURITY.md says the same.
RUN_HERE = {
    (
        "nas_fpn/export/own.py",
        "compile",
    ): "our own exported source, with words that were run before",
    ("nas_fpn/export/own.py", "exec"): "likewise",
    ("nas_fpn/export/formats.py", "exec_module"): "the source that was just exported",
    ("nas_fpn/export/formats.py", "import_module"): "onnx, onnxruntime and torch, by fixed names",
    ("nas_fpn/export/formats.py", "spec_from_file_location"): "the source that was just exported",
    ("nas_fpn/export/operations.py", "import_module"): "modules of operations that are loaded",
    ("nas_fpn/language/own_words.py", "exec_module"): "own words, of a run that is trusted",
    ("nas_fpn/language/own_words.py", "spec_from_loader"): "likewise",
    ("nas_fpn/proxy/own_backbone.py", "exec_module"): "a backbone of one's own, in a search",
    ("nas_fpn/proxy/own_backbone.py", "spec_from_file_location"): "likewise",
    ("nas_fpn/run/alone.py", "exec_module"): "a trained detector that `predict` is asked to run",
    ("nas_fpn/run/alone.py", "spec_from_file_location"): "likewise",
    ("nas_fpn/search/loading.py", "exec_module"): "a controller, in a search",
    ("nas_fpn/search/loading.py", "spec_from_loader"): "likewise",
}


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """The name that is called, what it is called on ("" for a bare name), and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield node.func.attr, ast.unparse(node.func.value), node
            elif isinstance(node.func, ast.Name):
                yield node.func.id, "", node


def given(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(one.value) for one in call.keywords if one.arg == name), None)


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            faulty = [alias.name for alias in node.names if alias.name != "UnpicklingError"]
            names = [node.module or ""] if faulty else []
        yield from (f"imports {name}" for name in names if name.partition(".")[0] in PICKLES)
    for name, owner, call in calls(tree):
        if name in OPENS:
            yield f"{owner}.{name}"
        if name == "load" and owner == "torch" and given(call, "weights_only") != "True":
            yield "torch.load without weights_only=True"
        if name in {"jit.load", "load"} and owner in {"torch.jit", "torch.package"}:
            yield f"{owner}.load"
        if given(call, "allow_pickle") not in (None, "False"):
            yield f"{name} with allow_pickle"
        if given(call, "shell") not in (None, "False"):
            yield f"{name} with shell"
        if name in {"load", "load_all", "unsafe_load", "full_load"} and owner == "yaml":
            yield f"yaml.{name}"
        if name in {"load_state_dict_from_url", "urlretrieve", "urlopen"}:
            yield f"{name}: what comes by network is held against a hash elsewhere"


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_nothing_is_unpickled_and_no_shell_is_asked(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text()))) == []


def test_code_is_run_in_the_known_places_only() -> None:
    found = {
        (place(path), name)
        for path in SOURCES
        for name, owner, _ in calls(ast.parse(path.read_text()))
        if name in RUNS and owner != "re" and (name, bool(owner)) != ("eval", True)
    }
    assert found == set(RUN_HERE)


def test_security_md_names_the_places_where_code_is_run() -> None:
    said = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    missing = sorted({file for file, _ in RUN_HERE if file not in said})
    assert missing == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "yaml.load(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_for_them_finds_them(line: str) -> None:
    assert list(faults(ast.parse(line))) != []
