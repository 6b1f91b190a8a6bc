"""mmdetection's FPN, PAFPN and BFP, and torchvision's FeaturePyramidNetwork, as programs."""

from dataclasses import dataclass

from nas_fpn.language.foreign.conv_block import act_of, check_conv, norm_of
from nas_fpn.language.foreign.fields import (
    check_keys,
    choice,
    counts,
    fail,
    flag,
    optional_table,
    required,
    whole,
)
from nas_fpn.language.foreign.imported import Imported, Options, blocks, names
from nas_fpn.language.foreign.literals import Table, config, evaluate

__all__ = ["bfp", "finest_of", "fpn", "pafpn", "torchvision_fpn"]

_FPN = (
    "type in_channels out_channels num_outs start_level end_level add_extra_convs "
    "relu_before_extra_convs no_norm_on_lateral conv_cfg norm_cfg act_cfg init_cfg _delete_"
)
_BFP = "type in_channels num_levels refine_level refine_type conv_cfg norm_cfg init_cfg"
_HIGHEST = 8  # p8
_INIT = "init_cfg: the program does not say how weights begin; ours begin as Neck begins them"


@dataclass(frozen=True, slots=True)
class _Pyramid:
    """Levels ``low`` to ``top`` are made from the backbone's, those up to ``last`` are extra."""

    low: int
    top: int
    last: int
    lateral: str  # behind each 1x1
    after: str  # behind each 3x3
    extra: str  # "subsample", "on_input", "on_lateral", "on_output"
    relu: bool

    def down(self) -> list[str]:
        laterals = f"{names('p', self.low, self.top)} = {names('c', self.low, self.top)}"
        lines = [laterals + blocks("conv1", self.lateral)]
        if self.low < self.top:
            fine = names("p", self.top - 1, self.low)
            lines.append(f"{fine} = sum({fine}, {names('p', self.top, self.low + 1)})")
        return lines

    def convolved(self) -> list[str]:
        same = names("p", self.low, self.top)
        return [f"{same} = {same}" + blocks("conv3", self.after)]

    def extras(self, *, laterals: bool) -> list[str]:
        """The levels above; ``laterals`` is the moment before the laterals are convolved."""
        if self.last == self.top or laterals != (self.extra == "on_lateral"):
            return []
        first = self.top + 1
        if self.extra == "subsample":
            above, below = names("p", first, self.last), names("p", self.top, self.last - 1)
            return [f"{above} = {below} -> subsample"]
        feature = "c" if self.extra == "on_input" else "p"
        lines = [f"p{first} = {feature}{self.top}" + blocks("stride", self.after)]
        if first < self.last:
            above, below = names("p", first + 1, self.last), names("p", first, self.last - 1)
            relu = "relu" if self.relu else ""
            lines.append(f"{above} = {below}" + blocks(relu, "stride", self.after))
        return lines

    def fpn(self) -> list[str]:
        lines = [*self.down(), *self.extras(laterals=True)]
        return [*lines, *self.convolved(), *self.extras(laterals=False)]


def fpn(neck: Table, options: Options, doc: str) -> Imported:
    """``FPN`` of mmdetection 3."""
    text, notes, _, channels = _fpn(neck, options)
    return Imported(f"{doc}\n{text}", tuple(notes), "mmdet.fpn", channels)


def pafpn(neck: Table, options: Options, doc: str) -> Imported:
    """``PAFPN``: the way up adds to what the way down has convolved, and convolves at its end."""
    notes: list[str] = []
    check_keys(neck, _FPN, what="PAFPN")
    pyramid, head, channels = _pyramid(neck, options, notes)
    lines = [*head, *pyramid.down(), *pyramid.extras(laterals=True), *pyramid.convolved()]
    if pyramid.low < pyramid.top:
        up = names("p", pyramid.low + 1, pyramid.top)
        fine = names("p", pyramid.low, pyramid.top - 1)
        lines.append(f"{up} = sum({up}, {fine}{blocks('stride', pyramid.after)})")
        lines.append(f"{up} = {up}" + blocks("conv3", pyramid.after))
    lines += pyramid.extras(laterals=False)
    return Imported("\n".join([doc, *lines, ""]), tuple(notes), "mmdet.pafpn", channels)


def bfp(first: Table, second: Table, options: Options, doc: str) -> Imported:
    """A list of two necks: FPN, then BFP."""
    text, notes, pyramid, channels = _fpn(first, options)
    check_keys(second, _BFP, what="BFP")
    check_conv(second)
    width = required(first, "out_channels", what="FPN")
    if whole(second, "in_channels", 256, least=1) != width:
        fail(second, "in_channels", f"BFP wants FPN's out_channels, {width}", "make the two equal")
    levels = whole(second, "num_levels", 5, least=2)
    if levels != pyramid.last - pyramid.low + 1:
        fail(
            second,
            "num_levels",
            f"num_levels is {levels}, but FPN gives {pyramid.last - pyramid.low + 1}",
            "make num_levels equal to num_outs",
        )
    level = pyramid.low + whole(second, "refine_level", 2, most=levels - 1)
    refine = second.values.get("refine_type")
    if refine not in (None, "conv"):
        fail(
            second,
            "refine_type",
            f"no word refines as {refine!r} does",
            "import it with refine_type='conv' or None, and say the rest in a word of your own",
        )
    told = blocks("conv3", norm_of(second, notes), "relu") if refine == "conv" else ""
    if "init_cfg" in second.values and _INIT not in notes:
        notes.append(_INIT)
    notes.append(
        "BFP pools by adaptive maxima: the same as here wherever a side is a multiple of the "
        "coarser one"
    )
    every = ", ".join(f"p{k}" for k in range(pyramid.low, pyramid.last + 1))
    all_ = names("p", pyramid.low, pyramid.last)
    text += f"m@{level} = mean({every}){told}\n{all_} = sum({all_}, m)\n"
    return Imported(f"{doc}\n{text}", tuple(notes), "mmdet.bfp", channels)


def torchvision_fpn(neck: Table, options: Options, doc: str) -> Imported:
    """``FeaturePyramidNetwork(in_channels_list, out_channels, extra_blocks, norm_layer)``."""
    what = "FeaturePyramidNetwork"
    known = "in_channels_list out_channels extra_blocks norm_layer"
    arguments = neck.values.get("args")
    if isinstance(arguments, list):
        given = dict(zip(known.split(), arguments, strict=False))
        spans = dict.fromkeys(given, neck.spans["args"])
        rest = {key: value for key, value in neck.values.items() if key != "args"}
        neck = Table(neck.source, neck.span, given | rest, spans | neck.spans, neck.keys)
    check_keys(neck, f"type args {known}", what=what)
    notes: list[str] = []
    channels = counts(neck, "in_channels_list", what=what)
    required(neck, "out_channels", what=what)
    width = whole(neck, "out_channels", 256, least=1)
    low = finest_of(len(channels), options, notes, "in_channels_list")
    top = low + len(channels) - 1
    norm = neck.values.get("norm_layer")
    batch = ("BatchNorm2d", "nn.BatchNorm2d", "torch.nn.BatchNorm2d")
    if norm is not None and norm not in batch:
        fail(neck, "norm_layer", f"no word is the norm {norm!r}", "write nn.BatchNorm2d, or None")
    block = neck.values.get("extra_blocks")
    if isinstance(block, str) and "(" in block:  # as JSON says LastLevelP6P7(256, 256)
        written = config(block, "extra_blocks")
        block = None if written.whole is None else evaluate(written, written.whole)
    said = block.values.get("type") if isinstance(block, Table) else block
    extra, last = "on_output", top
    if said == "LastLevelMaxPool":
        extra, last = "subsample", top + 1
    elif isinstance(block, Table) and said == "LastLevelP6P7":
        pair = block.values.get("args", [block.values.get(k) for k in _P6P7])
        if not isinstance(pair, list) or len(pair) != 2 or pair[1] != width:
            fail(
                neck,
                "extra_blocks",
                "LastLevelP6P7 must have two numbers, the second of them out_channels",
                f"write LastLevelP6P7({width}, {width}), or ({channels[-1]}, {width})",
            )
        extra, last = ("on_output" if pair[0] == width else "on_input"), top + 2
    elif said is not None:
        fail(
            neck,
            "extra_blocks",
            f"no such extra_blocks: {said!r}",
            "write LastLevelMaxPool() or LastLevelP6P7(a, b)",
        )
    if last > _HIGHEST:
        fail(neck, "extra_blocks", f"level {last} is beyond p{_HIGHEST}", "begin lower: --finest")
    after = "bn" if norm else ""
    pyramid = _Pyramid(low, top, last, after, "", extra, True)  # no norm on the extra levels
    lines = [*_head(width), *pyramid.down()]
    same = names("p", low, top)
    lines += [f"{same} = {same}" + blocks("conv3", after), *pyramid.extras(laterals=False)]
    return Imported("\n".join([doc, *lines, ""]), tuple(notes), "torchvision.fpn", channels)


_P6P7 = ("in_channels", "out_channels")


def finest_of(inputs: int, options: Options, notes: list[str], key: str) -> int:
    """The level of the first input: as asked, else so that the last is c5."""
    low = options.finest
    if low is None:
        low = max(2, 6 - inputs)
        there = names("c", low, low + inputs - 1)
        notes.append(f"{key} has {inputs} numbers, taken as {there}; --finest says otherwise")
    return low


def _fpn(neck: Table, options: Options) -> tuple[str, list[str], _Pyramid, tuple[int, ...]]:
    notes: list[str] = []
    check_keys(neck, f"{_FPN} upsample_cfg", what="FPN")
    pyramid, head, channels = _pyramid(neck, options, notes)
    return "\n".join([*head, *pyramid.fpn(), ""]), notes, pyramid, channels


def _pyramid(
    neck: Table, options: Options, notes: list[str]
) -> tuple[_Pyramid, list[str], tuple[int, ...]]:
    what = str(neck.values["type"])
    channels = counts(neck, "in_channels", what=what)
    for key in ("out_channels", "num_outs"):
        required(neck, key, what=what)
    width = whole(neck, "out_channels", 256, least=1)
    check_conv(neck)
    finest = finest_of(len(channels), options, notes, "in_channels")
    start = whole(neck, "start_level", 0, most=len(channels) - 1)
    end = whole(neck, "end_level", -1, least=-1, most=len(channels) - 1)
    last_input = len(channels) - 1 if end == -1 else end
    if last_input < start:
        fail(neck, "end_level", f"end_level {end} is below start_level {start}", "raise it")
    made, outs = last_input - start + 1, whole(neck, "num_outs", 5, least=1)
    if outs < made or (outs > made and last_input < len(channels) - 1):
        rule = "must be equal to" if last_input < len(channels) - 1 else "cannot be less than"
        fail(
            neck,
            "num_outs",
            f"num_outs is {outs}, which {rule} the {made} levels from start_level to end_level",
            f"write num_outs={made}",
        )
    low = finest + start
    top = low + made - 1
    last = low + outs - 1
    if low < 2 or last > _HIGHEST:
        fail(
            neck,
            "num_outs",
            f"levels {low} to {last}: the language has p2 to p{_HIGHEST}",
            "make num_outs less, or say the level of the first input: --finest",
        )
    norm, act = norm_of(neck, notes), act_of(neck)
    bare = flag(neck, "no_norm_on_lateral", False)
    lateral = " ".join(word for word in ("" if bare else norm, act) if word)
    after = " ".join(word for word in (norm, act) if word)
    if neck.values.get("init_cfg") is not None:
        notes.append(_INIT)
    pyramid = _Pyramid(
        low,
        top,
        last,
        lateral,
        after,
        _extra(neck),
        flag(neck, "relu_before_extra_convs", False),
    )
    head = _head(width, _upsampling(neck, notes))
    return pyramid, head, channels[start : last_input + 1]


def _extra(neck: Table) -> str:
    """Where the first extra level comes from; True is "on_input", as there."""
    value = neck.values.get("add_extra_convs", False)
    if isinstance(value, bool):
        return "on_input" if value else "subsample"
    return choice(neck, "add_extra_convs", "", ("on_input", "on_lateral", "on_output"))


def _upsampling(neck: Table, notes: list[str]) -> str:
    given = optional_table(neck, "upsample_cfg")
    if given is None:
        return ""
    check_keys(given, "mode scale_factor align_corners", what="upsample_cfg")
    if given.values.get("align_corners"):
        fail(given, "align_corners", "no word aligns corners", "write align_corners=False")
    if "scale_factor" in given.values:
        notes.append("scale_factor: here to the exact size of the finer level, odd sizes too")
    mode = choice(given, "mode", "nearest", ("nearest", "bilinear"))
    return "" if mode == "nearest" else mode


def _head(width: int, up: str = "") -> list[str]:
    return [f"width {width}", *([f"up {up}"] if up else []), ""]
