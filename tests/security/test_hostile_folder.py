"""A run folder from a stranger: whoever looks at it runs nothing, writes nothing outside it.

Each verb that looks gives its answer, or says what is wrong with the folder; never a traceback.
"""

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.cli import main
from nas_fpn.errors import RunError
from nas_fpn.report import open_run, report_html
from nas_fpn.report.dashboard import Followed
from nas_fpn.report.drawings import DrawnOnDemand
from nas_fpn.report.optuna_store import in_memory
from tests.report.synthetic import write_run

TRAP = "from pathlib import Path\nPath({!r}).write_text('ran')\n"
INJECTION = (
    "\"\"\"\nimport os\n''' </script><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\x1b]0;owned\x07 ]]> {{7*7}} ../../../x \u202e"
)
SQLITE = "sqlite:////"


class Bomb:
    """What a pickle does when it is opened."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.ran, "ran")


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


def change(run: Path, row: int, **facts: Any) -> None:
    """Change facts in one line of the record."""
    path = run / "history.jsonl"
    rows = path.read_text().splitlines()
    rows[row] = json.dumps(json.loads(rows[row]) | facts)
    path.write_text("\n".join(rows) + "\n")


def rows_of(run: Path, kind: str) -> Iterator[int]:
    for row, text in enumerate((run / "history.jsonl").read_text().splitlines()):
        if json.loads(text)["event"] == kind:
            yield row


def add(run: Path, text: str | bytes) -> None:
    with (run / "history.jsonl").open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


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


Harm = Callable[[Path, Path], None]


def injected(run: Path, outside: Path) -> None:
    for row in rows_of(run, "ask"):
        change(run, row, source=f"baseline:{INJECTION}" if row == 1 else INJECTION)
    for row in rows_of(run, "tell"):
        change(run, row, reason=INJECTION)
    settings = {"notes": [INJECTION], "space": INJECTION, "objective": "ap"}
    change(run, 0, settings=settings, seed=INJECTION, bank=INJECTION)


def injected_necks(run: Path, outside: Path) -> None:
    for row in rows_of(run, "ask"):
        change(run, row, text=f"# {INJECTION}\np3..p5 = c3..c5 -> conv1\n{INJECTION}")


def names_that_climb(run: Path, outside: Path) -> None:
    for row in rows_of(run, "ask"):
        change(run, row, neck="../../../home/new")


def climbing_bank(run: Path, outside: Path) -> None:
    change(run, 0, bank="../../../../../home")


def genotypes_out_of_range(run: Path, outside: Path) -> None:
    for row, wrong in zip(rows_of(run, "ask"), ([99] * 99, [-1], [10**17], [], None), strict=False):
        change(run, row, genotype=wrong)


def long_seconds(run: Path, outside: Path) -> None:
    for row in rows_of(run, "tell"):
        change(run, row, seconds=1e300)


def odd_costs(run: Path, outside: Path) -> None:
    for row, wrong in zip(rows_of(run, "ask"), (0.5, -1, 1e300, 10**17), strict=False):
        change(run, row, cost={"params": wrong, "macs": wrong, INJECTION: wrong})


def wrong_types(run: Path, outside: Path) -> None:
    change(run, 0, settings={"notes": {}, "objective": 7, "budget": []}, machine=[], words=3)


def many_workers(run: Path, outside: Path) -> None:
    change(run, 0, machine={"ray": {"workers": 10**17}})


def storage_elsewhere(run: Path, outside: Path) -> None:
    text = f'[report]\nstorage = "{SQLITE}{str(outside)[1:]}/stolen.db"\n'
    (run / "run.toml").write_text(text)


def links_to_files(run: Path, outside: Path) -> None:
    for name in ("best/neck.py", "report.html", "mirror/study.part", "mirror/study.journal"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside / "secret.txt")


def links_to_folders(run: Path, outside: Path) -> None:
    for name in ("mirror", "tensorboard", "code"):
        (run / name).symlink_to(outside)


def linked_record(run: Path, outside: Path) -> None:
    (run / "history.jsonl").unlink()
    (run / "history.jsonl").symlink_to(outside / "secret.txt")


def words_elsewhere(run: Path, outside: Path) -> None:
    (run / "run.toml").write_text('words = ["/etc/passwd", "../../home/secret.txt"]\n')
    change(run, 0, words={"/dev/zero": "0" * 64})


def space_elsewhere(run: Path, outside: Path) -> None:
    (outside / "x.space").symlink_to("/dev/zero")
    change(run, 0, settings={"space": str(outside / "x.space")})


def linked_space(run: Path, outside: Path) -> None:
    (run / "x.space").symlink_to("/dev/zero")
    change(run, 0, settings={"space": "x.space"})


def text(line: str | bytes) -> Harm:
    def harm(run: Path, outside: Path) -> None:
        add(run, line)

    return harm


def toml(content: str) -> Harm:
    def harm(run: Path, outside: Path) -> None:
        (run / "run.toml").write_text(content)

    return harm


def mark(content: str) -> Harm:
    def harm(run: Path, outside: Path) -> None:
        (run / "best" / "trial.json").write_text(content)

    return harm


ASK = '{"event": "ask", "trial": %s, "source": "x", "genotype": %s, "neck": "n", "text": "", '
REPORT = '{"event": "report", "trial": 9, "steps": %s, "scores": {"ap": %s}, "seconds": %s}\n'
HARMS: dict[str, Harm] = {
    "nothing more": lambda run, outside: None,
    "injected texts": injected,
    "injected necks": injected_necks,
    "neck ids that climb": names_that_climb,
    "a bank that climbs": climbing_bank,
    "genotypes out of range": genotypes_out_of_range,
    "long seconds": long_seconds,
    "odd costs": odd_costs,
    "facts of wrong types": wrong_types,
    "many workers": many_workers,
    "a storage elsewhere": storage_elsewhere,
    "links to files": links_to_files,
    "links to folders": links_to_folders,
    "a linked record": linked_record,
    "words elsewhere": words_elsewhere,
    "a space elsewhere": space_elsewhere,
    "a linked space": linked_space,
    "deep nesting": text('{"event": "x", "y": ' + "[" * 10**5 + "]" * 10**5 + "}\n"),
    "a huge whole number": text(REPORT % ("9" * 10**6, "0", "0")),
    "a huge score": text(REPORT % ("100", "1e999", "0")),
    "a huge time": text(REPORT % ("100", "0", "1e999")),
    "NUL": text(b'{"event": "x", "y": "\0"}\n'),
    "escaped NUL": text('{"event": "x\\u0000", "y": "\\u0000\\ud800"}\n'),
    "no UTF-8": text(b'{"event": "\xff"}\n'),
    "a verdict on nothing": text('{"event": "verdict", "trial": 99, "control": -1}\n'),
    "a budget of text": text('{"event": "budget", "trials": "many"}\n'),
    "a drift of nothing": text('{"event": "drift"}\n'),
    "a deep run.toml": toml("x = " + "[" * 10**5 + "]" * 10**5),
    "a huge number in run.toml": toml("seed = " + "9" * 10**5),
    "a large run.toml": toml("# " + "x" * 10**6),
    "a deep mark": mark("[" * 10**5),
    "a mark of a list": mark("[1, 2]"),
    "a mark of another type": mark('{"trial": [1], "neck": {}}'),
}


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
