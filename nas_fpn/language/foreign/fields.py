"""One field of a table, checked: its kind, its range, and whether the key is known at all."""

from collections.abc import Sequence
from typing import NoReturn

from nas_fpn.language.foreign.literals import Table, Value
from nas_fpn.language.layout import near

__all__ = [
    "check_keys",
    "choice",
    "counts",
    "fail",
    "flag",
    "number",
    "optional_table",
    "required",
    "whole",
]


def fail(table: Table, key: str, what: str, mend: str) -> NoReturn:
    """Raise SpaceError at a key's value, or at the table where it has no such key."""
    table.source.fail(table.spans.get(key, table.span), what, mend)


def check_keys(table: Table, known: str, *, what: str) -> None:
    """Raise SpaceError for a key that is none of ``known``, which has a space between two."""
    all_known = sorted(known.split())
    for key in table.values:
        if key not in all_known:
            shown = [name for name in all_known if not name.startswith("_")]
            table.source.fail(
                table.keys.get(key, table.span),
                f"{what} has no argument {key!r}",
                f"it has {', '.join(shown)}{near(key, shown)}",
            )


def required(table: Table, key: str, *, what: str) -> Value:
    """The value of a key that must be there."""
    if key not in table.values:
        fail(table, key, f"{what} lacks {key!r}", f"write {key}=… into it")
    return table.values[key]


def whole(table: Table, key: str, default: int, *, least: int = 0, most: int = 4096) -> int:
    """A whole number in a range."""
    value = table.values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        _wrong(table, key, f"a whole number, {least} to {most}")
    return value


def number(table: Table, key: str, default: float) -> float:
    """A number from 0 to 1."""
    value = table.values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        _wrong(table, key, "a number, 0 to 1")
    return float(value)


def flag(table: Table, key: str, default: bool) -> bool:
    """True or False."""
    value = table.values.get(key, default)
    if not isinstance(value, bool):
        _wrong(table, key, "True or False")
    return value


def choice(table: Table, key: str, default: str, options: Sequence[str]) -> str:
    """One of some strings."""
    value = table.values.get(key, default)
    if not isinstance(value, str) or value not in options:
        _wrong(table, key, f"one of {', '.join(map(repr, options))}", near(str(value), [*options]))
    return value


def counts(table: Table, key: str, *, what: str) -> tuple[int, ...]:
    """A list of positive whole numbers."""
    value = required(table, key, what=what)
    numbers = value if isinstance(value, list) else []
    found = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    if not found or len(found) != len(numbers):
        _wrong(table, key, "a list of positive whole numbers, finest level first")
    return tuple(found)


def optional_table(table: Table, key: str) -> Table | None:
    """A dict, or None."""
    value = table.values.get(key)
    if value is not None and not isinstance(value, Table):
        _wrong(table, key, "a dict, or None")
    return value


def _wrong(table: Table, key: str, wanted: str, hint: str = "") -> NoReturn:
    value = table.values.get(key)
    given = "a dict or a call" if isinstance(value, Table) else repr(value)
    fail(table, key, f"{key} is {given}", f"write {wanted}{hint}")
