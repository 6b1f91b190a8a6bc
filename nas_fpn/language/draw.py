"""A neck as a picture: levels as rows, coarse on top, time to the right, merges as nodes.

Follows the figures of the literature (FPN, PANet, BiFPN, NAS-FPN): what enters from the backbone
stands left, the pyramid that leaves stands right. A curve that changes level is coloured by its
direction and dashed by its resampler; a repeat is drawn once, in a frame that says how often;
what reaches no output is pale. The text is one SVG element without ids or scripts, so that
several can stand in one page; it follows the reader's light or dark scheme, and trades its small
print for signs where it is shown much smaller than it is.
"""

from collections import Counter

from nas_fpn.language.drawing.fold import Weights, fold
from nas_fpn.language.drawing.holes import number_text, slot_text, unfold
from nas_fpn.language.drawing.labels import label, words
from nas_fpn.language.drawing.picture import Picture
from nas_fpn.language.drawing.sheet import Entry, svg
from nas_fpn.language.drawing.terminal import draw_text
from nas_fpn.language.drawing.union import union
from nas_fpn.language.program import Architecture
from nas_fpn.language.space import AskWord, Shared, Space

__all__ = ["draw", "draw_diff", "draw_space", "draw_text", "together"]


def draw(architecture: Architecture, *, weights: Weights | None = None) -> str:
    """The picture of a neck as the text of one SVG element; equal necks give equal bytes.

    ``weights`` are what trained merges multiply their operands with, by the key of the node
    (:func:`nas_fpn.necks.operand_weights` reads them); a line is as thick as its operand weighs,
    over the passes of a repeat on average. Operands that all weigh the same are drawn plainly.
    Raises ValueError where a line has another number of operands than weights.
    """
    picture = fold(architecture, weights=weights)
    program = "; ".join(box.text for box in picture.boxes if box.kind == "line")
    entries = [Entry(f"width {architecture.width}")]
    then = words(architecture.then)
    if then and any(box.merge for box in picture.boxes):
        entries.insert(0, Entry(f"merges end with {' '.join(then)}"))
    return svg(
        picture,
        title=architecture.doc.partition("\n")[0].strip() or "A feature-pyramid neck",
        description=f"Levels are rows, coarse on top; time runs right. {program}",
        entries=entries,
    )


def draw_diff(
    first: Architecture, second: Architecture, *, names: tuple[str, str] = ("first", "second")
) -> str:
    """Two necks in one picture: pale what both have, dashed what the first has, bold the second.

    Lines are the same where they do the same to the same, whatever their names; one that does
    another thing to the same stands once, as changed. Settings that differ stand in the legend,
    and a word that they decide is no difference of its own. ``names`` are those of the necks in
    the legend.
    """
    picture = together(first, second)
    counts = Counter(box.mark for box in picture.boxes)
    round_box = '<rect class="box plain" x="1" y="-6" width="16" height="12" rx="6"/>'
    return svg(
        picture,
        title=f"{names[0]} → {names[1]}",
        description=(
            f"Two necks in one picture. Boxes that only {names[0]} has: {counts['first']}; "
            f"that only {names[1]} has: {counts['second']}; changed: {counts['changed']}."
        ),
        entries=[
            Entry(f"only in {names[0]}", '<path d="M0 0H18"/>', "first"),
            Entry(f"only in {names[1]}", '<path d="M0 0H18"/>', "second"),
            *([Entry("changed", round_box, "changed")] if counts["changed"] else []),
            Entry("in both", '<path d="M0 0H18"/>', "same common"),
            *_settings(first, second),
        ],
    )


def draw_space(space: Space) -> str:
    """A space as a picture with its holes: dashed what is open, options in braces.

    A line of open level stands across its levels; what ``*`` may be comes out of a bar; the
    decisions that are made once for the file stand in the legend.
    """
    picture = unfold(space)
    dashes = '<path d="M0 0H18"/>'
    entries = [Entry("left open, or may be absent (?)", dashes, "same open")]
    if any(box.kind == "pool" for box in picture.boxes):
        bar = '<rect class="box plain" x="5" y="-7" width="9" height="14" rx="3"/>'
        entries.append(Entry("∗ any feature that the block has named so far", bar, "open"))
    shared = dict(space.shared)
    then = [
        slot_text(shared[s.name] if isinstance(s, Shared) and s.name.startswith("then") else s)
        for s in space.then
    ]
    if then:
        entries.append(Entry(f"merges end with {' '.join(then)}"))
    merges = " ".join(box.merge for box in picture.boxes)
    for name, word in shared.items():
        told = f"{name} =" in merges or name.startswith("then.")
        if isinstance(word, AskWord) and not told:
            entries.append(Entry(f"{name} = {slot_text(word)}"))
    entries.append(Entry(f"width {number_text(space.width)}"))
    return svg(
        picture,
        title=space.doc.partition("\n")[0].strip() or "A space of feature-pyramid necks",
        description="Levels are rows, coarse on top; time runs right; dashed is what is open. "
        + "; ".join(box.text for box in picture.boxes if box.kind == "line"),
        entries=entries,
    )


def together(first: Architecture, second: Architecture) -> Picture:
    """Both necks as one picture, settings written out if that leaves more in common."""
    pictures = (
        union(fold(first, written_out=out), fold(second, written_out=out)) for out in (False, True)
    )
    return min(pictures, key=_apart)


def _apart(picture: Picture) -> int:
    boxes = sum(box.mark != "common" for box in picture.boxes)
    return boxes + sum(link.mark != "common" for link in picture.links)


def _settings(first: Architecture, second: Architecture) -> list[Entry]:
    """What the necks end their merges with, and so on; ``a → b`` where they differ."""
    said = {
        "merges end with": (" ".join(words(one.then)) or "id" for one in (first, second)),
        "width": (str(one.width) for one in (first, second)),
        "up": (label(one.up) for one in (first, second)),
        "down": (label(one.down) for one in (first, second)),
    }
    entries = []
    for setting, (one, other) in said.items():
        if one != other:
            entries.append(Entry(f"{setting} {one} → {other}"))
        elif setting == "width":
            entries.append(Entry(f"width {one}"))
    return entries
