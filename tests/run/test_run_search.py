"""A whole run at the smallest size: record, resume, extension, exported neck, answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas_fpn.detect.images import load_image
from nas_fpn.errors import RunError
from nas_fpn.export import Form
from nas_fpn.proxy.bank import open_bank
from nas_fpn.record import read_history
from nas_fpn.report import answer_json, answer_text, best_entry
from nas_fpn.run import (
    Begun,
    Event,
    RunSettings,
    Step,
    Watch,
    add_run_backbone,
    export_from_run,
    read_run,
    search_run,
)
from nas_fpn.run.ready import trials_wanted
from nas_fpn.run.settings import spread_as
from nas_fpn.search import Noted, Told
from tests.run.smallest import SMALLEST

TINY = (
    """
space = "quick"
controller = "random_search"
baselines = ["none", "fpn"]
[budget]
trials = 2
"""
    + SMALLEST
    + """
[ray]
workers = 0
"""
)


def begin(folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.toml").write_text(TINY)
    return folder


def lines(folder: Path) -> list[dict[str, object]]:
    """The record without what may differ between equal runs."""
    rows = [json.loads(row) for row in (folder / "history.jsonl").read_text().splitlines()]
    for row in rows:
        for key in ("seconds", "machine", "packages"):
            row.pop(key, None)
    return rows


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder = begin(tmp_path_factory.mktemp("runs") / "mine")
    return folder, list(search_run(read_run(folder)))


def test_baselines_come_first_and_all_trials_end(searched: tuple[Path, list[Event]]) -> None:
    folder, events = searched
    entries = read_history(folder / "history.jsonl").entries
    assert [entry.source for entry in entries][:3] == [
        "baseline:none",
        "baseline:fpn",
        "controller",
    ]
    assert all(entry.outcome is not None for entry in entries)
    stages = [event.stage for event in events if isinstance(event, Step)]
    assert {"reading the data", "warming up the backbone", "storing features"} <= set(stages)
    (begun,) = [event for event in events if isinstance(event, Begun)]
    assert (begun.trials, begun.baselines, begun.entries) == (2, 2, ())
    assert "baseline fpn: width 64; p6, p7 cut" in begun.notes


def test_a_search_in_which_no_neck_learns_says_so_at_its_end(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    points = TINY.replace("head_width = 16", "head_width = 16\nreach = 0.01")  # boxes are specks
    (folder / "run.toml").write_text(points)
    events = list(search_run(read_run(folder)))
    (noted,) = [event.text for event in events if isinstance(event, Noted)]
    assert noted.startswith("No neck has learnt to detect: none reaches ap 0.01")


def test_the_first_line_holds_the_resolved_settings(searched: tuple[Path, list[Event]]) -> None:
    header = lines(searched[0])[0]
    settings = header["settings"]
    assert isinstance(settings, dict)
    assert settings["proxy"]["image_size"] == 64
    assert settings["data"]["split_seed"] == 0
    assert str(searched[0]) not in json.dumps(header), "no path of this machine"


def test_equal_runs_write_equal_records(searched: tuple[Path, list[Event]], tmp_path: Path) -> None:
    other = begin(tmp_path / "other")
    list(search_run(read_run(other)))
    assert lines(other) == lines(searched[0])


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    searched: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder = begin(tmp_path / "mine")
    for event in search_run(read_run(folder)):
        if isinstance(event, Told):
            break
    assert len(lines(folder)) < len(lines(searched[0]))
    list(search_run(read_run(folder)))
    assert lines(folder) == lines(searched[0])


def test_a_finished_run_can_be_extended(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    list(search_run(read_run(folder), trials="1"))
    before = (folder / "history.jsonl").read_text()
    run = spread_as(read_run(folder), address=None, workers=3)
    list(search_run(run, trials="+1"))
    after = (folder / "history.jsonl").read_text()
    assert after.startswith(before)
    assert len(after) > len(before)
    said = [row["workers"] for row in lines(folder) if row["event"] == "workers"]
    assert said == [3], "the number of a session is on record where it is another"


def verdicts(folder: Path) -> list[dict[str, object]]:
    return [row for row in lines(folder) if row["event"] == "verdict"]


def test_the_best_is_checked_on_test_with_seeds_that_the_search_has_not_used(
    searched: tuple[Path, list[Event]],
) -> None:
    (checked,) = verdicts(searched[0])
    entries = read_history(searched[0] / "history.jsonl").entries
    found = best_entry([e for e in entries if e.source == "controller"], "ap")
    control = best_entry([e for e in entries if e.source != "controller"], "ap")
    assert found is not None
    assert control is not None
    assert (checked["trial"], checked["control"]) == (found.number, control.number)
    assert checked["seeds"] == [1, 2, 3]
    assert checked["split"] == "test"
    assert "Check on test" in answer_text(read_history(searched[0] / "history.jsonl"))


def test_a_check_that_is_on_record_is_not_made_again_and_none_is_made_for_no_seeds(
    tmp_path: Path,
) -> None:
    folder = begin(tmp_path / "mine")
    (folder / "run.toml").write_text(TINY + "[confirm]\nseeds = 0\n")
    list(search_run(read_run(folder)))
    assert verdicts(folder) == []
    (folder / "run.toml").write_text(TINY + "[confirm]\nseeds = 1\n")
    list(search_run(read_run(folder)))
    before = verdicts(folder)
    assert len(before) == 1
    list(search_run(read_run(folder)))
    assert verdicts(folder) == before


def test_the_best_neck_needs_only_torch(searched: tuple[Path, list[Event]]) -> None:
    folder = searched[0] / "best"
    program = (
        "import sys, json\nsys.modules['nas_fpn'] = None\nfrom neck import Neck\n"
        "from safetensors.torch import load_file\n"
        "neck = Neck(**json.load(open('config.json')))\n"
        "print(neck.load_state_dict(load_file('model.safetensors')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "All keys matched" in done.stdout
    mark = json.loads((folder / "trial.json").read_text())
    best = best_entry(read_history(searched[0] / "history.jsonl").entries, "ap")
    assert best is not None
    assert best.outcome is not None
    assert mark["trial"] == best.number
    assert mark["scores"] == best.outcome.scores
    readme = (folder / "README.md").read_text()
    assert [p.name for p in folder.iterdir() if f"`{p.name}`" not in readme] == ["README.md"]
    assert verdicts(searched[0]) and "| check | Check on test, in the proxy" in readme


def test_training_once_more_gives_the_recorded_scores(
    searched: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    list(export_from_run(searched[0], 1, tmp_path / "fpn"))
    readme = (tmp_path / "fpn" / "README.md").read_text()
    assert "1 (baseline:fpn)" in readme
    assert "other scores" not in readme


def test_a_run_leaves_with_its_backbone(searched: tuple[Path, list[Event]], tmp_path: Path) -> None:
    """The module of both gives what the neck gives on the features of the run's bank."""
    run, to = searched[0], tmp_path / "fpn"
    list(export_from_run(run, 1, to))
    add_run_backbone(run, to, "mobilenetv3_small_050")
    model = torch.hub.load(str(to / "with_backbone"), "model", source="local").eval()
    neck = torch.hub.load(str(to), "neck", source="local").eval()
    (file,) = (run / "bank").glob("bank-*.safetensors")
    bank = open_bank(file)
    truth = bank.truth["val"]["images"][0]
    row = bank.val.image_ids.tolist().index(truth["id"])
    (path,) = (run / "data").rglob(Path(truth["file_name"]).name)
    image, _ = load_image(path, bank.image_size)
    found = model(image[None] / 255)
    given = [bank.val.features[level][row : row + 1].float() for level in neck.inputs]
    for ours, theirs in zip(found.values(), neck(given), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.02)  # the bank has 16 bits
    with pytest.raises(RunError, match="name that one: --with-backbone mobilenetv3_small_050"):
        add_run_backbone(run, to, "resnet18")


def test_another_width_is_trained_anew(searched: tuple[Path, list[Event]], tmp_path: Path) -> None:
    list(export_from_run(searched[0], 1, tmp_path, form=Form(width=16)))
    assert json.loads((tmp_path / "config.json").read_text())["width"] == 16
    assert "trained anew at it" in (tmp_path / "README.md").read_text()


def test_the_answer_ranks_and_says_its_notes(searched: tuple[Path, list[Event]]) -> None:
    history = read_history(searched[0] / "history.jsonl")
    text = answer_text(history)
    assert "Verdict so far" in text
    assert "baseline fpn: width 64; p6, p7 cut" in text
    answer = answer_json(history)
    assert [trial["trial"] for trial in answer["trials"]] == list(range(len(history.entries)))


def test_another_question_in_the_same_folder_is_refused(
    searched: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder = begin(tmp_path / "mine")
    (folder / "history.jsonl").write_text((searched[0] / "history.jsonl").read_text())
    (folder / "run.toml").write_text(TINY.replace("head_width = 16", "head_width = 8"))
    with pytest.raises(RunError, match=r"proxy\.head_width was 16 and is now 8"):
        list(search_run(read_run(folder)))


def test_stopping_trials_early_is_another_question(
    searched: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    folder = begin(tmp_path / "mine")
    (folder / "history.jsonl").write_text((searched[0] / "history.jsonl").read_text())
    (folder / "run.toml").write_text(
        TINY.replace("trials = 2", 'trials = 2\nhalving = "stop"\nrungs = 1\neta = 2')
    )
    with pytest.raises(RunError, match=r"halving was null and is now .*\"rungs\": \[1\]"):
        list(search_run(read_run(folder)))


def test_an_objective_that_val_cannot_measure_is_refused(tmp_path: Path) -> None:
    folder = begin(tmp_path / "mine")
    (folder / "run.toml").write_text(f'objective = ["ap", "ap_large"]\n{TINY}')
    with pytest.raises(RunError, match="val has no object to measure ap_large on; there is ap, "):
        list(search_run(read_run(folder)))
    assert not (folder / "history.jsonl").exists()


def test_a_watch_counts_and_compares(searched: tuple[Path, list[Event]]) -> None:
    watch = Watch("ap")
    said = [line for i, event in enumerate(searched[1]) if (line := watch.see(event, now=float(i)))]
    assert "searching: 2 baselines and 2 trials" in said[3]
    assert any("[1/4] trial 0 none: complete, ap" in line for line in said)
    assert any("best baseline" in line and "left" in line for line in said)
    assert watch.any_complete


@pytest.mark.parametrize(
    ("on_record", "asked", "wanted"),
    [
        *((None, None, 50), (150, None, 150), (20, None, 50), (None, "80", 80), (None, "+10", 60)),
        *((50, "+100", 150), (150, "+5", 155), (20, "+10", 30)),
    ],
)
def test_the_budget(on_record: int | None, asked: str | None, wanted: int) -> None:
    assert trials_wanted(RunSettings(), on_record, asked) == wanted


@pytest.mark.parametrize("asked", ["many", "-3", "0", "+", "1.5"])
def test_a_budget_that_is_none(asked: str) -> None:
    with pytest.raises(RunError, match="a number of trials, or \\+100"):
        trials_wanted(RunSettings(), None, asked)
