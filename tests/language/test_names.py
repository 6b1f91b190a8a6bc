"""Names: levels, ranges, and what no intermediate may be called."""

import re

import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from nas_fpn.errors import SpaceError
from nas_fpn.language import find_neck, parse, read_neck
from nas_fpn.language.names import KEYWORDS, expand, is_backbone, is_pyramid, level_of, reserved
from nas_fpn.language.words import WORDS
from nas_fpn.necks import Neck

NAME = re.compile(r"[a-z][a-z0-9_]*")
NECK = Neck(read_neck(find_neck("fpn")).with_width(8), (4, 4, 4))


def attributes() -> set[str]:
    """What the modules have that a program becomes: the neck, its passes, its parts."""
    found: set[str] = set()
    for thing in (nn.Module(), NECK):
        found.update(dir(thing))
    own = {name for name, _ in NECK.named_children()}
    return {name for name in found - own if NAME.fullmatch(name)}


@pytest.mark.parametrize("name", sorted({n for n in dir(nn.Module()) if NAME.fullmatch(n)}))
def test_what_a_module_has_is_reserved(name: str):
    assert reserved(name) is not None


def test_what_the_neck_itself_has_is_reserved():
    missing = sorted(name for name in attributes() if reserved(name) is None)
    assert missing == []


@pytest.mark.parametrize("name", [*WORDS, *sorted(KEYWORDS), "for", "match", "p3", "c9", "p3_2"])
def test_words_keywords_and_levels_are_reserved(name: str):
    assert reserved(name) is not None


@pytest.mark.parametrize("name", ["a", "b", "x3", "t1", "t12", "top", "way_down", "p", "c", "pp3"])
def test_plain_names_are_free(name: str):
    assert reserved(name) is None


def test_a_reserved_name_cannot_be_assigned():
    for name in ("forward", "training", "sum", "rest", "class", "repeat1"):
        with pytest.raises(SpaceError, match="reserved name"):
            parse(f"p3 = c3 -> conv1\n{name}@3 = sum(p3, p3)\n")


def test_every_free_name_can_be_a_submodule_and_a_line_of_code():
    for name in ("a", "x3", "t_1a", "way_down"):
        neck = Neck(parse(f"p3 = c3 -> conv1\n{name} = p3 -> relu\np3 = sum(p3, {name})"), (4,))
        assert name in dict(neck.named_children())
        assert neck([torch.zeros(1, 4, 2, 2)])[0].shape[1] == 256
        compile(f"def forward({name}):\n    return {name}\n", "<name>", "exec")


@pytest.mark.parametrize(
    ("first", "last", "names"),
    [
        ("p3", "p5", ("p3", "p4", "p5")),
        ("p5", "p3", ("p5", "p4", "p3")),
        ("a", "c", ("a", "b", "c")),
        ("c", "a", ("c", "b", "a")),
        ("x9", "x11", ("x9", "x10", "x11")),
        ("p3", "p3", ("p3",)),
        ("lat_1", "lat_2", ("lat_1", "lat_2")),
    ],
)
def test_ranges_run_in_either_direction(first: str, last: str, names: tuple[str, ...]):
    assert expand(first, last, 16) == names


@pytest.mark.parametrize(
    ("first", "last"), [("p3", "x5"), ("a", "cc"), ("a", "c3"), ("x01", "x02"), ("ab", "ac")]
)
def test_other_pairs_are_no_range(first: str, last: str):
    assert "is no range" in str(expand(first, last, 16))


def test_a_range_has_at_most_sixteen_names():
    assert len(expand("x1", "x16", 16)) == 16
    assert expand("x1", "x17", 16) == "a range of 17 names, more than 16"
    assert expand("a", "q", 16) == "a range of 17 names, more than 16"


def test_levels_stand_in_names():
    assert level_of("p4") == level_of("c4") == 4
    assert level_of("x4") is None
    assert is_pyramid("p4")
    assert is_backbone("c4")
    assert not is_pyramid("p")
    assert not is_backbone("c4x")


HUB = sorted(n for n in {*dir(PyTorchModelHubMixin)} - {*dir(object)} if NAME.fullmatch(n))


@pytest.mark.parametrize("name", HUB)
def test_a_name_of_the_hubs_class_is_reserved(name: str) -> None:
    """hub.py adds that class: a cell of this name would be hidden by its method."""
    assert reserved(name)
