"""One word of a program and its arguments, as data and as text."""

from dataclasses import dataclass

__all__ = ["Value", "Word"]

Value = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the language with those of its arguments that are not the default.

    ``arguments`` are (name, value) in the order of the word's row in ``words.py``;
    ``conv3[bias]`` is ``Word("conv3", (("bias", True),))``, ``conv1[96]`` is
    ``Word("conv1", (("channels", 96),))``. What is true or false is written bare: ``bias`` or
    ``nobias``.
    """

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}[{', '.join(_argument(name, v) for name, v in self.arguments)}]"


def _argument(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return name if value else f"no{name}"
    if name == "channels":
        return str(value)
    return f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}"
