"""A run sent, placed and found again: the same question there, one record, one job at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas_fpn.errors import RunError
from nas_fpn.folder import Submitted, continued, read_submitted, write_submitted
from nas_fpn.run import read_run
from nas_fpn.run.submit import Asked, Placed, place, submit_run
from nas_fpn.search.launch import Jobs, connect
from tests.run.fake_jobs import FakeCluster

GOLDEN = Path(__file__).parents[1] / "golden" / "submit"
ADDRESS = "http://head:8265"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "home"
    (project / "runs").mkdir(parents=True)
    (project / "mine.py").write_text("a = 1")
    (project / "runs/run.toml").write_text('controller = "../mine.py"\n[ray]\nworkers = 3')
    return project / "runs"


class Sent:
    """A cluster whose jobs only place their run."""

    def __init__(self, folder: Path) -> None:
        self.placed: list[Placed] = []
        self.cluster = FakeCluster(folder / "jobs", work=self.work)
        self.asked = Asked(storage=str(folder / "storage"), program=False)
        self.change: Callable[[Path], object] = lambda here: None

    def work(self, here: Path) -> str:
        self.change(here)
        self.placed.append(place(here))
        return "placed\n"

    def jobs(self, address: str = ADDRESS) -> Jobs:
        return connect(address, client=self.cluster.client)

    def submit(self, folder: Path) -> Submitted:
        return submit_run(read_run(folder), self.jobs(), self.asked)[0]

    def fault(self, folder: Path) -> str:
        """What the log of a job ends with that failed."""
        job = self.submit(folder).job
        seen = self.jobs().look(job)
        assert seen is not None
        assert seen.state == "FAILED"
        return self.jobs().log(job).partition("job_manager\n")[2]


@pytest.fixture
def there(tmp_path: Path) -> Sent:
    return Sent(tmp_path)


def test_the_run_there_asks_the_question_of_the_run_here(folder: Path, there: Sent) -> None:
    submitted = there.submit(folder)
    (placed,) = there.placed
    assert read_run(placed.folder).settings == read_run(folder).settings
    assert (placed.folder / "../mine.py").read_text() == "a = 1"
    assert Path(submitted.folder) == placed.folder
    assert read_submitted(folder) == submitted


def test_what_is_asked_travels_along(folder: Path, there: Sent) -> None:
    asked = Asked(
        storage=there.asked.storage,
        workers=60,
        trials="+5",
        minutes="90",
        confirm=True,
        gpus=1,
        program=False,
    )
    submit_run(read_run(folder), there.jobs(), asked)
    (placed,) = there.placed
    assert (placed.workers, placed.trials, placed.minutes) == (60, "+5", "90")
    assert placed.confirm
    assert there.cluster.submitted[0]["gpus"] == 1


def test_the_next_job_goes_on_where_the_last_one_stood(folder: Path, there: Sent) -> None:
    there.submit(folder)
    record = there.placed[0].folder / "history.jsonl"
    record.write_text("1\n2\n")
    (folder / "run.toml").write_text('controller = "../mine.py"\nseed = 5')
    (folder / "history.jsonl").write_text("1\n")
    there.asked = Asked(program=False)  # its storage is known
    there.submit(folder)
    one, two = there.placed
    assert one.folder == two.folder
    assert read_run(two.folder).settings.seed == 5
    assert record.read_text() == "1\n2\n"


def test_a_record_that_is_longer_here_goes_on_there(folder: Path, there: Sent) -> None:
    there.submit(folder)
    record = there.placed[0].folder / "history.jsonl"
    record.write_text("1\n{torn")
    (folder / "history.jsonl").write_text("1\n2\n")
    there.submit(folder)
    assert record.read_text() == "1\n2\n"


def test_another_cluster_begins_anew_with_the_record_of_here(folder: Path, there: Sent) -> None:
    one = there.submit(folder)
    (folder / "history.jsonl").write_text("1\n")
    two, _, _ = submit_run(read_run(folder), there.jobs("http://other:8265"), there.asked)
    assert one.key != two.key
    assert (there.placed[1].folder / "history.jsonl").read_text() == "1\n"


def test_records_that_are_not_of_one_search_are_refused(folder: Path, there: Sent) -> None:
    there.submit(folder)
    (there.placed[0].folder / "history.jsonl").write_text("1\n3\n")
    (folder / "history.jsonl").write_text("1\n2\n")
    message = f"{there.fault(folder)}\n".replace(str(there.placed[0].folder), "FOLDER")
    assert message == (GOLDEN / "apart.txt").read_text(encoding="utf-8")


def test_one_job_at_a_time(folder: Path, there: Sent) -> None:
    there.cluster.running = True
    there.submit(folder)
    with pytest.raises(RunError) as error:
        there.submit(folder)
    message = f"{error.value}\n".replace(str(folder), "RUN")
    assert message == (GOLDEN / "running.txt").read_text(encoding="utf-8")
    there.jobs().stop(read_submitted(folder).job)
    there.cluster.running = False
    there.submit(folder)


def test_what_arrives_damaged_is_not_placed(folder: Path, there: Sent) -> None:
    there.change = lambda here: (here / "inputs/mine.py").write_text("a = 2")
    assert "inputs/mine.py: arrived damaged on the cluster" in there.fault(folder)


def test_a_name_that_leads_out_of_the_storage_is_refused(folder: Path, there: Sent) -> None:
    def change(here: Path) -> None:
        manifest = json.loads((here / "job.json").read_text())
        manifest["files"] = {"../mine.py": manifest["files"]["inputs/mine.py"]}
        (here / "job.json").write_text(json.dumps(manifest))
        (here.parent / "mine.py").write_text("a = 1")

    there.change = change
    assert "leads out of the run's folder" in there.fault(folder)


def test_a_storage_that_is_no_place_is_refused(folder: Path, there: Sent) -> None:
    there.asked = Asked(storage="runs", program=False)
    assert "should be a folder of the cluster" in there.fault(folder)


@pytest.mark.parametrize(
    ("one", "two", "which"),
    [
        (b"", b"1\n", "second"),
        (b"1\n2\n", b"1\n", "first"),
        (b"1\n2", b"1\n{", "same"),
        (b"1\n", b"2\n", "apart"),
    ],
)
def test_of_two_records_one_goes_on_from_the_other(one: bytes, two: bytes, which: str) -> None:
    other = {"first": "second", "second": "first"}.get(which, which)
    assert (continued(one, two), continued(two, one)) == (which, other)


@pytest.mark.parametrize(
    "told",
    [{}, [], {"version": 2}, {"version": 1, "address": 3}, {"version": 1, "known": {"a": 1}}],
)
def test_a_wrong_file_is_a_message(tmp_path: Path, told: Any) -> None:
    (tmp_path / "submitted.json").write_text(json.dumps(told))
    with pytest.raises(RunError, match="delete it, and submit the run again"):
        read_submitted(tmp_path)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="was not submitted from here"):
        read_submitted(tmp_path)
    submitted = Submitted(ADDRESS, "j", "k", "~/x", "~/x/k", "now", {"best/neck.py": "0" * 64})
    write_submitted(tmp_path, submitted)
    assert read_submitted(tmp_path) == submitted
