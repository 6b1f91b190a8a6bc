"""Every neck that an export is held to: the shipped ones, drawn ones, programs of odd shapes."""

import inspect
import random
from pathlib import Path

from nas_fpn.language import Architecture, decode, find_space, parse, read, read_neck, sample
from nas_fpn.language.words import WORDS
from nas_fpn.necks.plan import VARIANTS

ROOT = Path(__file__).parents[2]
BASELINES = sorted(path.stem for path in (ROOT / "search_spaces" / "baselines").glob("*.neck"))
SPACES = sorted(path.stem for path in (ROOT / "search_spaces").glob("*.space"))
ODD_PROGRAMS = {
    "names that Python has": """
        p3..p4 = c3..c4 -> conv1
        len@3 = sum(p3, p4)
        range@4 = max(p4, len)
        print_@4 = sum(range, p4)
        p3 = sum(len, print_)
        """,
    "one level": "p5 = c5 -> conv1 bn\n",
    "levels below and above the inputs": """
        p5 = c5 -> conv1
        p4 = p5 -> nearest conv3
        p3 = p4 -> bilinear
        p6 = p5 -> stride
        p8 = p6 -> maxpool
        p7 = p8 -> sni
        """,
    "passes that differ": """
        p3 = c3 -> conv1[12]
        p4 = c4 -> conv1
        repeat 4:
            x = p3
            a@4 = concat(x, p4)
            unused@3 = max(a, a)
            p4 = sum(a, p4)
            p3 = concat(p3, a) -> relu
            p5 = a -> maxpool
        p5 = p4 -> stride
        """,
    "a last pass that only names": """
        p3..p4 = c3..c4 -> conv1
        keep@3 = sum(p3, p4)
        repeat 2:
            p4 = sum(p4, p3)
            p3 = keep
        repeat 1:
            p4 = mean(p3, p4) -> gn[groups=4] id mish
        """,
    "a long line": "p3 = c3 -> " + "conv1 bn[eps=0.002] relu " * 12 + "\n",
    "a stage behind a plain concat": """
        p3..p4 = c3..c4 -> conv1
        p4 = concat[plain](p4, p3, p3)
        p3 = concat[plain](p4, c3, p3) -> csp[depth=2, shortcut, inner=rep, gather=all]
        """,
    "swapped names": """
        p3 = c3 -> conv1
        a = p3
        b@3 = sum(a, p3)
        p3 = b
        b2@3 = max(p3, a) + a + b
        p3 = b2
        """,
}


def every_word() -> str:
    """A program with each word of the language, so that a new one is exported too."""
    rows = ["p3..p4 = c3..c4 -> conv1"]
    for name, row in WORDS.items():
        if row.kind == "merge":
            rows.append(f"p3 = {name}(p3, p4)")
        elif row.kind == "block":
            rows.append(f"p3 = p3 -> {name}")
        else:
            rows.append(
                f"p{4 if row.kind == 'down' else 3} = "
                + (f"sum(p4, p3 -> {name})" if row.kind == "down" else f"sum(p3, p4 -> {name})")
            )
    return "\n".join(row for row in rows if "deform3" not in row and "dyhead" not in row) + "\n"


def every_variant() -> str:
    """A program with each operation that an argument chooses, and with torchvision's."""
    rows = ["p3..p4 = c3..c4 -> conv1"]
    for word, argument, value in VARIANTS:
        chosen = f"{word}[{argument}{'' if value is True else f'={value}'}]"
        if WORDS[word].kind == "down":
            rows.append(f"p4 = sum(p4, p3 -> {chosen})")
        else:
            rows.append(f"p3 = {chosen}(p3, p4) -> conv1")
    rows += ["p3 = p3 -> deform3[groups=2, mask=none] relu", "p4 = p4 -> deform3 bn"]
    rows += ["p3 = dyhead(p3, p4)"]
    return "\n".join(rows) + "\n"


def small(architecture: Architecture) -> Architecture:
    return architecture.with_width(8)


def sampled() -> dict[str, Architecture]:
    rng = random.Random(11)
    found = {}
    for k in range(20):
        name = SPACES[k % len(SPACES)]
        space = read(find_space(name))
        found[f"{name} {k}"] = decode(space, sample(space, rng))
    return found


def architectures() -> dict[str, Architecture]:
    shipped = {name: read_neck(find_space(f"baselines/{name}")) for name in BASELINES}
    odd = {
        name: parse(inspect.cleandoc(text) + "\n")
        for name, text in {
            **ODD_PROGRAMS,
            "every word": every_word(),
            "every variant": every_variant(),
        }.items()
    }
    return {name: small(one) for name, one in {**shipped, **sampled(), **odd}.items()}
