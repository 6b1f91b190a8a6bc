"""The page of the shipped necks is what its command writes, and shows every neck."""

from pathlib import Path

import pytest

from nas_fpn.cli import main
from nas_fpn.language.listing import list_necks
from nas_fpn.language.page import neck_page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_command_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["necks", "--page", str(tmp_path)])
    assert not end.value.code
    assert "necks.md is written" in capsys.readouterr().out
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    there = {path.relative_to(DOCS) for path in (DOCS / "necks").iterdir()}
    assert written == there | {Path("necks.md")}, "run: nas-fpn necks --page docs"
    for name in written:
        same = (tmp_path / name).read_bytes() == (DOCS / name).read_bytes()
        assert same, f"docs/{name} is not what is shipped; run: nas-fpn necks --page docs"


def test_the_page_shows_every_neck() -> None:
    page = neck_page()["necks.md"]
    for neck in list_necks():
        assert f"\n| [{neck.name}](#{neck.name}) |" in page
        assert f"\n## {neck.name}\n" in page
        assert f"](necks/{neck.name}.svg)" in page
        assert f"\n{neck.params:,} parameters" in page
