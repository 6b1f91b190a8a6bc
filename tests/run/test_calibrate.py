"""Calibrating a run: which necks, at which fidelities; a whole one that is killed and goes on."""

import json
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import numpy as np
import pytest

from nas_fpn.detect.dataset import Category, Dataset, Image
from nas_fpn.errors import RunError
from nas_fpn.language import SHIPPED, Architecture, find_neck, fit, lower, read_neck
from nas_fpn.proxy.bank import open_bank
from nas_fpn.proxy.settings import BackboneSettings, ProxySettings
from nas_fpn.record import History, read_history
from nas_fpn.report import last_calibrated, trust_said
from nas_fpn.run import calibrate_run, read_run, search_run
from nas_fpn.run.calibrate_plan import (
    Chosen,
    check_distinct,
    choose_necks,
    fidelities_of,
    in_order,
    scaled,
)
from nas_fpn.run.calibrate_settings import CalibrateSettings
from nas_fpn.run.calibrate_training import some_of
from nas_fpn.run.calibrate_work import banks_of, trainings_of
from nas_fpn.run.prepare import Prepared, prepare
from nas_fpn.run.question import Question, read_question
from nas_fpn.run.settings import Run
from nas_fpn.run.trainer import cached_bank
from nas_fpn.search import Noted
from tests.run.smallest import SMALL_BACKBONE, SMALL_DATA

GOLDEN = Path(__file__).parents[1] / "golden" / "run"
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TINY = (
    """
space = "quick"
controller = "random_search"
baselines = ["fpn", "none"]
[budget]
trials = 1
"""
    + SMALL_DATA
    + SMALL_BACKBONE
    + """
[proxy]
image_size = 64
steps = 3
batch_size = 4
views = 2
evaluations = 1
head_width = 16
[calibrate]
necks = 4
seeds = 2
fidelities = [{steps = 0.33}, {image_size = 1.5}, {width = 0.5}, {views = 1}]
[confirm]
seeds = 0
[detector]
head_depth = 0
[training]
batch_size = 2
[ray]
workers = 0
[report]
mirror = false
"""
)
Made = TypeVar("Made")
PLAIN = BackboneSettings()
BANK = SimpleNamespace(channels={3: 16, 4: 24, 5: 48}, image_size=128)


def run_of(folder: Path, text: str = TINY) -> Run:
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(text)
    return read_run(folder)


def ended(steps: Generator[object, None, Made]) -> Made:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def neck() -> Architecture:
    return fit(read_neck(find_neck("panet")), width=64, levels=(3, 4, 5))


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Question:
    return read_question(run_of(tmp_path_factory.mktemp("question")))


def test_necks_are_distinct_and_hold_baselines_and_extremes(question: Question) -> None:
    necks = choose_necks(question, BANK, CalibrateSettings(), seed=0)  # type: ignore[arg-type]
    assert len({one.neck for one in necks}) == len(necks) == 16
    whys = [one.why for one in necks]
    assert {"fpn", "none", "lightest", "heaviest", "of median cost", "random"} == set(whys)
    drawn = [one for one in necks if one.why not in ("fpn", "none")]
    assert min(drawn, key=lambda one: one.macs).why == "lightest"
    assert max(drawn, key=lambda one: one.macs).why == "heaviest"


def test_some_necks_are_not_told_apart_by_size(question: Question) -> None:
    necks = choose_necks(question, BANK, CalibrateSettings(), seed=0)  # type: ignore[arg-type]
    middle = [one.macs for one in necks if one.why == "of median cost"]
    assert len(middle) >= 4
    assert max(middle) <= 1.23 * min(middle)


def test_the_choice_of_necks_repeats(question: Question) -> None:
    settings = CalibrateSettings(necks=8)
    one, same, other = (
        choose_necks(question, BANK, settings, seed=seed)  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert len(one) == 8


def test_each_neck_is_trained_once_with_each_seed_and_a_few_first(question: Question) -> None:
    necks = choose_necks(question, BANK, CalibrateSettings(), seed=0)  # type: ignore[arg-type]
    order = list(in_order(necks, (0, 1)))
    assert len(set(order)) == len(order) == 32
    assert {seed for _, seed in order[:2]} == {0, 1}
    assert [seed for _, seed in order[8:]] == [0] * 12 + [1] * 12


def test_the_proxy_as_it_is_comes_first_and_each_fidelity_once() -> None:
    settings = CalibrateSettings(
        fidelities=({"steps": 0.5}, {"steps": 1}, {"steps": 0.501}, {"views": 4}, {"width": 0.5})
    )
    labels = [one.label for one in fidelities_of(ProxySettings(), PLAIN, settings)]
    assert labels == ["[proxy] as it is", "150 steps", "width × 0.5"]


def test_a_fidelity_changes_what_it_names_alone() -> None:
    proxy = ProxySettings(learning_rate=1e-3)
    asked = CalibrateSettings(fidelities=({"image_size": 0.7}, {"learning_rate": 0.4}))
    own, one, slower = fidelities_of(proxy, PLAIN, asked)
    assert (one.label, slower.label) == ("96 px", "rate 0.0004")
    changed = one.settings(proxy)
    assert changed == proxy.model_copy(update={"image_size": 96, "evaluations": 1})
    assert own.settings(proxy) == proxy.model_copy(update={"evaluations": 1})
    assert slower.settings(proxy).learning_rate == 0.0004
    assert own.backbone(PLAIN) == one.backbone(PLAIN) == slower.backbone(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("tuned", "asked", "labels"),
    [
        (0, {"tune_steps": 60}, ["tuned 60 steps in 2 folds"]),
        (0, {"tune_steps": 60, "tune_folds": 1}, ["tuned 60 steps, no folds"]),
        (60, {"tune_steps": 0}, ["not tuned"]),
        (60, {"tune_folds": 3}, ["tuned 60 steps in 3 folds"]),
        (60, {"tune_steps": 60}, []),
        (0, {"tune_folds": 3}, []),
    ],
)
def test_a_fidelity_may_tune_the_backbone_otherwise(
    tuned: int, asked: dict[str, float], labels: list[str]
) -> None:
    backbone = BackboneSettings(tune_steps=tuned)
    own, *others = fidelities_of(ProxySettings(), backbone, CalibrateSettings(fidelities=(asked,)))
    assert [one.label for one in others] == labels
    for one in others:
        assert one.bank != own.bank
        assert one.backbone(backbone) == backbone.model_copy(update=asked)


def test_banks_are_made_once_for_each_size_and_tuning(tmp_path: Path) -> None:
    text = TINY.replace(
        "fidelities = [{steps = 0.33}, {image_size = 1.5}, {width = 0.5}, {views = 1}]",
        "fidelities = [{image_size = 1.5}, {steps = 2}, {tune_steps = 2}, "
        "{tune_steps = 2, learning_rate = 0.4}]",
    )
    run = run_of(tmp_path / "mine", text)
    question = read_question(run)
    fidelities = fidelities_of(run.settings.proxy, run.backbone, run.settings.calibrate)
    prepared = ended(prepare(run, question.levels, warmup_neck=question.warmup_neck))
    banks = ended(banks_of(run, question, prepared=prepared, fidelities=fidelities))
    assert banks.keys() == {one.bank for one in fidelities}
    assert len(set(banks.values())) == len(banks) == 3
    assert banks[fidelities[0].bank] == prepared.bank
    for one in fidelities:
        assert open_bank(banks[one.bank]).image_size == one.image_size


def test_a_reference_on_fewer_images_has_some_of_the_same() -> None:
    sizes = [Image(place, Path(f"{place}.jpg"), 8, 8) for place in range(9)]
    boxes = tuple(np.full((1, 4), place, dtype=np.float32) for place in range(9))
    none, one = (tuple(np.zeros(n, dtype=np.int64) for _ in sizes) for n in (0, 1))
    data = Dataset(tuple(sizes), (Category(1, "x"),), boxes, one, none, none)
    assert some_of(data, 9, seed=0) is data
    some = some_of(data, 4, seed=0)
    places = [image.id for image in some.images]
    assert len(places) == 4 and places == sorted(places)
    assert [int(box[0, 0]) for box in some.boxes] == places
    assert some_of(data, 4, seed=0).images == some.images != some_of(data, 4, seed=1).images


def test_a_neck_at_half_its_width_is_the_same_neck() -> None:
    half = scaled(neck(), 0.5)
    assert half is not None
    assert half.width == 32
    assert lower(half).outputs == lower(neck()).outputs
    assert scaled(neck(), 1.0) == neck()


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ("alike_own", ({"width": 0.95},)),
        ("alike", ({"width": 0.55}, {"steps": 0.5}, {"width": 0.5})),
    ],
)
def test_two_fidelities_that_are_one_training_are_refused(
    form: str, asked: tuple[dict[str, float], ...]
) -> None:
    chosen = Chosen(neck="a1b2c3d4", why="fpn", text=str(neck()), params=1, macs=1)
    fidelities = fidelities_of(ProxySettings(), PLAIN, CalibrateSettings(fidelities=asked))
    with pytest.raises(RunError) as fault:
        check_distinct([chosen], fidelities, SHIPPED)
    assert f"{fault.value}\n" == (GOLDEN / f"calibrate_{form}.txt").read_text(encoding="utf-8")
    check_distinct([chosen], fidelities[:-1] if len(asked) > 1 else fidelities[:1], SHIPPED)


def test_the_hash_of_a_training_takes_what_own_words_say(searched: Path, tmp_path: Path) -> None:
    """An edited file is another training, the same words in another file are not."""
    (bank,) = (searched / "bank").glob("bank-*.safetensors")
    text = TINY.replace('space = "quick"', 'space = "quick"\nwords = ["FILE"]')
    words = (EXAMPLES / "words.py").read_text()

    def hashes(folder: str, name: str, content: str) -> list[str]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
        run = run_of(tmp_path / folder, text.replace("FILE", name))
        question = read_question(run)
        necks = choose_necks(question, cached_bank(bank), run.settings.calibrate, seed=0)
        fidelities = fidelities_of(run.settings.proxy, run.backbone, CalibrateSettings())[:1]
        work = trainings_of(
            run,
            question,
            prepared=Prepared(bank, ()),
            necks=necks[:1],
            fidelities=fidelities,
            banks={fidelities[0].bank: bank},
        )
        return list(work)

    one = hashes("one", "mine.py", words)
    assert hashes("same", "other.py", words) == one
    assert not set(hashes("edited", "mine.py", f"{words}\n# edited")) & set(one)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("unknown", "fidelities = [{depth = 0.5}]"),
        ("out_of_range", "fidelities = [{views = 9}]"),
        ("empty", "fidelities = [{}]"),
        ("few_necks", "necks = 3"),
    ],
)
def test_wrong_settings(tmp_path: Path, form: str, line: str) -> None:
    with pytest.raises(RunError) as fault:
        run_of(tmp_path, f"[calibrate]\n{line}\n")
    said = str(fault.value).replace(str(tmp_path), "runs/mine")
    assert f"{said}\n" == (GOLDEN / f"calibrate_{form}.txt").read_text(encoding="utf-8")


def noted(run: Run, minutes: float | None = None) -> list[str]:
    return [one.text for one in calibrate_run(run, minutes=minutes) if isinstance(one, Noted)]


@pytest.mark.slow
def test_a_whole_calibration_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    run = run_of(tmp_path / "mine")
    whole = 4 * 2 * 6  # necks, seeds, the reference and five fidelities
    assert noted(run, minutes=0) == [
        f"{whole} trainings, 0 of them on file"
    ]  # no time, no training
    result = json.loads((run.folder / "calibration.json").read_text())
    assert (result["done"], result["wanted"]) == (0, whole)

    events = calibrate_run(run)
    said = []
    while len(said) < 3:
        if isinstance(event := next(events), Noted):
            said.append(event.text)
    events.close()  # killed after its second training
    log = run.folder / "calibration.jsonl"
    with log.open("a") as file:
        file.write('{"of": "torn')
    assert said[2].startswith(f"2/{whole}")

    later = noted(run)
    assert later[0] == f"{whole} trainings, 2 of them on file"
    assert len(later) == whole - 1
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len({row["of"] for row in rows}) == len(rows) == whole
    on_file = [f"{whole} trainings, {whole} of them on file"]
    assert noted(run) == on_file
    text = (run.folder / "run.toml").read_text()
    assert noted(run_of(run.folder, text.replace("[proxy]", "[proxy]\ngraphs = false"))) == on_file
    run = run_of(run.folder, text)

    for _ in search_run(run):
        pass
    history = read_history(run.folder / "history.jsonl")
    found = last_calibrated(history)
    assert found == json.loads((run.folder / "calibration.json").read_text())
    assert found is not None
    assert found["done"] == whole
    said_later = trust_said(history)
    assert said_later is not None
    assert said_later.startswith("Trust: the proxy ranks necks")
    assert sum(event["event"] == "calibrated" for event in history.events) == 1

    fewer = run_of(run.folder, TINY.replace("[calibrate]", "[calibrate]\nreference_images = 4"))
    assert noted(fewer)[0] == f"{whole} trainings, {whole - 4 * 2} of them on file"


@pytest.mark.slow
def test_a_calibration_after_the_search_comes_onto_its_record(tmp_path: Path) -> None:
    text = TINY.replace("{steps = 0.33}, {image_size = 1.5}, {width = 0.5}, {views = 1}", "")
    run = run_of(tmp_path / "mine", text)
    for _ in search_run(run):
        pass
    assert trust_said(read_history(run.folder / "history.jsonl")) is None
    noted(run)
    history: History = read_history(run.folder / "history.jsonl")
    assert last_calibrated(history) is not None
    for _ in search_run(run):  # resumes, although the settings of [calibrate] are not on record
        pass
