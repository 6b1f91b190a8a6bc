"""What a confirm leaves in best/, and how a neck of a verdict is exported: with whose weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nas_fpn.errors import RunError
from nas_fpn.export import export_neck
from nas_fpn.language import SHIPPED, parse
from nas_fpn.necks import Neck
from nas_fpn.record import Entry, read_history
from nas_fpn.run import read_run
from nas_fpn.run.best import export_from_run, neck_text, trial_entry
from nas_fpn.run.confirmed_weights import end_to_end, is_settled, keep_confirmed
from tests.report.synthetic import CHANNELS, write_run

FOUND, CONTROL, OTHER = 4, 2, 5  # trials


def add(run: Path, **event: Any) -> None:
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")


def entries(run: Path) -> tuple[Entry, ...]:
    return read_history(run / "history.jsonl").entries


def trained(run: Path, trial: int, seed: int, *, reason: str | None = None) -> Path:
    """A training on record, with the folder that it leaves; weights and score are of the seed."""
    entry = entries(run)[trial]
    folder = run / "confirm" / f"{entry.neck}-{seed}"
    neck = Neck(parse(entry.text), list(CHANNELS.values()), seed=seed)
    export_neck(neck, folder / "neck")
    statistics = {"mean.c3": torch.zeros(CHANNELS[3]), "std.c3": torch.ones(CHANNELS[3])}
    save_file(statistics, folder / "neck" / "features.safetensors")
    for name in ("detector.py", "config.json", "model.safetensors"):
        (folder / name).write_text(f"{name} of seed {seed}")
    add(
        run, event="training", of=f"{trial}-{seed}", neck=entry.neck, trial=trial, text=entry.text,
        role="found", seed=seed, split="test", steps=2, scores={"ap": seed / 1000}, seconds=1.0,
        folder=f"confirm/{folder.name}", detections="0" * 64, reason=reason,
    )  # fmt: skip
    return folder


def decided(
    run: Path,
    *,
    best: int | None,
    necks: tuple[int, ...] = (FOUND, CONTROL),
    trainings: dict[int, list[str]] | None = None,
    of: str = "",
) -> None:
    """A verdict on record, of seeds 101 and 102; as older ones were, without ``trainings``."""
    known = entries(run)
    cost = {"params_m": 0.5, "gmacs": 0.4, "latency_ms": 23.0}
    rows = [
        {
            "neck": known[one].neck, "role": "control" if one == CONTROL else "found",
            "trial": one, "name": known[one].neck, "width": 64, "repeats": 0, "was": None,
            "cost": cost, "seeds": [101, 102], "scores": {"ap": [0.1, 0.2]}, "diverged": 0,
            **({"trainings": trainings[one]} if trainings and one in trainings else {}),
        }
        for one in necks
    ]  # fmt: skip
    add(
        run, event="verdict", where="end to end", of=of or f"verdict on {best}", split="test",
        objective="ap", equal_cost="none", detector="fcos", backbone="x", image_size=64, images=4,
        error=0.05, max_seeds=2, necks=rows, pairs=[], ended="decided", seconds=1.0,
        best=None if best is None else known[best].neck, keep=known[CONTROL].neck,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which a neck found and a control are trained with two seeds."""
    folder = write_run(tmp_path / "mine", 6)
    (folder / "run.toml").write_text('space = "quick"\n')
    for trial in (FOUND, CONTROL):
        for seed in (101, 102):
            trained(folder, trial, seed)
    return folder


def keep(run: Path) -> None:
    keep_confirmed(read_run(run), read_history(run / "history.jsonl"), words=SHIPPED)


def mark(folder: Path) -> Any:
    return json.loads((folder / "trial.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("best", "named"), [(FOUND, FOUND), (None, CONTROL)])
def test_best_holds_what_the_verdict_names_with_weights_of_the_first_seed(
    run: Path, best: int | None, named: int
) -> None:
    """Of the first seed: the best of its trainings would be chosen on test."""
    decided(run, best=best)
    keep(run)
    neck = entries(run)[named].neck
    assert mark(run / "best")["trial"] == named
    assert mark(run / "best")["confirmed"]["seed"] == 101
    assert equal(weights(run / "best"), weights(run / "confirm" / f"{neck}-101" / "neck"))
    assert not equal(weights(run / "best"), weights(run / "confirm" / f"{neck}-102" / "neck"))
    said = (run / "best" / "detector" / "detector.py").read_text()
    assert said == "detector.py of seed 101"
    assert (run / "best" / "detector" / "neck" / "neck.py").is_file()
    assert "trained end to end" in (run / "best" / "README.md").read_text()


def test_weights_are_of_the_training_that_the_verdict_counts(run: Path) -> None:
    """After other settings with the same seed the verdict on the first ones stands again."""
    neck = entries(run)[FOUND].neck
    folder = run / "confirm" / f"{neck}-101"
    folder.rename(aside := folder.with_name(f"{folder.name}.before-1"))
    aside.with_name(f"{aside.name}.json").write_text('{"of": "4-101"}')
    trained(run, FOUND, 101)
    path = run / "history.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:-1], rows[-1].replace('"4-101"', '"other"')]) + "\n")
    folder.with_name(f"{folder.name}.json").write_text('{"of": "other"}')
    (folder / "detector.py").write_text("of other settings")
    for counted, said in (("4-101", "detector.py of seed 101"), ("other", "of other settings")):
        decided(run, best=FOUND, trainings={FOUND: [counted, "4-102"]}, of=counted)
        keep(run)
        assert (run / "best" / "detector" / "detector.py").read_text() == said


def test_a_run_named_without_a_trial_is_what_the_verdict_names(run: Path) -> None:
    searched = trial_entry(read_run(run), None)
    assert searched.number != CONTROL
    decided(run, best=None)
    assert trial_entry(read_run(run), None).number == CONTROL
    decided(run, best=FOUND)
    assert trial_entry(read_run(run), None).number == FOUND
    assert trial_entry(read_run(run), OTHER).number == OTHER


def test_a_baseline_that_was_re_sized_is_named_as_it_was_trained(run: Path) -> None:
    path = run / "history.jsonl"
    own = entries(run)[CONTROL]
    wider = str(replace(parse(own.text), width=96))
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for event in events:
        if event["event"] == "training" and event["trial"] == CONTROL:
            event["text"] = wider
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    decided(run, best=None)
    assert neck_text(read_run(run), None) == wider != own.text
    assert neck_text(read_run(run), CONTROL) == own.text
    decided(run, best=FOUND)
    assert neck_text(read_run(run), None) == entries(run)[FOUND].text


def test_the_best_of_the_search_gives_way_and_does_not_come_back(run: Path) -> None:
    (run / "best").mkdir()
    (run / "best" / "trial.json").write_text(json.dumps({"trial": FOUND}))
    found = entries(run)[FOUND]
    assert not is_settled(found, run / "best")
    decided(run, best=None)
    keep(run)
    assert mark(run / "best")["trial"] == CONTROL
    assert is_settled(found, run / "best")
    assert not is_settled(entries(run)[OTHER], run / "best"), "it was not compared"


def test_the_same_verdict_again_writes_nothing(run: Path) -> None:
    decided(run, best=FOUND)
    keep(run)
    (run / "best" / "README.md").write_text("my own")
    keep(run)
    assert (run / "best" / "README.md").read_text() == "my own"
    decided(run, best=None)
    keep(run)
    assert (run / "best" / "README.md").read_text() != "my own"
    assert mark(run / "best")["trial"] == CONTROL


def test_of_several_objectives_each_neck_compared_has_its_weights(run: Path) -> None:
    (run / "run.toml").write_text('space = "quick"\nobjective = ["ap", "-latency_ms"]\n')
    folder = run / "best" / f"{FOUND}-{entries(run)[FOUND].neck}"
    folder.mkdir(parents=True)
    decided(run, best=None)
    keep(run)
    assert mark(folder)["confirmed"]["seed"] == 101
    assert [path.name for path in (run / "best").iterdir()] == [folder.name], "no others"


def test_what_diverged_or_is_gone_is_left_out(run: Path) -> None:
    trained(run, OTHER, 101, reason="the loss is not finite")
    decided(run, best=None, necks=(FOUND, CONTROL, OTHER))
    known = entries(run)
    (run / "confirm" / f"{known[FOUND].neck}-101").rename(run / "elsewhere")
    history = read_history(run / "history.jsonl")
    assert list(end_to_end(run, history)) == [known[CONTROL].neck]
    assert end_to_end(run, read_history(run / "none")) == {}


def export(run: Path, to: Path) -> None:
    for _ in export_from_run(run, FOUND, to):
        pass


def test_an_own_backbone_goes_along(run: Path, tmp_path: Path) -> None:
    decided(run, best=FOUND)
    folder = run / "confirm" / f"{entries(run)[FOUND].neck}-101"
    (folder / "backbone.py").write_text("def build(): ...")
    export(run, tmp_path / "to")
    assert (tmp_path / "to" / "detector" / "backbone.py").read_text() == "def build(): ..."


LINKED = ("detector.py", "config.json", "backbone.py", "neck", "neck/README.md", "neck/more.txt",
          "neck/config.json", "neck/features.safetensors", ".")  # fmt: skip


@pytest.mark.parametrize("name", LINKED)
def test_a_link_in_a_training_copies_no_private_file(run: Path, tmp_path: Path, name: str) -> None:
    decided(run, best=FOUND)
    training = run / "confirm" / f"{entries(run)[FOUND].neck}-101"
    private = tmp_path / "private"
    private.mkdir()
    path = training / name
    target = private / path.name
    if path.exists():
        path.rename(target)
    else:
        target.write_text("the secret")
    path.symlink_to(target)
    with pytest.raises(RunError, match="leads out of the run's folder"):
        export(run, tmp_path / "to")
    there = [one for one in (tmp_path / "to").rglob("*") if one.is_file()]
    assert not any(b"the secret" in one.read_bytes() for one in there)
