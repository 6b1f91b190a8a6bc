"""A neck as a picture: levels as rows, coarse on top, time to the right, merges as nodes.

Follows the figures of the literature (FPN, PANet, BiFPN, NAS-FPN): what enters from the backbone
stands left, the pyramid that leaves stands right. A curve that changes level is coloured by its
direction and dashed by its resampler; a repeat is drawn once, in a frame that says how often;
what reaches no output is pale. The text is one SVG element without ids or scripts, so that
several can stand in one page; it follows the reader's light or dark scheme, and trades its small
print for signs where it is shown much smaller than it is.
"""

from nas_fpn.language.drawing.fold import Weights, fold
from nas_fpn.language.drawing.labels import words
from nas_fpn.language.drawing.sheet import Entry, svg
from nas_fpn.language.drawing.terminal import draw_text
from nas_fpn.language.program import Architecture

__all__ = ["draw", "draw_text"]


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
