"""The command line: small verbs answer, wrong input is a message and exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from nas_fpn.cli import app, main
from nas_fpn.proxy.settings import DataSettings

ROOT = Path(__file__).parents[1]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of one verb."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def commands(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = getattr(group, "commands", None)
    if inner is None:
        return [path]
    return [found for name, one in inner.items() for found in commands(one, (*path, name))]


@pytest.mark.parametrize("verb", commands(typer.main.get_command(app)), ids=" ".join)
def test_every_help_has_an_example(
    verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, *verb, "--help")
    assert code == 0
    assert f"Example: nas-fpn {' '.join(verb)}" in " ".join(out.split())


@pytest.mark.parametrize("verb", ["size", "sample", "check", "show", "diff", "necks", "export"])
def test_examples_of_help_run_as_they_stand(
    verb: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, verb, "--help")
    (example,) = [row for row in out.splitlines() if "Example: nas-fpn" in row]
    code, said, err = run(capsys, *example.split()[2:])
    assert (code, err) == (0, "")
    assert said


def test_size_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    space = str(ROOT / "search_spaces" / "nas_fpn.space")
    assert run(capsys, "size", space) == (0, "1545067560960000000\n", "")


def test_a_size_of_thousands_of_digits_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hole = "{relu | bn | gn | silu | gelu | mish | swish | leaky | id | dw3}"
    lines = [f"x{k}..x{k + 15} = p3 -> {' '.join([hole] * 30)}" for k in range(0, 160, 16)]
    file = tmp_path / "great.space"
    file.write_text("p3 = c3 -> conv1\n" + "\n".join(lines) + "\n")
    wanted = "1" + "0" * 4800
    assert run(capsys, "size", str(file)) == (0, f"{wanted}\n", "")
    assert run(capsys, "check", str(file)) == (0, f"{file}: {wanted} genotypes\n", "")


def test_names_work_from_any_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "size", "nas_fpn", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["size"] == 1545067560960000000
    assert answer["choices"][0] == {"name": "repeat", "count": 4}


def test_the_same_seed_samples_the_same_necks(capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "sample", "nas_fpn", "--seed", "3", "--count", "2")
    assert first[0] == 0
    assert first == run(capsys, "sample", "nas_fpn", "--seed", "3", "--count", "2")
    assert first != run(capsys, "sample", "nas_fpn", "--seed", "4", "--count", "2")


def test_what_is_sampled_can_be_read_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    drawn = json.loads(run(capsys, "sample", "nas_fpn", "--json")[1])
    file = tmp_path / "one.neck"
    file.write_text(drawn[0]["text"])
    code, out, _ = run(capsys, "show", str(file), "--json")
    assert code == 0
    assert json.loads(out)["neck"] == drawn[0]["neck"]


def test_show_prints_a_neck_and_draws_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = run(capsys, "show", "fpn", "--svg", str(tmp_path / "fpn.svg"))
    assert code == 0
    assert "p4 = sum(p4, p5)" in out
    assert (tmp_path / "fpn.svg").read_text().startswith("<svg")
    file = tmp_path / "again.neck"
    file.write_text(out)
    assert run(capsys, "show", str(file))[1] == out, "what is printed is a program"


def test_diff_says_which_lines_differ(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    svg = tmp_path / "both.svg"
    code, out, err = run(capsys, "diff", "fpn", "panet", "--svg", str(svg))
    assert (code, err) == (0, "")
    assert {"--- fpn", "+++ panet", "-p6 = p5 -> stride", "+p6 = p5 -> subsample"} <= set(
        out.splitlines()
    )
    assert "only in panet" in svg.read_text()
    again = tmp_path / "again.neck"
    again.write_text("p3 = c3 -> conv1\n")
    other = tmp_path / "other.neck"
    other.write_text("unused@3 = c3 -> relu conv1\np3 = c3 -> conv1\n")
    said = run(capsys, "diff", str(again), str(other))[1]
    assert "+unused = c3 -> relu conv1" in said
    assert "the same neck" in said
    both = json.loads(run(capsys, "diff", str(again), str(other), "--json")[1])
    assert both["first"] == both["second"]


def test_necks_are_listed_with_their_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "necks")
    assert code == 0
    rows = {row.split()[0]: row for row in out.splitlines() if row}
    assert "arXiv:1612.03144" in rows["fpn"]
    assert "3.869" in rows["fpn"]
    listed = json.loads(run(capsys, "necks", "--json")[1])
    fpn = next(neck for neck in listed if neck["name"] == "fpn")
    assert (fpn["lines"], fpn["width"], fpn["params"]) == (5, 256, 3_868_672)


def test_a_name_means_the_neck_where_a_neck_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "nas_fpn")
    assert code == 0
    assert "repeat 7:" in out


def test_a_wrong_program_is_a_message_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "mine.space"
    file.write_text("p3 = c3 -> conv1\np4 = sum(p3, x8)\n")
    for verb in (["size"], ["check", "fpn"]):
        code, _, err = run(capsys, *verb, str(file))
        assert code == 2
        assert "mine.space:2:14: unknown feature 'x8'" in err
        assert "Traceback" not in err


def test_check_says_what_a_program_holds(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "fpn", "nas_fpn")
    assert code == 0
    assert out == "fpn: a neck\nnas_fpn: 1545067560960000000 genotypes\n"


def test_an_unknown_name_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "size", "nothing_like_it")
    assert code == 2
    assert "nas_fpn" in err


def test_a_space_is_shown_with_its_holes_and_is_no_neck(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    svg = tmp_path / "quick.svg"
    code, out, _ = run(capsys, "show", "quick", "--svg", str(svg))
    assert (code, out) == (0, (ROOT / "search_spaces" / "quick.space").read_text())
    assert "mix = {sum | fast}" in svg.read_text()
    assert json.loads(run(capsys, "show", "quick", "--json")[1])["genotypes"] == 12288
    code, _, err = run(capsys, "diff", "quick", "fpn")
    assert code == 2
    assert "nas-fpn sample quick > mine.neck" in err
    file = tmp_path / "mine.neck"
    file.write_text(run(capsys, "sample", "quick")[1])
    assert run(capsys, "show", str(file))[0] == 0


def test_a_trial_of_a_run_that_is_not_there_names_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "show", f"{tmp_path / 'none'}:3")
    assert code == 2
    assert err.startswith(f"{tmp_path / 'none' / 'run.toml'}: no such file\n")


def test_a_missing_folder_is_a_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    svg = tmp_path / "not" / "there.svg"
    code, _, err = run(capsys, "show", "fpn", "--svg", str(svg))
    assert code == 2
    assert err == f"{svg}: No such file or directory\n"


def test_init_writes_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "init", str(tmp_path / "mine"))
    assert code == 0
    assert "nas-fpn search" in out
    assert run(capsys, "init", str(tmp_path / "mine"))[0] == 2


def test_data_shapes_pass_the_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "shapes"
    counts = ["--train", "3", "--test", "1", "--warmup", "0"]  # of val as many as a run has
    code, out, _ = run(capsys, "data", "shapes", str(folder), "--image-size", "64", *counts)
    assert code == 0
    assert f"{3 + 1 + DataSettings().shapes_val} images are written" in out
    code, out, _ = run(capsys, "data", "check", str(folder / "train.json"), "--json")
    assert code == 0
    assert json.loads(out)["images"] == 3


@pytest.mark.parametrize("wrong", [["--train", "0"], ["--image-size", "3"], ["--seed", "-1"]])
def test_data_shapes_refuse_numbers_out_of_range(
    wrong: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = run(capsys, "data", "shapes", str(tmp_path / "shapes"), *wrong)
    assert code == 2
    assert f"Invalid value for '{wrong[0]}'" in err
    assert not (tmp_path / "shapes").exists()


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom nas_fpn.cli import main\ntry:\n    main(['size', 'fpn'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'pandas', 'optuna', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n[]\n"


TINY = """
space = "quick"
controller = "random_search"
baselines = ["fpn"]
[budget]
trials = 1
[data]
shapes_train = 8
shapes_val = 2
shapes_test = 2
shapes_warmup = 4
[backbone]
warmup_steps = 1
warmup_batch_size = 4
[proxy]
image_size = 64
steps = 1
batch_size = 4
views = 1
evaluations = 1
head_width = 16
[ray]
workers = 0
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "mine"
    folder.mkdir()
    (folder / "run.toml").write_text(TINY)
    with pytest.raises(SystemExit) as end:
        main(["search", str(folder)])
    assert not end.value.code
    return folder


def test_search_says_what_happens_line_by_line(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "search", str(searched), "--trials", "+1")
    assert code == 0
    assert "searching: 1 baseline and 2 trials, going on after 2" in out
    assert "[3/3] trial 2" in out
    assert "best baseline" in out
    assert out.splitlines()[-1] == (
        f"{searched / 'best'} holds the best; nas-fpn table {searched} says more, nas-fpn report "
        f"{searched} draws it"
    )
    assert "\x1b" not in out, "no colours where there is no terminal"


@pytest.mark.parametrize("asked", ["some", "-1", "1.5", ""])
def test_workers_are_a_number_or_auto(
    searched: Path, capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    code, _, err = run(capsys, "search", str(searched), f"--workers={asked}")
    assert code == 2
    assert 'should be "auto", or a number of trials from 0' in err


def test_table_prints_and_writes(
    searched: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = ["--csv", str(tmp_path / "t.csv"), "--parquet", str(tmp_path / "t.parquet")]
    code, out, _ = run(capsys, "table", str(searched), *files)
    assert code == 0
    assert "Verdict so far" in out
    assert (tmp_path / "t.csv").read_text().startswith("trial,source,neck,state,steps,ap,ap50")
    assert (tmp_path / "t.parquet").stat().st_size > 0
    for option in ("--csv", "--parquet"):
        nowhere = str(tmp_path / "none" / "t")
        code, _, err = run(capsys, "table", str(searched), option, nowhere)
        assert (code, err) == (2, f"{nowhere}: No such file or directory\n")
    answer = json.loads(run(capsys, "table", str(searched), "--json")[1])
    assert answer["trials"][0]["source"] == "baseline:fpn"


def test_a_trial_is_shown_and_exported(
    searched: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "p4 = sum(p4, p5)" in run(capsys, "show", f"{searched}:0")[1]
    assert run(capsys, "export", f"{searched}:0", "--to", str(tmp_path / "fpn"))[0] == 0
    assert (tmp_path / "fpn" / "neck.py").is_file()
    code, _, err = run(capsys, "export", f"{searched}:99", "--to", str(tmp_path / "x"))
    assert code == 2
    assert "no trial 99" in err
    asked = ["export", f"{searched}:0", "--to", str(tmp_path / "y"), "--in-channels", "8"]
    code, _, err = run(capsys, *asked)
    assert code == 2
    assert "--in-channels is for a neck without a run" in err


def test_any_shipped_neck_is_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "export", "bifpn", "--to", str(tmp_path / "x"))
    assert code == 2
    assert "--in-channels must have one number per level c3, c4, c5" in err
    assert run(capsys, "export", "bifpn", "--to", "x", "--channels", "8,0,32")[0] == 2
    asked = ["export", "bifpn", "--to", str(tmp_path / "x"), "--in-channels", "8,16,32"]
    assert run(capsys, *asked)[0] == 0
    assert (tmp_path / "x" / "model.safetensors").is_file()


def test_an_export_never_mixes_with_other_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text("mine")
    asked = ["export", "fpn", "--channels", "8,16,32", "--to"]
    code, _, err = run(capsys, *asked, str(tmp_path))
    assert code == 2
    assert "holds something else" in err
    assert (tmp_path / "README.md").read_text() == "mine"
    for _ in range(2):
        assert run(capsys, *asked, str(tmp_path / "fpn"))[0] == 0


def test_a_run_that_is_not_there_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for verb in ("search", "table"):
        code, _, err = run(capsys, verb, str(tmp_path))
        assert code == 2
        assert "nas-fpn" in err
        assert "Traceback" not in err


def test_verbs_take_own_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    examples = ROOT / "docs" / "examples"
    space, words = str(examples / "words.space"), ("--words", str(examples / "words.py"))
    assert run(capsys, "size", space, *words) == (0, "48\n", "")
    assert run(capsys, "check", space, *words) == (0, f"{space}: 48 genotypes\n", "")
    neck = tmp_path / "mine.neck"
    neck.write_text(json.loads(run(capsys, "sample", space, "--json", *words)[1])[0]["text"])
    code, out, _ = run(capsys, "show", str(neck), *words)
    assert (code, "agree(p4, p5" in out) == (0, True)
    to = tmp_path / "folder"
    exported = ("export", str(neck), "--to", str(to), "--channels", "8,12,16")
    assert run(capsys, *exported, *words)[0] == 0
    assert run(capsys, "show", str(to / "neck.neck"), "--words", f"{to}/words/words.py")[1] == out


def test_a_wrong_file_of_words_is_a_message_and_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from nas_fpn.language import Row\nwords = {'sum': Row('merge')}\n")
    code, _, err = run(capsys, "size", "quick", "--words", str(mine))
    assert (code, err) == (
        2,
        f"{mine}: the word 'sum' is shipped already\ngive yours another name\n",
    )
    code, _, err = run(capsys, "size", "quick", "--words", str(tmp_path / "none.py"))
    assert code == 2
    assert err.startswith(f"{tmp_path / 'none.py'}: cannot be read: No such file or directory\n")
