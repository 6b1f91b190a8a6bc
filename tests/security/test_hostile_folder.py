"""A run folder from a stranger: whoever looks at it runs nothing, writes nothing outside it.

Each verb that looks gives its answer, or says what is wrong with the folder; never a traceback.
"""

import contextlib
import json
import pickle
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.cli import main
from nas_fpn.errors import RunError
from nas_fpn.record import read_history
from nas_fpn.report import answer_json, answer_text, open_run, report_html
from nas_fpn.report.dashboard import Followed
from nas_fpn.report.drawings import DrawnOnDemand
from nas_fpn.report.optuna_store import in_memory
from tests.report.synthetic import write_run
from tests.security.harms import (
    HARMS,
    INJECTION,
    LATER,
    TRAP,
    Bomb,
    Harm,
    add,
    change,
    everywhere,
    facts_of,
    injected,
    later,
    line_of,
)


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that is nobody's business, in a folder that nothing may be written to."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "secret.txt").write_text("the secret")
    return folder


@pytest.fixture
def folder(tmp_path: Path, ran: Path) -> Path:
    """A run whose controller, own words and banks are traps."""
    run = write_run(tmp_path / "runs" / "theirs", 6)
    trap = TRAP.format(str(ran))
    (run / "mine.py").write_text(f"{trap}words = {{}}\n")
    (run / "theirs.py").write_text(f"{trap}def controller(problem, *, seed): ...\n")
    (run / "sitecustomize.py").write_text(trap)
    (run / "run.toml").write_text(
        'space = "quick"\ncontroller = "theirs.py"\nwords = ["mine.py"]\n'
        '[data]\nimages = "/etc"\ntrain = "/etc/passwd"\nval = "../../home/secret.txt"\n'
    )
    digest = sha256((run / "mine.py").read_bytes()).hexdigest()
    change(run, 0, words={"mine.py": digest})
    (run / "bank").mkdir()
    (run / "bank" / f"bank-{'0' * 16}.safetensors").write_bytes(pickle.dumps(Bomb(ran)))
    (run / "best").mkdir()
    (run / "best" / "neck.py").write_text(trap)
    (run / "best" / "neck.svg").write_text(f"<svg onload='alert(1)'>{INJECTION}</svg>")
    best = json.loads((run / "history.jsonl").read_text().splitlines()[1])
    mark = {"trial": 0, "neck": best["neck"]}
    (run / "best" / "trial.json").write_text(json.dumps(mark))
    return run


def look(verb: str, run: Path, to: Path) -> None:
    """What somebody does with a folder that came by mail."""
    if verb == "dashboard":
        try:
            Followed(run, in_memory(), DrawnOnDemand(), name="theirs").look()
        except RunError:
            return
    commands = {
        "table": ["table", str(run), "--csv", str(to / "t.csv"), "--parquet", str(to / "t.pq")],
        "report": ["report", str(run)],
        "mirror": ["mirror", str(run)],
        "watch": ["watch", str(run), "--once"],
        "export": ["export", f"{run}:0", "--to", str(to / "exported")],
        "show": ["show", f"{run}:0"],
        "diff": ["diff", str(run), "fpn"],
    }
    if verb in commands:
        with pytest.raises(SystemExit) as ended:
            main(commands[verb])
        assert ended.value.code in (None, 0, 2), f"{verb}: a failure that is no message"


VERBS = ("table", "report", "dashboard", "mirror", "watch", "export", "show", "diff")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_who_looks_runs_nothing_and_writes_nothing_outside(
    folder: Path, ran: Path, outside: Path, tmp_path: Path, harm: Harm
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    harm(folder, outside)
    before = files(outside)
    for verb in VERBS:
        look(verb, folder, to)
        assert not ran.exists(), verb
        assert files(outside) == before, verb
    assert {path.name for path in tmp_path.iterdir()} <= {"to", "home", "runs"}
    said = "".join(content.decode(errors="replace") for content in files(to).values())
    assert "the secret" not in said


@pytest.mark.parametrize("wrong", [None, INJECTION, 10**17, -1, [[]], {}], ids=repr)
def test_a_wrong_fact_of_a_later_verb_is_a_message_or_is_shown(folder: Path, wrong: Any) -> None:
    path = folder / "history.jsonl"
    later(folder, folder)
    whole = path.read_bytes()
    for kind in LATER:
        for name in sorted(facts_of(line_of(folder, kind))):
            line = everywhere(line_of(folder, kind), {name: wrong}) | {"event": kind}
            add(folder, json.dumps(line) + "\n")
            with contextlib.suppress(RunError):
                history = read_history(path)
                said = f"{answer_text(history)}{json.dumps(answer_json(history))}"
                assert said, f"{kind}: {name}"
            path.write_bytes(whole)


def test_a_line_of_fifty_megabytes_is_refused(folder: Path, ran: Path, tmp_path: Path) -> None:
    add(folder, b'{"event": "x", "y": "' + b"y" * (50 << 20) + b'"}\n')
    with pytest.raises(RunError, match="are too long; at most 16 are"):
        open_run(folder)


def test_the_page_of_a_stranger_has_no_script_but_ours(folder: Path, outside: Path) -> None:
    injected(folder, outside)
    page = report_html([open_run(folder)])
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count("<script") == 2


def test_an_exported_source_keeps_texts_in_its_docstring(tmp_path: Path) -> None:
    text_of = f"# {INJECTION.splitlines()[0]}\np3..p5 = c3..c5 -> conv1\n"
    (tmp_path / "x.neck").write_text(text_of)
    with contextlib.suppress(SystemExit):
        main(
            [
                "export",
                str(tmp_path / "x.neck"),
                "--to",
                str(tmp_path / "to"),
                "--channels",
                "1,1,1",
            ]
        )
    compile((tmp_path / "to" / "neck.py").read_text(), "neck.py", "exec")


def test_trust_is_what_runs_own_words(folder: Path, ran: Path) -> None:
    (folder / "mine.py").write_text(
        TRAP.format(str(ran))
        + "from nas_fpn.language import Row\ndef mine(x):\n    return x\n"
        + 'words = {"mine": Row("block", operation=mine)}\n'
    )
    digest = sha256((folder / "mine.py").read_bytes()).hexdigest()
    change(folder, 0, words={"mine.py": digest})
    (said,) = open_run(folder).missing
    assert "only --trust runs" in said
    assert not ran.exists()
    assert open_run(folder, trust=True).missing == ()
    assert ran.exists()
