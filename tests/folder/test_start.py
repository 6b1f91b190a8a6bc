"""A new run: the shipped text is that of the settings, and names the data that was given."""

import tomllib
from pathlib import Path

import pytest

import nas_fpn.folder
from nas_fpn.errors import RunError
from nas_fpn.folder import start_run
from nas_fpn.run import RunSettings, read_run, run_toml

SHIPPED = Path(nas_fpn.folder.__file__).with_name("run.toml")
ANEW = f"""from nas_fpn.run import run_toml; open({str(SHIPPED)!r}, "w").write(run_toml())"""


def test_what_is_shipped_is_what_the_settings_say() -> None:
    shipped = SHIPPED.read_text(encoding="utf-8")
    assert shipped == run_toml(), f"write it anew:\npython -c '{ANEW}'"


def test_what_init_writes_is_the_defaults(tmp_path: Path) -> None:
    start_run(tmp_path / "mine")
    assert read_run(tmp_path / "mine").settings == RunSettings()


@pytest.mark.parametrize("name", ['a "b" [data]', "NAME", "größe 10 µm", "# train = …"])
def test_any_names_are_put_in_as_they_are(name: str, tmp_path: Path) -> None:
    data = tmp_path / f"{name}.json"
    data.write_text("{}")
    path = start_run(tmp_path / name, [data], images=tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}: nas-fpn search")
    given = tomllib.loads(text)["data"]
    assert (given["images"], given["train"]) == ("..", f"../{name}.json")
    was, now = (text.splitlines() for text in (run_toml(), text))
    changed = [rows for rows in zip(was[1:], now[1:], strict=True) if rows[0] != rows[1]]
    assert [row.split(" = ")[0] for _, row in changed] == ["images", "train"]
    assert all(one.rpartition("# ")[2] == two.rpartition("# ")[2] for one, two in changed)


def test_init_takes_a_folder_of_coco_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for split in ("train", "val"):
        (data / f"{split}.json").write_text("{}")
    start_run(tmp_path / "runs" / "mine", [data])
    settings = read_run(tmp_path / "runs" / "mine").settings.data
    assert settings.images == Path("../../data/images")
    assert settings.val == Path("../../data/val.json")
    assert settings.test is None


def test_init_takes_files_in_the_order_train_val_test(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for file in files:
        file.write_text("{}")
    start_run(tmp_path / "mine", files, images=tmp_path)
    run = read_run(tmp_path / "mine")
    assert (run.data.train, run.data.val, run.data.test) == tuple(files)
    assert run.data.images == tmp_path


def test_init_never_writes_over_a_run(tmp_path: Path) -> None:
    start_run(tmp_path)
    with pytest.raises(RunError, match="there is a run already"):
        start_run(tmp_path)


def test_init_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no train\.json; there is no JSON file"):
        start_run(tmp_path / "mine", [tmp_path])
    with pytest.raises(RunError, match="no such file or folder"):
        start_run(tmp_path / "mine", [tmp_path / "x.json"])
    assert not (tmp_path / "mine").exists()
