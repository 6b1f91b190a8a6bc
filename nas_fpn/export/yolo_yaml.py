"""The ``head:`` of an ultralytics YAML as a program: two ways by concatenation.

A row is ``[from, repeats, module, args]``; its number counts those of ``backbone:`` before. Read
is the published file format only. The backbone's rows say which level a feature has; a line of the
program is named after its row (``t12``), an output after its level.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_fpn.errors import SpaceError
from nas_fpn.export.yolo_rows import YoloRows, read_rows
from nas_fpn.language.foreign import Imported, Options
from nas_fpn.language.foreign.imported import check_options
from nas_fpn.language.layout import near

__all__ = ["from_yolo_yaml"]

_ENDS = ("Detect", "Segment", "Pose", "OBB")
_STAGES = {  # the word, and its arguments besides the depth
    "C3": ("csp", ()),
    "C2f": ("csp", ("kernel=3", "gather=all")),
    "VoVGSCSP": ("vovgscsp", ()),
}
_CONVS = {"Conv": ("conv", "stride"), "GSConv": ("gsconv", "stride[conv=gsconv]")}
# Of a row of the backbone only the stride counts: at which argument it stands, else what it is.
_STRIDE_AT = {
    **dict.fromkeys(("Conv", "Conv2", "DWConv", "GSConv", "GhostConv", "RepConv", "SCDown"), 2),
    "nn.MaxPool2d": 1,
}
_STRIDES = {
    **dict.fromkeys(("A2C2f", "BottleneckCSP", "Bottleneck", "C1", "C2", "C2PSA", "C2f"), 1),
    **dict.fromkeys(("C2fAttn", "C2fCIB", "C2fPSA", "C3", "C3Ghost", "C3TR", "C3k2", "C3x"), 1),
    **dict.fromkeys(("AIFI", "ELAN1", "HGBlock", "LightConv", "PSA", "RepC3"), 1),
    **dict.fromkeys(("RepNCSPELAN4", "SPP", "SPPELAN", "SPPF", "Silence", "VoVGSCSP"), 1),
    **dict.fromkeys(("Concat", "nn.Identity"), 1),
    **{"AConv": 2, "ADown": 2, "Focus": 2, "HGStem": 4},
}
_KNOWN = [*_CONVS, *_STAGES, "nn.Upsample", "Concat", *_ENDS]
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
class _Line:
    """A row with weights: the name of what it gives, its level, what it reads, its blocks."""

    name: str
    level: int
    feature: _Feature
    words: str


def from_yolo_yaml(text: str, *, file: str, options: Options | None = None) -> Imported:
    """The program of a YAML's head; its channels are those of the scale asked for.

    Raises SpaceError for a row whose module has no word, with its number.
    """
    options = options or Options()
    check_options(options, ("scale",), what="an ultralytics YAML", file=file)
    notes: list[str] = []
    given = read_rows(text, file, options, notes)
    lines: list[_Line] = []
    features = _backbone(given)
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
            lines.append(_Line(f"t{number}", level, read[0], words))
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
    finest = int(min(outputs, key=lambda name: outputs[name])[1:])
    widest = given.channels(finest, given.rows[finest][3][0])
    notes.append("the file does not say what the norms are: bn, with its own numbers")
    doc = f"# PAN of an ultralytics head, imported from {file.rpartition('/')[2]!r}"
    return Imported(
        "\n".join([doc, f"width {widest}", "", *_program(lines, outputs, widest), ""]), tuple(notes)
    )


def _program(lines: list[_Line], outputs: Mapping[str, int], width: int) -> list[str]:
    """The lines as text; a stride that only one concatenation reads stands inside it."""
    uses = Counter(one for line in lines for one, *_ in line.feature.operands)
    joined = {
        one
        for line in lines
        if len(line.feature.operands) > 1
        for one, _, resampler in line.feature.operands
        if not resampler
    }
    inside: dict[str, str] = {}
    body = []
    for line in lines:
        several = len(line.feature.operands) > 1
        sources = [
            _operand(one, "" if several and resampler == "nearest" else resampler, inside, outputs)
            for one, _, resampler in line.feature.operands
        ]
        words = _without(width, line.words)
        alone = uses[line.name] == 1 and line.name in joined and line.name not in outputs
        if several:
            source = f"concat[plain]({', '.join(sources)}) ->"
        else:
            source = sources[0] + (" " if " -> " in sources[0] else " -> ").rstrip()
            if alone and line.words.startswith("stride"):
                inside[line.name] = f"{source} {words}"
                continue
        here = outputs.get(line.name)
        target = f"{line.name}@{line.level}" if here is None else f"p{here}"
        body.append(f"{target} = {source} {words}")
    return body


def _without(width: int, words: str) -> str:
    """The words without those channels that are the program's width.

    >>> _without(64, "stride[64] bn silu"), _without(64, "csp[64, depth=2]")
    ('stride bn silu', 'csp[depth=2]')
    """
    return words.replace(f"[{width}]", "").replace(f"[{width}, ", "[").replace(f", {width}]", "]")


def _operand(
    name: str, resampler: str, inside: Mapping[str, str], outputs: Mapping[str, int]
) -> str:
    if name in inside:
        return inside[name]
    called = f"p{outputs[name]}" if name in outputs else name
    return f"{called} -> {resampler}" if resampler else called


def _words(
    given: YoloRows, row: int, module: str, repeats: object, arguments: list[Any]
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


def _joined(given: YoloRows, row: int, read: list[_Feature], arguments: list[Any]) -> _Feature:
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


def _enlarged(given: YoloRows, row: int, feature: _Feature, arguments: list[Any]) -> _Feature:
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


def _outputs(given: YoloRows, row: int, read: list[_Feature]) -> dict[str, int]:
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


def _source(given: YoloRows, row: int, one: object, features: list[_Feature]) -> _Feature:
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


def _backbone(given: YoloRows) -> list[_Feature]:
    """The level of each row: one at stride 2 goes up one."""
    features: list[_Feature] = []
    for number in range(given.first):
        source, _, module, arguments = given.rows[number]
        level = 0
        if number > 0 or source != -1:
            level = _source(given, number, _many(source)[0], features).level
        level += _stride(given, number, str(module), arguments).bit_length() - 1
        features.append(_Feature(level, ((f"c{level}", level, ""),)))
    return features


def _stride(given: YoloRows, row: int, module: str, arguments: list[Any]) -> int:
    """The stride of a row of the backbone, 1, 2 or 4."""
    place = _STRIDE_AT.get(module)
    if place is None and module not in _STRIDES:
        hint = near(module, [*_STRIDE_AT, *_STRIDES])
        mend = f"write a row of the same stride, as [-1, 1, Conv, [64, 3, 2]], in its place{hint}"
        raise given.error(row, f"no stride is known of the module {module!r}", mend)
    if place is None:
        return _STRIDES[module]
    default = arguments[0] if module == "nn.MaxPool2d" and arguments else 1  # as in torch
    stride = arguments[place] if len(arguments) > place else default
    if isinstance(stride, bool) or stride not in (1, 2, 4):
        raise given.error(row, f"{module} with stride {stride!r}", "write 1, 2 or 4")
    return int(stride)
