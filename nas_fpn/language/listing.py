"""The shipped necks in one table: paper, length, parameters and multiply-adds."""

from dataclasses import dataclass
from pathlib import Path

from nas_fpn.language.cost import cost
from nas_fpn.language.files import read_neck, shipped_folder

__all__ = ["IMAGE_SIZE", "IN_CHANNELS", "Listed", "list_necks", "table_text"]

# What the costs are of: a ResNet-50 (by level) and square images of so many pixels.
IN_CHANNELS = {2: 256, 3: 512, 4: 1024, 5: 2048}
IMAGE_SIZE = 640

_SETTINGS = ("width", "then", "up", "down", "let")


@dataclass(frozen=True, slots=True)
class Listed:
    """One shipped neck.

    ``paper`` is what its first comment line names behind two blanks; ``lines`` counts its program
    without comments and settings. ``params`` and ``macs`` are those at its own ``width``,
    ``params_256`` the parameters at width 256; all after a ResNet-50, at 640 pixels.
    """

    name: str
    title: str
    paper: str
    lines: int
    width: int
    params_256: int
    params: int
    macs: int


def list_necks() -> tuple[Listed, ...]:
    """Every shipped neck, by name."""
    folder = shipped_folder("search_spaces") / "baselines"
    return tuple(_listed(path) for path in sorted(folder.glob("*.neck")))


def table_text(necks: tuple[Listed, ...]) -> str:
    """Give the necks as a table, with what its numbers are of below.

    >>> print(table_text((Listed("n", "N", "A 2020", 3, 64, 2_500_000, 40_000, 10**9),)))
    neck  lines  width  params M, 256  params M  GMACs  paper
    n         3     64          2.500     0.040   1.00  A 2020
    <BLANKLINE>
    params and GMACs at the neck's own width, but for "256"; backbone channels 256, 512, 1024, 2048
    of levels 2 to 5 (ResNet-50), images of 640 x 640 pixels
    """
    rows = [("neck", "lines", "width", "params M, 256", "params M", "GMACs", "paper")]
    rows += [
        (
            neck.name,
            str(neck.lines),
            str(neck.width),
            f"{neck.params_256 / 1e6:.3f}",
            f"{neck.params / 1e6:.3f}",
            f"{neck.macs / 1e9:.2f}",
            neck.paper,
        )
        for neck in necks
    ]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    said = [
        "  ".join(
            cell if i == len(row) - 1 else cell.rjust(wide[i]) if i else cell.ljust(wide[i])
            for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]
    channels = ", ".join(map(str, IN_CHANNELS.values()))
    said += [
        "",
        f'params and GMACs at the neck\'s own width, but for "256"; backbone channels {channels}',
        f"of levels {min(IN_CHANNELS)} to {max(IN_CHANNELS)} (ResNet-50), "
        f"images of {IMAGE_SIZE} x {IMAGE_SIZE} pixels",
    ]
    return "\n".join(said)


def _listed(path: Path) -> Listed:
    neck = read_neck(path)
    own = cost(neck, IN_CHANNELS, image_size=IMAGE_SIZE)
    title, _, paper = neck.doc.partition("\n")[0].partition("  ")
    rows = (row.partition("#")[0].split() for row in path.read_text(encoding="utf-8").splitlines())
    return Listed(
        name=path.stem,
        title=title.rstrip("."),
        paper=paper.strip(),
        lines=sum(bool(words) and words[0] not in _SETTINGS for words in rows),
        width=neck.width,
        params_256=cost(neck.with_width(256), IN_CHANNELS, image_size=IMAGE_SIZE).params,
        params=own.params,
        macs=own.macs,
    )
