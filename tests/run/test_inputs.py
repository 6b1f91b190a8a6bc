"""Data and weights from anywhere: found here, looked at from every node, and the same numbers."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nas_fpn.detect.shapes import write_shapes
from nas_fpn.errors import DataError, RunError
from nas_fpn.run import read_run
from nas_fpn.run.data import read_data
from nas_fpn.run.inputs import Input, Look, inputs_of, local_data
from nas_fpn.run.on_nodes import check_nodes

GOLDEN = Path(__file__).parents[1] / "golden" / "submit"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_FPN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_shapes(folder, seed=0, image_size=64, train=6, val=2, test=2, warmup=0)
    return folder


def toml(data: str, weights: str = "none", inputs: str = "everywhere") -> str:
    return f"""
[data]
images = "{data}/images"
train = "{data}/train.json"
val = "{data}/val.json"
[backbone]
weights = "{weights}"
[ray]
address = "auto"
inputs = "{inputs}"
"""


@pytest.fixture
def folder(tmp_path: Path, scenes: Path) -> Path:
    """A run whose data lies on a disk of its own."""
    shutil.copytree(scenes, tmp_path / "data")
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    path = tmp_path / "run"
    path.mkdir()
    weights = tmp_path / "w.safetensors"
    (path / "run.toml").write_text(toml(str(tmp_path / "data"), str(weights)))
    return path


def test_data_by_url_is_the_data_by_path(tmp_path: Path, scenes: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    found = []
    for data in (str(scenes), scenes.as_uri()):
        (folder / "run.toml").write_text(toml(data))
        run = read_run(folder)
        assert str(run.settings.data.images) == f"{data}/images"  # as written, for the record
        found.append(read_data(run.data, tmp_path, image_size=64, needs_warmup=False))
    one, two = found
    for split in ("train", "val", "test"):
        ours, theirs = getattr(one, split), getattr(two, split)
        assert [image.id for image in ours.images] == [image.id for image in theirs.images]
        assert all(
            a.path.read_bytes() == b.path.read_bytes()
            for a, b in zip(ours.images, theirs.images, strict=True)
        )
    assert one.notes == two.notes
    assert all("cache" in str(image.path) for image in two.train.images)


def test_annotations_that_are_none_are_a_message(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"images": [{"id": 1}]}')
    (tmp_path / "images").mkdir()
    (tmp_path / "run.toml").write_text(
        f'[data]\nimages = "{tmp_path.as_uri()}/images"\ntrain = "train.json"'
    )
    with pytest.raises(DataError, match=r"train\.json: its images cannot be listed"):
        local_data(read_run(tmp_path).data)


def test_inputs_are_files_with_their_sizes(folder: Path) -> None:
    inputs = {one.setting: one for one in inputs_of(read_run(folder))}
    assert set(inputs) == {"[data] train", "[data] val", "[data] images", "[backbone] weights"}
    assert inputs["[backbone] weights"].size == 7
    assert Path(inputs["[data] images"].place).is_file()
    assert Look(tuple(inputs.values()))() == ()


def test_what_came_with_the_job_is_not_looked_for(folder: Path) -> None:
    inputs = inputs_of(read_run(folder), packed=folder.parent / "data")
    assert [one.setting for one in inputs] == ["[backbone] weights"]


def test_embedded_data_needs_no_look(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[ray]\naddress = "auto"')

    def never(look: Look, address: str) -> Mapping[str, tuple[str, ...]]:
        raise AssertionError

    assert check_nodes(read_run(tmp_path), everywhere=never) == 0


def test_all_that_is_missing_here_is_named_at_once(folder: Path) -> None:
    (folder.parent / "w.safetensors").unlink()
    (folder.parent / "data/val.json").unlink()
    with pytest.raises(RunError) as error:
        inputs_of(read_run(folder))
    message = f"{error.value}\n".replace(str(folder.parent), "TMP")
    assert message == (GOLDEN / "missing_here.txt").read_text(encoding="utf-8")


def fake_nodes(look: Look, address: str) -> Mapping[str, tuple[str, ...] | RunError]:
    """Three nodes: one as this one, one whose disk is not mounted, one that does not answer."""
    assert address == "auto"
    gone = Look(tuple(replaced(one) for one in look.inputs))
    return {
        "head (10.0.0.1, aaaaaaaa)": look(),
        "worker-1 (10.0.0.2, bbbbbbbb)": gone(),
        "worker-2 (10.0.0.3, cccccccc)": RunError("has not answered within 180 s"),
    }


def replaced(one: Input) -> Input:
    if one.place.endswith("w.safetensors"):
        return replace(one, size=9)
    return replace(one, place=one.place.replace("/data/", "/not_mounted/"))


def test_a_node_that_does_not_reach_them_is_named(folder: Path) -> None:
    with pytest.raises(RunError) as error:
        check_nodes(read_run(folder), everywhere=fake_nodes)
    message = f"{error.value}\n".replace(str(folder.parent), "TMP")
    golden = GOLDEN / "nodes.txt"
    assert message == golden.read_text(encoding="utf-8")


def test_the_driver_alone_is_enough_where_one_says_so(folder: Path) -> None:
    data, weights = folder.parent / "data", folder.parent / "w.safetensors"
    (folder / "run.toml").write_text(toml(str(data), str(weights), "driver"))
    assert check_nodes(read_run(folder), everywhere=fake_nodes) == 0


def test_nodes_that_reach_them_are_counted(folder: Path) -> None:
    def both(look: Look, address: str) -> Mapping[str, tuple[str, ...]]:
        return {"head": look(), "worker": look()}

    assert check_nodes(read_run(folder), everywhere=both) == 2


def test_an_image_of_the_annotations_that_is_not_there_is_a_message(folder: Path) -> None:
    train = json.loads((folder.parent / "data/train.json").read_text())
    (folder.parent / "data/images" / train["images"][0]["file_name"]).unlink()
    with pytest.raises(DataError, match=r"file names in the annotations start at \[data\] images"):
        check_nodes(read_run(folder), everywhere=fake_nodes)
