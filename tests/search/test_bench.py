"""Tables of measured necks on disk."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nas_fpn.errors import RunError
from nas_fpn.language import canonical, identity, parse
from nas_fpn.record import Report
from nas_fpn.search.bench import Measured, Table, read_table, write_table

NECK = canonical(parse("width 16\np3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4)"))


def table() -> Table:
    curves = {
        seed: tuple(
            Report(steps, {"ap": 0.1 * seed + steps / 1000, "ap50": 0.5}, steps / 7)
            for steps in (50, 100)
        )
        for seed in (0, 3)
    }
    measured = Measured(identity(NECK), str(NECK), {"params": 99.0}, curves)
    return Table("width 16\n", {3: 24, 4: 40}, 128, {measured.neck: measured}, {"steps": 100})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", table())
    assert read_table(tmp_path / "t.parquet") == table()


def test_the_best_has_the_highest_mean_at_its_end() -> None:
    assert table().best("ap").mean("ap") == pytest.approx(0.25)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RunError, match="no table of NeckBench"):
        read_table(path)
    path.write_text("not a table at all")
    with pytest.raises(RunError, match=r"t\.parquet: not a parquet file"):
        read_table(path)
    with pytest.raises(FileNotFoundError) as caught:
        read_table(tmp_path / "none.parquet")
    assert caught.value.filename == str(tmp_path / "none.parquet")


def test_a_newer_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_fpn.search.bench.VERSION", 2)
    write_table(tmp_path / "t.parquet", table())
    monkeypatch.undo()
    with pytest.raises(RunError, match="version 2 is newer"):
        read_table(tmp_path / "t.parquet")
