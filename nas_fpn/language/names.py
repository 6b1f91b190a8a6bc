"""Which names mean what: levels in names, reserved names, ranges of names."""

import keyword
import re
from collections.abc import Container
from functools import lru_cache

from nas_fpn.language.words import WORDS

__all__ = [
    "BACKBONE_LEVELS",
    "KEYWORDS",
    "expand",
    "is_backbone",
    "is_pyramid",
    "level_of",
    "reserved",
]

BACKBONE_LEVELS = range(2, 8)
KEYWORDS = frozenset(
    ["any", "down", "each", "in", "let", "order", "repeat", "rest", "then", "up", "width"]
)

# what an nn.Module already has under a plain name, what the exported source calls its own, and
# what huggingface_hub adds in hub.py; a test compares with torch
_ATTRIBUTES = frozenset(
    [
        "add_module",
        "apply",
        "architecture",
        "bfloat16",
        "blocks",
        "buffers",
        "call_super_init",
        "cells",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "features",
        "float",
        "forward",
        "from_pretrained",
        "generate_model_card",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "in_channels",
        "inputs",
        "ipu",
        "levels",
        "load_state_dict",
        "math",
        "merge",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "nn",
        "operand",
        "out_channels",
        "parameters",
        "push_to_hub",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "save_pretrained",
        "self",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "size",
        "sizes",
        "state_dict",
        "strides",
        "super",
        "tensor",
        "to",
        "to_empty",
        "torch",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
    ]
)
_MODULE_LIKE = re.compile(r"repeat[0-9]+|p[0-9]+_[0-9]+|operand[0-9]+|s[0-9]+|t_?[0-9]*_[0-9]+")


@lru_cache(maxsize=4096)
def is_backbone(name: str) -> bool:
    """Whether the name is a ``c`` with digits."""
    return name[0] == "c" and name[1:].isdigit()


@lru_cache(maxsize=4096)
def is_pyramid(name: str) -> bool:
    """Whether the name is a ``p`` with digits."""
    return name[0] == "p" and name[1:].isdigit()


@lru_cache(maxsize=4096)
def level_of(name: str) -> int | None:
    """The level that a name says itself, or None."""
    return int(name[1:]) if is_backbone(name) or is_pyramid(name) else None


def reserved(name: str, words: Container[str] = WORDS) -> str | None:
    """Why an intermediate cannot have this name beside these words, or None."""
    if name in words:
        return f"{name!r} is a word of the language"
    if name in KEYWORDS:
        return f"{name!r} is a keyword of the language"
    if is_backbone(name) or is_pyramid(name):
        return f"{name!r} names a level"
    if keyword.iskeyword(name) or name in ("match", "case", "none", "true", "false"):
        return f"{name!r} is a keyword of Python"
    if name in _ATTRIBUTES or _MODULE_LIKE.fullmatch(name):
        return f"{name!r} is needed by the module that the program becomes"
    return None


def expand(first: str, last: str, most: int) -> tuple[str, ...] | str:
    """The names of ``first..last``, in either direction; a text saying what is wrong, else.

    Same stem and numbers (``p3..p5``), or single letters (``a..c``); at most ``most`` names.
    """
    stem, number = _split(first)
    other, end = _split(last)
    if number is None and end is None and len(first) == len(last) == 1:
        start, stop = ord(first), ord(last)
        names = [chr(code) for code in _between(start, stop)]
    elif number is not None and end is not None and stem == other:
        if abs(end - number) >= most:
            return f"a range of {abs(end - number) + 1} names, more than {most}"
        names = [f"{stem}{k}" for k in _between(number, end)]
    else:
        return f"{first}..{last} is no range: one stem with two numbers, or two single letters"
    if len(names) > most:
        return f"a range of {len(names)} names, more than {most}"
    return tuple(names)


def _between(start: int, stop: int) -> range:
    return range(start, stop + 1) if start <= stop else range(start, stop - 1, -1)


def _split(name: str) -> tuple[str, int | None]:
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    if not digits or (len(digits) > 1 and digits[0] == "0") or len(digits) > 6:
        return name, None
    return stem, int(digits)
