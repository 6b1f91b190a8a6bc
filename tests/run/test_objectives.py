"""A run with two objectives and a warm start, from its question to the exported front."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nas_fpn.language import identity, parse
from nas_fpn.record import read_history
from nas_fpn.report import answer_text, front
from nas_fpn.run import add_run_backbone, export_from_run, read_run, search_run
from tests.run.smallest import SMALLEST

QUESTION = (
    """
space = "quick"
controller = "random_search"
objective = ["ap", "-latency_ms"]
baselines = ["none"]
[controller_settings]
prior = ["fpn"]
[budget]
trials = 3
[soft_constraint]
target = 5.0
[confirm]
seeds = 0
"""
    + SMALLEST
    + """
[ray]
workers = 0
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "two"
    folder.mkdir()
    (folder / "run.toml").write_text(QUESTION)
    list(search_run(read_run(folder)))
    return folder


def test_the_controller_is_told_one_score_made_of_both(folder: Path) -> None:
    for entry in read_history(folder / "history.jsonl").entries:
        assert entry.outcome is not None
        scores = entry.outcome.scores
        assert scores["latency_ms"] > 0
        expected = scores["ap"] * (scores["latency_ms"] / 5.0) ** -0.07
        assert scores["constrained"] == pytest.approx(expected)


def test_the_prior_is_the_first_proposal(folder: Path) -> None:
    history = read_history(folder / "history.jsonl")
    assert [entry.source for entry in history.entries] == [
        "baseline:none",
        "prior:fpn",
        "controller",
        "controller",
    ]
    begun = history.events[0]["prior"]
    assert begun["names"] == ["fpn"]
    assert history.entries[1].genotype == tuple(begun["genotypes"][0])


def test_the_best_is_the_front_each_neck_a_folder_of_its_own(folder: Path) -> None:
    history = read_history(folder / "history.jsonl")
    expected = front(history.entries, ("ap", "-latency_ms"))
    listed = json.loads((folder / "best" / "front.json").read_text())
    assert [row["trial"] for row in listed["front"]] == [entry.number for entry in expected]
    page = (folder / "best" / "README.md").read_text()
    for row, entry in zip(listed["front"], expected, strict=True):
        exported = folder / "best" / row["folder"]
        assert identity(parse((exported / "neck.neck").read_text())) == entry.neck
        assert (exported / "model.safetensors").is_file()
        assert f"{row['folder']}/neck.svg" in page
    assert (folder / "best" / "front.svg").read_text().startswith("<svg")
    assert f"The front of ap and -latency_ms has {len(expected)} neck" in answer_text(history)


def test_a_finished_run_resumes_to_nothing_although_its_clock_differs(folder: Path) -> None:
    before = (folder / "history.jsonl").read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("best/*/model.safetensors")}
    list(search_run(read_run(folder)))
    assert (folder / "history.jsonl").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_the_run_exports_as_its_front(folder: Path, tmp_path: Path) -> None:
    for _ in export_from_run(folder, None, tmp_path / "out"):
        pass
    for _ in range(2):  # the second time all is there
        add_run_backbone(folder, tmp_path / "out", "mobilenetv3_small_050")
    listed = json.loads((tmp_path / "out" / "front.json").read_text())
    (warmed,) = (load_file(path) for path in (folder / "bank").glob("backbone-*.safetensors"))
    for row in listed["front"]:
        there = tmp_path / "out" / row["folder"]
        whole = load_file(there / "with_backbone" / "model.safetensors")
        neck = load_file(there / "model.safetensors")
        assert all(torch.equal(whole[f"neck.{key}"], neck[key]) for key in neck)
        assert all(torch.equal(whole[f"backbone.{key}"], warmed[key]) for key in warmed)
        assert (there / "README.md").read_text().count("`with_backbone/`") == 1
    assert all((tmp_path / "out" / row["folder"] / "neck.py").is_file() for row in listed["front"])
