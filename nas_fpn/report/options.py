"""The choices of a space as parameters of a study: a name and the options that may be taken.

Optuna wants the options of a parameter to be the same in every trial. What ``*`` and ``any order``
offer depends on earlier answers: their options are all the names that they could ever offer.
"""

from collections.abc import Mapping, Sequence

from nas_fpn.language import Space, explain, walk
from nas_fpn.language.space import SpaceLine, SpaceOrder
from nas_fpn.record import Genotype

__all__ = ["OUTSIDE", "chosen", "options"]

OUTSIDE = "–"  # what a baseline that is no member of the space has taken everywhere


def options(space: Space) -> dict[str, tuple[str, ...]]:
    """Every option of every choice by the choice's name, as text, and last :data:`OUTSIDE`.

    Baselines that are no members of the space must have parameters all the same: importances are
    of the parameters that all trials have.
    """
    names = _targets(space)
    asked: dict[str, tuple[str, ...]] = {}

    def record(name: str, offered: Sequence[object]) -> int:
        # a list is made on the way; the holes of the text are tuples
        said = names if isinstance(offered, list) else [str(option) for option in offered]
        asked[name] = tuple(dict.fromkeys((*said, OUTSIDE)))
        return 0

    walk(space, record)
    return asked


def chosen(
    space: Space, offered: Mapping[str, Sequence[str]], genotype: Genotype | None
) -> dict[str, str]:
    """The option that a neck has taken of each choice; ``genotype`` None is no member."""
    if genotype is None:
        return dict.fromkeys(offered, OUTSIDE)
    return dict(explain(space, genotype))


def _targets(space: Space) -> list[str]:
    """The names of all features that the lines of a space make, in the order of the text."""
    found: list[str] = []
    for item in space.items:
        lines = item.items if not isinstance(item, SpaceLine | SpaceOrder) else (item,)
        for line in lines:
            one = line.lines[0] if isinstance(line, SpaceOrder) else (line,)
            found += [each.target for each in one]
    return list(dict.fromkeys(found))
