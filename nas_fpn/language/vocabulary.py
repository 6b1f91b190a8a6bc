"""What words do to channels and levels, over all that some answer could make of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from nas_fpn.language.channels import MOST_CHANNELS, Channels, number, unknown
from nas_fpn.language.layout import Span
from nas_fpn.language.program import Word
from nas_fpn.language.row import Row, gives, parts
from nas_fpn.language.slots import MOST_OPTIONS
from nas_fpn.language.syntax import LetName, Program, WordHole, WordSlot

__all__ = ["Moves", "Value", "Vocabulary", "moves"]


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


class Vocabulary:
    """The words of one program: its lets, its width, its default resamplers."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.rows = program.words.rows
        self.lets = dict(program.lets)
        options = program.width.options if program.width else (256,)
        self.widths = options
        self.width = _one("width", [number(width) for width in options])
        then = [(id(slot), f"then.block{k}") for k, slot in enumerate(program.then, 1)]
        self.once = dict(then)  # the decisions that a slot asks once for the file, by its id
        for name, setting in (("up", program.up), ("down", program.down)):
            if setting.slot is not None and not setting.each:
                self.once[id(setting.slot)] = name

    def options(self, slot: WordSlot) -> tuple[Word, ...]:
        """The words that may stand in a slot."""
        word = slot.word
        if isinstance(word, LetName):
            return self.options(self.lets[word.name])
        return word.options if isinstance(word, WordHole) else (word,)

    def row(self, slot: WordSlot) -> Row:
        """The row of a slot's words, as far as their kind decides it."""
        return self.rows[self.options(slot)[0].name]

    def given(self, word: Word) -> Channels:
        """The channels that a giving word gives."""
        given = dict(word.arguments).get("channels")
        return self.width if given is None else number(int(given))

    def behind(
        self, slot: WordSlot, inputs: frozenset[Channels], *, each: bool = False
    ) -> frozenset[Channels]:
        """The channels behind a slot's words; ``each``: asked anew, whatever the slot says.

        Where every word gives channels of its own and the file decides once which word it is,
        they are one unknown.
        """
        words, own = self.options(slot), slot.word
        given = [self.given(word) for word in words if gives(word, self.rows[word.name])]
        name = own.name if isinstance(own, LetName) else self.once.get(id(slot))
        if name is not None and not each and len(given) == len(words):
            return frozenset([_one(name, given)])
        return frozenset(given) | (inputs if len(given) < len(words) else frozenset())

    def divided(self, slot: WordSlot, word: Word) -> None:
        """Refuse a word whose channels, in some answer, cannot be cut into its equal parts."""
        cut = parts(word, self.rows[word.name])
        given = dict(word.arguments).get("channels")
        widths = self.widths if given is None else (int(given),)
        wrong = next((width for width in widths if width % cut), None)
        if wrong is not None:
            self.program.source.fail(
                slot.span,
                f"{word.name!r} makes its channels in {cut} equal parts, but would give {wrong}",
                f"write a width that {cut} divides, or {word.name}[{wrong + -wrong % cut}]",
            )

    def sums(
        self,
        span: Span,
        before: frozenset[Channels],
        term: frozenset[Channels],
        *,
        optional: bool,
    ) -> frozenset[Channels]:
        """Every sum of what operands could have; an empty ``before`` is nothing yet."""
        found = frozenset(a + b for a in before for b in term) if before else term
        found |= before if optional else frozenset()
        most = max(channels.most for channels in found)
        if len(found) > MOST_OPTIONS or most > MOST_CHANNELS:
            what = f"more than {MOST_OPTIONS} different numbers of channels"
            if most > MOST_CHANNELS:
                what = f"{most} channels, more than {MOST_CHANNELS}"
            self.program.source.fail(
                span, f"'concat[plain]' could give {what}", "write `-> conv1` behind it"
            )
        return found

    def along(
        self,
        blocks: Iterable[WordSlot],
        channels: frozenset[Channels],
        moves: Moves,
        *,
        fixed: bool,
        each: bool = False,
    ) -> frozenset[Channels]:
        """The channels behind some blocks; resamplers that cannot act are refused.

        ``each``: a decision of the file is asked anew here.
        """
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
            for word in self.options(slot):
                self.divided(slot, word)
            after = self.behind(slot, channels, each=each)
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
                    [setting.slot],
                    channels,
                    Moves(kind == "up", kind == "down"),
                    fixed=sure,
                    each=setting.each,
                )
        return channels


def _one(name: str, options: list[Channels]) -> Channels:
    """What one decision gives: a number where all its options give the same."""
    if len(set(options)) == 1:
        return options[0]
    return unknown(name, max(option.most for option in options))


def _text(slot: WordSlot) -> str:
    return repr(slot.word.name) if isinstance(slot.word, Word | LetName) else "this resampler"
