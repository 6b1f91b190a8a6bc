"""What goes along with a job: by relative paths, in its place, equal for equal files, bounded."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import read_run
from nas_fpn.run.package import collect, write_archive

GOLDEN = Path(__file__).parents[1] / "golden" / "submit"

TOML = """
space = "mine.space"
words = ["../words.py"]
controller = "mine.py"
baselines = ["none", "../necks/mine.neck"]
[controller_settings]
prior = ["fpn", "../earlier", "/shared/prior.neck"]
[data]
images = "../data/images"
train = "../data/train.json"
[backbone]
name = "../net.py:build"
weights = "/shared/weights.safetensors"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that names files of every kind; their content does not matter here."""
    project = tmp_path / "project"
    for name in (
        "runs/mine.space",
        "runs/mine.py",
        "words.py",
        "necks/mine.neck",
        "net.py",
        "earlier/history.jsonl",
        "data/images/a/one.png",
        "data/images/two.png",
        "data/images/not_named.png",
        "runs/bank/large.safetensors",
    ):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    images = [{"id": 1, "file_name": "a/one.png"}, {"id": 2, "file_name": "two.png"}]
    (project / "data/train.json").write_text(json.dumps({"images": images}))
    (project / "runs/run.toml").write_text(TOML)
    return project / "runs"


def fault(folder: Path, message: object) -> str:
    return f"{message}\n".replace(str(folder.parents[1]), "TMP")


def test_relative_paths_go_along_in_their_places_and_absolute_ones_stay(folder: Path) -> None:
    package = collect(read_run(folder))
    assert package.run == "inputs/runs"
    assert set(package.files) == {
        f"inputs/{name}"
        for name in (
            *("runs/run.toml", "runs/mine.space", "runs/mine.py", "words.py", "net.py"),
            *("necks/mine.neck", "earlier/history.jsonl", "data/train.json"),
            *("data/images/a/one.png", "data/images/two.png"),
        )
    }
    assert dict(package.stays) == {
        "controller_settings.prior[2]": "/shared/prior.neck",
        "[backbone] weights": "/shared/weights.safetensors",
    }


def test_its_record_goes_along_and_what_is_asked_for(folder: Path) -> None:
    (folder / "history.jsonl").write_text("")
    (folder / "calibration.json").write_text("{}")
    package = collect(read_run(folder), [folder / "bank", folder.parent / "net.py"])
    assert "inputs/runs/history.jsonl" in package.files
    assert "inputs/runs/calibration.json" in package.files
    assert "inputs/runs/bank/large.safetensors" in package.files


def test_a_run_alone_stands_at_the_top(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    package = collect(read_run(tmp_path))
    assert (package.run, list(package.files)) == ("inputs", ["inputs/run.toml"])


def test_too_much_is_refused_and_the_largest_named(folder: Path) -> None:
    (folder.parent / "data/images/two.png").write_bytes(b"0" * 4_000_000)
    with pytest.raises(RunError) as error:
        collect(read_run(folder), most=2 << 20)
    golden = (GOLDEN / "too_much.txt").read_text(encoding="utf-8")
    assert fault(folder, error.value) == golden


@pytest.mark.parametrize("name", ["missing", "no_coco"])
def test_a_file_that_is_not_there_is_a_message(folder: Path, name: str) -> None:
    if name == "missing":
        (folder.parent / "words.py").unlink()
    else:
        text = TOML.replace("train = ", 'val = "/shared/val.json"\ntrain = ')
        (folder / "run.toml").write_text(text)
    with pytest.raises(RunError) as error:
        collect(read_run(folder))
    assert fault(folder, error.value) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/hostname", "a/../../images/two.png"])
def test_an_image_outside_its_folder_never_goes_along(folder: Path, name: str) -> None:
    (folder.parents[1] / "project" / "secret.txt").write_text("secret")
    train = folder.parent / "data" / "train.json"
    train.write_text(json.dumps({"images": [{"id": 1, "file_name": name}]}))
    with pytest.raises(RunError) as error:
        collect(read_run(folder))
    assert str(error.value) == (
        f"[data] train: {train}: the annotations name a file {name!r}, which leads out of the "
        "folder\nfile names start at the folder of images"
    )


def test_equal_files_make_equal_archives(folder: Path, tmp_path: Path) -> None:
    files = collect(read_run(folder)).files
    one, two = tmp_path / "one.zip", tmp_path / "two.zip"
    write_archive(one, files, {"key": "k"}, program=True)
    for path in files.values():
        path.touch()
    write_archive(two, files, {"key": "k"}, program=True)
    assert one.read_bytes() == two.read_bytes()


def test_the_program_that_goes_along_runs_by_itself(folder: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "job.zip", {}, {}, program=True)
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    program = (
        "from nas_fpn.language import find_space, shipped_folder, read; import nas_fpn;"
        "read(find_space('quick')); print(nas_fpn.__file__, shipped_folder('controllers'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "there",
        capture_output=True,
        text=True,
        check=True,
    )
    there = str((tmp_path / "there").resolve())
    assert all(place.startswith(there) for place in done.stdout.split())
    assert (tmp_path / "there/nas_fpn/shipped/controllers/random_search.py").is_file()
