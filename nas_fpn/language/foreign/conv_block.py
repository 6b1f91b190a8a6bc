"""mmcv's norm_cfg, act_cfg and conv_cfg as blocks of the language."""

from nas_fpn.language.foreign.fields import check_keys, fail, flag, number, optional_table, whole
from nas_fpn.language.foreign.imported import call
from nas_fpn.language.foreign.literals import Table
from nas_fpn.language.layout import near

__all__ = ["act_of", "check_conv", "norm_of"]

_BATCH = ("BN", "BN2d", "SyncBN", "MMSyncBN")
_ACTS = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky",
    "SiLU": "silu",
    "Swish": "swish",
    "Mish": "mish",
    "GELU": "gelu",
}


def norm_of(
    neck: Table, notes: list[str], *, eps: float = 1e-5, momentum: float = 0.1, default: str = ""
) -> str:
    """The block of ``norm_cfg``; ``default`` where the key is absent, nothing where it is None.

    ``eps`` and ``momentum`` are those of a norm that does not say them.
    """
    if "norm_cfg" not in neck.values:
        return default
    given = optional_table(neck, "norm_cfg")
    if given is None:
        return ""
    kind = given.values.get("type")
    if kind not in (*_BATCH, "GN"):
        known = [*_BATCH, "GN"]
        fail(
            given,
            "type",
            f"no word is the norm {kind!r}",
            f"those with a word are {', '.join(known)}{near(str(kind), known)}",
        )
    if kind in _BATCH:
        check_keys(given, "type requires_grad eps momentum", what=str(kind))
        if kind in ("SyncBN", "MMSyncBN"):
            notes.append(f"{kind}: here bn, whose statistics are those of one device")
        _frozen(given, notes)
        said = number(given, "eps", eps), number(given, "momentum", momentum)
        return call(
            "bn",
            eps=None if said[0] == 1e-5 else said[0],
            momentum=None if said[1] == 0.1 else said[1],
        )
    check_keys(given, "type requires_grad num_groups eps", what="GN")
    if number(given, "eps", 1e-5) != 1e-5:
        fail(given, "eps", "gn has no other eps than 1e-5", "omit it")
    _frozen(given, notes)
    groups = whole(given, "num_groups", 32, least=1)
    return call("gn", groups=None if groups == 32 else groups)


def act_of(neck: Table) -> str:
    """The block of ``act_cfg``; nothing where it is absent or None."""
    given = optional_table(neck, "act_cfg")
    if given is None:
        return ""
    kind = given.values.get("type")
    if not isinstance(kind, str) or kind not in _ACTS:
        fail(
            given,
            "type",
            f"no word is the activation {kind!r}",
            f"those with a word are {', '.join(_ACTS)}{near(str(kind), list(_ACTS))}",
        )
    slope = kind == "LeakyReLU"
    check_keys(given, f"type inplace{' negative_slope' * slope}", what=kind)
    said = number(given, "negative_slope", 0.01) if slope else 0.01
    return call(_ACTS[kind], slope=None if said == 0.01 else said)


def check_conv(neck: Table) -> None:
    """Raise SpaceError where ``conv_cfg`` asks for another convolution than the plain one."""
    given = optional_table(neck, "conv_cfg")
    if given is None:
        return
    kind = given.values.get("type")
    if kind not in ("Conv", "Conv2d"):
        fail(
            given,
            "type",
            f"conv_cfg makes every convolution {kind!r}, 1x1 ones too; the language has none",
            "import it with conv_cfg=None, then write deform3 (or another word) for conv3",
        )
    check_keys(given, "type", what="conv_cfg")


def _frozen(given: Table, notes: list[str]) -> None:
    if not flag(given, "requires_grad", True):
        notes.append("norm_cfg has requires_grad=False: the program does not say what is trained")
