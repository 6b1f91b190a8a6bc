"""The words that say to be made in equal parts are those that a module refuses to build else."""

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import parse
from nas_fpn.language.words import WORDS
from nas_fpn.necks import Neck


@pytest.mark.parametrize(
    "word", [n for n, row in WORDS.items() if row.kind == "block" and row.gives]
)
def test_parts_agree_with_the_module(word):
    parts = WORDS[word].parts
    architecture = parse(f"width 16\np3 = c3 -> {word}")
    for width in range(4, 17):
        resized = architecture.with_width(width)
        if width % parts:
            with pytest.raises(ValueError, match="equal parts"):
                Neck(resized, (16,))
            with pytest.raises(SpaceError, match="equal parts"):
                parse(str(resized))
        else:
            Neck(resized, (16,))
            assert parse(str(resized)) == resized
