"""``run.toml``: defaults that work, paths relative to the file, every fault at once."""

from pathlib import Path

import pytest

from nas_fpn.errors import RunError
from nas_fpn.run import RunSettings, read_run, run_toml
from nas_fpn.run.question import read_question
from nas_fpn.run.settings import spread_as
from nas_fpn.search import Halving

GOLDEN = Path(__file__).parents[1] / "golden" / "run"


def write(folder: Path, text: str) -> Path:
    (folder / "run.toml").write_text(text, encoding="utf-8")
    return folder


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    run = read_run(write(tmp_path, ""))
    assert run.settings == RunSettings()
    assert run.folder == tmp_path.resolve()


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    write(tmp_path, "seed = 3")
    assert read_run(tmp_path / "run.toml") == read_run(tmp_path)


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[data]\nimages = "i"\ntrain = "t.json"\n[backbone]\nweights = "w.safetensors"'
    write(tmp_path, text)
    monkeypatch.chdir(tmp_path.parent)
    run = read_run(Path(tmp_path.name))
    assert run.data.images == tmp_path.resolve() / "i"
    assert run.data.val is None
    assert run.backbone.weights == str(tmp_path.resolve() / "w.safetensors")
    assert run.settings.backbone.weights == "w.safetensors"  # as written, for the record


def test_the_first_objective_is_an_ap(tmp_path: Path) -> None:
    assert read_run(write(tmp_path, 'objective = ["ap50", "-gmacs"]')).settings.objectives
    with pytest.raises(RunError, match="should begin with an AP"):
        read_run(write(tmp_path, 'objective = ["-gmacs", "ap"]'))


@pytest.mark.parametrize("name", ["many", "syntax"])
def test_message(name: str) -> None:
    path = GOLDEN / f"{name}.toml"
    with pytest.raises(RunError) as error:
        read_run(path)
    message = str(error.value).replace(f"{GOLDEN}/", "")
    assert message + "\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file\nwrite one with: nas-fpn init"):
        read_run(tmp_path / "nothing")


def test_every_setting_is_explained() -> None:
    rows = run_toml().splitlines()
    assert all("# " in row for row in rows if "=" in row)
    assert "None" not in "".join(rows)


def test_a_setting_of_a_few_words_names_them() -> None:
    rows = [row for row in run_toml().splitlines() if " = " in row]
    said = {row.removeprefix("# ").split(" = ")[0]: row.partition(" # ")[2] for row in rows}
    kinds = '"fcos", "retinanet", "ssd", "faster_rcnn" or "fast_rcnn"'
    assert said["kind"].startswith(f"{kinds}: ")
    assert '"group" or "none": norms' in said["head_norm"]
    assert not said["gpus_per_trial"].startswith('"auto":')


def test_every_setting_is_in_the_guide_as_init_explains_it() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
    table = ""
    for row in run_toml().splitlines():
        if row.startswith("["):
            table = row[1 : row.index("]")] + "."
        elif " = " in row:
            key, meaning = row.removeprefix("# ").split(" = ")[0], row.rpartition(" # ")[2]
            assert f"| `{table}{key}` | {meaning} |" in guide
    assert "`controller_settings`" in guide


def test_all_that_is_not_found_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, 'space = "quik"\ncontroller = "randomsearch"\n')
    with pytest.raises(RunError) as error:
        read_question(read_run(tmp_path))
    message = str(error.value)
    assert message.startswith(f"{tmp_path.resolve() / 'run.toml'}:\n")
    assert "space = 'quik'" in message
    assert "did you mean 'quick'" in message
    assert "did you mean 'random_search'" in message
    write(tmp_path, 'space = "quick"\nbaselines = ["fnp", "fpn", "mine.neck"]\n')
    with pytest.raises(RunError) as error:
        read_question(read_run(tmp_path))
    assert "baselines: 'fnp'" in str(error.value)
    assert "baselines: 'mine.neck'" in str(error.value)


def test_a_path_in_the_file_is_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "mine.space").write_text("width {8 | 16}\np3..p4 = c3..c4 -> conv1\n")
    (tmp_path / "mine.neck").write_text("p3..p5 = c3..c5 -> conv1\n")
    write(tmp_path, 'space = "mine.space"\nbaselines = ["mine.neck"]\n')
    question = read_question(read_run(tmp_path))
    assert question.frame.levels == (3, 4)
    assert question.frame.width == 16, "controls stand at the largest width"
    assert question.levels == (3, 4)
    assert question.baselines[0].note == "baseline mine: width 16; p5 cut"


def test_workers_without_a_gpu_cannot_train_on_one(tmp_path: Path) -> None:
    write(tmp_path, '[proxy]\ndevice = "cuda"\n[ray]\nworkers = 2\ngpus_per_trial = 0\n')
    with pytest.raises(RunError) as fault:
        read_run(tmp_path)
    message = str(fault.value).replace(f"{tmp_path}/", "")
    assert f"{message}\n" == (GOLDEN / "no_gpus.txt").read_text(encoding="utf-8")
    for written, share in (("", "auto"), ("gpus_per_trial = 0.5\n", 0.5)):
        write(tmp_path, f'[proxy]\ndevice = "cuda"\n[ray]\nworkers = 2\n{written}')
        assert read_run(tmp_path).settings.ray.gpus_per_trial == share


def test_a_command_line_takes_no_device_from_workers(tmp_path: Path) -> None:
    write(tmp_path, '[proxy]\ndevice = "cuda"\n')
    run = read_run(tmp_path)  # "auto" decides gpus_per_trial, here and on a cluster
    for address, workers in ((None, 2), ("auto", None), ("auto", 4), (None, 0)):
        spread_as(run, address=address, workers=workers)
    write(tmp_path, '[proxy]\ndevice = "cuda"\n[ray]\ngpus_per_trial = 0.0\n')  # of before "auto"
    run = read_run(tmp_path)
    assert spread_as(run, address=None, workers=0).settings.ray.workers == 0
    for address, workers in ((None, 2), ("auto", None)):
        with pytest.raises(RunError, match=r'none; set "auto", with --'):
            spread_as(run, address=address, workers=workers)


@pytest.mark.parametrize("given", ['"auto"', "0", "0.0", "0.25", "0.0001", "1", "2", "16.0"])
def test_gpus_of_a_trial_are_what_ray_can_give(tmp_path: Path, given: str) -> None:
    write(tmp_path, f"[ray]\ngpus_per_trial = {given}\n")
    settings = read_run(tmp_path).settings
    assert settings.ray.gpus_per_trial == ("auto" if given == '"auto"' else float(given))
    assert RunSettings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("given", ["1.5", "-1", "0.00001", "inf", "nan", "true", '"all"', "1e300"])
def test_other_gpus_of_a_trial_are_named(tmp_path: Path, given: str) -> None:
    with pytest.raises(RunError, match=r'ray\.gpus_per_trial = .*: should be "auto", 0, a part of'):
        read_run(write(tmp_path, f"[ray]\ngpus_per_trial = {given}\n"))


def test_a_soft_constraint_makes_one_score_of_the_objectives(tmp_path: Path) -> None:
    several = 'objective = ["ap", "-gmacs"]\n'
    settings = read_run(write(tmp_path, several)).settings
    assert settings.told == ("ap", "-gmacs") and settings.soft is None
    constrained = f'{several}[soft_constraint]\ncost = "gmacs"\ntarget = 2.0\nweight = -0.5'
    settings = read_run(write(tmp_path, constrained)).settings
    assert settings.told == ("constrained",) and settings.objectives == ("ap", "-gmacs")
    assert settings.soft is not None
    assert settings.soft({"ap": 0.4, "gmacs": 8.0}) == pytest.approx(0.2)


def test_a_soft_constraint_weighs_an_objective(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="weighs latency_ms, which is no objective; write objective"):
        read_run(write(tmp_path, 'objective = ["ap", "-gmacs"]\n[soft_constraint]\ntarget = 2.0'))


def test_a_soft_constraint_weighs_a_cost(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"soft_constraint\.cost = \"gmac\": should be 'params_m'"):
        read_run(write(tmp_path, '[soft_constraint]\ncost = "gmac"'))


def test_an_objective_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="should name each objective once"):
        read_run(write(tmp_path, 'objective = ["ap", "ap"]'))


def test_rungs_part_the_steps_of_the_proxy(tmp_path: Path) -> None:
    assert RunSettings().halving is None
    write(tmp_path, '[budget]\nhalving = "promote"\n')
    halving = read_run(tmp_path).settings.halving
    assert halving == Halving((33, 100), 3, promotes=True)
    write(tmp_path, '[budget]\nhalving = "stop"\neta = 2\nrungs = 1\n[proxy]\nsteps = 100\n')
    assert read_run(tmp_path).settings.halving == Halving((50,), 2)


def test_rungs_without_room_are_named(tmp_path: Path) -> None:
    text = "[budget]\nrungs = 4\n[proxy]\nsteps = 20\n"
    write(tmp_path, text)
    read_run(tmp_path)  # nothing is compared
    write(tmp_path, text.replace("rungs", 'halving = "promote"\nrungs'))
    with pytest.raises(RunError) as error:
        read_run(tmp_path)
    assert str(error.value).splitlines()[1] == (
        "  20 steps have no room for 4 rungs that part them by 3; write fewer rungs in [budget]"
    )
