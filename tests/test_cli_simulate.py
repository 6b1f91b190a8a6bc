"""The verb simulate on a small made-up table."""

import json
from itertools import product
from pathlib import Path

import pytest

from nas_fpn.cli import main
from nas_fpn.language import canonical, decode, identity, parse_space
from nas_fpn.record import Report
from nas_fpn.search.bench import Measured, Table, write_table

SPACE = """\
width 16
up {nearest | sni | bilinear}
x3..x4 = c3..c4 -> conv1
p3 = {sum | max | mean}(x3, x4)
p4 = x4
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    space = parse_space(SPACE)
    necks = {}
    for genotype in product(range(3), range(3)):
        neck = canonical(decode(space, genotype))
        ap = 0.1 + 0.1 * genotype[0] + 0.03 * genotype[1]
        curves = {
            seed: tuple(Report(n, {"ap": ap * n / 40 + seed / 100}, 90.0 * n) for n in (10, 20, 40))
            for seed in (0, 1)
        }
        necks[identity(neck)] = Measured(identity(neck), str(neck), {}, curves)
    write_table(tmp_path / "t.parquet", Table(SPACE, {3: 8, 4: 8}, 64, necks, {}))
    return tmp_path / "t.parquet"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["simulate", *arguments])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    return code, *capsys.readouterr()


def test_every_controller_and_number_of_workers_has_a_row(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    both = ("--controller", "random_search", "--controller", "evolution")
    code, out, err = run(capsys, str(path), *both, "--workers", "1,4", "--seeds", "3")
    assert (code, err) == (0, "")
    head, _, *rows = out.splitlines()
    assert head == "9 necks, the best has AP 0.3650; 3 seeds"
    assert [row.split()[:2] for row in rows] == [
        [name, count] for name in ("random_search", "evolution") for count in ("1", "4")
    ]


def test_whoever_trains_every_neck_has_no_regret_and_takes_the_time_of_all(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    given = ("--controller", "random_search", "--trials", "9", "--seeds", "4", "--json")
    code, out, _ = run(capsys, str(path), *given, "--setting", "redraws=1000")
    (row,) = json.loads(out)["rows"]
    assert code == 0
    assert row["found"][-1]["regret"] == pytest.approx(0.0)
    assert row["hours"] == pytest.approx(9.0)


@pytest.mark.parametrize("form", ["stop", "promote"])
def test_halving_saves_time(capsys: pytest.CaptureFixture[str], path: Path, form: str) -> None:
    given = (str(path), "--controller", "random_search", "--trials", "9", "--seeds", "4", "--json")
    hours = [
        json.loads(run(capsys, *given, "--halving", how)[1])["rows"][0]["hours"]
        for how in ("none", form)
    ]
    assert hours[1] < hours[0]


def test_wrong_input_is_a_message(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    one = (str(path), "--controller", "random_search")
    for more, said in (
        (("--workers", "1,x"), "should be numbers from 1"),
        (("--setting", "redraws"), "should be name=value"),
        (("--setting", "redraw=3"), "did you mean 'redraws'?"),
    ):
        code, _, err = run(capsys, *one, *more)
        assert code == 2
        assert said in err
    assert run(capsys, str(path), "--controller", "nobody")[0] == 2
