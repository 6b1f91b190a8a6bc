"""What a training is found by again: its hash, which is not of how its steps are launched."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from nas_fpn.language import find_neck, fit, read_neck
from nas_fpn.proxy.settings import ProxySettings
from nas_fpn.run import Run, read_run
from nas_fpn.run.trainer import Trainer, cached_bank, decisive
from nas_fpn.search import Due


@pytest.fixture
def run(searched: Path) -> Run:
    return read_run(searched)


def launched(run: Run, checkpoints: Path, *, graphs: bool) -> Trainer:
    (bank,) = (run.folder / "bank").glob("bank-*.safetensors")
    settings = run.settings.proxy.model_copy(update={"graphs": graphs})
    return Trainer(bank, settings, run.settings.seed, rungs=(1,), checkpoints=checkpoints)


def test_all_but_how_a_step_is_launched_decides_a_score() -> None:
    settings = ProxySettings()
    assert {*decisive(settings), "graphs"} == set(ProxySettings.model_fields)
    assert decisive(settings) == decisive(settings.model_copy(update={"graphs": False}))
    changed = settings.model_copy(update={"steps": settings.steps + 1})
    assert decisive(settings) != decisive(changed)


def test_a_paused_training_goes_on_however_it_is_launched(run: Run, tmp_path: Path) -> None:
    neck = str(fit(read_neck(find_neck("fpn")), width=16, levels=(3, 4, 5)))
    due = Due(7, neck, pause=1)
    assert [report.steps for report in launched(run, tmp_path, graphs=True)(due)] == [1]
    goes_on = replace(due, begin=1, pause=None)
    for graphs in (True, False):
        there = launched(run, tmp_path, graphs=graphs)
        assert [report.steps for report in there(goes_on)] == [2], "not from its start"


def test_a_checkpoint_of_a_version_without_that_setting_is_known(run: Run, tmp_path: Path) -> None:
    trainer, due = launched(run, tmp_path, graphs=True), Due(7, "neck", pause=1)
    bank = cached_bank(trainer.bank)
    settings = trainer.settings.model_dump(mode="json")
    del settings["graphs"]
    before = json.dumps([due.text, settings, trainer.seed, bank.key, trainer.rungs])
    checkpoint = trainer._checkpoint(due, bank)
    assert checkpoint is not None
    assert checkpoint.of == sha256(before.encode()).hexdigest()
