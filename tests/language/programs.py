"""Programs for the laws: every shipped file, and random spaces that are right by construction.

``spaces()`` draws texts with ranges, repeats, orders, lets, ``each``, ``rest``, optional operands,
stars, level holes and arguments. It tracks the levels that a name may have, nothing else: all
features that a line gives have the neck's width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from nas_fpn.language import shipped_folder

FOLDER = shipped_folder("search_spaces")
SHIPPED = sorted([*FOLDER.rglob("*.space"), *FOLDER.rglob("*.neck")])
IDS = [path.relative_to(FOLDER).as_posix() for path in SHIPPED]

MERGES = ("sum", "mean", "max", "fast", "softmax", "weighted", "fast[eps=0.5]")
PAIRS = (*MERGES, "gp", "gp[pool=mean]")
BLOCKS = ("conv3", "conv1[bias]", "sep3", "bn", "bn[eps=0.001]", "gn[groups=4]", "relu", "silu")
BLOCKS = (*BLOCKS, "leaky[slope=0.2]", "dw3", "id")
UPS = ("nearest", "bilinear", "sni", "sni[alpha=0.25]")
DOWNS = ("maxpool", "maxpool3[pad=same]", "avgpool", "stride", "subsample")

Draw = Callable[..., object]


@st.composite
def spaces(draw, *, most_lines: int = 6) -> str:
    """The text of a valid program, mostly with holes."""
    return _Writer(draw).program(most_lines)


@dataclass
class _Names:
    """The names of a block with the levels that each may have; those outside it."""

    own: dict[str, set[int]] = field(default_factory=dict)
    outer: dict[str, set[int]] = field(default_factory=dict)

    def all(self) -> dict[str, set[int]]:
        return {**self.outer, **self.own}


class _Writer:
    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.count = 0
        self.lets: dict[str, str] = {}
        self.narrow = False

    def pick(self, *options):
        return self.draw(st.sampled_from(options))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def word(self, options: tuple[str, ...], let: str | None = None) -> str:
        """A word, a hole of some, or a let's name of that kind."""
        names = [name for name, kind in self.lets.items() if kind == let]
        if names and self.chance():
            return self.pick(*names)
        some = self.draw(st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True))
        if len(some) == 1 and self.chance():
            return some[0]
        return "{" + " | ".join(some) + "}"

    def blocks(self, most: int = 2) -> str:
        return " ".join(self.word(BLOCKS, "block") for _ in range(self.pick(*range(1, most + 1))))

    def program(self, most_lines: int) -> str:
        rows = [f"# {self.pick('a doc', 'two', '')}"] if self.chance() else []
        if self.chance():
            rows.append(f"width {self.pick('8', '{8 | 16}', '{4..6}')}")
        if self.chance():
            rows.append(f"let mix = {self.word(MERGES)}")
            self.lets["mix"] = "merge"
        if self.chance():
            rows.append(f"let own = {self.word(BLOCKS)}")
            self.lets["own"] = "block"
        self.narrow = self.chance()
        if self.narrow:
            rows.append("let narrow = {conv1[4] | conv1[6] | conv3}")
        if self.chance():
            rows.append(f"then {self.blocks()}")
        for name, words in (("up", UPS), ("down", DOWNS)):
            if self.chance():
                rows.append(f"{name} {self.pick('', 'each ')}{self.word(words)}")
        low = self.pick(2, 3)
        high = low + self.pick(1, 2)
        names = _Names()
        rows.append(f"p{low}..p{high} = c{low}..c{high} -> conv1{self.pick('', ' bn', '[nobias]')}")
        names.own = {f"p{k}": {k} for k in range(low, high + 1)}
        lines = self.pick(*range(1, most_lines + 1))
        while lines > 0:
            if lines > 2 and self.pick(0, 1, 2) == 0:
                inside = self.pick(*range(1, lines))
                rows.append(f"repeat {self.pick('1', '2', '{1 | 3}', '{1..2}')}:")
                inner = _Names({}, names.all())
                rows.extend("    " + self.line(inner) for _ in range(inside))
                for name, levels in inner.own.items():
                    if name[0] == "p":
                        names.own[name] = levels
                lines -= inside
            else:
                rows.append(self.line(names))
                lines -= 1
        return "\n".join(rows) + self.pick("\n", "  # end\n", "")

    def line(self, names: _Names) -> str:
        kinds = [self.merge, self.merge, self.single, self.alias, self.joined, self.narrowed]
        if len(names.own) > 1:
            kinds.extend([self.order, self.starred])
        return self.pick(*kinds)(names)

    def fresh(self) -> str:
        self.count += 1
        return self.pick("t", "w", "zz_") + str(self.count)

    def target(self, names: _Names) -> tuple[str, str, set[int]]:
        """A target as text, its name, its levels."""
        pyramid = sorted(name for name in names.all() if name[0] == "p")
        if self.chance():
            name = self.pick(*pyramid)
            return name, name, {int(name[1:])}
        name = self.fresh()
        levels = self.pick({3}, {4}, {2, 3}, {3, 4, 5})
        text = str(min(levels))
        if len(levels) > 1:
            text = self.pick(
                f"{{{min(levels)}..{max(levels)}}}", "{" + " | ".join(map(str, levels)) + "}"
            )
        return f"{name}@{text}", name, levels

    def operand(self, name: str, source: set[int], target: set[int]) -> str:
        blocks = []
        if self.pick(0, 1, 2) == 0:
            blocks.append(self.blocks(1))
        surely = len(source) == len(target) == 1
        for kind, words in (("up", UPS), ("down", DOWNS)):
            able = max(source) > min(target) if kind == "up" else min(source) < max(target)
            if (able if surely else True) and self.pick(0, 1, 2, 3) == 0:
                blocks.insert(self.pick(0, len(blocks)), self.word(words))
        return f"{name} -> {' '.join(blocks)}" if blocks else name

    def operands(self, names: _Names, levels: set[int], pool: int) -> tuple[str, str]:
        """The merge and the operands; at most ``pool`` stars."""
        known = names.all()
        count = self.pick(2, 2, 3)
        texts, stars, joined = [], 0, set().union(*(names.own.values() or [set()]))
        for position in range(count):
            if stars < pool and self.chance():
                stars += 1
                texts.append(self.operand("*", joined, levels))
                continue
            name = self.pick(*known)
            mark = self.pick("", "?") if position > 1 else ""
            texts.append(self.operand(f"{name}{mark}", known[name], levels))
        words = PAIRS if count == 2 else MERGES
        return self.word(words, "merge"), ", ".join(texts)

    def tail(self, names: _Names, levels: set[int]) -> str:
        known = names.all()
        same = [n for n, own in known.items() if own == levels and len(levels) == 1]
        text = ""
        if same and self.pick(0, 1, 2) == 0:
            text += f" + {self.pick(*same)}"
        if self.pick(0, 1, 2) == 0:
            text += " + rest"
        if self.pick(0, 1, 2) == 0:
            text += f" -> {self.blocks()}"
        return text

    def merge(self, names: _Names) -> str:
        text, name, levels = self.target(names)
        word, operands = self.operands(names, levels, 0 if not names.own else len(names.own))
        line = f"{text} = {word}({operands}){self.tail(names, levels)}"
        names.own[name] = levels
        return line

    def joined(self, names: _Names) -> str:
        """Other channels than the neck's, until the blocks behind."""
        text, name, levels = self.target(names)
        _, operands = self.operands(names, levels, len(names.own))
        names.own[name] = levels
        word = self.word(("concat[plain]", "concat", "sum", "mean"))
        return f"{text} = {word}({operands}) -> {self.pick('conv3', 'relu conv1 bn')}"

    def narrowed(self, names: _Names) -> str:
        """Operands of channels that one decision of the file makes equal."""
        text, name, levels = self.target(names)
        known = [n for n, own in names.all().items() if own == levels and len(levels) == 1]
        if not self.narrow or not known:
            return self.merge(names)
        first, second = self.pick(*known), self.pick(*known)
        names.own[name] = levels
        operands = f"{first} -> narrow, {second} -> narrow{self.pick('', ' relu')}"
        return f"{text} = {self.word(PAIRS)}({operands}) -> conv1"

    def single(self, names: _Names) -> str:
        known = names.all()
        text, name, levels = self.target(names)
        source = self.pick(*known)
        blocks = self.operand("", known[source], levels).removeprefix(" -> ")
        if blocks == "" and name not in known:
            text = name  # an alias at its source's level
            levels = known[source]
        names.own[name] = levels
        return f"{text} = {source}" + (f" -> {blocks}" if blocks else "")

    def alias(self, names: _Names) -> str:
        known = names.all()
        source, name = self.pick(*known), self.fresh()
        names.own[name] = known[source]
        return f"{name} = {source}{self.pick('', ' -> id', ' -> {id | relu}')}"

    def starred(self, names: _Names) -> str:
        text, name, levels = self.target(names)
        if "@" in text and self.chance():
            text, levels = name, set().union(*names.own.values())
        names.own[name] = levels
        return f"{text} = *{self.pick('', ' -> relu', ' -> {id | conv3}')}"

    def order(self, names: _Names) -> str:
        run = sorted(name for name in names.own if name[0] == "p")[:3]
        new = sorted(name for name in names.outer if name[0] == "p")
        if new and not run and self.chance():
            merge = self.word(PAIRS, "merge")
            for name in new:
                names.own[name] = {int(name[1:])}
            return f"{new[0]}..{new[-1]} = {merge}(*, {self.pick(*new)}) in any order"
        tail = self.pick("", " + rest", " -> conv3", " + rest -> {id | relu}")
        word = self.word(PAIRS, "merge")
        if len(run) == int(run[-1][1:]) - int(run[0][1:]) + 1 if run else False:
            other = self.pick("*", "*", *names.all())
            return f"{run[0]}..{run[-1]} = {word}(*, {other}){tail}   in any order"
        first = self.count + 1
        self.count += 2
        level = self.pick("3", "{3 | 4}")
        line = f"g{first}..g{first + 1}@{level} = {word}(*, *){tail} in any order"
        for k in (first, first + 1):
            names.own[f"g{k}"] = {3} if level == "3" else {3, 4}
        return line
