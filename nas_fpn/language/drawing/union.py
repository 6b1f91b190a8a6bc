"""Two pictures as one: what both have stands once, what one has is marked.

Boxes are matched in the order of the first picture: those that do the same to the same, then those
that do the same at the same level and share at least an operand or the name, then those that do
another thing under the same name to half of the same operands: a line that was changed. A match
that would make time run in a circle is none. Frames are matched by their order, and only what
stands in the same stretch between two frames is compared.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

from nas_fpn.language.drawing.picture import Box, Frame, Link, Mark, Picture, Sheet

__all__ = ["union"]

_Match = dict[str, str]  # by the key of a box of the second picture, the key of one of the first
_LEAST = {"all": 1.0, "some": 0.0, "changed": 0.5}  # of its operands, the part that is matched
_STAGES = 4  # of a frame: entries, lines, exits; then the lines behind it


def union(first: Picture, second: Picture) -> Picture:
    """Both pictures in one, without what reaches no output; marks say where each thing is from."""
    first, second = _living(first), _living(second)
    match = _match(first, second)
    keys = {box.key: match.get(box.key, f"{box.key} (second)") for box in second.boxes}
    second = replace(
        second,
        boxes=tuple(replace(box, key=keys[box.key]) for box in second.boxes),
        links=tuple(
            replace(link, source=keys[link.source], target=keys[link.target])
            for link in second.links
        ),
    )
    boxes: dict[str, Box] = {box.key: replace(box, mark="first") for box in first.boxes}
    for box in second.boxes:
        boxes[box.key] = _both(boxes[box.key], box) if box.key in boxes else _of_second(box)
    return _place(boxes, _links(first, second), tuple(_frames(first, second)))


def _living(picture: Picture) -> Picture:
    return replace(
        picture,
        boxes=tuple(box for box in picture.boxes if box.mark != "dead"),
        links=tuple(link for link in picture.links if link.mark != "dead"),
        frames=tuple(replace(frame, mark="") for frame in picture.frames),
    )


def _both(one: Box, other: Box) -> Box:
    """What two matched boxes look like: ``fast → sum`` where they differ."""
    name = one.name if one.name == other.name else f"{one.name} / {other.name}"
    text = one.text if one.text == other.text else f"{one.text}\n{other.text}"
    if one.signature == other.signature:
        return replace(one, name=name, text=text, mark="common")
    inside, below = one.inside, one.below
    if one.inside != other.inside:
        inside = (*one.inside, "→", *other.inside)
        if len(one.inside) == len(other.inside) == 1:
            inside = (f"{one.inside[0]} → {other.inside[0]}",)
    if one.below != other.below:
        below = (f"{' '.join(one.below) or 'then'} → {' '.join(other.below) or 'then'}",)
    return replace(other, name=name, text=text, inside=inside, below=below, mark="changed")


def _of_second(box: Box) -> Box:
    return replace(box, mark="second")


def _frames(first: Picture, second: Picture) -> Iterator[Frame]:
    for mine, other in zip_longest(first.frames, second.frames):
        if mine is None:
            yield replace(other, mark="second")
        elif other is None:
            yield replace(mine, mark="first")
        else:
            same = mine.text == other.text
            yield replace(mine, text=mine.text if same else f"{mine.text} → {other.text}")


def _match(first: Picture, second: Picture) -> _Match:
    """Pairs of boxes that are the same thing in both, as second key → first key."""
    reads = _reads(first), _reads(second)
    match: _Match = {}
    taken: set[str] = set()
    for wanted in ("all", "some", "changed"):
        for box in first.boxes:
            if box.key in taken:
                continue
            best: tuple[float, str] | None = None
            for other in second.boxes:
                if other.key in match or not _comparable(box, other, changed=wanted == "changed"):
                    continue
                mine = reads[0][box.key]
                theirs = _renamed(reads[1][other.key], match)
                alike = (mine & theirs).total() / max(1, mine.total(), theirs.total())
                if alike < _LEAST[wanted] and box.kind != "input":
                    continue
                score = alike + 0.3 * (box.name == other.name)
                if score > 0 and (best is None or score > best[0]):
                    best = score, other.key
            if best is not None and not _circle(first, second, match, box.key, best[1]):
                match[best[1]] = box.key
                taken.add(box.key)
    return match


_Read = tuple[str, str, str, bool]


def _reads(picture: Picture) -> dict[str, Counter[_Read]]:
    """By box: whence its links come, and what they do."""
    found: dict[str, Counter[_Read]] = {box.key: Counter() for box in picture.boxes}
    for link in picture.links:
        found[link.target][(link.source, *_does(link))] += 1
    return found


def _does(link: Link) -> tuple[str, str, bool]:
    return link.role, link.signature, link.gates


def _renamed(reads: Counter[_Read], match: _Match) -> Counter[_Read]:
    """The same with the sources that are matched under their keys in the first picture."""
    found: Counter[_Read] = Counter()
    for (source, role, signature, gates), count in reads.items():
        found[match.get(source, f"{source} (second)"), role, signature, gates] += count
    return found


def _comparable(one: Box, other: Box, *, changed: bool) -> bool:
    """Whether two boxes may be one; an output is last, however many stages there are."""
    if (one.kind, one.level) != (other.kind, other.level):
        return False
    if one.kind != "output" and one.stage != other.stage:
        return False
    if changed:
        return one.kind == "line" and one.name == other.name
    return one.signature == other.signature


def _circle(first: Picture, second: Picture, match: _Match, one: str, other: str) -> bool:
    """Whether one box being the other would make either stand before itself."""
    after: dict[str, set[str]] = {}
    for link in first.links:
        after.setdefault(link.source, set()).add(link.target)
    names = {**{box.key: f"{box.key} (second)" for box in second.boxes}, **match}
    for link in second.links:
        after.setdefault(names[link.source], set()).add(names[link.target])
    return _leads(after, one, names[other]) or _leads(after, names[other], one)


def _leads(after: dict[str, set[str]], start: str, end: str) -> bool:
    waiting, seen = [start], {start}
    while waiting:
        for key in after.get(waiting.pop(), ()):
            if key == end:
                return True
            if key not in seen:
                seen.add(key)
                waiting.append(key)
    return False


def _links(first: Picture, second: Picture) -> tuple[Link, ...]:
    left = Counter((link.source, link.target, *_does(link)) for link in second.links)
    found = []
    for link in first.links:
        same = (link.source, link.target, *_does(link))
        mark: Mark = "common" if left[same] else "first"
        left[same] -= mark == "common"
        found.append(replace(link, mark=mark))
    for link in second.links:
        same = (link.source, link.target, *_does(link))
        if left[same] > 0:
            left[same] -= 1
            found.append(replace(link, mark="second"))
    return tuple(found)


def _place(boxes: dict[str, Box], links: tuple[Link, ...], frames: tuple[Frame, ...]) -> Picture:
    """Give every box its column anew: behind what it reads, stage by stage."""
    sheet = Sheet(links=list(links))
    sources: dict[str, list[str]] = {key: [] for key in boxes}
    for link in links:
        sources[link.target].append(link.source)
    last = 1 + max(box.stage for box in boxes.values())
    stages: dict[int, list[Box]] = {}
    for box in boxes.values():
        stages.setdefault(last if box.kind == "output" else box.stage, []).append(box)
    for stage in sorted(stages):
        sheet.turn()
        waiting = stages[stage]
        while waiting:
            box = next(box for box in waiting if all(s in sheet.boxes for s in sources[box.key]))
            after = max((sheet.boxes[s].column for s in sources[box.key]), default=-1)
            column = sheet.column(box.levels, after)
            sheet.boxes[box.key] = replace(box, column=column, stage=stage)
            waiting.remove(box)
    for k, frame in enumerate(frames):
        inside = range(_STAGES * k + 2, _STAGES * k + 5)
        columns = [box.column for box in sheet.boxes.values() if box.stage in inside]
        if columns:  # else all of it reached no output
            sheet.frames.append(replace(frame, first=min(columns), last=max(columns)))
    return sheet.picture()
