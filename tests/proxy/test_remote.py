"""Files by URL: the same bytes, once a machine, whole or not at all, no path out of a folder."""

import http.server
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError

from nas_fpn.errors import RunError
from nas_fpn.proxy import remote
from nas_fpn.proxy.remote import facts_of, local_file, local_folder
from nas_fpn.proxy.settings import BackboneSettings, DataSettings
from nas_fpn.proxy.url import checked_url
from tests.proxy.fake_s3 import s3_server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAS_FPN_CACHE", str(tmp_path / "cache"))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "cache"


@pytest.fixture
def store() -> Iterator[str]:
    """A folder in fsspec's memory, empty."""
    system = fsspec.filesystem("memory")
    yield "memory://bucket"
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def put(url: str, content: bytes) -> str:
    with fsspec.open(url, "wb") as file:
        file.write(content)
    return url


def test_a_file_comes_under_its_own_name(store: str) -> None:
    path = local_file(put(f"{store}/a/train.json", b"{}"))
    assert (path.name, path.read_bytes()) == ("train.json", b"{}")


def test_it_is_fetched_once_and_again_when_it_has_changed(store: str) -> None:
    url = put(f"{store}/w.safetensors", b"one")
    first = local_file(url)
    system = fsspec.filesystem("memory")
    file = system.store["/bucket/w.safetensors"]
    file.seek(0)
    file.write(b"two")  # its time and size stand still, as if it had not changed
    assert local_file(url) == first
    assert first.read_bytes() == b"one"
    second = local_file(put(url, b"three"))
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"three")


def test_equal_bytes_lie_there_once(store: str, cache: Path) -> None:
    one = local_file(put(f"{store}/one.json", b"same"))
    two = local_file(put(f"{store}/two.json", b"same"))
    assert one.samefile(two)
    assert len([p for p in (cache / "content").rglob("*") if p.is_file()]) == 1


def test_what_is_damaged_here_is_fetched_again(store: str, cache: Path) -> None:
    url = put(f"{store}/a.json", b"whole")
    local_file(url)
    (content,) = (p for p in (cache / "content").rglob("*") if p.is_file())
    content.unlink()
    content.write_bytes(b"half")
    assert local_file(url).read_bytes() == b"whole"


def test_a_download_that_breaks_leaves_nothing(
    store: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(f"{store}/a.json", b"whole")

    def broken(self: object, path: str, to: str) -> None:
        Path(to).write_bytes(b"who")
        raise ConnectionResetError("reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "get_file", broken)
        with pytest.raises(RunError, match="cannot be reached: ConnectionResetError"):
            local_file(url)
        patch.setattr(
            type(fsspec.filesystem("memory")),
            "get_file",
            lambda self, path, to: Path(to).write_bytes(b"who"),
        )
        with pytest.raises(RunError, match="3 bytes arrived of 5"):
            local_file(url)
    assert not list((cache / "part").iterdir())
    assert local_file(url).read_bytes() == b"whole"


def test_of_a_folder_the_named_files_come(store: str) -> None:
    for name in ("a/one.png", "two.png", "not_asked.png"):
        put(f"{store}/images/{name}", name.encode())
    folder = local_folder(f"{store}/images", ["two.png", "a/one.png", "missing.png"])
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {"a/one.png", "two.png"}
    assert local_folder(f"{store}/images/", ["a/one.png", "two.png"]) == folder


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ""])
def test_no_name_leads_out_of_the_folder(store: str, name: str) -> None:
    put(f"{store}/images/a.png", b"")
    with pytest.raises(RunError, match="leads out of the folder"):
        local_folder(f"{store}/images", ["a.png", name])


def test_a_folder_with_none_of_the_files_is_a_message(store: str) -> None:
    put(f"{store}/other/a.png", b"")
    with pytest.raises(RunError, match="holds none of the 1 files"):
        local_folder(f"{store}/other", ["b.png"])


def test_what_is_not_there_is_a_message(store: str) -> None:
    with pytest.raises(RunError, match="no such file or folder"):
        facts_of(f"{store}/none.json")


def fetch(url: str) -> None:
    local_file(url)


def test_processes_of_a_machine_fetch_it_once(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(b"0" * 3_000_000)
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=fetch, args=(path.as_uri(),)) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0] * 4
    assert local_file(path.as_uri()).read_bytes() == path.read_bytes()
    assert len([*(cache / "known").iterdir()]) == 1


def test_a_web_server_is_read(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, of ray[default]")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a b.png").write_bytes(b"picture")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/images"
        folder = local_folder(url, ["a b.png", "none.png"])
        assert (folder / "a b.png").read_bytes() == b"picture"
        with pytest.raises(RunError, match="no such file or folder"):
            local_file(f"{url}/none.json")
        server.shutdown()


def test_an_object_store_is_read_by_pyarrow() -> None:
    objects = {
        "bucket/data/train.json": b'{"images": []}',
        "bucket/data/images/a/1.png": b"one" * 50_000,
        "bucket/data/images/2.png": b"two",
    }
    with s3_server(objects) as (address, asked):
        there = f"?endpoint_override={address}&scheme=http&region=none"
        url = f"s3://bucket/data/train.json{there}"
        assert local_file(url).read_bytes() == objects["bucket/data/train.json"]
        assert facts_of(url).size == 14
        folder = local_folder(f"s3://bucket/data/images{there}", ["a/1.png", "2.png"])
        assert (folder / "a/1.png").read_bytes() == objects["bucket/data/images/a/1.png"]
        count = sum(request.startswith("GET bucket/data/images/") for request in asked)
        assert local_folder(f"s3://bucket/data/images{there}", ["a/1.png", "2.png"]) == folder
        assert sum(request.startswith("GET bucket/data/images/") for request in asked) == count
        with pytest.raises(RunError, match="no such file or folder"):
            local_file(f"s3://bucket/none.json{there}")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s4://bucket/x", "s4:// is not read here; s3://, gs://"),
        ("ftp://host/x", "ftp:// is not read here"),
        ("s3://key:secret@bucket/x", "should hold no name and password"),
        ("s3://bucket", "should name a file or a folder"),
    ],
)
def test_a_url_that_is_none_is_refused_at_the_door(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_url(url)
    with pytest.raises(ValidationError) as fault:
        DataSettings(images=url, train="train.json")
    assert fault.value.error_count() == 1
    with pytest.raises(ValidationError):
        BackboneSettings(weights=url)


def test_a_path_stays_a_path_and_a_url_a_url() -> None:
    data = DataSettings(images="s3://bucket//a", train="data/train.json", val=Path("val.json"))
    assert (data.images, data.train, data.val) == (
        "s3://bucket//a",
        Path("data/train.json"),
        Path("val.json"),
    )
    assert DataSettings.model_validate(data.model_dump(mode="json")) == data
    with pytest.raises(ValidationError, match="should be a path or a URL") as fault:
        DataSettings.model_validate({"images": 3, "train": "t.json"})
    assert fault.value.error_count() == 1


def test_half_a_file_of_long_ago_goes(store: str, cache: Path) -> None:
    (cache / "part").mkdir(parents=True)
    old, new = cache / "part" / "old", cache / "part" / "new"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    local_file(put(f"{store}/a.json", b"x"))
    assert (old.exists(), new.exists()) == (False, True)
    assert remote.cache_folder() == cache
