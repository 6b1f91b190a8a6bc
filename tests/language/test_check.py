"""What is accepted in all its answers decodes, prints and builds; what could fail is refused."""

import random
from itertools import islice, product

import pytest

from nas_fpn.errors import SpaceError
from nas_fpn.language import choices, decode, encode, lower, parse, parse_space

HEAD = "p3..p5 = c3..c5 -> conv1\n"

ACCEPTED = {
    "concat takes any channels": HEAD + "t = p3 -> conv1[96]\np3 = concat(p3, t, p5)",
    "concat takes raw channels": "p4 = c4 -> conv1\np3 = concat(c3, p4)",
    "a plain concat gives all that its operands have": HEAD
    + "t@4 = concat[plain](p4, p3)\nu@4 = concat[plain](p5, p4)\np4 = sum(t, u)",
    "a plain concat in a hole, before what gives channels": HEAD
    + "p3 = {sum | concat | concat[plain]}(p3, p4, p5?) -> conv3",
    "a plain concat of raw channels, before what gives channels": "p4 = c4 -> conv1\n"
    "p3 = concat[plain](c3, p4) -> conv3\np3 = sum(p3, p4)",
    "channels that grow from pass to pass": HEAD + "repeat 3:\n    p3 = concat[plain](p3, p4)",
    "one decision of other channels": "let f = {conv1[96] | conv1[128]}\n"
    + HEAD
    + "p4 = sum(p4 -> f bn, p5 -> f bn)\np3 = sum(p3 -> f, p4)",
    "a decision and the width": "width {8 | 16}\nlet f = {conv1[8] | conv1}\n"
    + HEAD
    + "t@4 = concat[plain](p4 -> f, p5)\nu@4 = concat[plain](p5, p4 -> f)\np4 = sum(t, u)",
    "a decision of a setting": "down {stride[96] | stride[128]}\n" + HEAD + "p5 = sum(p3, p4)",
    "a decision that every line ends with": "then {conv3[96] | conv3[128]}\n"
    + HEAD
    + "p4 = sum(p4, p5)\np3 = sum(p3, p5)\np3 = sum(p3, p4)",
    "operands of other channels made equal": HEAD + "t@4 = sum(p4, c3 -> conv1, c5 -> sep3)",
    "a resampler with weights gives channels": "p4 = c4 -> conv1\np4 = sum(p4, c3 -> stride)",
    "channels of its own for a whole neck": "p3..p4 = c3..c4 -> conv1[96]\np3 = sum(p3, p4)",
    "outputs of unequal channels": "p3 = c3 -> conv1[96]\np4 = c4 -> conv1",
    "blocks before what gives channels": "p3 = c3 -> bn relu conv1",
    "a width that is a hole": "width {8 | 16}\n" + HEAD + "p3 = sum(p3, p4) -> {conv3 | id}",
    "a hole of the same channels": HEAD + "p3 = p3 -> {conv1 | conv3[nobias]}\np3 = sum(p3, p4)",
    "a level below the backbone's": "p3 = c3 -> conv1\np2 = p3 -> conv3",
    "a level above the backbone's": "p7 = c7 -> conv1\np8 = p7",
    "a level first assigned inside": HEAD + "repeat 2:\n    p6 = sum(p5, p5)\np7 = p6",
    "an outer intermediate read inside": HEAD + "t = p3\nrepeat 2:\n    p3 = sum(t, p4)",
    "an intermediate of each repeat": HEAD
    + "repeat 2:\n    t = p3\n    p3 = sum(t, p4)\nrepeat 2:\n    t = p4\n    p4 = sum(t, p3)",
    "optional operands of what takes any number": HEAD + "p3 = {sum | fast}(p3, p4, p5?, p5?)",
    "gp next to sum with two": HEAD + "p3 = {sum | gp}(*, *)",
    "resamplers of a level that is open": HEAD + "t@{3..5} = sum(p4 -> sni stride, p4)\np3 = t",
    "one source at an open level": HEAD + "t@{3..4} = * -> {nearest | sni} {maxpool | stride}",
    "levels of stars": HEAD + "a@{3..4} = sum(*, *)\nb = *\np5 = sum(b, a) + rest",
    "an order of what the repeat names anew": HEAD
    + "repeat 2:\n    x3..x5 = p3..p5\n    p3..p5 = sum(*, *) + rest   in any order",
    "an order of what is named already": HEAD + "p3..p5 = sum(p4, *)   in any order",
    "each over open levels": "up each {nearest | sni}\ndown each {stride | maxpool}\n"
    + HEAD
    + "t@{3..5} = sum(*, p4)\np4 = t",
    "let of every kind": "let m = {sum | gp}\nlet b = {relu | id}\nlet u = {nearest | sni}\n"
    "let d = stride\nthen b\nup u\n" + HEAD + "p4 = m(p4 -> b, p3 -> d)\np3 = m(p3, p4)",
}
REFUSED = {
    "a hole that could leave raw channels": ("p3 = c3 -> {conv1 | bn}", "raw channels"),
    "a hole that could make channels unequal": (
        HEAD + "t = p3 -> {conv1 | conv1[96]}\np3 = sum(p3, t)",
        "unequal channels",
    ),
    "a width that could be another": (
        "width {8 | 16}\np3 = c3 -> conv1[8]\np4 = c4 -> conv1\np3 = sum(p3, p4)",
        "unequal channels",
    ),
    "two decisions of the same options": (
        "let f = {conv1[96] | conv1[128]}\nlet g = {conv1[96] | conv1[128]}\n"
        + HEAD
        + "p4 = sum(p4 -> f, p5 -> g)",
        "unequal channels: f and g",
    ),
    "a decision one of whose options keeps channels": (
        "let f = {conv1[96] | relu}\n" + HEAD + "p4 = sum(p4 -> f, p5 -> f)",
        "unequal channels",
    ),
    "a decision that each operand asks anew": (
        "let f = {stride[96] | stride[128]}\ndown each f\n" + HEAD + "p5 = sum(p3, p4)",
        "unequal channels",
    ),
    "a decision beside one of its options": (
        "let f = {conv1[96] | conv1[128]}\n" + HEAD + "p4 = sum(p4 -> f, p5 -> conv1[96])",
        "unequal channels",
    ),
    "a decision twice beside it once": (
        "let f = {conv1[96] | conv1[128]}\n"
        + HEAD
        + "t = p4 -> f\nu@4 = concat[plain](t, t)\np4 = sum(t, u)",
        "unequal channels: f and 2 f",
    ),
    "a plain concat of perhaps one more": (
        HEAD + "t@3 = concat[plain](p3, p4, p5?)\nu@3 = concat[plain](p3, p4)\np3 = sum(t, u)",
        "unequal channels: 768 and 512|unequal channels: 512 and 768",
    ),
    "a plain concat beside a sum": (
        HEAD + "p3 = {sum | concat[plain]}(p3, p4)\np3 = sum(p3, p4)",
        "unequal channels",
    ),
    "a plain concat of the backbone's own": (
        "p4 = c4 -> conv1\np3 = concat[plain](c3, p4)",
        r"would have those of '256 \+ c3'",
    ),
    "too many channels": (
        HEAD + "repeat 64:\n    p3 = concat[plain](p3, p3)",
        "could give 131072 channels, more than 65536",
    ),
    "too many different channels": (
        HEAD
        + "".join(f"t{k} = p3 -> conv1[{2**k}]\n" for k in range(1, 10))
        + f"p3 = concat[plain](p3, p3, {', '.join(f't{k}?' for k in range(1, 10))})",
        "more than 256 different",
    ),
    "a hole of merges not all of which mix": (
        HEAD + "t = p3 -> conv1[96]\np3 = {concat | sum}(p3, t)",
        "unequal channels",
    ),
    "a star that could draw other channels": (
        HEAD + "t = p3 -> conv1[96]\np3 = sum(*, p4)",
        "unequal channels",
    ),
    "channels that differ from pass to pass": (
        HEAD + "repeat 2:\n    p4 = sum(p4, p3)\n    p3 = p3 -> conv1[96]",
        "unequal channels",
    ),
    "a rest that could be of other channels": (
        HEAD + "t = p3 -> conv1[96]\np3 = {sum | gp}(p3, p4) + rest",
        "unequal channels",
    ),
    "a resampler that acts in no answer": (HEAD + "p5 = sum(p5, p3 -> nearest)", "cannot act"),
    "a feature of the next pass": (HEAD + "repeat 2:\n    p3 = sum(p3, p6)\n    p6 = p5", "p6"),
    "an addend at a level that is open": (
        HEAD + "t@{3..4} = sum(p3, p4)\np3 = sum(p3, p4) + t",
        "is not surely at the line's level",
    ),
    "a number of operands that could be one": (HEAD + "p3 = max(p3, p4?)", "wrong number"),
    "gp with what could be three": (HEAD + "p3 = {gp | sum}(p3, p4, p5?)", "wrong number"),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_accepted_decodes_under_every_genotype(text: str):
    space = parse_space(text)
    every = product(*(range(choice.count) for choice in choices(space)))
    genotypes = [*islice(every, 100)]
    chance = random.Random(0)
    genotypes += [tuple(chance.randrange(c.count) for c in choices(space)) for _ in range(20)]
    for genotype in genotypes:
        neck = decode(space, genotype)
        assert parse(str(neck)) == neck
        assert decode(space, encode(space, neck)) == neck
        assert lower(neck).outputs


@pytest.mark.parametrize(("text", "what"), REFUSED.values(), ids=REFUSED)
def test_what_some_answer_would_break_is_refused(text: str, what: str):
    with pytest.raises(SpaceError, match=what):
        parse_space(text)
