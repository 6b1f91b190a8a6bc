"""The loop of confirm, with trainings that take no time: what is trained, resumed and concluded."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nas_fpn.detect import Detections
from nas_fpn.detect.coco import read_coco
from nas_fpn.errors import RunError
from nas_fpn.language import identity, parse
from nas_fpn.record import History, Report, read_history
from nas_fpn.report import confirmed_said
from nas_fpn.run import Confirmed, Run, confirm_run, explain_run, read_run
from nas_fpn.run.contest import candidates
from nas_fpn.run.prepare import Step
from nas_fpn.run.train import TrainJob
from nas_fpn.training import write_detections
from tests.report.test_confirmed import event


@dataclass
class Trains:
    """In place of a training: a score by neck and place of the seed, and detections of nothing.

    The neck found scores ``gain`` more, and by turns ``wobble`` more and less; one that is neither
    it nor ``searched``, a baseline at its cost, ``resized`` more. Training number ``interrupted``
    ends as Ctrl-C ends it, the one of the neck found and ``diverges`` diverges.
    """

    found: str
    gain: float = 0.0
    searched: tuple[str, ...] = ()
    resized: float = 0.0
    wobble: float = 0.001
    interrupted: int | None = None
    diverges: int | None = None
    done: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, job: TrainJob) -> Iterator[Step | Report]:
        if len(self.done) == self.interrupted:
            raise KeyboardInterrupt
        neck, place = identity(parse(job.neck)), job.seed - 101
        is_found = neck == self.found
        self.done.append((neck, job.seed))
        if is_found and job.seed == self.diverges:
            raise FloatingPointError("the loss is not finite at step 1")
        yield Step("training", 1, 2)
        turn = self.wobble if place % 2 else -self.wobble
        score = 0.3 + 0.01 * place + is_found * (self.gain + turn)
        if not is_found and neck not in self.searched:
            score += self.resized
        job.folder.mkdir(parents=True, exist_ok=True)
        assert job.data.test is not None and job.data.images is not None
        test, _ = read_coco(job.data.test, job.data.images)
        write_detections(
            job.folder / "detections-test.safetensors",
            Detections(
                torch.zeros(0, dtype=torch.int64),
                torch.zeros(0, 4),
                torch.zeros(0),
                torch.zeros(0, dtype=torch.int64),
            ),
            categories=test.categories,
            split=job.split,
        )
        yield Report(2, {"ap": score}, 1.0)


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A finished search of the test's own."""
    return Path(shutil.copytree(searched, tmp_path / "mine"))


def history(run: Path) -> History:
    return read_history(run / "history.jsonl")


def found(run: Path) -> str:
    (neck,) = (one.neck for one in history(run).entries if one.source == "controller")
    return neck


def confirmed(run: Path, train: Trains) -> Any:
    """The verdict, which is the last thing said."""
    *_, last = confirm_run(read_run(run), train=train)
    assert isinstance(last, Confirmed)
    return last.line


def events(run: Path, name: str) -> list[Any]:
    return [event for event in history(run).events if event["event"] == name]


def test_a_neck_that_is_better_is_said_to_be_better(run: Path) -> None:
    train = Trains(found(run), gain=0.2)
    verdict = confirmed(run, train)
    (pair,) = verdict["pairs"]
    assert (pair["outcome"], pair["seeds"]) == ("better", 3), "and no seed more is spent on it"
    assert pair["difference"] == pytest.approx(0.2 - 0.001 / 3)
    assert verdict["best"] == pair["found"] == found(run)
    assert verdict["keep"] == pair["control"]
    assert verdict["ended"] == "decided"


def test_a_neck_that_is_equal_is_not_said_to_be_better(run: Path) -> None:
    verdict = confirmed(run, Trains(found(run), wobble=0.02))
    (pair,) = verdict["pairs"]
    assert pair["outcome"] == "not shown"
    assert verdict["best"] is None
    assert verdict["keep"] == pair["control"]
    assert pair["detectable"] > 0.02


def test_all_necks_are_trained_with_the_same_seeds_once(run: Path) -> None:
    train = Trains(found(run), gain=0.2)
    verdict = confirmed(run, train)
    assert len(train.done) == len(set(train.done))
    seeds = [one["seeds"] for one in verdict["necks"]]
    assert seeds == [[101, 102, 103], [101, 102, 103]]
    assert {one["neck"] for one in verdict["necks"]} == {neck for neck, _ in train.done}


def test_the_contest_the_trainings_and_the_verdict_are_on_record(run: Path) -> None:
    before = (run / "history.jsonl").read_text()
    verdict = confirmed(run, Trains(found(run), gain=0.2))
    after = (run / "history.jsonl").read_text()
    assert after.startswith(before)
    added = [json.loads(line) for line in after.removeprefix(before).splitlines()]
    assert [one["event"] for one in added] == ["confirm", *["training"] * 6, "verdict"]
    assert added[-1] == verdict
    assert (verdict["where"], verdict["split"]) == ("end to end", "test")
    assert added[0]["of"] == verdict["of"]


def test_the_same_again_trains_nothing_and_adds_no_line(run: Path) -> None:
    verdict = confirmed(run, Trains(found(run), gain=0.2))
    before = (run / "history.jsonl").read_bytes()
    again = Trains(found(run), gain=0.9)
    assert confirmed(run, again) == verdict
    assert again.done == []
    assert (run / "history.jsonl").read_bytes() == before


def test_an_interrupted_comparison_goes_on_to_the_same_verdict(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    whole = confirmed(other, Trains(found(run), gain=0.2))
    first = Trains(found(run), gain=0.2, interrupted=3)
    with pytest.raises(KeyboardInterrupt):
        confirmed(run, first)
    assert events(run, "verdict") == []
    second = Trains(found(run), gain=0.2)
    verdict = confirmed(run, second)
    assert (len(first.done), len(second.done)) == (3, 3)
    assert not set(first.done) & set(second.done)
    # what a machine measures anew is not compared
    assert verdict["pairs"] == whole["pairs"]


def test_a_training_that_diverged_counts_as_0_and_is_not_repeated(run: Path) -> None:
    train = Trains(found(run), gain=0.2, diverges=101)
    verdict = confirmed(run, train)
    (mine,) = (one for one in verdict["necks"] if one["neck"] == found(run))
    assert mine["diverged"] == 1
    assert mine["scores"]["ap"][0] is None
    assert verdict["pairs"][0]["outcome"] != "better"
    assert train.done.count((found(run), 101)) == 1


def test_minutes_end_it_without_a_decision(run: Path) -> None:
    """After the first training another would end too late; the verdict says so."""
    toml = run / "run.toml"
    toml.write_text(toml.read_text() + "minutes = 0.01\n")  # 0.6 s; each is said to take 1 s
    train = Trains(found(run), gain=0.2)
    verdict = confirmed(run, train)
    assert len(train.done) <= 1
    assert verdict["ended"] == "budget"
    assert verdict["best"] is None


def test_a_run_that_was_not_searched_has_nothing_to_confirm(tmp_path: Path, small: str) -> None:
    (tmp_path / "run.toml").write_text(small)
    with pytest.raises(RunError) as caught:
        confirmed(tmp_path, Trains(""))
    path = tmp_path / "history.jsonl"
    assert str(caught.value) == f"{path}: no such file\nsearch first: nas-fpn search {tmp_path}"


@pytest.mark.parametrize("verb", [confirm_run, explain_run])
def test_an_objective_that_test_cannot_measure_is_refused_before_a_training(
    run: Path, verb: Callable[[Run], Iterator[object]]
) -> None:
    """As where val has objects of a size and test has none, and the search checks nothing."""
    toml, path = run / "run.toml", run / "history.jsonl"
    toml.write_text(f'objective = "ap_large"\n{toml.read_text()}')
    path.write_text(path.read_text().replace('"scores": {"', '"scores": {"ap_large": 0.1, "'))
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"^objective: test has no object to measure ap_large on; "):
        list(verb(read_run(run)))
    assert path.read_bytes() == before


def test_another_comparison_on_the_same_test_set_is_counted(run: Path) -> None:
    """Its verdict stands on record with another ``of``; of this one nothing is trained yet."""
    other = event("worse", -0.01, 0.004)
    other["necks"] = [{**one, "trial": 0} for one in other["necks"]]
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps(other) + "\n")
    toml = run / "run.toml"
    toml.write_text(toml.read_text() + "minutes = 0.0001\n")
    verdict = confirmed(run, Trains(found(run)))
    assert verdict["earlier"] == 1
    assert "\nThis is comparison 2 on this test set; 5 %" in confirmed_said(verdict)


def only(run: Path, *, baselines: bool) -> History:
    """The record as it would be with the baselines alone, or without any."""
    whole = history(run)
    left = tuple(one for one in whole.entries if one.is_baseline == baselines)
    return replace(whole, entries=left)


def at_equal_cost(run: Path) -> tuple[str, ...]:
    """The run asks for both controls now; the ids of its baselines as searched."""
    toml = run / "run.toml"
    toml.write_text(toml.read_text().replace('equal_cost = "none"', 'equal_cost = "gmacs"'))
    return tuple(one.neck for one in history(run).entries if one.is_baseline)


def test_a_baseline_is_to_be_beaten_as_it_was_and_at_equal_cost(run: Path) -> None:
    train = Trains(found(run), gain=0.2, searched=at_equal_cost(run), resized=0.05)
    verdict = confirmed(run, train)
    first, second = verdict["pairs"]
    mine, control, resized = verdict["necks"]
    assert (first["control"], second["control"]) == (control["neck"], resized["neck"])
    assert control["neck"] in train.searched and control["was"] is None
    assert resized["was"] == {"width": control["width"], "repeats": control["repeats"]}
    assert resized["width"] != control["width"] and resized["trial"] == control["trial"]
    apart = [abs(one["cost"]["gmacs"] - mine["cost"]["gmacs"]) for one in (control, resized)]
    assert apart[1] < apart[0]
    assert [pair["outcome"] for pair in verdict["pairs"]] == ["better", "better"]
    assert first["difference"] - second["difference"] == pytest.approx(0.05)
    assert verdict["best"] == found(run)
    assert len(train.done) == 9


def test_what_its_size_alone_explains_is_no_win(run: Path) -> None:
    train = Trains(found(run), gain=0.2, searched=at_equal_cost(run), resized=0.2)
    verdict = confirmed(run, train)
    assert [pair["outcome"] for pair in verdict["pairs"]] == ["better", "not shown"]
    assert verdict["best"] is None
    assert verdict["keep"] == verdict["pairs"][1]["control"], "the better of the two"


def test_what_does_not_beat_the_baseline_as_it_was_needs_no_other(run: Path) -> None:
    train = Trains(found(run), gain=-0.1, searched=at_equal_cost(run))
    verdict = confirmed(run, train)
    first, second = verdict["pairs"]
    assert (first["outcome"], second["outcome"]) == ("worse", "not reached")
    assert second["difference"] is None and second["seeds"] == 0
    assert len(train.done) == 6, "the baseline at equal cost is not trained"


@pytest.mark.slow
def test_an_interrupt_between_the_two_controls_changes_nothing(run: Path, tmp_path: Path) -> None:
    given = {"gain": 0.2, "searched": at_equal_cost(run), "resized": 0.05}
    other = Path(shutil.copytree(run, tmp_path / "other"))
    whole = confirmed(other, Trains(found(run), **given))
    with pytest.raises(KeyboardInterrupt):
        confirmed(run, Trains(found(run), **given, interrupted=7))
    again = Trains(found(run), **given)
    verdict = confirmed(run, again)
    assert len(again.done) == 2
    assert verdict["pairs"] == whole["pairs"]


@pytest.mark.slow
def test_other_processes_give_the_same_verdict(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    whole = confirmed(other, Trains(found(run), gain=0.2))
    toml = run / "run.toml"
    toml.write_text(toml.read_text().replace("[confirm]", "[confirm]\nworkers = 2"))
    verdict = confirmed(run, Trains(found(run), gain=0.2))
    assert verdict["pairs"] == whole["pairs"] and verdict["best"] == whole["best"]
    done = [(one["neck"], one["seed"]) for one in events(run, "training")]
    assert len(done) == len(set(done)) == 6


def test_without_a_neck_found_there_is_nothing_to_confirm(run: Path) -> None:
    with pytest.raises(RunError) as caught:
        candidates(only(run, baselines=True), ["ap"])
    assert str(caught.value) == (
        "no neck found is complete: there is nothing to confirm\nsearch on first"
    )


def test_without_a_baseline_there_is_nothing_to_compare_with(run: Path) -> None:
    with pytest.raises(RunError) as caught:
        candidates(only(run, baselines=False), ["ap"])
    assert str(caught.value) == (
        "no baseline is complete: there is nothing to compare with\n"
        "name some in run.toml, baselines = [...], and search on"
    )
