"""Which genotype a known architecture has in a space.

The lines of both are matched in order, by the values that names mean: aliases, the names of
intermediates, the order of commuting operands, idle words, ``repeat 1`` and those lines of the
space that would reach no output do not matter. Of several genotypes the smallest is found,
since every question tries its options from the first; one that decodes to the very text first.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nas_fpn.errors import SpaceError
from nas_fpn.language.canonical import canonical
from nas_fpn.language.fitting import fit_addends, fit_head, fit_line, idle_line
from nas_fpn.language.names import is_backbone, is_pyramid, level_of
from nas_fpn.language.program import Architecture, Line, Repeat, line_text
from nas_fpn.language.space import AskNumber, Space, SpaceLine, SpaceOrder, SpaceRepeat
from nas_fpn.language.values import Source, is_alias
from nas_fpn.language.walk import Genotype, choices, decode

__all__ = ["encode"]

MOST_STEPS = 20_000  # of the search for a match


@dataclass(frozen=True, slots=True)
class _Close:
    """The end of a repeat's body."""


@dataclass(frozen=True, slots=True)
class _State:
    """How far both programs are matched, what names mean in each, and the answers so far."""

    at: int  # the next item of the space
    line: int  # the next item of the architecture
    left: tuple[int, ...] | None  # the lines left of the order group at `at`
    answers: dict[str, int]
    ours: dict[str, Source]  # the space's names
    theirs: dict[str, Source]  # the architecture's names
    levels: dict[Source, int]
    free: dict[str, bool]  # the space's own names of this block: whether unused
    outside: tuple[dict[str, Source], dict[str, Source], dict[str, bool]] | None
    once: bool  # inside a repeat of the space that runs once, where the neck has plain lines
    made: int  # values so far
    literal: bool  # by the letter: names, order and idle words are as the space writes them


_Item = SpaceLine | SpaceOrder | SpaceRepeat | _Close
_Known = Line | Repeat | _Close


def encode(space: Space, architecture: Architecture) -> Genotype:
    """The smallest genotype of the space that decodes to this neck.

    Raises SpaceError that names the first line of the architecture that fits nowhere, or the line
    where the search for one was given up.
    """
    ours: list[_Item] = []
    for item in space.items:
        ours.extend([item, *item.items, _Close()] if isinstance(item, SpaceRepeat) else [item])
    theirs: list[_Known] = []
    for known in architecture.items:
        if isinstance(known, Line):
            theirs.append(known)
        elif known.count == 1:
            theirs.extend(known.lines)
        else:
            theirs.extend([known, *known.lines, _Close()])
    answers = _width(space, architecture)
    furthest, given_up = 0, False
    for literal in (True, False):
        heads = fit_head(space, architecture, answers) if literal else [answers]
        starts = [_State(0, 0, None, a, {}, {}, {}, {}, None, False, 0, literal) for a in heads]
        for state in _states(starts, ours, theirs, space, architecture):
            if state is None:
                given_up = True
                continue
            furthest = max(furthest, state.line)
            if state.at < len(ours) or state.line < len(theirs):
                continue
            if _outputs(state.ours) != _outputs(state.theirs):
                continue
            genotype = tuple([state.answers.get(c.name, 0) for c in choices(space)])
            if _same(decode(space, genotype), architecture, literal=literal):
                return genotype
    raise SpaceError(_nowhere(space, theirs, furthest, given_up=given_up))


def _states(
    starts: list[_State],
    ours: list[_Item],
    theirs: list[_Known],
    space: Space,
    architecture: Architecture,
) -> Iterator[_State | None]:
    """Every partial match, the smallest answers first; None where the steps run out."""
    stack: list[Iterator[_State]] = [iter(starts)]
    for _ in range(MOST_STEPS):
        state = next(stack[-1], None)
        if state is not None:
            yield state
            stack.append(_next(state, ours, theirs, space, architecture))
            continue
        stack.pop()
        if not stack:
            return
    yield None


def _same(found: Architecture, wanted: Architecture, *, literal: bool) -> bool:
    if literal:
        return replace(found, doc="") == replace(wanted, doc="")
    return canonical(found) == canonical(wanted)


def _width(space: Space, architecture: Architecture) -> dict[str, int]:
    width = canonical(architecture).width
    if isinstance(space.width, AskNumber):
        if architecture.width in space.width.options:
            return {space.width.name: space.width.options.index(architecture.width)}
        offered = ", ".join(map(str, space.width.options))
    elif architecture.width == space.width or width == space.width:
        return {}
    else:
        offered = str(space.width)
    raise SpaceError(
        f"{space.file}: the neck has width {architecture.width}, the space offers {offered}\n"
        "change its width: architecture.with_width(…)"
    )


def _outputs(names: dict[str, Source]) -> dict[str, Source]:
    return {name: value for name, value in names.items() if is_pyramid(name)}


def _nowhere(space: Space, theirs: Sequence[_Known], furthest: int, *, given_up: bool) -> str:
    levels: dict[str, int] = {}
    texts = []
    for item in theirs:
        if isinstance(item, Line):
            texts.append(line_text(item, levels))
        else:
            texts.append(f"repeat {item.count}:" if isinstance(item, Repeat) else "")
    line = texts[furthest] if furthest < len(texts) else ""
    if given_up:
        return (
            f"{space.file}: no genotype is found in {MOST_STEPS} steps; the furthest line reached: "
            f"{line or 'the end of the neck'}\n"
            "write the neck as the space does: its names, its operands in its order"
        )
    if not line:
        return f"{space.file}: the neck ends where the space has more lines\nadd the lines it lacks"
    return (
        f"{space.file}: this line of the neck fits nowhere: {line}\n"
        "a member of the space has its lines in the space's order; `nas-fpn show` prints them"
    )


def _next(
    state: _State,
    ours: list[_Item],
    theirs: list[_Known],
    space: Space,
    architecture: Architecture,
) -> Iterator[_State]:
    known = theirs[state.line] if state.line < len(theirs) else None
    if isinstance(known, Line) and not state.literal:
        sources = _sources(known, state)
        if is_alias(known, tuple(level for _, level in sources)):
            theirs_now = {**state.theirs, known.target: sources[0][0]}
            yield replace(state, line=state.line + 1, theirs=theirs_now)
            return
    item = ours[state.at] if state.at < len(ours) else None
    if isinstance(item, SpaceLine):
        yield from _line(state, item, known, space, architecture, None)
    elif isinstance(item, SpaceOrder):
        yield from _order(state, item, known, space, architecture)
    elif isinstance(item, SpaceRepeat):
        if isinstance(known, Repeat):
            yield from _open(state, item, known)
        yield from _open_once(state, item)
    elif isinstance(item, _Close) and state.once:
        yield _close_once(state)
    elif isinstance(item, _Close) and isinstance(known, _Close):
        yield from _close(state)


def _open(state: _State, item: SpaceRepeat, known: Repeat) -> Iterator[_State]:
    answers = state.answers
    if isinstance(item.count, AskNumber):
        if known.count not in item.count.options:
            return
        answers = {**answers, item.count.name: item.count.options.index(known.count)}
    elif item.count != known.count:
        return
    if _outputs(state.ours) != _outputs(state.theirs):
        return
    carried: dict[str, Source] = {name: ("in", name) for name in _outputs(state.ours)}
    levels = {**state.levels, **{value: int(name[1:]) for name, value in carried.items()}}
    yield replace(
        state,
        at=state.at + 1,
        line=state.line + 1,
        answers=answers,
        ours={**state.ours, **carried},
        theirs={**state.theirs, **carried},
        levels=levels,
        free={},
        outside=(state.ours, state.theirs, state.free),
    )


def _open_once(state: _State, item: SpaceRepeat) -> Iterator[_State]:
    answers = state.answers
    if isinstance(item.count, AskNumber):
        if 1 not in item.count.options:
            return
        answers = {**answers, item.count.name: item.count.options.index(1)}
    elif item.count != 1:
        return
    outside = (state.ours, state.theirs, state.free)
    yield replace(state, at=state.at + 1, answers=answers, free={}, outside=outside, once=True)


def _close_once(state: _State) -> _State:
    assert state.outside is not None
    ours, _, free = state.outside
    after = {**ours, **_outputs(state.ours)}
    named = {name: True for name in state.free if is_pyramid(name)}
    return replace(
        state, at=state.at + 1, ours=after, free={**free, **named}, outside=None, once=False
    )


def _close(state: _State) -> Iterator[_State]:
    if _outputs(state.ours) != _outputs(state.theirs) or state.outside is None:
        return
    ours, theirs, free = state.outside
    after: dict[str, Source] = {
        name: (f"loop{state.made}", name)
        for name, value in _outputs(state.ours).items()
        if value != ("in", name)
    }
    yield replace(
        state,
        at=state.at + 1,
        line=state.line + 1,
        ours={**ours, **after},
        theirs={**theirs, **after},
        levels={**state.levels, **{value: int(name[1:]) for name, value in after.items()}},
        free={**free, **{name: True for name in state.free if is_pyramid(name)}},
        outside=None,
        made=state.made + 1,
    )


def _order(
    state: _State, item: SpaceOrder, known: _Known | None, space: Space, architecture: Architecture
) -> Iterator[_State]:
    left = state.left if state.left is not None else tuple(range(len(item.lines)))
    position = len(item.lines) - len(left)
    lines = item.lines[position]
    picks = list(enumerate(left))
    if isinstance(known, Line):
        same = [(pick, k) for pick, k in picks if lines[k].target == known.target]
        picks = same or picks
    for pick, k in picks:
        answers = state.answers
        if position < len(item.picks):
            answers = {**answers, item.picks[position]: pick}
        rest = tuple(other for other in left if other != k)
        chosen = replace(state, answers=answers)
        yield from _line(chosen, lines[k], known, space, architecture, rest)


def _line(
    state: _State,
    line: SpaceLine,
    known: _Known | None,
    space: Space,
    architecture: Architecture,
    left: tuple[int, ...] | None,
) -> Iterator[_State]:
    """All ways to match a line of the space: with the next known line, or as an alias."""
    at = state.at if left else state.at + 1
    left = left or None
    alias = None
    if isinstance(known, Line):
        sources = _sources(known, state)
        if state.literal and known.target != line.target:
            return
        if state.literal and is_alias(known, tuple(level for _, level in sources)):
            alias = known
    if isinstance(known, Line) and alias is None:
        wanted = Counter(state.theirs[name] for name in known.addends)
        for answers, used in fit_line(
            line, known, sources, state, space=space, architecture=architecture
        ):
            free = {name: spare and name not in used for name, spare in state.free.items()}
            addends = fit_addends(line, known.level, state, free)
            if Counter(state.ours[name] for name in addends) != wanted:
                continue
            free.update(dict.fromkeys([n for n in addends if n in free], False))
            free[line.target] = True
            yield replace(
                state,
                at=at,
                line=state.line + 1,
                left=left,
                answers=answers,
                ours={**state.ours, line.target: state.made},
                theirs={**state.theirs, known.target: state.made},
                levels={**state.levels, state.made: known.level},
                free=free,
                made=state.made + 1,
            )
    if state.literal and alias is None:
        return
    for answers, feature in idle_line(line, state, space, known=alias):
        value = state.ours.get(feature, ("c", level_of(feature) or 0))
        free = {**state.free, **({feature: False} if feature in state.free else {})}
        free[line.target] = True
        ours = {**state.ours, line.target: value}
        now = replace(state, at=at, left=left, answers=answers, ours=ours, free=free)
        if alias is not None:
            theirs = {**state.theirs, alias.target: value}
            now = replace(now, line=state.line + 1, theirs=theirs)
        yield now
    if not is_pyramid(line.target) and not state.literal:
        yield _dead(state, line, at, left)


def _dead(state: _State, line: SpaceLine, at: int, left: tuple[int, ...] | None) -> _State:
    """The line makes a value that the neck does not have: it must come to nothing."""
    level = line.level
    if isinstance(level, AskNumber):
        level = level.options[0]
    if level is None:
        feature = line.operands[0].feature or next(iter(state.free))
        level = _level(state.ours.get(feature, ("c", level_of(feature) or 0)), state.levels)
    used = {operand.feature for operand in line.operands} | set(line.addends)
    free = {name: spare and name not in used for name, spare in state.free.items()}
    return replace(
        state,
        at=at,
        left=left,
        ours={**state.ours, line.target: state.made},
        levels={**state.levels, state.made: level},
        free={**free, line.target: True},
        made=state.made + 1,
    )


def _sources(known: Line, state: _State) -> list[tuple[Source, int]]:
    found: list[tuple[Source, int]] = []
    for operand in known.operands:
        name = operand.feature
        if is_backbone(name):
            found.append((("c", int(name[1:])), int(name[1:])))
        else:
            value = state.theirs[name]
            found.append((value, _level(value, state.levels)))
    return found


def _level(value: Source, levels: dict[Source, int]) -> int:
    return value[1] if isinstance(value, tuple) and isinstance(value[1], int) else levels[value]
