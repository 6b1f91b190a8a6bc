"""A new run: a folder with a ``run.toml`` that shows every setting with its default and meaning."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from nas_fpn.errors import RunError
from nas_fpn.run.settings import RunSettings

__all__ = ["data_files", "run_toml", "start_run"]

Value = bool | int | float | str | tuple[object, ...] | list[object] | dict[str, object]

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
    path.write_text(run_toml(folder.name, written), encoding="utf-8")
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


def run_toml(name: str, data: Mapping[str, str]) -> str:
    """The text of a ``run.toml``: every setting, its default, and what it means as a comment."""
    return "\n".join(_rows(name, data)) + "\n"


def _rows(name: str, data: Mapping[str, str]) -> Iterator[str]:
    yield f"# {name}: nas-fpn search on this folder runs it, and resumes it after an interruption."
    yield "# Paths are relative to this file. What is absent has the default that is shown here."
    yield ""
    settings = RunSettings()
    tables = []
    for key, field in RunSettings.model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, (BaseModel, dict)):
            tables.append((key, field.description, value))
        else:
            yield _row(key, value, field.description or "")
    for key, description, table in tables:
        yield ""
        yield f"[{key}]" if description is None else f"{f'[{key}]':<{COLUMN}}# {description}"
        if isinstance(table, BaseModel):
            given = data if key == "data" else {}
            for inner, field in type(table).model_fields.items():
                value = given.get(inner, getattr(table, inner))
                yield _row(inner, value, field.description or "")


def _row(key: str, value: Value | None, description: str) -> str:
    setting = f"# {key} = …" if value is None else f"{key} = {_toml(value)}"
    return f"{setting:<{COLUMN - 1}} # {description}"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _relative(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
