"""The rows of an ultralytics YAML: where each stands, and the scale that its numbers take."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nas_fpn.errors import SpaceError
from nas_fpn.language.foreign import Options
from nas_fpn.language.layout import MOST_BYTES, Source, Span, near

__all__ = ["YoloRows", "read_rows"]

_TOP = [
    "activation",
    "anchors",
    "backbone",
    "ch",
    "depth_multiple",
    "head",
    "kpt_shape",
    "max_channels",
    "nc",
    "scales",
    "width_multiple",
]


@dataclass(frozen=True, slots=True)
class YoloRows:
    """The rows, and the place of each."""

    source: Source
    rows: tuple[list[Any], ...]
    lines: tuple[int, ...]
    first: int  # the number of the head's first row
    depth: float
    width: float
    most: int

    def error(self, row: int, what: str, mend: str) -> SpaceError:
        """The error for a row: its number, its list, its place."""
        where = f"row {row} ({'backbone' if row < self.first else 'head'})"
        line = self.lines[row]
        return self.source.error(self.source.whole(line), f"{where}: {what}", mend)

    def channels(self, row: int, given: object) -> int:
        """Scaled as the format says: capped, times the multiple, up to a multiple of 8."""
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise self.error(row, f"{given!r} channels", "args begin with a whole number")
        scaled = min(given, self.most) * self.width
        return max(8, -int(-scaled // 8) * 8)

    def repeats(self, row: int, given: object) -> int:
        """Scaled as the format says: more than one times the multiple, rounded."""
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise self.error(row, f"{given!r} repeats", "write a whole number")
        return max(round(given * self.depth), 1) if given > 1 else given


def read_rows(text: str, file: str, options: Options, notes: list[str]) -> YoloRows:
    """Read both lists of rows. Raises SpaceError for what is no such file."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise SpaceError(f"{file}:1:1: the text is longer than {MOST_BYTES} bytes\nis it a YAML?")
    source = Source(file, tuple(text.split("\n")))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        whole = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        span = Span(1, 1, 2) if mark is None else Span(mark.line + 1, mark.column + 1, mark.column)
        raise source.error(span, f"no YAML: {error.problem}", "is the file whole?") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpaceError(f"{file}:1:1: no YAML: {str(error)[:80]}\nis the file whole?") from None
    if not isinstance(whole, dict) or not isinstance(node, yaml.MappingNode):
        raise SpaceError(f"{file}:1:1: no mapping\nwrite backbone: and head:")
    places = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    for key in whole:
        if key not in _TOP:
            span = source.whole(places.get(str(key), 1))
            raise source.error(span, f"unknown key {key!r}", f"known are {', '.join(_TOP)}")
    if whole.get("activation") not in (None, "nn.SiLU()", "torch.nn.SiLU()"):
        span = source.whole(places["activation"])
        raise source.error(span, "another activation than SiLU", "omit it, and edit the program")
    rows: list[list[Any]] = []
    lines: list[int] = []
    first = 0
    nodes = {key.value: value for key, value in node.value}
    for part in ("backbone", "head"):
        given = whole.get(part)
        if not isinstance(given, list) or not given:
            raise SpaceError(f"{file}:1:1: no rows under {part!r}\nwrite {part}: and its rows")
        first = len(rows)
        for row, place in zip(given, nodes[part].value, strict=True):
            lines.append(place.start_mark.line + 1)
            if not isinstance(row, list) or len(row) != 4 or not isinstance(row[3], list):
                raise source.error(
                    source.whole(lines[-1]),
                    f"row {len(rows)} ({part}): no row",
                    "write [from, repeats, module, [args]]",
                )
            rows.append(row)
    depth, width, most = _scale(whole, source, places, options, notes)
    return YoloRows(source, tuple(rows), tuple(lines), first, depth, width, most)


def _scale(
    whole: dict[str, Any],
    source: Source,
    places: Mapping[str, int],
    options: Options,
    notes: list[str],
) -> tuple[float, float, int]:
    """The multiples of depth and width, and the most channels."""
    scales = whole.get("scales")
    if scales is None:
        if options.scale is not None:
            raise SpaceError(f"{source.file}:1:1: --scale, but the file has no scales\nomit it")
        told = [whole.get("depth_multiple", 1.0), whole.get("width_multiple", 1.0)]
        told.append(whole.get("max_channels", 1 << 20))
        line = places.get("depth_multiple", 1)
    else:
        line = places["scales"]
        if not isinstance(scales, dict) or not scales:
            raise source.error(source.whole(line), "no scales", "write n: [0.33, 0.25, 1024]")
        name = options.scale or next(iter(scales))
        if name not in scales:
            known = [str(one) for one in scales]
            mend = f"there are {', '.join(known)}{near(name, known)}"
            raise source.error(source.whole(line), f"no scale {name!r}", mend)
        told = scales[name]
        if options.scale is None and len(scales) > 1:
            rest = ", ".join(str(one) for one in scales if one != name)
            notes.append(f"scale {name}, the first; --scale takes {rest}")
    good = isinstance(told, list) and len(told) == 3
    if not good or any(isinstance(n, bool) or not isinstance(n, int | float) for n in told):
        mend = "write three numbers: depth, width, most channels"
        raise source.error(source.whole(line), f"a scale of {told!r}", mend)
    return float(told[0]), float(told[1]), int(told[2])
