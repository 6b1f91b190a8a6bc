"""The check on test where trainings diverge: they count as 0, and the search goes on to its end."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas_fpn.record import Record, read_history
from nas_fpn.report import checked_on_test
from nas_fpn.run import read_run
from nas_fpn.run.trainer import Trainer
from nas_fpn.run.verdict import Checked, check_on_test


@pytest.mark.parametrize(("rate", "diverged"), [(1e-3, 0), (math.inf, 2)])
def test_a_training_that_diverged_scores_0_and_is_counted(
    searched: Path, tmp_path: Path, rate: float, diverged: int
) -> None:
    folder = Path(shutil.copytree(searched, tmp_path / "mine"))
    whole = read_run(folder)
    confirm = whole.settings.confirm.model_copy(update={"seeds": 1})
    run = replace(whole, settings=whole.settings.model_copy(update={"confirm": confirm}))
    (bank,) = (folder / "bank").glob("bank-*.safetensors")
    proxy = run.settings.proxy.model_copy(update={"learning_rate": rate})
    trainer = Trainer(bank, proxy, run.settings.seed)
    with Record(folder / "history.jsonl") as record:
        history = record.history
        *_, last = check_on_test(run, record, history, history.entries, trainer)
    assert isinstance(last, Checked)
    assert last.line.get("diverged", 0) == diverged
    scores = [*last.line["scores"]["trial"], *last.line["scores"]["control"]]
    assert len(scores) == 2 and (not diverged or scores == [0.0, 0.0])
    said = checked_on_test(read_history(folder / "history.jsonl"))
    assert said is not None and ("Trainings that diverged: 2" in said) == bool(diverged)
