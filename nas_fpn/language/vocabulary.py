"""What words do to channels and levels, over all that some answer could make of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from nas_fpn.language.program import Word
from nas_fpn.language.syntax import LetName, Program, WordHole, WordSlot
from nas_fpn.language.words import WORDS, Row

__all__ = ["Channels", "Moves", "Value", "Vocabulary", "is_raw", "moves"]

Channels = int | str  # a number, "width" where that is a hole, or "c4": the backbone's own


@dataclass(frozen=True, slots=True)
class Moves:
    """Whether some answer could put an operand above (``up``) or below its line's level."""

    up: bool
    down: bool


@dataclass(frozen=True, slots=True)
class Value:
    """The levels and the channels that some answer could give a feature."""

    levels: frozenset[int]
    channels: frozenset[Channels]

    def __or__(self, other: "Value") -> "Value":
        return Value(self.levels | other.levels, self.channels | other.channels)


def moves(source: frozenset[int], target: frozenset[int]) -> Moves:
    """The moves that an operand could need."""
    return Moves(up=max(source) > min(target), down=min(source) < max(target))


def is_raw(channel: Channels) -> bool:
    """Whether channels are the backbone's own."""
    return isinstance(channel, str) and channel != "width"


class Vocabulary:
    """The words of one program: its lets, its width, its default resamplers."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lets = dict(program.lets)
        options = program.width.options if program.width else (256,)
        self.widths = options
        self.width: Channels = options[0] if len(options) == 1 else "width"

    def options(self, slot: WordSlot) -> tuple[Word, ...]:
        """The words that may stand in a slot."""
        word = slot.word
        if isinstance(word, LetName):
            return self.options(self.lets[word.name])
        return word.options if isinstance(word, WordHole) else (word,)

    def row(self, slot: WordSlot) -> Row:
        """The row of a slot's words, as far as their kind decides it."""
        return WORDS[self.options(slot)[0].name]

    def given(self, word: Word) -> Channels:
        """The channels that a giving word gives."""
        given = dict(word.arguments).get("channels")
        return self.width if given is None else int(given)

    def divided(self, slot: WordSlot, word: Word) -> None:
        """Refuse a word whose channels, in some answer, cannot be cut into its equal parts."""
        parts = WORDS[word.name].parts
        given = dict(word.arguments).get("channels")
        widths = self.widths if given is None else (int(given),)
        wrong = next((width for width in widths if width % parts), None)
        if wrong is not None:
            self.program.source.fail(
                slot.span,
                f"{word.name!r} makes its channels in {parts} equal parts, but would give {wrong}",
                f"write a width that {parts} divides, or {word.name}[{wrong + -wrong % parts}]",
            )

    def along(
        self,
        blocks: Iterable[WordSlot],
        channels: frozenset[Channels],
        moves: Moves,
        *,
        fixed: bool,
    ) -> frozenset[Channels]:
        """The channels behind some blocks; resamplers that cannot act are refused."""
        seen: set[str] = set()
        for slot in blocks:
            kind = self.row(slot).kind
            sure = True
            if kind in ("up", "down"):
                if kind in seen:
                    self.program.source.fail(
                        slot.span, f"two {kind} resamplers", "an operand takes one of each"
                    )
                seen.add(kind)
                acts = moves.up if kind == "up" else moves.down
                if fixed and not acts:
                    self.program.source.fail(
                        slot.span,
                        f"{_text(slot)} cannot act: it resamples "
                        f"{'to a finer level' if kind == 'up' else 'to a coarser level'}",
                        "here the levels are equal or the other way round; remove it, or give the "
                        "target its level: t@6 = …",
                    )
                if not acts:
                    continue
                sure = fixed
            after = frozenset[Channels]()
            for word in self.options(slot):
                row = WORDS[word.name]
                self.divided(slot, word)
                after |= frozenset([self.given(word)]) if row.gives else channels
            channels = after if sure else after | channels
        return channels

    def default(
        self,
        blocks: Iterable[WordSlot],
        channels: frozenset[Channels],
        moves: Moves,
        source: frozenset[int],
        target: frozenset[int],
    ) -> frozenset[Channels]:
        """The channels behind the default resamplers, where no written one acts."""
        kinds = {self.row(slot).kind for slot in blocks}
        sure = len(source) == 1 and len(target) == 1
        for kind, acts, setting in (
            ("up", moves.up, self.program.up),
            ("down", moves.down, self.program.down),
        ):
            if acts and kind not in kinds and setting.slot is not None:
                channels = self.along(
                    [setting.slot], channels, Moves(kind == "up", kind == "down"), fixed=sure
                )
        return channels


def _text(slot: WordSlot) -> str:
    return repr(slot.word.name) if isinstance(slot.word, Word | LetName) else "this resampler"
