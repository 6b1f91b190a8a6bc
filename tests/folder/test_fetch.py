"""Answers come home whole or not at all, and replace nothing that is newer or was changed here."""

import re
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.folder import Submitted, fetch_run, read_submitted, write_submitted
from nas_fpn.folder.send import MARK
from nas_fpn.lock import Lock
from nas_fpn.search.launch import connect
from tests.run.fake_jobs import FakeCluster

ADDRESS = "http://head:8265"


class Two:
    """A run here, and where it stands on a cluster whose jobs are processes."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = folder / "here", folder / "there"
        self.here.mkdir()
        self.there.mkdir()
        self.cluster = FakeCluster(folder / "jobs")
        write_submitted(
            self.here, Submitted(ADDRESS, "job", "key", str(folder), str(self.there), "now")
        )
        for name, content in {
            "history.jsonl": b"1\n2\n",
            "code/mine-abc.py": b"a = 1\n",
            "best/neck.py": b"import torch\n",
            "best/model.safetensors": bytes(range(256)) * 3000,
            "best/detector/config.json": b"{}",
            "confirm/aa-0/metrics.json": b"{}",
            "confirm/aa-0/model.safetensors": b"weights",
            "confirm/aa-0/log.jsonl.part": b"half",
            "bank/features.safetensors": b"large",
            "run.toml": b"",
        }.items():
            self.write(name, content)

    def write(self, name: str, content: bytes) -> None:
        path = self.there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def fetch(self, **how: object) -> dict[str, str]:
        jobs = connect(ADDRESS, client=self.cluster.client)
        steps = fetch_run(self.here, read_submitted(self.here), jobs, wait=lambda _: None, **how)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return {one.name: one.what for one in end.value}


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


ANSWERS = {
    "history.jsonl",
    "code/mine-abc.py",
    "best/neck.py",
    "best/model.safetensors",
    "best/detector/config.json",
    "confirm/aa-0/metrics.json",
}


@pytest.mark.parametrize("at_once", [1 << 24, 300_000])
def test_answers_come_home_byte_for_byte(two: Two, at_once: int) -> None:
    assert two.fetch(at_once=at_once) == dict.fromkeys(ANSWERS, "new")
    assert len(two.cluster.jobs) == (1 if at_once > 1 << 20 else 3)
    for name in ANSWERS:
        assert (two.here / name).read_bytes() == (two.there / name).read_bytes()
    there = {p.relative_to(two.here).as_posix() for p in two.here.rglob("*") if p.is_file()}
    assert there == {*ANSWERS, "submitted.json"}
    assert two.fetch() == dict.fromkeys(ANSWERS, "same")


def test_the_weights_of_all_trainings_come_where_asked_for(two: Two) -> None:
    assert set(two.fetch(whole=True)) == {*ANSWERS, "confirm/aa-0/model.safetensors"}


def test_what_came_from_there_is_updated_and_what_is_gone_goes(two: Two) -> None:
    two.fetch()
    two.write("history.jsonl", b"1\n2\n3\n")
    two.write("best/neck.py", b"import torch.nn\n")
    (two.there / "best/detector/config.json").unlink()
    told = two.fetch()
    assert told["history.jsonl"] == told["best/neck.py"] == "updated"
    assert told["best/detector/config.json"] == "removed"
    assert (two.here / "best/neck.py").read_text() == "import torch.nn\n"
    assert not (two.here / "best/detector/config.json").exists()


def test_what_was_changed_here_is_kept(two: Two) -> None:
    two.fetch()
    (two.here / "best/neck.py").write_text("mine")
    two.write("best/neck.py", b"theirs")
    for _ in range(2):
        assert two.fetch()["best/neck.py"] == "kept"
        assert (two.here / "best/neck.py").read_text() == "mine"


@pytest.mark.parametrize("record", [b"1\n2\n3\n", b"1\n9\n"])
def test_a_record_is_never_cut_short_nor_replaced_by_another(two: Two, record: bytes) -> None:
    (two.here / "history.jsonl").write_bytes(record)
    assert two.fetch()["history.jsonl"] == "kept"
    assert (two.here / "history.jsonl").read_bytes() == record


def test_of_a_job_that_goes_on_whole_lines_come_and_nothing_else(two: Two) -> None:
    two.write("history.jsonl", b'1\n2\n{"half')
    assert two.fetch(running=True) == {"history.jsonl": "new", "code/mine-abc.py": "new"}
    assert (two.here / "history.jsonl").read_bytes() == b"1\n2\n"


@pytest.mark.parametrize("kind", ["flipped", "lost", "junk"])
def test_what_arrives_damaged_changes_nothing(two: Two, kind: str) -> None:
    (two.here / "history.jsonl").write_bytes(b"1\n")

    def damage(log: str) -> str:
        rows = log.splitlines()
        last = max(i for i, row in enumerate(rows) if row.startswith(MARK))
        if kind == "lost":
            del rows[last]
        elif kind == "junk":
            rows[last] = f"{MARK}&&&"
        else:
            rows[last] = re.sub("[a-z]", "A", rows[last][: len(MARK) + 30]) + rows[last][45:]
        return "\n".join(rows)

    two.cluster.damage = damage
    with pytest.raises(RunError, match="damaged"):
        two.fetch()
    assert (two.here / "history.jsonl").read_bytes() == b"1\n"
    assert not (two.here / "best").exists()


def test_a_cluster_that_names_other_files_is_refused(two: Two) -> None:
    for name in ("../evil.py", "run.toml", "best/../../evil.py"):
        two.cluster.damage = lambda log, name=name: log.replace("best/neck.py", name)
        with pytest.raises(RunError, match=r"no answer of a run|leads out of"):
            two.fetch()
    assert not (two.here.parent / "evil.py").exists()
    assert not (two.here / "run.toml").exists()


def test_a_run_that_is_not_there_is_a_message(two: Two) -> None:
    two.there.rename(two.there.with_name("elsewhere"))
    with pytest.raises(RunError, match="no such folder on "):
        two.fetch()


def test_a_search_here_is_not_disturbed(two: Two) -> None:
    with Lock(two.here / "history.lock"), pytest.raises(RunError, match="is searching this run"):
        two.fetch()
    assert not (two.here / "history.jsonl").exists()
