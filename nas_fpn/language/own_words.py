"""The words that a program may use: the shipped ones, and a user's own from a file by path.

A file of own words is Python and is run, with the rights of whoever runs it. It defines a dict
``words`` of rows; each row brings its ``operation``, which nothing here calls. ``docs/words.md`` is
the guide.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from traceback import extract_tb
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

from nas_fpn.errors import SpaceError
from nas_fpn.language.own_rows import row_fault
from nas_fpn.language.words import WORDS, Row

__all__ = ["SHIPPED", "Words", "WordsFile", "load_words"]


@dataclass(frozen=True, slots=True)
class WordsFile:
    """A file of own words as it was read: its path, for messages, and all its bytes."""

    path: str
    content: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """The hash of the bytes, in hex digits."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Every word of a program by name: ``words.rows["sum"]``. Frozen, and equal to itself only.

    It travels to other processes with the bytes of its ``files``, so that these need not be there.
    """

    rows: Mapping[str, Row]
    files: tuple[WordsFile, ...] = ()

    @property
    def own(self) -> dict[str, Row]:
        """The rows of the files, without the shipped ones."""
        return {name: row for name, row in self.rows.items() if name not in WORDS}

    def file_of(self, row: Row) -> WordsFile:
        """The file that an own row's operation was read from."""
        return next(f for f in self.files if _module_name(f) == operation_module(row))

    def __reduce__(self) -> str | tuple[Any, ...]:
        return (_words_of, (self.files,)) if self.files else "SHIPPED"

    def __deepcopy__(self, memo: dict[int, object]) -> "Words":
        return self


SHIPPED = Words(MappingProxyType(WORDS))


def load_words(paths: Sequence[Path | str]) -> Words:
    """The shipped words and those of the files, which are run. No file: the shipped ones.

    Raises SpaceError, naming the file, for one that cannot be read or run, that defines no
    ``words``, and for a row that is wrong.
    """
    files = []
    for path in paths:
        try:
            files.append(WordsFile(str(path), Path(path).read_bytes()))
        except OSError as error:
            raise SpaceError(
                f"{path}: cannot be read: {error.strerror}\n"
                "name a Python file that defines `words`, a dict of rows"
            ) from None
    return _words_of(tuple(files))


def operation_module(row: Row) -> str:
    """The name of the module that defines the row's operation."""
    return str(getattr(row.operation, "__module__", ""))


def _words_of(files: tuple[WordsFile, ...]) -> Words:
    if not files:
        return SHIPPED
    rows, source = dict(WORDS), dict.fromkeys(WORDS, "")
    for file in files:
        for name, row in _rows_of(file).items():
            if source.get(name):
                _fail(file, f"the word {name!r} stands in {source[name]} too", "rename one of them")
            fault = row_fault(name, row, module=_module_name(file))
            if fault is not None:
                _fail(file, *fault)
            rows[name], source[name] = row, file.path
    return Words(MappingProxyType(rows), files)


def _rows_of(file: WordsFile) -> dict[str, Row]:
    module = _run(file)
    found = getattr(module, "words", None)
    if not isinstance(found, dict) or not found:
        names = [] if hasattr(module, "words") else get_close_matches("words", vars(module), n=1)
        _fail(
            file,
            f"words is of type {type(found).__name__}" if found else "defines no words",
            'define a dict of rows: words = {"mine": Row("block", operation=mine)}'
            + "".join(f"; there is {name!r}" for name in names),
        )
    return found


class _Loader(SourceLoader):
    """Runs the bytes that were read, and tells the exporter the same source ever after."""

    def __init__(self, file: WordsFile) -> None:
        self.file = file

    def get_filename(self, fullname: str) -> str:
        return self.file.path

    def get_data(self, path: str | bytes) -> bytes:
        return self.file.content


def _module_name(file: WordsFile) -> str:
    """One name for one content: an edited file is another module, an equal one the same."""
    return f"nas_fpn_words_{Path(file.path).stem}_{file.sha256[:16]}"


def _run(file: WordsFile) -> ModuleType:
    name = _module_name(file)
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_loader(name, _Loader(file))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and the exporter look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a file of the user's may raise anything
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            line, what = error.lineno, f"is not Python: {error.msg}"
        else:
            rows = [row.lineno for row in extract_tb(error.__traceback__)[1:]]
            here = [r.lineno for r in extract_tb(error.__traceback__) if r.filename == file.path]
            line = (here or rows or [None])[-1]
            what = f"raises {type(error).__name__}: {error}"
        mend = "it is run as Python, like a controller: mend that line"
        raise SpaceError(f"{file.path}:{line}: {what}\n{mend}") from error
    return module


def _fail(file: WordsFile, what: str, mend: str) -> NoReturn:
    raise SpaceError(f"{file.path}: {what}\n{mend}")
