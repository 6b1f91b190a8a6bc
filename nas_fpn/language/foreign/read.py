"""Which kind of file this is, and the neck in it."""

import ast

from nas_fpn.errors import SpaceError, command_line
from nas_fpn.language.foreign.bifpn import effdet_bifpn, mmdet_bifpn
from nas_fpn.language.foreign.fields import fail
from nas_fpn.language.foreign.fpn import bfp, fpn, pafpn, torchvision_fpn
from nas_fpn.language.foreign.imported import Imported, Options, check_options
from nas_fpn.language.foreign.literals import (
    Config,
    Table,
    Value,
    config,
    entry,
    evaluate,
    place,
)
from nas_fpn.language.foreign.nas_fpn import block_specs, mmdet_nas_fpn, tensorflow_nas_fpn
from nas_fpn.language.layout import MOST_BYTES, near

__all__ = ["translate"]

_MMDET = {
    "FPN": fpn,
    "PAFPN": pafpn,
    "NASFPN": mmdet_nas_fpn,
    "NAS_FPN": mmdet_nas_fpn,
    "BiFPN": mmdet_bifpn,
}
_TYPES = [*_MMDET, "BFP", "FeaturePyramidNetwork"]
_SHIPPED = {  # types of mmdetection that are shipped programs, but of one configuration
    "FPG": "fpg",
    "HRFPN": "hrfpn",
    "NASFCOS_FPN": "nas_fcos",
    "YOLOXPAFPN": "yolox",
    "FPN_CARAFE": "fpn_carafe",
}


def translate(text: str, *, file: str = "<text>", options: Options | None = None) -> Imported:
    """Say a configuration's neck in the neck language; the text is read, not run.

    It is a config of mmdetection (``model = dict(neck=…)``), the dict of a neck as Python or
    JSON, effdet's fpn settings, ``FeaturePyramidNetwork(…)``, or TensorFlow's block specs of a
    NAS-FPN. Raises SpaceError for what it does not know, with the place.
    """
    options = options or Options()
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise SpaceError(
            f"{file}:1:1: the text is longer than {MOST_BYTES} bytes\n"
            "a config has some hundreds of lines; is this the right file?"
        )
    given = config(text, file)
    try:
        neck = _neck(given, file)
        value = evaluate(given, neck)
    except RecursionError:
        raise SpaceError(f"{file}:1:1: nested too deep\nis this the right file?") from None
    if isinstance(value, list) and not any(
        isinstance(one, Table) and "type" in one.values for one in value
    ):
        check_options(options, ("repeats", "width"), what="block specs", file=file)
        rows = neck.elts if isinstance(neck, ast.List | ast.Tuple) else []
        spans = {str(number): place(given.source, row) for number, row in enumerate(rows)}
        doc = f"# NAS-FPN's kind of cell, imported from {_base(file)}"
        table = Table(given.source, place(given.source, neck), {}, spans, {})
        return block_specs(value, table, options, doc)
    return _of_type(value, options, file)


def _of_type(value: Value, options: Options, file: str) -> Imported:
    """By the type of the table, or of the tables of a list; by its keys where it has none."""
    if isinstance(value, list):
        tables = [one for one in value if isinstance(one, Table)]
        types = [one.values.get("type") for one in tables]
        if types == ["FPN", "BFP"]:
            check_options(options, ("finest",), what="BFP", file=file)
            return bfp(tables[0], tables[1], options, _doc("FPN and BFP", file))
        if len(tables) == len(value) == 1:
            return _of_type(tables[0], options, file)
        first = tables[0]
        fail(
            first,
            "type",
            f"a list of necks: {', '.join(map(str, types))}",
            "of lists, FPN then BFP is known; import one of them, and write the rest",
        )
    if not isinstance(value, Table):
        raise SpaceError(f"{file}:1:1: the neck is {value!r}\nwrite neck=dict(type='FPN', …)")
    kind = value.values.get("type")
    if "num_filters" in value.values or "block_specs" in value.values:
        check_options(options, (), what="TensorFlow's NASFPN", file=file)
        return tensorflow_nas_fpn(value, options, _doc("NAS-FPN of TensorFlow", file))
    if "fpn_channels" in value.values or "fpn_cell_repeats" in value.values:
        check_options(options, (), what="effdet's BiFPN", file=file)
        return effdet_bifpn(value, options, _doc("BiFPN of effdet", file))
    if kind == "FeaturePyramidNetwork" or "in_channels_list" in value.values:
        check_options(options, ("finest",), what="FeaturePyramidNetwork", file=file)
        return torchvision_fpn(value, options, _doc("FPN of torchvision", file))
    if isinstance(kind, str) and kind in _MMDET:
        check_options(options, ("finest",), what=kind, file=file)
        return _MMDET[kind](value, options, _doc(f"{kind} of mmdetection", file))
    raise _unknown(value, kind)


def _unknown(value: Table, kind: Value) -> SpaceError:
    if isinstance(kind, str) and kind in _SHIPPED:
        what = f"a neck of type {kind} is not imported"
        shown = command_line("show", _SHIPPED[kind])
        mend = f"`{_SHIPPED[kind]}` is its program in one configuration: {shown}"
    else:
        what = "the neck has no type" if kind is None else f"unknown neck {kind!r}"
        hint = "" if kind is None else near(str(kind), _TYPES)
        mend = f"known are {', '.join(_TYPES)}{hint}"
    return value.source.error(value.spans.get("type", value.span), what, mend)


def _neck(given: Config, file: str) -> ast.expr:
    """The expression that is the neck."""
    for name in ("model", "neck"):
        if name in given.twice:
            value = given.assigned[name]
            given.source.fail(
                place(given.source, value),
                f"{name!r} is assigned more than once",
                "the file is not run: leave one",
            )
    model = given.whole if given.whole is not None else given.assigned.get("model")
    found = None
    if model is not None:
        outer = entry(given, model, "model")
        found = entry(given, outer if outer is not None else model, "neck")
        if found is None and given.whole is not None and outer is None:
            found = given.whole
    if found is None:
        found = given.assigned.get("neck")
    if found is None:
        lists = [value for value in given.assigned.values() if _is_specs(value)]
        if len(lists) == 1:
            return lists[0]
    inherits = "_base_" in given.assigned
    if found is not None and not (
        inherits and isinstance(found, ast.Dict | ast.Call) and _partial(given, found)
    ):
        return found
    if inherits:
        base = given.assigned["_base_"]
        given.source.fail(
            place(given.source, base),
            "the neck stands in another file: _base_",
            "files are not joined: import that file, or copy its neck=dict(…) whole into this one",
        )
    raise SpaceError(
        f"{file}:1:1: no neck in this file\n"
        "write model = dict(neck=dict(type='FPN', …)), neck = dict(…), or one list of block specs"
    )


def _partial(given: Config, found: ast.expr) -> bool:
    named = isinstance(found, ast.Call) and ast.unparse(found.func) != "dict"
    return not named and entry(given, found, "type") is None


def _is_specs(value: ast.expr) -> bool:
    """Whether it is a list of rows of four."""
    if not isinstance(value, ast.List | ast.Tuple) or not value.elts:
        return False
    return all(isinstance(row, ast.List | ast.Tuple) and len(row.elts) == 4 for row in value.elts)


def _doc(what: str, file: str) -> str:
    return f"# {what}, imported from {_base(file)}"


def _base(file: str) -> str:
    """The name of the file alone, in one line."""
    return "".join(one if one.isprintable() else "?" for one in file.replace("\\", "/")).rpartition(
        "/"
    )[2]
