"""A file comes to a node once and whole, however many ask, or somebody hears why not."""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.search.carry import FOLDER, UNUSED, copies, place

WHOLE = bytes(range(256)) * 40
AWAY = Path("elsewhere") / "bank-a1b2.safetensors"


@dataclass
class Away:
    """A source of another node that counts how often it is read."""

    data: bytes = WHOLE
    promised: bytes = WHOLE
    read: list[int] = field(default_factory=list)

    def sha256(self) -> str:
        return hashlib.sha256(self.promised).hexdigest()

    def chunks(self) -> Iterator[bytes]:
        self.read.append(len(self.data))
        for start in range(0, len(self.data), 1000):
            time.sleep(0.001)
            yield self.data[start : start + 1000]


def left(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir() if one.suffix != ".lock"}


def test_a_node_that_sees_the_file_reads_it_where_it_is(tmp_path: Path) -> None:
    seen = tmp_path / "bank"
    seen.write_bytes(WHOLE)
    source = Away()
    assert place(seen, len(WHOLE), source, tmp_path) == (seen, False)
    assert source.read == []


def test_another_file_of_that_name_is_not_taken_for_it(tmp_path: Path) -> None:
    other = tmp_path / "bank"
    other.write_bytes(b"other")
    copy, copied = place(other, len(WHOLE), Away(), tmp_path)
    assert copied
    assert copy.read_bytes() == WHOLE


def test_the_workers_of_a_node_that_ask_at_once_share_one_copy(tmp_path: Path) -> None:
    source, found = Away(), []

    def ask() -> None:
        found.append(place(AWAY, len(WHOLE), source, tmp_path))

    workers = [threading.Thread(target=ask) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(source.read) == 1
    assert len({path for path, _ in found}) == 1
    assert sorted(copied for _, copied in found) == [*[False] * 5, True]
    assert found[0][0].read_bytes() == WHOLE
    assert left(tmp_path) == {f"bank-a1b2-{source.sha256()[:16]}.safetensors"}


def test_a_copy_serves_the_next_search_too(tmp_path: Path) -> None:
    first, second = Away(), Away()
    assert place(AWAY, len(WHOLE), first, tmp_path)[1]
    assert not place(AWAY, len(WHOLE), second, tmp_path)[1]
    assert second.read == []


def test_bytes_that_change_on_their_way_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="what it is copied from changes"):
        place(AWAY, len(WHOLE), Away(data=WHOLE[1:]), tmp_path)
    assert left(tmp_path) == set()


def test_a_node_without_room_says_so_before_it_copies(tmp_path: Path) -> None:
    source = Away()
    with pytest.raises(OSError, match=r"1000000000\.0 GB are to be copied here") as caught:
        place(AWAY, 10**18, source, tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    assert source.read == []


def test_what_nobody_has_begun_with_for_a_day_makes_room(tmp_path: Path) -> None:
    others = [Away(promised=data, data=data) for data in (b"old", b"cut short", b"recent")]
    old, cut, recent = (place(AWAY, len(one.data), one, tmp_path)[0] for one in others)
    cut = cut.rename(cut.with_suffix(".partial"))  # as a killed worker leaves it
    for one in (old, cut):
        os.utime(one, (0, time.time() - UNUSED - 60))
    copy, _ = place(AWAY, len(WHOLE), Away(), tmp_path)
    assert left(tmp_path) == {recent.name, copy.name}


def test_what_is_no_copy_of_ours_stays_however_old(tmp_path: Path) -> None:
    theirs = {"notes.txt", "uv.toml", f"bank-{'a1' * 8}.safetensors", f"folder-{'b2' * 8}"}
    for name in theirs:
        (tmp_path / name).mkdir() if "folder" in name else (tmp_path / name).write_text("theirs")
    for lock in ("uv.lock", f"folder-{'b2' * 8}.lock"):
        (tmp_path / lock).write_text("")
    for path in tmp_path.iterdir():
        os.utime(path, (0, time.time() - UNUSED - 60))
    copy, _ = place(AWAY, len(WHOLE), Away(), tmp_path)
    assert left(tmp_path) == {*theirs, copy.name}


def test_the_folder_of_copies_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "copies"))
    assert copies() == tmp_path / "copies"
    assert copies().stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv(FOLDER, str(tmp_path / "link"))
    with pytest.raises(RunError, match="belongs to somebody else"):
        copies()
