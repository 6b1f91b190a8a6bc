"""The exported source is a translation: program text stays text, and forward is straight-line."""

import ast
import builtins
import keyword
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_fpn.errors import SpaceError
from nas_fpn.export import neck_source
from nas_fpn.language import Architecture, decode, find_space, lower, parse, read, sample
from nas_fpn.necks import Neck
from tests.export.architectures import BASELINES, SPACES, architectures, small
from tests.export.test_folder import CHANNELS, method

PLAIN = parse("width 8\np3 = c3 -> conv1\n")

# what Python, torch, the exported source and its operations already mean by a name
MEANT = sorted(
    {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *dir(nn.Module())}
    | {"Cell", "Chain", "F", "Mapping", "Neck", "Sequence", "Tensor", "nn", "torch", "operands"}
    | {
        "cells",
        "features",
        "k",
        "self",
        "then",
        "repeat1",
        "s3",
        "s4",
        "size",
        "width",
        "global_pool",
    }
    | {
        "double",
        "half",
        "initialise",
        "inputs",
        "levels",
        "merge",
        "merge_sum",
        "operand1",
        "super",
    }
)
ALLOWED = (
    *(
        ast.arguments,
        ast.arg,
        ast.Expr,
        ast.Load,
        ast.Store,
        ast.Subscript,
        ast.Slice,
        ast.Constant,
    ),
    *(ast.Assign, ast.Name, ast.Tuple, ast.Attribute, ast.Call, ast.Return, ast.For, ast.If),
    *(ast.UnaryOp, ast.USub, ast.BinOp, ast.BitOr, ast.FunctionDef),
)


def source(architecture: Architecture, **provenance: str) -> str:
    channels = [CHANNELS[level] for level in lower(architecture).inputs]
    return neck_source(architecture, channels, provenance=provenance)


def texts(name: str) -> Iterator[str]:
    """Programs with a line of that name: once, twice, and in a repeat with blocks of its own."""
    yield f"p3..p4 = c3..c4 -> conv1\n{name}@4 = sum(p3, p4) -> conv1\np3 = sum(p3, {name})\n"
    yield f"{name} = c3 -> conv1\n{name}@4 = max({name}, c3)\np4 = {name} -> conv1 relu\n"
    yield (
        "then relu conv3\np3..p4 = c3..c4 -> conv1\n"
        f"repeat 2:\n    {name}@4 = gp(p3, p4)\n    p3 = sum(p3, {name})\n"
    )


def statements(text: str) -> list[str]:
    return [ast.dump(node) for node in ast.parse(text).body[1:]]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(max_size=80), st.text(max_size=80))
def test_no_comment_and_no_provenance_becomes_code(doc: str, name: str, value: str) -> None:
    text = source(replace(PLAIN, doc=doc), **{name: value})
    assert text.isascii()
    assert statements(text) == statements(source(PLAIN))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(['"""', "'''", "\\", "\n", '"', "{", "%s", "#", "\r", "\0"])))
def test_quotes_and_escapes_stay_in_the_docstring(pieces: list[str]) -> None:
    hostile = "import os".join(pieces)
    text = source(replace(PLAIN, doc=hostile), origin=hostile)
    assert statements(text) == statements(source(PLAIN))


@pytest.mark.parametrize("name", MEANT)
def test_a_name_that_means_something_is_refused_or_exported_right(name: str) -> None:
    for text in texts(name):
        try:
            architecture = small(parse(text))
        except SpaceError:
            continue
        neck = Neck(architecture, [CHANNELS[k] for k in lower(architecture).inputs], seed=0).eval()
        there: dict[str, type[nn.Module]] = {}
        exec(compile(source(architecture), "neck.py", "exec"), there)
        module = there["Neck"]().eval()
        module.load_state_dict(neck.state_dict())
        given_ = [torch.randn(1, CHANNELS[k], 32 >> k, 32 >> k) for k in neck.inputs]
        assert all(map(torch.equal, module(given_), neck(given_)))


def test_forward_is_straight_line() -> None:
    """No parser, no table of words, no text: assignments of calls, and loops over passes."""
    rng = random.Random(5)
    spaces = {name: read(find_space(name)) for name in SPACES}
    sampled = {name: small(decode(space, sample(space, rng))) for name, space in spaces.items()}
    for name, architecture in {**architectures(), **sampled}.items():
        forward = method(source(architecture), "forward")
        docstring, *body = forward.body
        assert isinstance(docstring, ast.Expr)
        for node in (node for statement in body for node in ast.walk(statement)):
            assert isinstance(node, ALLOWED), (name, ast.dump(node))
            if isinstance(node, ast.Constant):
                assert isinstance(node.value, int) or node.value.isdecimal()  # a pass
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id in {"isinstance", "tuple", "half", "double", "range", "str"}


def test_only_what_is_used_is_written() -> None:
    """Every definition of the file is read by another, or is the neck."""
    assert BASELINES
    for name, architecture in architectures().items():
        tree = ast.parse(source(architecture))
        defined = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
        read_ = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert defined - read_ == {"Neck"}, name
