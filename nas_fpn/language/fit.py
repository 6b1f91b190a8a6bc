"""A hand-designed neck at another width and other levels, as a run compares it."""

from collections.abc import Sequence
from dataclasses import replace

from nas_fpn.errors import SpaceError
from nas_fpn.language.lower import moved
from nas_fpn.language.names import is_backbone, is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line, Operand, Repeat, Word
from nas_fpn.language.space import compile_space

__all__ = ["fit"]


def fit(architecture: Architecture, *, width: int, levels: Sequence[int]) -> Architecture:
    """The neck at ``width`` with exactly the pyramid levels ``levels`` (consecutive, from fine).

    Whatever touches a level above the top one is cut: lines of such levels, operands and addends
    that came from them; a merge left with one operand becomes that operand (a raw ``c`` its
    ``conv1``), then the blocks of the line. So is what touches a level below the lowest, if the
    neck has outputs there; but where that would leave nothing at the lowest, intermediates below
    move up to it (HRFPN joins all levels at the finest). Levels that the neck lacks at the top are
    added by ``subsample``.

    Raises SpaceError where the neck lacks levels at the bottom, where nothing is left of it, and
    where what is left is no program at this width: a ``concat[plain]`` that lost an operand can
    leave unequal channels behind.
    """
    top, bottom = max(levels), min(levels)
    own = sorted({level_of(n) or 0 for n in _targets(architecture.items) if is_pyramid(n)})
    kept = range(bottom if own[0] < bottom else 0, top + 1)
    items = _cut_all(architecture, kept)
    if own[0] <= bottom and f"p{bottom}" not in _targets(items):
        items = _cut_all(_lifted(architecture, bottom), kept)
    have = sorted({level_of(n) or 0 for n in _targets(items) if is_pyramid(n)})
    if not have or have[0] > bottom:
        raise SpaceError(
            f"this neck has levels {own[0]}..{own[-1]}, but {bottom}..{top} are asked for\n"
            "choose a baseline that reaches the finest level"
        )
    for level in range(have[-1] + 1, top + 1):
        source = (Operand(f"p{level - 1}"),)
        items.append(Line(f"p{level}", level, None, source, (), (Word("subsample"),)))
    fitted = replace(architecture, items=tuple(items), width=width)
    try:
        compile_space(str(fitted), file="the neck, cut", holes=False, words=architecture.words)
    except SpaceError as error:
        raise SpaceError(
            f"this neck fits no width {width} with levels {bottom}..{top}\n{error}"
        ) from error
    return fitted


def _cut_all(architecture: Architecture, kept: range) -> list[Line | Repeat]:
    gone: set[str] = set()
    levels: dict[str, int] = {}  # of intermediates, as they were
    items: list[Line | Repeat] = []
    for item in architecture.items:
        if isinstance(item, Line):
            items.extend(_cut(item, kept, gone, levels, architecture))
            continue
        inner = set(gone)
        lines = [
            line for old in item.lines for line in _cut(old, kept, inner, levels, architecture)
        ]
        gone |= {name for name in inner if is_pyramid(name)}
        if lines:
            items.append(Repeat(item.count, tuple(lines)))
    return items


def _lifted(architecture: Architecture, bottom: int) -> Architecture:
    """The program with its intermediates below ``bottom`` at that level."""
    levels: dict[str, int] = {}
    rows = architecture.words.rows

    def still(feature: str, level: int, blocks: tuple[Word, ...]) -> tuple[Word, ...]:
        """The blocks without a resampler that has nothing to do any more."""
        source = levels.get(feature, level_of(feature))
        if source != level:
            return blocks
        return tuple(word for word in blocks if rows[word.name].kind == "block")

    def lift(line: Line) -> Line:
        level = line.level if is_pyramid(line.target) else max(line.level, bottom)
        levels[line.target] = level
        operands = tuple(
            replace(o, blocks=still(o.feature, level, o.blocks)) for o in line.operands
        )
        blocks = line.blocks
        if line.merge is None and blocks is not None:
            blocks = still(operands[0].feature, level, blocks) or None
        return replace(line, level=level, operands=operands, blocks=blocks)

    items = tuple(
        lift(item)
        if isinstance(item, Line)
        else Repeat(item.count, tuple(lift(line) for line in item.lines))
        for item in architecture.items
    )
    return replace(architecture, items=items)


def _cut(
    line: Line, kept: range, gone: set[str], levels: dict[str, int], architecture: Architecture
) -> list[Line]:
    known, levels[line.target] = dict(levels), line.level
    operands = tuple(o for o in line.operands if not _outside(o.feature, kept, gone))
    addends = tuple(name for name in line.addends if not _outside(name, kept, gone))
    if line.level not in kept or (not operands and not addends):
        gone.add(line.target)
        return []
    gone.discard(line.target)
    if not operands:
        operands, addends = (Operand(addends[0]),), addends[1:]
    if line.merge is None or len(operands) > 1:
        return [replace(line, operands=operands, addends=addends)]
    blocks = architecture.then if line.blocks is None else line.blocks
    (only,) = operands
    if addends:  # both at the line's level or resampled inside a sum
        merge = Word("sum")
        both = (only, *(Operand(name) for name in addends))
        return [replace(line, merge=merge, operands=both, addends=(), blocks=blocks or None)]
    rows = architecture.words.rows
    own: Sequence[Word] = only.blocks
    if blocks:  # they act where the merge was: behind what takes the operand to its level
        source = known.get(only.feature, level_of(only.feature))
        assert source is not None
        own = moved(own, source, line.level, architecture)
    words = (*own, *blocks)
    if is_backbone(only.feature) and not any(rows[word.name].gives for word in words):
        words = (Word("conv1"), *words)  # what the merge did for its channels
    if not words and only.feature == line.target:
        return []
    return [replace(line, merge=None, operands=(Operand(only.feature),), blocks=words or None)]


def _outside(name: str, kept: range, gone: set[str]) -> bool:
    return name in gone or (is_backbone(name) and level_of(name) not in kept)


def _targets(items: Sequence[Line | Repeat]) -> list[str]:
    return [
        line.target for item in items for line in ([item] if isinstance(item, Line) else item.lines)
    ]
