"""The text of a new ``run.toml``, as the settings have it: what ``nas_fpn/folder`` ships."""

import json
from collections.abc import Iterator
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nas_fpn.folder import COLUMN, setting_row
from nas_fpn.run.settings import RunSettings

__all__ = ["run_toml"]

Value = bool | int | float | str | tuple[object, ...] | list[object] | dict[str, object]


def run_toml() -> str:
    """Every setting, its default, and what it means as a comment; of a run called NAME."""
    return "\n".join(_rows()) + "\n"


def _rows() -> Iterator[str]:
    yield "# NAME: nas-fpn search on this folder runs it, and resumes it after an interruption."
    yield "# Paths are relative to this file. What is absent has the default that is shown here."
    yield ""
    settings = RunSettings()
    tables = []
    for key, field in RunSettings.model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, (BaseModel, dict)):
            tables.append((key, field.description, value))
        else:
            yield _row(key, value, _meaning(field))
    for key, description, table in tables:
        yield ""
        yield f"[{key}]" if description is None else f"{f'[{key}]':<{COLUMN}}# {description}"
        if isinstance(table, BaseModel):
            for inner, field in type(table).model_fields.items():
                yield _row(inner, getattr(type(table)(), inner), _meaning(field))


def _meaning(field: FieldInfo) -> str:
    """What a setting says of itself; where it is one of a few words, these words first."""
    annotation: object = field.annotation
    if get_origin(annotation) in {
        Union,
        UnionType,
    }:  # of words or None, but not of words or a number
        rest = [one for one in get_args(annotation) if one is not type(None)]
        annotation = rest[0] if len(rest) == 1 else annotation
    if get_origin(annotation) is not Literal:
        return field.description or ""
    *words, last = map(_toml, get_args(annotation))
    return f"{', '.join(words)} or {last}: {field.description}"


def _row(key: str, value: Value | None, meaning: str) -> str:
    return setting_row(key, None if value is None else _toml(value), meaning)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else repr(value)
