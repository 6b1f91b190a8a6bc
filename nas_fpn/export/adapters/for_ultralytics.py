"""ultralytics: a module for its YAML, and the head that uses it.

Written from its published documentation alone: rows are ``[from, repeats, module, args]``, a module
of one's own is imported and given a branch where rows are parsed, and ``Index`` rows take a list
apart. Its code is AGPL and was not read; the tests have a parser of that format, not its own.
"""

from nas_fpn.export.adapters.facts import Facts
from nas_fpn.export.adapters.loading import fill

__all__ = ["files", "use"]

_ROWS = {2: 2, 3: 4, 4: 6, 5: 9}  # of a YOLOv8's backbone, by level
_LAST = 9  # row of that backbone

_SOURCE = '''\
"""For ultralytics: ``Pyramid`` is a module for its YAML, with neck $id in it.

``for_ultralytics.yaml`` has the head, and the two edits that let its parser know the module. Beside
it: ``neck.py`` and its weights. It needs torch and safetensors.
"""

from collections.abc import $abc
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

$neck

INPUTS = $inputs  # the levels that the neck reads
IN_CHANNELS = $in_channels
FOLDER = Path(__file__).parent


class Pyramid(nn.Module):
    """A list of features $read in, finest first, a list of $given out.

    ``in_channels`` are those of the rows that it reads.
    """

    def __init__(self, in_channels: Sequence[int], neck_weights: bool = True) -> None:
        super().__init__()
        self.neck = make_neck(in_channels, weights=neck_weights)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Take features [B, C, H, W] of each level read to one of each level given."""
        return list(self.neck(features))
'''

_EDITS = """\
# Where ultralytics imports its modules for YAML (ultralytics/nn/tasks.py), with this folder on
# PYTHONPATH:
#     from for_ultralytics import Pyramid
# and where it parses a row (parse_model there), one more branch:
#     elif m is Pyramid:
#         c2, args = args[0], [[ch[x] for x in f], *args[1:]]
"""


def files(facts: Facts) -> dict[str, str]:
    """``for_ultralytics.py`` and ``for_ultralytics.yaml``."""
    return {
        "for_ultralytics.py": fill(_SOURCE, facts),
        "for_ultralytics.yaml": "\n".join(_yaml(facts)) + "\n",
    }


def use(facts: Facts) -> str:
    """How it is used, for the README: the module alone, which the YAML asks for."""
    features = ", ".join(f"c{level}" for level in facts.inputs)
    return (
        "from for_ultralytics import Pyramid  # for_ultralytics.yaml says where this goes\n"
        f"module = Pyramid({list(facts.in_channels)})\n"
        f"features = module([{features}])  # a list: {facts.given}\n"
    )


def _yaml(facts: Facts) -> list[str]:
    """The head of a YAML: the module, a row for each level, and what detects on them."""
    known = all(level in _ROWS for level in facts.inputs)
    rows = [_ROWS.get(level, level) for level in facts.inputs]
    first = _LAST + 1
    taken = [first + 1 + k for k in range(len(facts.levels))]
    out = [
        f"# For ultralytics: the head of a detector with neck {facts.identity}, in the place of",
        "# `head:` in a model's YAML. The neck reads "
        f"{facts.read}, here rows {rows} of a YOLOv8's backbone,",
        f"# rows 0 to {_LAST}; with another one, count anew. `[{facts.out_channels[0]}, False]`"
        " starts it without the",
        f"# weights of this folder, which are for channels {list(facts.in_channels)}.",
        "#",
        *_EDITS.rstrip("\n").split("\n"),
        "head:",
        f"  - [{rows}, 1, Pyramid, [{facts.out_channels[0]}]]  # {first}",
    ]
    if not known:
        out.insert(5, "# A YOLOv8 has no row for some of these levels: name rows of your own.")
    for k, (level, channels) in enumerate(zip(facts.levels, facts.out_channels, strict=True)):
        out.append(f"  - [{first}, 1, Index, [{channels}, {k}]]  # {taken[k]}: p{level}")
    out.append(f"  - [{taken}, 1, Detect, [nc]]")
    return out
