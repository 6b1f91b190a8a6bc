"""A rehearsal of own words: each stands in a neck of its own, which runs and is counted.

What a row promises is held against what its operation does: shapes, the parameters and
multiply-adds of its cost, whether operands commute. So a wrong word is refused at the door.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nas_fpn.errors import SpaceError
from nas_fpn.language.cost import cost, level_sizes
from nas_fpn.language.files import parse
from nas_fpn.language.lower import lower
from nas_fpn.language.own_words import Words
from nas_fpn.language.program import Architecture
from nas_fpn.language.words import Row
from nas_fpn.necks.neck import Neck

__all__ = ["image_features", "rehearsals", "rehearse"]

IMAGE_SIZE = 72  # pixels: odd sides at levels 3, 4 and 5
BATCH = 2
CHANNELS = {3: 12, 4: 20, 5: 28}
LATERALS = "p3..p5 = c3..c5 -> conv1\n"


def rehearse(words: Words) -> None:
    """Run every own word of ``words``; raise SpaceError for the first that breaks its row."""
    for name, row in words.own.items():
        where = words.file_of(row).path
        for text in _texts(name, row):
            fault = _fault(name, row, text, words)
            if fault is not None:
                raise SpaceError(f"{where}: {fault[0]}\nin {text.splitlines()[-1]!r}: {fault[1]}")


def rehearsals(words: Words) -> Iterator[tuple[str, Neck]]:
    """Every own word with the necks that rehearse it."""
    for name, row in words.own.items():
        yield from ((name, _neck(parse(text, words=words))) for text in _texts(name, row))


def image_features(neck: Neck) -> list[Tensor]:
    """Features for a rehearsed neck, of a small image: the same in every call."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(BATCH, channels, _side(level), _side(level), generator=generator)
        for level, channels in zip(neck.inputs, neck.in_channels, strict=True)
    ]


def _texts(name: str, row: Row) -> Iterator[str]:
    """A program for the word as it is, and one for each option of its arguments."""
    options = [
        f"[{argument.name}={option}]"
        for argument in row.arguments
        if argument.name != "bias"
        for option in argument.options
        if option != argument.default
    ]
    options += [f"[{a.name}]" for a in row.arguments if a.default is False]
    for word in [name, *(name + option for option in options)]:
        yield from (f"width {_width(row)}\n{LATERALS}{line}" for line in _lines(word, row))


def _width(row: Row) -> int:
    return 16 * row.parts


def _lines(word: str, row: Row) -> Iterator[str]:
    source = "c" if row.gives and row.kind != "merge" else "p"
    if row.kind == "merge":
        low, high = row.operands
        for count in sorted({low, min(high, low + 1)}):
            operands = ", ".join(f"p{3 + k % 3}" for k in range(count))
            yield f"p3 = {word}({operands})"
        if row.mixes:
            operands = ", ".join(f"p{3 + k % 3} -> conv1[{8 + k}]" for k in range(low))
            yield f"p3 = {word}({operands})"
    elif row.kind == "block":
        yield f"p4 = {source}4 -> {word}"
    elif row.kind == "up":
        yield from (f"p3 = {source}{level} -> {word}" for level in (4, 5))
    else:
        yield from (f"p5 = {source}{level} -> {word}" for level in (4, 3))


def _fault(name: str, row: Row, text: str, words: Words) -> tuple[str, str] | None:
    """What is wrong with a word in a program, and how to mend it."""
    try:
        architecture = parse(text, words=words)
        counted = cost(architecture, CHANNELS, image_size=IMAGE_SIZE)
        neck = _neck(architecture)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            made = neck(image_features(neck))
        swapped = _swapped(architecture, name, row, words)
        spoilt = _spoilt(name, row, words)
    except Exception as error:  # a user's code may raise anything
        what = str(error).partition("\n")[0]
        return f"{name!r} raises {type(error).__name__}: {what}", "mend its operation or its cost"
    params = sum(parameter.numel() for parameter in neck.parameters())
    macs = counter.get_total_flops() // 2 // BATCH
    given = {level: (_side(level), _side(level)) for level in neck.inputs}
    sizes = level_sizes(lower(architecture), given)
    for level, feature in zip(neck.levels, made, strict=True):
        shape = [_width(row), *sizes[level]]
        if list(feature.shape[1:]) != shape:
            return (
                f"{name!r} gives {list(feature.shape[1:])} where p{level} is {shape}",
                "gives=True: out_channels; else as many as it takes; a block keeps the size",
            )
    free = cost(parse(text, words=_free(name, words)), CHANNELS, image_size=IMAGE_SIZE)
    for what, field, there in (
        ("parameters", "params", params),
        ("multiply-adds", "macs", macs),
    ):
        said = getattr(counted, field)
        if said != there:
            other = getattr(free, field)
            return (
                f"{name!r} has {there - other} {what}, but its cost says {said - other}",
                "cost(use) gives (parameters, multiply-adds), as torch.utils.flop_counter halved",
            )
    if spoilt:
        return f"{name!r} changes the feature that it takes", "others read it: work on a new one"
    if swapped is not None and not torch.allclose(swapped, made[0], rtol=1e-4, atol=1e-5):
        return f"{name!r} commutes, says its row, but does not", "leave commutes out"
    return None


def _neck(architecture: Architecture) -> Neck:
    return Neck(architecture, [CHANNELS[k] for k in lower(architecture).inputs], seed=0).eval()


def _side(level: int) -> int:
    return -(-IMAGE_SIZE >> level)


def _free(name: str, words: Words) -> Words:
    """The same words, where this one costs nothing."""
    row = replace(words.rows[name], cost=lambda use: (0, 0))
    return replace(words, rows={**words.rows, name: row})


def _spoilt(name: str, row: Row, words: Words) -> bool:
    """Whether a feature that the word takes is another behind it; trains the neck for one step."""
    source, target = (4, 5) if row.kind == "down" else (4, 3)
    line = f"p{target} = sum(p{target}, p{source} -> {name})"
    if row.kind == "merge":
        operands = ", ".join(f"p{4 + k % 2}" for k in range(row.operands[0]))
        line = f"x@4 = {name}({operands}) -> conv1\np5 = sum(p5, x)"
    head = f"width {_width(row)}\n{LATERALS}"
    neck, plain = (_neck(parse(head + more, words=words)) for more in (line, ""))
    made = neck.train()(image_features(neck))
    torch.stack([feature.square().mean() for feature in made]).sum().backward()
    untouched = neck.levels.index(source)
    return not torch.equal(made[untouched], plain(image_features(plain))[untouched])


def _swapped(architecture: Architecture, name: str, row: Row, words: Words) -> Tensor | None:
    """What the neck gives when the operands of its last line are turned round."""
    if not row.commutes:
        return None
    *lines, last = str(architecture).rstrip().split("\n")
    start, _, operands = last.removesuffix(")").partition("(")
    turned = ", ".join(reversed(operands.split(", ")))
    text = "\n".join([*lines, f"{start}({turned})"])
    neck = _neck(parse(text, words=words))
    with torch.inference_mode():
        first: Tensor = neck(image_features(neck))[0]
    return first
