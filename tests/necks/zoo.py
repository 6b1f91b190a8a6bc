"""Programs that every law of the necks is tried on: shipped, found in the spaces, for each word."""

import random

from nas_fpn.language import (
    Architecture,
    decode,
    parse,
    read,
    read_neck,
    sample,
    shipped_folder,
)
from nas_fpn.language.words import WORDS

CHANNELS = {2: 6, 3: 8, 4: 12, 5: 20, 6: 24, 7: 28}

_TEXTS = {
    "merge": "p3 = {word}(p3, p4)\np4 = {word}(p4, p5)\np5 = {word}(p5, p3)",
    "up": "p4 = sum(p4, p5 -> {word})\np3 = sum(p3, p4 -> {word}, p5 -> {word})",
    "down": "p5 = sum(p5, p3 -> {word})\np4 = sum(p4, p3 -> {word})\np6 = p4 -> {word}",
    "block": "p3..p5 = p3..p5 -> {word}\np4 = sum(p3, p5) -> {word}",
}
# what no row can say for every word alike
_MORE = {
    "levels below the inputs": "p3 = c3 -> conv1\np2 = p3 -> conv3 nearest",
    "a level that the backbone lacks": "p3..p4 = c3..c4 -> conv1\np5 = sum(p4, p3)",
    "three of everything": "p3..p5 = c3..c5 -> conv1\np4 = fast(p3, p4, p5) -> bn relu",
    "addends": "p3..p5 = c3..c5 -> conv1\np4 = sum(p3, p5) + p4 -> bn conv3\np3 = p3 + p3 -> relu",
    "a constant alpha": "p3..p4 = c3..c4 -> conv1\np3 = sum(p3, p4 -> sni[alpha=0.25])",
    "unequal channels": "p3 = c3 -> conv1[10]\np4 = c4 -> conv1[6]\np3 = concat[14](p3, p4)",
    "other kernels": "p3 = c3 -> gsconv[12, kernel=3]\np4 = p3 -> gsconve1[kernel=1] maxpool",
    "deeper stages": "p3 = c3 -> vovgscsp[12, depth=3]\np4 = c4 -> ihp[depth=2, kernel=1]",
    "a deep stage of all that its bottlenecks give": "p3 = c3 -> csp[12, depth=3, shortcut, "
    "inner=rep, gather=all]\np4 = c4 -> csp[depth=2, inner=rep]\np5 = c5 -> csp[kernel=3]",
    "deformable in groups": "p3 = c3 -> deform3[groups=2, mask=none] bn\n"
    "p4 = c4 -> deform3[groups=3]",
    "passes": """
p3..p5 = c3..c5 -> conv1
repeat 2:
    x@4 = sum(p3, p4, p5)
    p3..p5 = sum(p3..p5, x) -> relu conv3 bn
""",
}


def _zoo() -> dict[str, Architecture]:
    necks = {
        path.stem: read_neck(path).with_width(16)
        for path in sorted((shipped_folder("search_spaces") / "baselines").glob("*.neck"))
    }
    for word, row in WORDS.items():
        text = f"width 16\np3..p5 = c3..c5 -> conv1\n{_TEXTS[row.kind].format(word=word)}"
        necks[f"the word {word}"] = parse(text)
        for argument in row.arguments:
            if argument.default is False:
                necks[f"{word}[{argument.name}]"] = parse(
                    text.replace(word, f"{word}[{argument.name}]")
                )
            for option in argument.options:
                if argument.name != "bias" and option != argument.default:
                    said = f"{word}[{argument.name}={option}]"
                    necks[said] = parse(text.replace(word, said))
    for name, text in _MORE.items():
        necks[name] = parse("width 16\n" + text)
    for path in sorted(shipped_folder("search_spaces").glob("*.space")):
        space = read(path)
        for seed in (1, 2):
            found = decode(space, sample(space, random.Random(seed)))
            necks[f"{path.stem} sampled {seed}"] = found.with_width(16)
    return necks


ZOO = _zoo()
SHIPPED = tuple(path.stem for path in (shipped_folder("search_spaces")).glob("baselines/*.neck"))
