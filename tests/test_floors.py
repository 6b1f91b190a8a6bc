"""Imports point down, without cycles: the table of the architecture, read from the sources."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nas_fpn"
MODULES = sorted(PACKAGE.rglob("*.py"))
CONTROLLERS = sorted((ROOT / "controllers").glob("*.py"))

FLOORS = {
    "errors": 0,
    "folder": 0,
    "lock": 0,
    "objectives": 0,
    "record": 0,
    "strange": 0,
    "language": 0,
    "necks": 1,
    "detect": 2,
    "search": 3,
    "proxy": 3,
    "training": 3,
    "export": 3,
    "report": 3,
    "run": 4,
    "cli": 5,
}
# Floor 0 loads nothing heavy; what a controller may know is choices and scores.
LIGHT = {"lark", "pydantic", "typing_extensions"}
CONTROLLER_MAY_KNOW = (
    "nas_fpn.language",
    "nas_fpn.record",
    "nas_fpn.search.advantage",
    "nas_fpn.search.controller",
)
RAY = {PACKAGE / "search" / name for name in ("tune.py", "cluster.py", "nodes.py", "launch.py")}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if is_module(whole) else node.module), node


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def floor(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "nas_fpn" and len(parts) > 1 else None


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_point_down(path: Path) -> None:
    here = floor(name_of(path))
    if here is None:
        assert list(imports(ast.parse(path.read_text()))) == [], "the root is a docstring"
        return
    assert here in FLOORS, f"{here} stands on no floor: add it to the table of architecture.md"
    for target, node in imports(ast.parse(path.read_text())):
        there = floor(target)
        if there is None or there == here:
            continue
        assert FLOORS[there] < FLOORS[here] or FLOORS[here] == FLOORS[there] == 0, (
            f"{ids(path)}:{node.lineno} imports {target}, which is not below {here}"
        )


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_floor_0_imports_nothing_heavy(path: Path) -> None:
    here = floor(name_of(path))
    if here is None or FLOORS[here] > 0:
        return
    for target, node in imports(ast.parse(path.read_text())):
        top = target.split(".")[0]
        assert top in sys.stdlib_module_names | LIGHT | {"nas_fpn"}, (
            f"{ids(path)}:{node.lineno} imports {target}"
        )


@pytest.mark.parametrize("path", [*MODULES, *CONTROLLERS], ids=ids)
def test_ray_stays_in_its_three_files(path: Path) -> None:
    if path in RAY:
        return
    for target, node in imports(ast.parse(path.read_text())):
        assert target.split(".")[0] != "ray", f"{ids(path)}:{node.lineno} imports ray"


@pytest.mark.parametrize("path", CONTROLLERS, ids=ids)
def test_a_controller_knows_choices_and_scores_only(path: Path) -> None:
    for target, node in imports(ast.parse(path.read_text())):
        if target.split(".")[0] == "nas_fpn":
            assert target.startswith(CONTROLLER_MAY_KNOW), (
                f"{ids(path)}:{node.lineno} imports {target}"
            )


@pytest.mark.parametrize("path", [*MODULES, *CONTROLLERS], ids=ids)
def test_imports_stand_at_the_top(path: Path) -> None:
    if path.parent == PACKAGE / "cli":
        return  # small verbs answer at once
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for target, node in imports(tree):
        assert id(node) in top, f"{ids(path)}:{node.lineno} imports {target} below the top"


def test_the_import_graph_has_no_cycle() -> None:
    graph = {
        name_of(path): {
            target
            for target, _ in imports(ast.parse(path.read_text()))
            if target.startswith("nas_fpn.")
        }
        for path in MODULES
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above, module))
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", [*MODULES, *CONTROLLERS], ids=ids)
def test_one_idea_a_file(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "past 400 lines, split"
    assert ast.get_docstring(ast.parse(text)), "the first line says which idea lives here"
    assert path.stem not in {"utils", "helpers", "common", "misc"}


def test_language_loads_the_standard_library_and_lark_only() -> None:
    program = (
        "import sys, lark; before = set(sys.modules); import nas_fpn.language; "  # lark: and regex
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert loaded <= sys.stdlib_module_names | {"nas_fpn", "lark"}


def test_a_run_and_its_answers_work_where_ray_is_not_installed():
    program = (
        "import sys; sys.modules['ray'] = None; "
        "import nas_fpn.run, nas_fpn.report, nas_fpn.cli; nas_fpn.run.drive_here"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_reading_a_run_loads_neither_torch_nor_optuna():
    program = (
        "import sys, nas_fpn.report; "
        "print([name for name in ('torch', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
