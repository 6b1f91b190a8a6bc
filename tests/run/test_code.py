"""The code that a run used is kept beside its record, and a changed file is named on resume."""

import py_compile
from hashlib import sha256
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.record import History
from nas_fpn.run import read_run
from nas_fpn.run.code import check_backbone, code_files, keep_code
from nas_fpn.run.question import Question, read_question
from nas_fpn.search import load_controller
from tests.search.fakes import HEADER, PROBLEM, with_loop

CONTROLLER = """
from nas_fpn.record import Trial
class C:
    mark = {!r}
    def ask(self): return Trial(0, (0, 0, 0, 0))
    def tell(self, trial, outcome): ...
def controller(problem, *, seed): return C()
"""


def test_controller_and_space_are_copied_under_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CONTROLLER.format("first"))
    (tmp_path / "run.toml").write_text('controller = "mine.py"\nspace = "quick"\n')
    files = code_files(read_question(read_run(tmp_path)))
    keep_code(tmp_path, files)
    keep_code(tmp_path, files)
    copies = {path.name: path.read_bytes() for path in (tmp_path / "code").iterdir()}
    digest = sha256((tmp_path / "mine.py").read_bytes()).hexdigest()[:16]
    assert copies[f"mine-{digest}.py"] == (tmp_path / "mine.py").read_bytes()
    assert [name.partition("-")[0] for name in sorted(copies)] == ["mine", "quick"]


def test_code_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "code").symlink_to(tmp_path)
    with pytest.raises(RunError, match="leads out of the run's folder"):
        keep_code(tmp_path / "run", {"code/x.py": b""})


def test_a_changed_controller_is_named_with_the_copy_of_the_old_one(tmp_path: Path) -> None:
    old, new = sha256(b"old").hexdigest(), sha256(b"new").hexdigest()
    path = tmp_path / "history.jsonl"
    with_loop(path, lambda loop: None, header={**HEADER, "controller": old})
    keep_code(tmp_path, {f"code/mine-{old[:16]}.py": b"old"})
    with pytest.raises(RunError) as raised:
        with_loop(path, lambda loop: None, header={**HEADER, "controller": new})
    said = str(raised.value)
    assert f'controller was "{old}" and is now "{new}"' in said
    assert f"controller as it was: {tmp_path / 'code' / f'mine-{old[:16]}.py'}" in said
    assert "--accept-drift" in said


def own_backbone(folder: Path, source: str) -> Question:
    (folder / "mine.py").write_text(source)
    (folder / "run.toml").write_text('space = "quick"\n[backbone]\nname = "mine.py:build"\n')
    return read_question(read_run(folder))


def test_an_own_backbone_is_copied_too(tmp_path: Path) -> None:
    keep_code(tmp_path, code_files(own_backbone(tmp_path, "def build(): ...")))
    (copy,) = (tmp_path / "code").glob("mine-*.py")
    assert copy.read_text() == "def build(): ..."
    assert sha256(b"def build(): ...").hexdigest().startswith(copy.stem.partition("-")[2])


def test_another_backbone_is_refused_before_anything_is_made_of_it(tmp_path: Path) -> None:
    question = own_backbone(tmp_path, "old = 1")
    keep_code(tmp_path, code_files(question))
    old, new = (sha256(source).hexdigest() for source in (b"old = 1", b"new = 2"))
    begun = {"event": "run", "version": 1, "backbone": old}
    check_backbone(tmp_path, History((begun,)), question)
    check_backbone(tmp_path, History(), question)
    changed = own_backbone(tmp_path, "new = 2")
    with pytest.raises(RunError) as raised:
        check_backbone(tmp_path, History((begun,)), changed)
    assert str(raised.value) == (
        f"{tmp_path / 'mine.py'}: is not the backbone that this run was begun with\n"
        f"as it was: {tmp_path / 'code' / f'mine-{old[:16]}.py'}\n"
        "put it back, or start a run in another folder"
    )
    drift = {"event": "drift", "header": {**begun, "backbone": new}, "differences": []}
    check_backbone(tmp_path, History((begun, drift)), changed)
    with pytest.raises(RunError, match="this run was begun as another"):
        path = tmp_path / "history.jsonl"
        with_loop(path, lambda loop: None, header={**HEADER, "backbone": old})
        with_loop(path, lambda loop: None, header={**HEADER, "backbone": new})


def test_a_backbone_that_is_not_there_is_named(tmp_path: Path) -> None:
    own_backbone(tmp_path, "")
    (tmp_path / "mine.py").unlink()
    with pytest.raises(RunError, match=r"backbone\.name = 'mine\.py:build': .*: no such file"):
        read_question(read_run(tmp_path))


def test_what_runs_is_what_is_hashed_and_no_bytecode_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CONTROLLER.format("other"))
    py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    path.write_text(CONTROLLER.format("shown"))
    made = load_controller(path, PROBLEM, seed=0, settings={})
    assert vars(type(made))["mark"] == "shown"


def test_an_edit_after_the_file_was_read_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(CONTROLLER.format("later"))
    source = CONTROLLER.format("read").encode()
    made = load_controller(path, PROBLEM, seed=0, settings={}, source=source)
    assert vars(type(made))["mark"] == "read"
