"""A new run: a folder with a ``run.toml`` that shows every setting with its default and meaning.

The text is shipped, ``run.toml`` beside this file, since the settings themselves load torch with
what they are for. They wrote it (:func:`nas_fpn.run.run_toml`); a test holds the two together.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas_fpn.errors import RunError

__all__ = ["COLUMN", "data_files", "setting_row", "start_run"]

SHIPPED = Path(__file__).with_name("run.toml")
NAME = "NAME"  # of the run, in what is shipped
# What the names of the files in a data folder are.
SPLITS = ("train", "val", "test", "warmup")
COLUMN = 34  # where the comments stand


def start_run(folder: Path, data: Sequence[Path] = (), *, images: Path | None = None) -> Path:
    """Write ``folder/run.toml`` and return its path.

    ``data`` is nothing (the embedded scenes), one folder, or the COCO JSON files of train, val
    and test, in this order; ``images`` is where their file names start.

    Raises:
        RunError: when there is a ``run.toml`` already, or a file of the data is missing.
    """
    path = folder / "run.toml"
    if path.exists():
        raise RunError(f"{path}: there is a run already\nedit it, or name another folder")
    given = data_files(data, images=images)
    folder.mkdir(parents=True, exist_ok=True)
    written = {key: _relative(file, folder) for key, file in given.items()}
    path.write_text(_filled(folder.name, written), encoding="utf-8")
    return path


def data_files(data: Sequence[Path], *, images: Path | None = None) -> dict[str, Path]:
    """Which setting of ``[data]`` each file is; see :func:`start_run`."""
    for file in (*data, *([] if images is None else [images])):
        if not file.exists():
            raise RunError(f"{file}: no such file or folder\nname one that is there")
    if not data:
        return {}
    if len(data) == 1 and data[0].is_dir():
        folder = data[0]
        files = {s: folder / f"{s}.json" for s in SPLITS if (folder / f"{s}.json").is_file()}
        if "train" not in files:
            there = ", ".join(sorted(p.name for p in folder.glob("*.json"))) or "no JSON file"
            raise RunError(
                f"{folder}: no train.json; there is {there}\n"
                "name the files: --data TRAIN.json --data VAL.json --data TEST.json --images FOLDER"
            )
    else:
        if any(file.is_dir() for file in data) or len(data) > len(SPLITS):
            raise RunError("--data names one folder, or the JSON files of train, val and test")
        files = dict(zip(SPLITS, data, strict=False))
        folder = data[0].parent
    beside = folder / "images"
    return {"images": images or (beside if beside.is_dir() else folder), **files}


def setting_row(key: str, value: str | None, meaning: str) -> str:
    """A line of a ``run.toml``: ``value`` as TOML has it; None: a comment that it may be set."""
    setting = f"# {key} = …" if value is None else f"{key} = {value}"
    return f"{setting:<{COLUMN - 1}} # {meaning}"


def _filled(name: str, data: Mapping[str, str]) -> str:
    """What is shipped, with the name of the run and its files in ``[data]``."""
    rows = SHIPPED.read_text(encoding="utf-8").replace(f"# {NAME}:", f"# {name}:", 1).splitlines()
    table = next(at for at, row in enumerate(rows) if row.startswith("[data]"))
    for key, file in data.items():
        at = next(at for at in range(table, len(rows)) if rows[at].startswith(f"# {key} = …"))
        meaning = rows[at].partition(" # ")[2]
        rows[at] = setting_row(key, json.dumps(file, ensure_ascii=False), meaning)
    return "\n".join(rows) + "\n"


def _relative(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
