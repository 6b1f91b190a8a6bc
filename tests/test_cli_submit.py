"""``nas-fpn submit``, ``status``, ``stop``, ``fetch`` as a user meets them, on a fake of Ray."""

import json
from pathlib import Path

import pytest

from nas_fpn.cli import main
from nas_fpn.run.submit import place
from nas_fpn.search import launch
from tests.run.fake_jobs import FakeCluster

ADDRESS = "http://head:8265"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster whose search leaves a record and a neck at once."""

    def work(here: Path) -> str:
        folder = place(here).folder
        (folder / "history.jsonl").write_text("1\n2\n")
        (folder / "best").mkdir(exist_ok=True)
        (folder / "best/neck.py").write_text("import torch\n")
        return "searching\n\x1b[31mdone\n"

    fake, connect = FakeCluster(tmp_path / "jobs", work=work), launch.connect
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(launch, "connect", lambda address: connect(address, client=fake.client))
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "run.toml").write_text('controller = "random_search"')
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def begin(folder: Path, *more: str) -> tuple[str, ...]:
    storage = str(folder.parent / "storage")
    return ("submit", str(folder), "--address", f"{ADDRESS}/", "--storage", storage, *more)


def test_from_here_to_the_answer(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    code, out, err = run(capsys, *begin(folder))
    assert (code, err) == (0, "")
    assert out.startswith(f"job raysubmit_0 on {ADDRESS}\nfiles 1, 0.0 KiB; packed, with ")
    assert "searching\n\\x1b[31mdone\n" in out
    code, out, err = run(capsys, "status", str(folder))
    assert (code, err) == (0, "")
    assert "state      SUCCEEDED" in out
    assert "last       \\x1b[31mdone" in out
    code, out, err = run(capsys, "fetch", str(folder))
    assert (code, err) == (0, "")
    assert out == "new         2  history.jsonl, best/neck.py\n"
    assert (folder / "best/neck.py").read_text() == "import torch\n"


def test_json_for_programs(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    code, out, _ = run(capsys, *begin(folder, "--no-follow", "--json"))
    told = json.loads(out)
    assert (code, told["job"], told["files"]) == (0, "raysubmit_0", 1)
    _, out, _ = run(capsys, "status", str(folder), "--json")
    assert json.loads(out)["state"] == "SUCCEEDED"
    _, out, _ = run(capsys, "fetch", str(folder), "--json")
    files = {"history.jsonl": "new", "best/neck.py": "new"}
    assert json.loads(out) == {"running": False, "files": files}


def test_a_job_that_goes_on_is_stopped_and_its_record_kept(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    cluster.running = True
    run(capsys, *begin(folder, "--no-follow"))
    code, out, _ = run(capsys, "fetch", str(folder))
    assert code == 0
    assert "the job goes on" in out
    assert not (folder / "best").exists()
    code, out, _ = run(capsys, "stop", str(folder))
    assert (code, "is told to end" in out) == (0, True)
    _, out, _ = run(capsys, "stop", str(folder))
    assert "had ended before" in out
    assert run(capsys, "fetch", str(folder))[0] == 0
    assert (folder / "best/neck.py").is_file()


def test_a_job_that_fails_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    code, out, err = run(capsys, "submit", str(folder), "--address", ADDRESS, "--storage", "x")
    assert code == 1
    assert "should be a folder of the cluster" in out
    assert err == "the job is FAILED: exit code 2\n"


def test_what_is_kept_is_said_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    run(capsys, *begin(folder, "--no-follow"))
    (folder / "best").mkdir()
    (folder / "best/neck.py").write_text("mine")
    code, _, err = run(capsys, "fetch", str(folder))
    assert code == 1
    assert err == (
        f"{folder}: kept as they are here, since they were changed: best/neck.py\n"
        "move them away, and fetch again\n"
    )


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        (("submit",), "--address: name the cluster's dashboard, e.g. http://head:8265"),
        (("submit", "--address", "head:6379"), "should be the cluster's dashboard"),
        (("status",), "this run was not submitted from here"),
        (("stop",), "this run was not submitted from here"),
        (("fetch",), "this run was not submitted from here"),
    ],
)
def test_wrong_input_is_a_message(
    capsys: pytest.CaptureFixture[str],
    cluster: FakeCluster,
    folder: Path,
    verb: tuple[str, ...],
    message: str,
) -> None:
    code, _, err = run(capsys, verb[0], str(folder), *verb[1:])
    assert code == 2
    assert message in err


def test_a_cluster_made_anew_is_said(
    capsys: pytest.CaptureFixture[str], cluster: FakeCluster, folder: Path
) -> None:
    run(capsys, *begin(folder, "--no-follow"))
    cluster.jobs.clear()
    code, _, err = run(capsys, "status", str(folder))
    assert code == 2
    assert f"{ADDRESS}: knows no job raysubmit_0; was the cluster made anew?" in err
