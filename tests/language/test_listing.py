"""The table of the shipped necks: nothing is left out, and its numbers are those of the modules."""

import pytest

from nas_fpn.language import find_neck, read_neck, shipped_folder
from nas_fpn.language.listing import IN_CHANNELS, Listed, list_necks, table_text
from nas_fpn.language.lower import lower
from nas_fpn.necks import Neck

GRIDS = {"fpg", "gfpn", "opanas"}  # of many pathways
NECKS = {neck.name: neck for neck in list_necks()}


def test_every_shipped_neck_is_listed_by_name() -> None:
    folder = shipped_folder("search_spaces") / "baselines"
    assert list(NECKS) == sorted(path.stem for path in folder.glob("*.neck"))


@pytest.mark.parametrize("neck", NECKS.values(), ids=NECKS)
def test_a_neck_names_its_paper_and_is_short(neck: Listed) -> None:
    assert neck.title
    assert not neck.title.startswith("#")
    assert neck.paper[-4:].isdecimal() or "arXiv:" in neck.paper or neck.name == "none"
    assert 1 <= neck.lines <= (15 if neck.name not in GRIDS else 65)


@pytest.mark.parametrize("name", ["bifpn", "fpn", "none", "slim_pan"])
def test_parameters_are_those_of_the_module(name: str) -> None:
    architecture = read_neck(find_neck(name))
    channels = [IN_CHANNELS[k] for k in lower(architecture).inputs]
    for width, params in ((architecture.width, NECKS[name].params), (256, NECKS[name].params_256)):
        neck = Neck(architecture.with_width(width), channels)
        assert params == sum(parameter.numel() for parameter in neck.parameters())


def test_the_published_count_of_multiply_adds() -> None:
    """FPN's 8.32 GFLOP (2 a multiply-add) at 512 px: convolutions alone scale with the area."""
    assert NECKS["fpn"].macs / 1e9 == pytest.approx(8.32 / 2 * (640 / 512) ** 2, rel=2e-3)


def test_the_table_has_a_row_for_each() -> None:
    rows = table_text(list_necks()).splitlines()
    assert [row.split()[0] for row in rows[1 : len(NECKS) + 1]] == list(NECKS)
    assert rows[0].split()[0] == "neck"
    assert all(len(row) <= 130 for row in rows)
