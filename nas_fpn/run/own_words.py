"""The own words of a run: read from its files, rehearsed, and held to be exportable."""

from collections.abc import Iterable

from nas_fpn.errors import RunError, SpaceError
from nas_fpn.export import check_exportable
from nas_fpn.language import SHIPPED, Words, load_words, parse
from nas_fpn.necks import rehearse
from nas_fpn.run.settings import Run

__all__ = ["prove_words", "read_words", "words_for"]


def read_words(run: Run) -> Words:
    """Run the files that ``words`` of the ``run.toml`` names; paths are relative to it.

    Raises:
        RunError: for a file that cannot be read or run, and for a word that is wrong.
    """
    try:
        return load_words([run.folder / name for name in run.settings.words])
    except SpaceError as fault:
        rows = str(fault).replace("\n", "\n  ")
        raise RunError(f"{run.folder / 'run.toml'}:\n  words: {rows}") from None


def words_for(run: Run, texts: Iterable[str], *, trust: bool) -> Words:
    """The words for programs of a run that may be a stranger's: the shipped ones if they do.

    Raises:
        RunError: where own words are needed, which are code, and nobody trusts the run.
    """
    if trust or not run.settings.words:
        return read_words(run)
    try:
        for text in texts:
            parse(text)
    except SpaceError:
        raise RunError(
            f"{run.folder}: needs own words, {', '.join(run.settings.words)}, which are code\n"
            "if you know who wrote them, --trust runs them"
        ) from None
    return SHIPPED


def prove_words(words: Words) -> None:
    """Hold every own word against its row, and export it once. Raises SpaceError."""
    rehearse(words)
    check_exportable(words)
