"""Own words of a user: every wrong file as golden text, and a run that searches with own words.

One file per error in ``tests/golden/words``: the Python, a line of ``-----``, the message. To write
the messages anew, and then read the diff:
``REGENERATE_GOLDEN=1 pytest tests/run/test_run_own_words.py``.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.export import export_neck
from nas_fpn.language import decode, load_words, parse, read
from nas_fpn.necks import Neck
from nas_fpn.record import read_history
from nas_fpn.run import export_from_run, prove_words, read_run, search_run
from nas_fpn.run.on_ray import drive_on_ray
from nas_fpn.run.trainer import Trainer
from nas_fpn.search import Due
from tests.export.alone import answers
from tests.run.smallest import SMALL_PROXY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
GOLDEN = Path(__file__).parents[1] / "golden" / "words"
RULE = "-----\n"
FILES = sorted(GOLDEN.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_wrong_file_says_where_what_and_how_to_mend(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, _, wanted = path.read_text(encoding="utf-8").partition(RULE)
    (tmp_path / "mine.py").write_text(program, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError) as raised:
        prove_words(load_words(["mine.py"]))
    message = f"{raised.value}\n"
    assert message.startswith("mine.py:")
    if os.environ.get("REGENERATE_GOLDEN"):
        path.write_text(f"{program}{RULE}{message}", encoding="utf-8")
    else:
        assert message == wanted


TINY = (
    """
space = "words.space"
words = ["words.py"]
controller = "random_search"
baselines = ["mine.neck"]
[budget]
trials = 2
[data]
shapes_train = 8
shapes_val = 4
shapes_test = 4
shapes_warmup = 8
[backbone]
warmup_steps = 1
warmup_batch_size = 4
"""
    + SMALL_PROXY
    + """
[confirm]
seeds = 1
[ray]
workers = 0
"""
)
NECK = "width 32\np3..p5 = c3..c5 -> conv1\np4 = agree(p4, p5)\np3 = agree(p3, p4) -> eca\n"


def begin(folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.toml").write_text(TINY)
    (folder / "mine.neck").write_text(NECK)
    for name in ("words.py", "words.space"):
        shutil.copy(EXAMPLES / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = begin(tmp_path_factory.mktemp("runs") / "mine")
    list(search_run(read_run(folder)))
    return folder


def test_a_run_searches_and_checks_necks_of_own_words(searched: Path) -> None:
    history = read_history(searched / "history.jsonl")
    assert [entry.outcome.state for entry in history.entries if entry.outcome] == ["complete"] * 3
    assert "agree(p4, p5)" in history.entries[0].text
    words = load_words([EXAMPLES / "words.py"])
    assert history.events[0]["words"] == {"words.py": words.files[0].sha256}
    assert [event["event"] for event in history.events].count("verdict") == 1


def test_a_changed_file_of_words_is_another_question(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path / "mine")
    with (tmp_path / "mine" / "words.py").open("a") as file:
        file.write("# another\n")
    with pytest.raises(RunError, match=r"words\.words\.py was .* and is now"):
        list(search_run(read_run(tmp_path / "mine"), trials="+1"))


def test_faults_of_words_name_the_run_and_the_file(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    (folder / "words.py").write_text("words = {}\n")
    with pytest.raises(RunError) as raised:
        next(search_run(read_run(folder)))
    where = tmp_path.resolve() / "mine"
    assert str(raised.value).startswith(f"{where}/run.toml:\n  words: {where}/words.py: defines no")
    (folder / "words.py").unlink()
    with pytest.raises(RunError, match="cannot be read: No such file"):
        next(search_run(read_run(folder)))


@pytest.mark.slow
def test_a_worker_needs_no_file_of_words(searched: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "words.py", tmp_path / "mine.py")
    words = load_words([tmp_path / "mine.py"])
    run = read_run(searched)
    (bank,) = (searched / "bank").glob("bank-*.safetensors")
    trainer = Trainer(bank, run.settings.proxy, 0, words=words)
    packed = pickle.dumps((trainer, Due(0, NECK)))
    program = (
        "import pickle, sys; trainer, due = pickle.loads(sys.stdin.buffer.read());"
        "*_, last = trainer(due); print(last.steps)"
    )
    (tmp_path / "mine.py").unlink()
    done = subprocess.run([sys.executable, "-c", program], input=packed, capture_output=True)
    assert (done.stdout.strip(), done.returncode) == (b"2", 0), done.stderr.decode()


def test_exported_own_words_work_alone_bit_for_bit(searched: Path, tmp_path: Path) -> None:
    words = load_words([EXAMPLES / "words.py"])
    space = read(EXAMPLES / "words.space", words=words)
    trained = tmp_path / "trained"
    with pytest.raises(RunError, match="if you know who wrote them, --trust runs them"):
        list(export_from_run(searched, 0, trained))
    list(export_from_run(searched, 0, trained, trust=True))
    necks = {trained: again(trained)}
    for number, genotype in enumerate([(1, 1, 1, 1, 1), (2, 0, 1, 1, 0)]):
        neck = Neck(decode(space, genotype), (8, 12, 16), seed=number)
        necks[export_neck(neck, tmp_path / str(number))] = neck
    for folder, neck in necks.items():
        assert (folder / "words" / "words.py").read_bytes() == words.files[0].content
        assert "| `words/words.py` |" in (folder / "README.md").read_text()
        given = features(neck)
        save_file({str(k): value for k, value in enumerate(given)}, folder / "features.safetensors")
        save_file(answers(deepcopy(neck), given), folder / "answers.safetensors")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "export" / "alone.py", "torch", *necks],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {str(folder): [] for folder in necks}


def again(folder: Path) -> Neck:
    """The neck of an exported folder, read with the words that lie in it."""
    words = load_words(sorted((folder / "words").glob("*.py")))
    channels = json.loads((folder / "config.json").read_text())["in_channels"]
    neck = Neck(parse((folder / "neck.neck").read_text(), words=words), channels)
    neck.load_state_dict(load_file(folder / "model.safetensors"))
    return neck


def features(neck: Neck) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, channels, -(-52 >> level), -(-70 >> level), generator=generator)
        for level, channels in zip(neck.inputs, neck.in_channels, strict=True)
    ]


def test_a_neck_without_own_words_takes_no_file_along(tmp_path: Path) -> None:
    words = load_words([EXAMPLES / "words.py"])
    neck = Neck(parse("p3 = c3 -> conv1", words=words), (4,), seed=0)
    assert not (export_neck(neck, tmp_path / "plain") / "words").exists()


@pytest.mark.slow
def test_workers_under_ray_get_the_words(searched: Path, tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    with_ray = TINY.replace("workers = 0", "workers = 1")
    (folder / "run.toml").write_text(with_ray)
    list(search_run(read_run(folder), drive=drive_on_ray))
    pairs = [read_history(f / "history.jsonl").entries for f in (searched, folder)]
    scores = [[dict(e.outcome.scores) for e in entries if e.outcome] for entries in pairs]
    assert scores[0] == scores[1]
