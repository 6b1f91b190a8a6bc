"""NAS-FPN: mmdetection's NASFPN, and the TensorFlow authors' block specs, as programs.

A block spec is (level, operation, (i, j), is_output): the offsets count the pyramid's levels,
finest first, then the blocks before. Ghiasi et al. 2019, arXiv:1904.07392.
"""

from typing import NoReturn

from nas_fpn.language.foreign.conv_block import norm_of
from nas_fpn.language.foreign.fields import (
    check_keys,
    choice,
    counts,
    fail,
    flag,
    number,
    required,
    whole,
)
from nas_fpn.language.foreign.fpn import finest_of
from nas_fpn.language.foreign.imported import Imported, Options, blocks, call, names
from nas_fpn.language.foreign.literals import Table, Value
from nas_fpn.language.layout import near

__all__ = ["PUBLISHED", "block_specs", "mmdet_nas_fpn", "tensorflow_nas_fpn"]

Spec = tuple[int, str, int, int, bool]

_BIASES = (
    "a bias stood before each norm, where it does nothing: left out; of weights it goes into the "
    "running mean"
)
_MMDET = (
    "type in_channels out_channels num_outs stack_times start_level end_level norm_cfg init_cfg"
)
_TENSORFLOW = (
    "type in_channels min_level max_level num_filters num_repeats use_separable_conv activation "
    "norm_momentum norm_epsilon use_sync_bn block_specs note"
)
PUBLISHED: tuple[Spec, ...] = (
    (4, "attention", 1, 3, False),
    (4, "sum", 1, 5, False),
    (3, "sum", 0, 6, True),
    (4, "sum", 6, 7, True),
    (5, "attention", 7, 8, True),
    (7, "attention", 6, 9, True),
    (6, "attention", 9, 10, True),
)
_OPS = {"sum": "sum", "attention": "gp"}
_SPEC = "write it as (4, 'sum', (1, 5), False)"
_LETTERS = "abdefghijklmnoqrstuvwyz"  # but c, p and x, which stand for features


def mmdet_nas_fpn(neck: Table, options: Options, doc: str) -> Imported:
    """``NASFPN`` of mmdetection: the finer operand gates by its mean, P6 and P7 are convolved."""
    notes: list[str] = []
    check_keys(neck, _MMDET, what="NASFPN")
    channels = counts(neck, "in_channels", what="NASFPN")
    for key in ("out_channels", "num_outs", "stack_times"):
        required(neck, key, what="NASFPN")
    finest = finest_of(len(channels), options, notes, "in_channels")
    start = whole(neck, "start_level", 0, most=len(channels) - 1)
    end = whole(neck, "end_level", -1, least=-1, most=len(channels) - 1)
    read = channels[start : None if end == -1 else end + 1]
    if finest + start != 3 or len(read) != 3 or neck.values["num_outs"] != 5:
        here = names("c", finest + start, finest + start + len(read) - 1)
        fail(
            neck,
            "in_channels",
            f"NASFPN makes p3 to p7 from c3, c4, c5, but this reads {here} and gives "
            f"{neck.values['num_outs']} levels",
            "write num_outs=5, and start_level so that the first level read is c3 (see --finest)",
        )
    norm = norm_of(neck, notes)
    if norm:
        notes.append(_BIASES)
    if neck.values.get("init_cfg") is not None:
        notes.append("init_cfg: the program does not say how weights begin")
    lines = [
        f"width {whole(neck, 'out_channels', 256, least=1)}",
        f"then relu conv3 {norm}".rstrip(),
        "down maxpool[pad=zero]",
        "",
        "p3..p5 = c3..c5" + blocks("conv1", norm),
        "p6..p7 = p5..p6" + blocks("conv1", norm, "maxpool"),
        f"repeat {whole(neck, 'stack_times', 7, least=1, most=64)}:",
        "    x3..x7 = p3..p7",
        "    a@4 = gp[pool=mean](x4, x6)",
        "    b@4 = sum(a, x4)",
        "    p3 = sum(b, x3)",
        "    p4 = sum(p3, b)",
        "    p5 = gp[pool=mean](p3, p4) + x5",
        "    p7 = gp[pool=mean](b, p5) + x7",
        "    p6 = gp[pool=mean](p5, p7)",
    ]
    return Imported("\n".join([doc, *lines, ""]), tuple(notes), "mmdet.nas_fpn", read)


def tensorflow_nas_fpn(neck: Table, options: Options, doc: str) -> Imported:
    """A table with ``num_filters``, ``num_repeats`` …, and ``block_specs`` if not the published."""
    check_keys(neck, _TENSORFLOW, what="NASFPN")
    low = whole(neck, "min_level", 3, least=2, most=7)
    high = whole(neck, "max_level", 7, least=low, most=8)
    specs = PUBLISHED
    if "block_specs" in neck.values:
        specs = _specs(neck, "block_specs", neck.values["block_specs"])
    acts = {"relu": "relu", "relu6": "relu6", "swish": "swish", "silu": "silu"}
    act = acts[choice(neck, "activation", "relu", tuple(acts))]
    eps, momentum = number(neck, "norm_epsilon", 1e-3), 1 - number(neck, "norm_momentum", 0.99)
    norm = call("bn", eps=None if eps == 1e-5 else eps, momentum=round(momentum, 6))
    channels = None
    given = neck.values.get("in_channels")
    if isinstance(given, Table):
        read = [n for n in given.values.values() if isinstance(n, int)]
        channels = tuple(read)
    elif given is not None:
        channels = counts(neck, "in_channels", what="NASFPN")
    top = low + len(channels) - 1 if channels else min(high, 5)
    notes = [_BIASES]
    if "note" in neck.values:
        notes.append(f"note: {neck.values['note']}")
    if flag(neck, "use_sync_bn", False):
        notes.append("use_sync_bn: here bn, whose statistics are those of one device")
    lines = _program(
        neck,
        "block_specs",
        specs,
        (low, top, high),
        width=whole(neck, "num_filters", 256, least=1),
        repeats=whole(neck, "num_repeats", 7, least=1, most=64),
        cell=f"{act} {'sep3' if flag(neck, 'use_separable_conv', False) else 'conv3'} {norm}",
        norm=norm,
    )
    reference = "tensorflow.nas_fpn" if specs == PUBLISHED else None
    return Imported("\n".join([doc, *lines, ""]), tuple(notes), reference, channels)


def block_specs(value: Value, table: Table, options: Options, doc: str) -> Imported:
    """A bare list of block specs, for levels 3 to 7 of c3 to c5."""
    specs = _specs(table, "specs", value)
    width, repeats = options.width or 256, options.repeats or 7
    notes = [_BIASES, "a list of blocks says the cell only: the rest is NAS-FPN's"]
    if options.width is None:
        notes.append("width 256 is taken; --width says otherwise")
    if options.repeats is None:
        notes.append("7 repeats are taken; --repeats says otherwise")
    lines = _program(
        table,
        "specs",
        specs,
        (3, 5, 7),
        width=width,
        repeats=repeats,
        cell="relu conv3 bn",
        norm="bn",
    )
    reference = "tensorflow.nas_fpn" if specs == PUBLISHED else None
    return Imported("\n".join([doc, *lines, ""]), tuple(notes), reference, None)


def _specs(table: Table, key: str, value: Value) -> tuple[Spec, ...]:
    """The rows, checked one by one; the message counts them from 0, as the offsets do."""
    if not isinstance(value, list) or not value:
        fail(table, key, "no list of blocks", "write [(level, operation, (i, j), is_output), …]")
    specs: list[Spec] = []
    for number_, row in enumerate(value):
        if isinstance(row, Table):
            offsets: Value = row.values.get("input_offsets", row.values.get("inputs_offsets"))
            level = row.values.get("level", row.values.get("feat_level"))
            operation = row.values.get("combine_fn", row.values.get("combine_method"))
            row = [level, operation, offsets, row.values.get("is_output")]
        match row:
            case [int() as level, str() as op, [int() as i, int() as j], bool() | 0 | 1 as out]:
                specs.append((level, op, i, j, bool(out)))
            case _:
                _bad(table, key, number_, "is no (level, operation, (i, j), is_output)", _SPEC)
    return tuple(specs)


def _bad(table: Table, key: str, row: int, what: str, mend: str) -> NoReturn:
    here = str(row) if str(row) in table.spans else key
    fail(table, here, f"block {row} {what}", mend)


def _program(
    table: Table,
    key: str,
    specs: tuple[Spec, ...],
    levels: tuple[int, int, int],
    *,
    width: int,
    repeats: int,
    cell: str,
    norm: str,
) -> list[str]:
    low, top, high = levels
    outputs = sorted(level for level, *_, out in specs if out)
    if outputs != list(range(low, high + 1)):
        fail(
            table,
            key,
            f"the outputs are of levels {', '.join(map(str, outputs)) or 'none'}",
            f"each of the levels {low} to {high} must be given by one block with True",
        )
    inner = sum(1 for *_, out in specs if not out)
    if inner > len(_LETTERS):
        fail(table, key, f"{inner} blocks inside the cell", f"at most {len(_LETTERS)}")
    lines = [f"width {width}", f"then {cell}", ""]
    lines.append(f"{names('p', low, top)} = {names('c', low, top)}" + blocks("conv1", norm))
    if top < high:
        above, below = names("p", top + 1, high), names("p", top, high - 1)
        lines.append(f"{above} = {below} -> maxpool")
    lines += [f"repeat {repeats}:", f"    {names('x', low, high)} = {names('p', low, high)}"]
    return lines + [f"    {line}" for line in _cell(table, key, specs, low, high)]


def _cell(table: Table, key: str, specs: tuple[Spec, ...], low: int, high: int) -> list[str]:
    there = [(f"x{level}", level) for level in range(low, high + 1)]
    used = [0] * len(there)
    letters = iter(_LETTERS)
    lines = []
    for row, (level, op, *offsets, out) in enumerate(specs):
        if op not in _OPS:
            mend = f"there are {', '.join(_OPS)}{near(op, list(_OPS))}"
            _bad(table, key, row, f"has the operation {op!r}", mend)
        if not low <= level <= high:
            _bad(table, key, row, f"is at level {level}", f"write one of {low} to {high}")
        for offset in offsets:
            if not 0 <= offset < len(there):
                mend = f"at that block there are 0 to {len(there) - 1}"
                _bad(table, key, row, f"reads offset {offset}", mend)
            used[offset] += 1
        if offsets[0] == offsets[1]:
            _bad(table, key, row, f"reads offset {offsets[0]} twice", "name two of them")
        operands = [there[offset] for offset in offsets]
        if op == "attention" and operands[1][1] > operands[0][1]:
            operands.reverse()  # the coarser gates
        name = f"p{level}" if out else next(letters)
        line = (
            f"{name if out else f'{name}@{level}'} = {_OPS[op]}({operands[0][0]}, {operands[1][0]})"
        )
        if out:
            for other, (loose, its_level) in enumerate(there):
                if its_level == level and used[other] == 0:
                    line += f" + {loose}"
                    used[other] += 1
        lines.append(line)
        there.append((name, level))
        used.append(0)
    return lines
