"""Programs in files: reading them, and finding the shipped ones by name."""

from importlib.resources import files
from pathlib import Path

from nas_fpn.errors import SpaceError, command_line
from nas_fpn.language.layout import MOST_BYTES, near, text_of
from nas_fpn.language.own_words import SHIPPED, Words
from nas_fpn.language.program import Architecture
from nas_fpn.language.space import Space, compile_space
from nas_fpn.language.walk import walk

__all__ = ["find_neck", "find_space", "parse", "parse_space", "read", "read_neck", "shipped_folder"]


def parse(text: str, *, file: str = "<text>", words: Words = SHIPPED) -> Architecture:
    """Read an architecture: a program without holes, of these words. Raises SpaceError.

    >>> print(parse("p3..p4 = c3..c4 -> conv1"))
    width 256
    <BLANKLINE>
    p3 = c3 -> conv1
    p4 = c4 -> conv1
    <BLANKLINE>
    """
    return walk(compile_space(text, file=file, holes=False, words=words), _never)


def parse_space(text: str, *, file: str = "<text>", words: Words = SHIPPED) -> Space:
    """Read a space: a program that may have holes, of these words. Raises SpaceError."""
    return compile_space(text, file=file, words=words)


def read(path: Path | str, *, words: Words = SHIPPED) -> Space:
    """Read a ``.space`` file, or a ``.neck`` file, which may not have holes. Raises SpaceError."""
    path = Path(path)
    holes = path.suffix != ".neck"
    return compile_space(_text(path), file=str(path), holes=holes, words=words)


def read_neck(path: Path | str, *, words: Words = SHIPPED) -> Architecture:
    """Read an architecture from a ``.neck`` file. Raises SpaceError."""
    return parse(_text(Path(path)), file=str(path), words=words)


def shipped_folder(kind: str) -> Path:
    """The folder of the shipped ``search_spaces`` or ``controllers``.

    In a wheel they lie below ``nas_fpn/shipped``; in a checkout at its top.
    """
    folder = Path(str(files("nas_fpn"))) / "shipped" / kind
    checkout = Path(__file__).parents[2] / kind
    return checkout if checkout.is_dir() else folder


def find_space(name_or_path: str | Path) -> Path:
    """The file of a shipped space or neck by its name (``nas_fpn``, ``fpn``), or of a path.

    A space is preferred to a neck of the same name; ``baselines/nas_fpn`` names the neck. Raises
    SpaceError where there is none.
    """
    given = Path(name_or_path)
    if given.suffix in (".space", ".neck") or given.is_file():
        if given.is_file():
            return given
        raise SpaceError(f"{given}: no such file\nthe shipped ones go by name: {_shipped()}")
    folder = shipped_folder("search_spaces")
    for candidate in (f"{given}.space", f"{given}.neck", f"baselines/{given}.neck"):
        if (folder / candidate).is_file():
            return folder / candidate
    names = _shipped()
    raise SpaceError(
        f"no space or neck {str(given)!r} is shipped, nor is it a file\nthere are {names}"
        + near(str(given), names.split(", "))
    )


def find_neck(name_or_path: str | Path) -> Path:
    """As :func:`find_space`, but a shipped neck is preferred to a space of the same name.

    Raises SpaceError where the name is that of a shipped space alone.
    """
    neck = shipped_folder("search_spaces") / "baselines" / f"{name_or_path}.neck"
    if neck.is_file():
        return neck
    found = find_space(name_or_path)
    if found.suffix == ".space" and not Path(name_or_path).is_file():
        raise SpaceError(
            f"{str(name_or_path)!r} is a space, where a neck is wanted\n"
            f"draw one of its necks: {command_line('sample', name_or_path)} > mine.neck"
        )
    return found


def _shipped() -> str:
    folder = shipped_folder("search_spaces")
    return ", ".join(sorted({p.stem for s in ("*.space", "**/*.neck") for p in folder.glob(s)}))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 4)
    except OSError as error:
        raise SpaceError(f"{path}: cannot be read: {error.strerror}") from None
    return text_of(content, str(path))


def _never(name: str, options: object) -> int:
    raise AssertionError(f"a program without holes asked for {name}")
