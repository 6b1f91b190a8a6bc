"""The ``head:`` of an ultralytics YAML as a program: two ways by concatenation.

A row is ``[from, repeats, module, args]``; its number counts those of ``backbone:`` before. Read
is the published file format only. The backbone's rows say which level a feature has; a line of the
program is named after its row (``t12``), an output after its level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nas_fpn.errors import SpaceError
from nas_fpn.language.foreign import Imported, Options
from nas_fpn.language.foreign.imported import check_options
from nas_fpn.language.layout import MOST_BYTES, Source, Span, near

__all__ = ["from_yolo_yaml"]

_ENDS = ("Detect", "Segment", "Pose", "OBB")
_STAGES = {  # the word, and its arguments besides the depth
    "C3": ("csp", ()),
    "C2f": ("csp", ("kernel=3", "gather=all")),
    "VoVGSCSP": ("vovgscsp", ()),
}
_CONVS = {"Conv": ("conv", "stride"), "GSConv": ("gsconv", "stride[conv=gsconv]")}
_KNOWN = [*_CONVS, *_STAGES, "nn.Upsample", "Concat", *_ENDS]
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
_C2F = (
    "C2f is near csp[kernel=3, gather=all], not equal: there the half that enters the bottlenecks "
    "is joined too, here only the one that does not, and what each bottleneck gives"
)
_BARE = ("", "None", None)


@dataclass(frozen=True, slots=True)
class _Feature:
    """What a row gives: operands (one, but of a concatenation), each with its resampler."""

    level: int
    operands: tuple[tuple[str, int, str], ...]  # a name, its level, a resampler or ""


@dataclass(frozen=True, slots=True)
class _File:
    """The rows, and the place of each."""

    source: Source
    rows: tuple[list[Any], ...]
    lines: tuple[int, ...]
    first: int  # the number of the head's first row
    depth: float
    width: float
    most: int

    def error(self, row: int, what: str, mend: str) -> SpaceError:
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
        if isinstance(given, bool) or not isinstance(given, int) or given < 1:
            raise self.error(row, f"{given!r} repeats", "write a whole number")
        return max(round(given * self.depth), 1) if given > 1 else given


def from_yolo_yaml(text: str, *, file: str, options: Options | None = None) -> Imported:
    """The program of a YAML's head; its channels are those of the scale asked for.

    Raises SpaceError for a row whose module has no word, with its number.
    """
    options = options or Options()
    check_options(options, ("scale",), what="an ultralytics YAML", file=file)
    notes: list[str] = []
    given = _read(text, file, options, notes)
    lines, features = [], _backbone(given)
    outputs: dict[str, int] = {}
    for number in range(given.first, len(given.rows)):
        sources, repeats, module, arguments = given.rows[number]
        module = "nn.Upsample" if module == "Upsample" else module
        read = [_source(given, number, one, features) for one in _many(sources)]
        if module in _ENDS:
            outputs = _outputs(given, number, read)
            if module != "Detect":
                notes.append(f"row {number} is {module}: its head is left out, its inputs are kept")
            if number != len(given.rows) - 1:
                raise given.error(number + 1, f"a row behind {module}", f"end with {module}")
            break
        if module == "Concat":
            features.append(_joined(given, number, read, arguments))
        elif len(read) != 1:
            raise given.error(number, f"{module} of {len(read)} rows", "only Concat takes several")
        elif module == "nn.Upsample":
            features.append(_enlarged(given, number, read[0], arguments))
        elif module in _CONVS or module in _STAGES:
            words, up = _words(given, number, str(module), repeats, arguments)
            level = read[0].level + up
            lines.append((f"t{number}", level, read[0], words))
            features.append(_Feature(level, ((f"t{number}", level, ""),)))
            if module == "C2f" and _C2F not in notes:
                notes.append(_C2F)
        else:
            hint = near(str(module), _KNOWN)
            mend = f"known are {', '.join(_KNOWN)}{hint}"
            raise given.error(number, f"no word is the module {module!r}", mend)
    if not outputs:
        line = len(given.source.lines)
        raise SpaceError(f"{file}:{line}:1: the head has no Detect\nend it with Detect")
    body = [_line(name, level, feature, words, outputs) for name, level, feature, words in lines]
    widest = next(iter(given.channels(n, given.rows[n][3][0]) for n in _last(outputs)))
    notes.append("the file does not say what the norms are: bn, with its own numbers")
    doc = f"# PAN of an ultralytics head, imported from {file.rpartition('/')[2]!r}"
    return Imported("\n".join([doc, f"width {widest}", "", *body, ""]), tuple(notes))


def _last(outputs: Mapping[str, int]) -> list[int]:
    """The rows of the outputs, finest first."""
    return [int(name[1:]) for name in sorted(outputs, key=lambda name: outputs[name])]


def _line(name: str, level: int, feature: _Feature, words: str, outputs: Mapping[str, int]) -> str:
    def called(one: str) -> str:
        return f"p{outputs[one]}" if one in outputs else one

    target = called(name) if name in outputs else f"{name}@{level}"
    if len(feature.operands) == 1:
        one, _, resampler = feature.operands[0]
        return f"{target} = {called(one)} -> {f'{resampler} ' if resampler else ''}{words}"
    told = ", ".join(
        called(one) + (f" -> {resampler}" if resampler == "bilinear" else "")
        for one, _, resampler in feature.operands
    )
    return f"{target} = concat[plain]({told}) -> {words}"


def _words(
    given: _File, row: int, module: str, repeats: object, arguments: list[Any]
) -> tuple[str, int]:
    """The blocks of a row, and how many levels they go up."""
    channels = given.channels(row, arguments[0] if arguments else None)
    times = given.repeats(row, repeats)
    if module in _STAGES:
        word, extra = _STAGES[module]
        rest = arguments[1:]
        if any(not isinstance(one, bool) for one in rest[:1]) or len(rest) > 1:
            raise given.error(
                row, f"{module} with {rest}", "say channels, and whether there are shortcuts"
            )
        shortcut = rest[0] if rest else module == "C3"
        told = [str(channels), *([f"depth={times}"] if times > 1 else [])]
        if shortcut and word != "csp":
            raise given.error(row, f"{module} with shortcuts", "write False")
        return f"{word}[{', '.join([*told, *(['shortcut'] if shortcut else []), *extra])}]", 0
    if times != 1:
        raise given.error(row, f"{module} repeated {times} times", "write a row for each")
    kernel = arguments[1] if len(arguments) > 1 else 1
    stride, rest = arguments[2] if len(arguments) > 2 else 1, arguments[3:]
    if (
        not isinstance(kernel, int)
        or len(rest) > 1
        or any(one not in (*_BARE, kernel // 2) for one in rest)
    ):
        raise given.error(row, f"{module} with {arguments}", "say channels, kernel and stride only")
    plain, down = _CONVS[module]
    norm = "" if module == "GSConv" else " bn silu"
    if stride == 2 and kernel == 3:
        return f"{_with(down, channels)}{norm}", 1
    if stride == 1 and kernel in (1, 3) and module == "GSConv":
        return f"gsconv[{channels}{f', kernel={kernel}' if kernel != 1 else ''}]", 0
    if stride == 1 and kernel in (1, 3, 5):
        return f"{plain}{kernel}[{channels}]{norm}", 0
    raise given.error(
        row,
        f"{module} with kernel {kernel} and stride {stride}",
        "there are words for kernels 1, 3, 5 at stride 1 (GSConv: 1, 3), and 3 at stride 2",
    )


def _with(word: str, channels: int) -> str:
    return f"{word[:-1]}, {channels}]" if "[" in word else f"{word}[{channels}]"


def _joined(given: _File, row: int, read: list[_Feature], arguments: list[Any]) -> _Feature:
    if arguments not in ([1], []):
        raise given.error(row, f"Concat along {arguments}", "write [1], the channels")
    levels = sorted({one.level for one in read})
    if len(levels) != 1:
        told = " and ".join(map(str, levels))
        raise given.error(
            row, f"Concat of levels {told}", "bring them to one by nn.Upsample or Conv"
        )
    operands = tuple(operand for one in read for operand in one.operands)
    if len(operands) < 2:
        raise given.error(row, "Concat of one row", "name two, or omit it")
    return _Feature(levels[0], operands)


def _enlarged(given: _File, row: int, feature: _Feature, arguments: list[Any]) -> _Feature:
    mode = arguments[2] if len(arguments) == 3 else None
    if len(arguments) != 3 or arguments[:2] not in ([None, 2], ["None", 2]):
        raise given.error(row, f"nn.Upsample with {arguments}", "write [None, 2, 'nearest']")
    if mode not in ("nearest", "bilinear"):
        raise given.error(row, f"no word enlarges as {mode!r}", "write 'nearest' or 'bilinear'")
    name, level, before = feature.operands[0]
    if len(feature.operands) > 1 or before not in ("", mode):
        raise given.error(
            row, "nn.Upsample of a Concat, or in two modes", "put a Conv or a stage between"
        )
    return _Feature(feature.level - 1, ((name, level, mode),))


def _outputs(given: _File, row: int, read: list[_Feature]) -> dict[str, int]:
    outputs: dict[str, int] = {}
    for one in read:
        name, level, _ = one.operands[0]
        if len(one.operands) > 1 or level != one.level or not name.startswith("t"):
            raise given.error(
                row,
                f"an input of level {one.level} is no row of the head with weights",
                "put a Conv or a stage before it",
            )
        if one.level in outputs.values():
            raise given.error(row, f"two inputs of level {one.level}", "a pyramid has one a level")
        outputs[name] = one.level
    return outputs


def _source(given: _File, row: int, one: object, features: list[_Feature]) -> _Feature:
    if isinstance(one, bool) or not isinstance(one, int):
        raise given.error(row, f"from {one!r}", "write the number of a row, or -1")
    place = one if one >= 0 else row + one
    if not 0 <= place < row:
        raise given.error(
            row, f"from {one}, which is no row before", f"rows go from 0 to {row - 1}"
        )
    return features[place]


def _many(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _backbone(given: _File) -> list[_Feature]:
    """The level of each row: a convolution (or Focus) at stride 2 goes up one."""
    features: list[_Feature] = []
    for number in range(given.first):
        source, _, module, arguments = given.rows[number]
        level = 0
        if number > 0 or source != -1:
            level = _source(given, number, _many(source)[0], features).level
        halves = module == "Focus" or (len(arguments) > 2 and arguments[2] == 2)
        level += halves and not str(module).startswith(("SPP", "C3", "C2"))
        features.append(_Feature(level, ((f"c{level}", level, ""),)))
    return features


def _read(text: str, file: str, options: Options, notes: list[str]) -> _File:
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
    return _File(source, tuple(rows), tuple(lines), first, depth, width, most)


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
