"""How one line of a space can become one known line: every way, the smallest answers first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from nas_fpn.language.lower import moved
from nas_fpn.language.names import is_backbone, level_of
from nas_fpn.language.program import Architecture, Line, Operand, Word
from nas_fpn.language.space import AskNumber, AskWord, Shared, Slot, Space, SpaceLine, SpaceOperand
from nas_fpn.language.values import Source
from nas_fpn.language.words import Row

__all__ = ["Known", "fit_addends", "fit_head", "fit_line", "idle_line"]

MOST_TRIES = 5_000  # ways to match the operands of one line
_ID = Word("id")
Answers = dict[str, int]


class Known(Protocol):
    """What the matching knows so far of the space's names."""

    @property
    def answers(self) -> Answers: ...  # noqa: D102
    @property
    def ours(self) -> Mapping[str, Source]: ...  # noqa: D102
    @property
    def levels(self) -> Mapping[Source, int]: ...  # noqa: D102
    @property
    def free(self) -> Mapping[str, bool]: ...  # noqa: D102
    @property
    def literal(self) -> bool: ...  # noqa: D102


def fit_line(
    line: SpaceLine,
    known: Line,
    sources: Sequence[tuple[Source, int]],
    state: Known,
    *,
    space: Space,
    architecture: Architecture,
) -> Iterator[tuple[Answers, frozenset[str]]]:
    """Answers that turn ``line`` into ``known``, addends aside, and the names that it uses."""
    fit = _Fit(line, known, sources, state, space, architecture)
    for answers in fit.level(state.answers):
        for after in fit.merge(answers):
            yield from fit.operands(after)


def fit_addends(line: SpaceLine, level: int, state: Known, free: Mapping[str, bool]) -> list[str]:
    """The addends that the line has: those written, and the rest where it says so."""
    names = list(line.addends)
    if line.rest:
        loose = [n for n, spare in free.items() if spare and n not in names]
        names.extend(n for n in loose if _level_of(n, state) == level)
    return names


def idle_line(
    line: SpaceLine, state: Known, space: Space, *, known: Line | None
) -> Iterator[tuple[Answers, str]]:
    """Answers under which the line is an alias, and the name that it aliases.

    Where the match is literal, ``known`` is the alias that it must become.
    """
    if line.merge is not None or line.addends:
        return
    (operand,) = line.operands
    shared, rows = dict(space.shared), space.words.rows
    pool = list(state.free) if operand.feature is None else [operand.feature]
    wanted = list(known.blocks or ()) if state.literal and known else []
    for index, name in enumerate(pool):
        if state.literal and known and known.operands[0].feature != name:
            continue
        level = _level_of(name, state)
        answers = dict(state.answers)
        if operand.pick is not None:
            answers[operand.pick] = index
        target = level_of(line.target)
        if target is None and isinstance(line.level, int):
            target = line.level
        if target is None and isinstance(line.level, AskNumber):
            if level not in line.level.options:
                continue
            answers[line.level.name] = line.level.options.index(level)
            target = level
        if target not in (None, level):
            continue
        if line.rest and any(
            spare and _level_of(n, state) == level and n != name for n, spare in state.free.items()
        ):
            continue
        slots = [
            slot for slot in line.blocks or () if _kind(slot, shared, rows) not in ("up", "down")
        ]
        for after in _sequence(slots, wanted, answers, shared, literal=state.literal):
            yield after, name


class _Fit:
    """One line of the space against one known line."""

    def __init__(
        self,
        line: SpaceLine,
        known: Line,
        sources: Sequence[tuple[Source, int]],
        state: Known,
        space: Space,
        architecture: Architecture,
    ) -> None:
        self.line = line
        self.known = known
        self.sources = sources
        self.state = state
        self.space = space
        self.shared = dict(space.shared)
        self.rows = space.words.rows
        self.architecture = architecture
        self.single = line.merge is None
        self.literal = state.literal
        self.tries = 0

    def level(self, answers: Answers) -> Iterator[Answers]:
        wanted, level = self.line.level, self.known.level
        if isinstance(wanted, AskNumber):
            if level in wanted.options:
                yield {**answers, wanted.name: wanted.options.index(level)}
        elif wanted is None or wanted == level:
            yield answers

    def merge(self, answers: Answers) -> Iterator[Answers]:
        ours, theirs = self.line.merge, self.known.merge
        if ours is None or theirs is None:
            if ours is None and theirs is None:
                yield answers
            return
        yield from _take(ours, theirs, answers, self.shared)

    def operands(self, answers: Answers) -> Iterator[tuple[Answers, frozenset[str]]]:
        merge = self.known.merge
        commutes = merge is not None and self.architecture.words.rows[merge.name].commutes
        todo = tuple(range(len(self.known.operands)))
        pool = tuple(self.state.free)
        for after, used in self.each(0, todo, pool, answers, frozenset(), commutes):
            blocks = self.line.blocks
            if self.single and not self.known.addends:
                yield after, used  # its blocks were those of the operand
                continue
            theirs = self.known.blocks
            if self.literal and (blocks is None or theirs is None):
                if blocks is theirs:
                    yield after, used
                continue
            ours = blocks if blocks is not None else (() if self.single else self.space.then)
            if theirs is None:
                theirs = () if self.single else self.architecture.then
            for final in self.sequence(list(ours), theirs, after):
                yield final, used

    def each(
        self,
        k: int,
        todo: tuple[int, ...],
        pool: tuple[str, ...],
        answers: Answers,
        used: frozenset[str],
        commutes: bool,
    ) -> Iterator[tuple[Answers, frozenset[str]]]:
        """Match the space's operands from the k-th on with the known ones still to do."""
        operands = self.line.operands
        if len(todo) > len(operands) - k:
            return
        self.tries += 1
        if self.tries > MOST_TRIES:
            return
        if k == len(operands):
            if not todo:
                yield answers, used
            return
        operand = operands[k]
        if operand.present is not None:
            absent = {**answers, operand.present: 0}
            yield from self.each(k + 1, todo, pool, absent, used, commutes)
            answers = {**answers, operand.present: 1}
        names = pool if operand.feature is None else (operand.feature,)
        for index, name in enumerate(names):
            now = answers if operand.pick is None else {**answers, operand.pick: index}
            rest = pool if operand.pick is None else pool[:index] + pool[index + 1 :]
            tried: set[tuple[Source, Operand]] = set()
            any_of = commutes and not (self.literal and operand.feature is not None)
            for at in todo if any_of else todo[:1]:
                value, level = self.sources[at]
                alike = (value, self.known.operands[at])
                if alike in tried:
                    continue
                tried.add(alike)
                if self.value(name) != value:
                    continue
                if self.literal and self.known.operands[at].feature != name:
                    continue
                others = tuple(other for other in todo if other != at)
                for after in self.blocks(operand, at, level, now):
                    yield from self.each(k + 1, others, rest, after, used | {name}, commutes)

    def blocks(
        self, operand: SpaceOperand, at: int, source: int, answers: Answers
    ) -> Iterator[Answers]:
        level = self.known.level
        if self.single and self.known.addends:
            yield answers
            return
        ours = list(self.line.blocks or ()) if self.single else list(operand.blocks)
        theirs: Sequence[Word] = self.known.blocks or ()
        theirs = theirs if self.single else self.known.operands[at].blocks
        kinds = {_kind(slot, self.shared, self.rows) for slot in ours}
        idle = {"up", "down"} if source == level else {"down"} if source > level else {"up"}
        ours = [slot for slot in ours if _kind(slot, self.shared, self.rows) not in idle]
        for each, setting, acts in (
            (operand.up, self.space.up, source > level and "up" not in kinds),
            (operand.down, self.space.down, source < level and "down" not in kinds),
        ):
            if acts and (each is not None or not self.literal):
                ours.append(each or setting)
        if not self.literal:
            theirs = moved(theirs, source, level, self.architecture)
        yield from self.sequence(ours, theirs, answers)

    def sequence(
        self, ours: Sequence[Slot], theirs: Sequence[Word], answers: Answers
    ) -> Iterator[Answers]:
        words = list(theirs) if self.literal else [word for word in theirs if word != _ID]
        return _sequence(ours, words, answers, self.shared, literal=self.literal)

    def value(self, name: str) -> Source:
        return ("c", int(name[1:])) if is_backbone(name) else self.state.ours[name]


def fit_head(space: Space, architecture: Architecture, answers: Answers) -> Iterator[Answers]:
    """Answers under which the settings of the space are those of the architecture."""
    ours = [*space.then, space.up, space.down]
    theirs = [*architecture.then, architecture.up, architecture.down]
    if len(ours) == len(theirs):
        yield from _sequence(ours, theirs, answers, dict(space.shared), literal=True)


def _sequence(
    slots: Sequence[Slot],
    words: Sequence[Word],
    answers: Answers,
    shared: Mapping[str, object],
    *,
    literal: bool,
) -> Iterator[Answers]:
    """Answers under which the slots become the words; not literally, an ``id`` is nothing."""
    if literal and len(slots) != len(words):
        return
    if not slots:
        if not words:
            yield answers
        return
    slot, *rest = slots
    wanted = list(words[:1]) if literal else [_ID, *words[:1]]
    if isinstance(slot, AskWord):
        wanted.sort(key=lambda w: slot.options.index(w) if w in slot.options else 0)
    for word in wanted:
        for after in _take(slot, word, answers, shared):
            left = words if word == _ID and not literal else words[1:]
            yield from _sequence(rest, left, after, shared, literal=literal)


def _take(
    slot: Slot, word: Word, answers: Answers, shared: Mapping[str, object]
) -> Iterator[Answers]:
    """The answers under which a slot becomes a word: none or one."""
    asked = shared[slot.name] if isinstance(slot, Shared) else slot
    if isinstance(asked, AskWord):
        if word in asked.options:
            index = asked.options.index(word)
            if answers.get(asked.name, index) == index:
                yield {**answers, asked.name: index}
    elif asked == word:
        yield answers


def _kind(slot: Slot, shared: Mapping[str, object], rows: Mapping[str, Row]) -> str:
    asked = shared.get(slot.name) if isinstance(slot, Shared) else slot
    if isinstance(asked, AskWord):
        return rows[asked.options[0].name].kind
    return rows[asked.name].kind if isinstance(asked, Word) else "block"


def _level_of(name: str, state: Known) -> int:
    if is_backbone(name):
        return int(name[1:])
    value = state.ours[name]
    if isinstance(value, tuple) and isinstance(value[1], int):
        return value[1]
    return state.levels[value]
