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
from nas_fpn.record import read_history
from nas_fpn.report import answer_json, answer_text, open_run, report_html
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


def line_of(run: Path, kind: str, **facts: Any) -> dict[str, Any]:
    """A line that a verb after the search puts on record, sound but for ``facts``."""
    asked = [json.loads(row) for row in (run / "history.jsonl").read_text().splitlines()][1:]
    necks = [row for row in asked if row["event"] == "ask"]
    found, control = necks[4], necks[2]
    of = {"neck": found["neck"], "trial": found["trial"], "text": found["text"]}
    member = {
        "role": "found", "name": "x", "width": 64, "repeats": 0, "was": None, "diverged": 0,
        "cost": {"params_m": 0.5, "gmacs": 0.4, "latency_ms": 23.0},
        "seeds": [101, 102], "scores": {"ap": [0.2, 0.3]},
    }  # fmt: skip
    ours = {**member, "neck": found["neck"], "trial": found["trial"]}
    theirs = {**member, "neck": control["neck"], "trial": control["trial"], "role": "control"}
    pair = {
        "found": found["neck"], "control": control["neck"], "outcome": "better", "seeds": 2,
        "difference": 0.1, "half": 0.05, "sd": 0.01, "detectable": 0.1, "detectable_seeds": 2,
        "other_images": {"low": 0.0, "high": 0.1, "seeds_error": 0.1, "images_error": 0.1},
    }  # fmt: skip
    variant = {"label": "x", "kind": "", "width": 64, "params": 1, "macs": 1, **of}
    roles = ("winner", "baseline", "resized", "plain", "plain baseline", "change")
    sound: dict[str, dict[str, Any]] = {
        "confirm": {
            "of": "0" * 16, "objective": "ap", "equal_cost": "latency", "seeds": [101, 102],
            "plan": {
                "pairs": [[found["neck"], control["neck"]]], "min_seeds": 2, "max_seeds": 2,
                "error": 0.05, "give_up": True,
            },
            "contenders": [{k: v for k, v in one.items() if k not in ("seeds", "scores")}
                           for one in (ours, theirs)],
        },
        "training": {
            **of, "of": "0" * 16, "role": "found", "seed": 101, "split": "test", "steps": 2,
            "scores": {"ap": 0.2}, "seconds": 1.0, "folder": f"confirm/{found['neck']}-101",
            "detections": "0" * 64, "reason": None,
        },
        "verdict": {
            "where": "end to end", "of": "0" * 16, "split": "test", "objective": "ap",
            "equal_cost": "latency", "detector": "fcos", "backbone": "x", "image_size": 64,
            "images": 4, "error": 0.05, "max_seeds": 2, "necks": [ours, theirs], "pairs": [pair],
            "best": found["neck"], "keep": control["neck"], "ended": "decided", "seconds": 1.0,
        },
        "screening": {
            "of": "0" * 16, "neck": found["neck"], "seed": 1001, "split": "val",
            "scores": {"ap": 0.2},
        },
        "explain": {
            "of": "0" * 16, "trial": found["trial"], "control": control["trial"],
            "nearest": control["trial"], "objective": "ap", "split": "test", "seeds": [2001],
            "equal_cost": "params", "left_out": 0,
            "variants": [{**variant, "role": role} for role in roles],
        },
        "ablation": {
            "of": "0" * 16, "neck": found["neck"], "text": found["text"], "seed": 2001,
            "split": "test", "steps": 2, "scores": {"ap": 0.2}, "seconds": 1.0, "reason": None,
        },
        "against": {"run": "x", "controller": "random_search", "objective": "ap", "scores": [0.2]},
    }  # fmt: skip
    return {"event": kind, **sound[kind], **facts}


LATER = ("confirm", "training", "verdict", "screening", "explain", "ablation", "against")


def later(run: Path, outside: Path, **facts: Any) -> None:
    """All that the verbs after a search put on record, and ``facts`` of each."""
    lines = [line_of(run, kind) for kind in LATER]
    for line in lines:
        for name in facts.keys() & line.keys():
            line[name] = facts[name]
        add(run, json.dumps(line) + "\n")


def later_texts(run: Path, outside: Path) -> None:
    names = ("backbone", "detector", "ended", "equal_cost", "kind", "label", "name", "objective",
             "outcome", "reason", "role", "run", "split", "text")  # fmt: skip
    for kind in LATER:
        add(run, json.dumps(everywhere(line_of(run, kind), dict.fromkeys(names, INJECTION))) + "\n")


def everywhere(value: Any, facts: dict[str, Any]) -> Any:
    """The value with these facts wherever they stand in it."""
    if isinstance(value, dict):
        rows = ((k, facts[k] if k in facts else everywhere(v, facts)) for k, v in value.items())
        return dict(rows)
    return [everywhere(one, facts) for one in value] if isinstance(value, list) else value


def facts_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) - {"event"} | {name for one in value.values() for name in facts_of(one)}
    return set().union(*map(facts_of, value)) if isinstance(value, list) else set()


def trainings_elsewhere(run: Path, outside: Path) -> None:
    later(run, outside, folder="../../home")


def linked_trainings(run: Path, outside: Path) -> None:
    """A neck confirmed end to end, whose files are links to what is nobody's business."""
    later(run, outside)
    (run / "confirm").mkdir()
    (run / line_of(run, "training")["folder"]).symlink_to(outside)


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
    "lines of later verbs": later,
    "injected texts in lines of later verbs": later_texts,
    "necks that climb in lines of later verbs": lambda run, outside: later(
        run, outside, neck="../../../home/new", best="../../home", keep="../../home"
    ),
    "necks that nobody asked for": lambda run, outside: later(run, outside, trial=99, nearest=-1),
    "trainings elsewhere": trainings_elsewhere,
    "linked trainings": linked_trainings,
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
