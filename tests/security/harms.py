"""What a stranger may have done to a run folder, each harm by a name, for those that look at it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nas_fpn.report.drawings import drawing_id

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


def linked_lock(run: Path, outside: Path) -> None:
    (run / "history.lock").symlink_to(outside / "secret.txt")


def linked_drawings(run: Path, outside: Path) -> None:
    """The names of drawings follow from the necks, so that a stranger knows them."""
    (run / "mirror" / "drawings").mkdir(parents=True, exist_ok=True)
    for row in (run / "history.jsonl").read_text().splitlines():
        if (told := json.loads(row)).get("event") == "ask":
            beside = run / "mirror" / "drawings" / f"{drawing_id(told['text'])}.part"
            beside.unlink(missing_ok=True)
            beside.symlink_to(outside / "secret.txt")


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
    "a linked lock": linked_lock,
    "linked drawings": linked_drawings,
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
