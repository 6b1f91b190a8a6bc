"""The folder of a training end to end: who has it, and where it lies when another takes it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nas_fpn.record import Report
from nas_fpn.run.trainings import Training, training_folder

NAME = "confirm/a1b2c3d4-101"


def train(run: Path, of: str) -> None:
    """Train what ``of`` stands for: all such trainings are of one neck and one seed."""

    def trains(job: Any) -> Iterator[Report]:
        job.folder.mkdir(exist_ok=True)
        (job.folder / "detections-test.safetensors").write_text(of)
        yield Report(2, {"ap": 0.1}, 1.0)

    job: Any = SimpleNamespace(folder=run / NAME, split="test")
    for _ in Training(job, "a1b2c3d4", of, trains)():
        pass


def lies(run: Path, of: str) -> tuple[str, str] | None:
    folder = training_folder(run, {"of": of, "folder": NAME})
    if folder is None:
        return None
    return folder.name, (folder / "detections-test.safetensors").read_text()


def test_trainings_of_earlier_settings_are_found_where_later_ones_put_them(tmp_path: Path) -> None:
    for of in ("first", "second", "third"):
        train(tmp_path, of)
        assert lies(tmp_path, of) == ("a1b2c3d4-101", of)
    assert lies(tmp_path, "first") == ("a1b2c3d4-101.before-1", "first")
    assert lies(tmp_path, "second") == ("a1b2c3d4-101.before-2", "second")
    assert lies(tmp_path, "another") is None


def test_a_folder_that_nobody_has_claimed_is_that_of_the_record(tmp_path: Path) -> None:
    train(tmp_path, "first")
    (tmp_path / f"{NAME}.json").unlink()
    assert lies(tmp_path, "another") == ("a1b2c3d4-101", "first")
