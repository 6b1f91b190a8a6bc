"""Law 6 in numbers: a neck and its canonical form give the same outputs for the same weights."""

import random
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_fpn.language import (
    Architecture,
    canonical,
    choices,
    decode,
    identity,
    lower,
    parse,
    parse_space,
    read,
    sample,
)
from nas_fpn.necks import Neck
from tests.language.pairs import pairs
from tests.language.programs import IDS, SHIPPED, spaces

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
CHANNELS = {2: 4, 3: 4, 4: 6, 5: 8, 6: 8, 7: 8}
SIDES = {2: (21, 17), 3: (11, 9), 4: (6, 5), 5: (3, 3), 6: (2, 2), 7: (1, 1)}


def features(levels: tuple[int, ...]) -> list[Tensor]:
    """Backbone features [2, C, H, W] of odd sides."""
    chance = torch.Generator().manual_seed(2)
    return [torch.randn(2, CHANNELS[k], *SIDES[k], generator=chance) for k in levels]


def built(architecture: Architecture) -> Neck:
    """The neck in evaluation mode; its weights and running statistics are all different."""
    neck = Neck(architecture, [CHANNELS[k] for k in lower(architecture).inputs], seed=0).eval()
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in neck.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.02 * torch.rand(tensor.shape, generator=chance)
    return neck


def carried(neck: Neck) -> Neck:
    """The canonical form of the neck with its weights, carried over line by line."""
    other = built(canonical(neck.architecture))
    places = {
        f"{pair.ours.key}.{one}.": f"{pair.theirs.key}.{two}."
        for pair in pairs(neck.architecture)
        for one, two in pair.ops
    }
    weights = {}
    for key, tensor in neck.state_dict().items():
        (place,) = [start for start in places if key.startswith(start)]
        weights[places[place] + key.removeprefix(place)] = tensor
    other.load_state_dict(weights)  # strict: every weight of both has its place in the other
    return other


def check_outputs(architecture: Architecture) -> None:
    neck = built(architecture)
    other = carried(neck)
    assert (neck.inputs, neck.levels) == (other.inputs, other.levels)
    with torch.no_grad():
        ours, theirs = neck(features(neck.inputs)), other(features(neck.inputs))
    for one, two in zip(ours, theirs, strict=True):
        assert one.isfinite().all()
        tolerance = 1e-5 * max(1.0, one.abs().max().item())
        torch.testing.assert_close(one, two, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("path", SHIPPED, ids=IDS)
def test_shipped_necks_equal_their_canonical_form(path):
    space = read(path)
    check_outputs(decode(space, sample(space, random.Random(9))).with_width(8))


@few
@given(spaces(most_lines=5), st.randoms(use_true_random=False))
def test_random_necks_equal_their_canonical_form(text, chance):
    space = parse_space(text)
    check_outputs(decode(space, sample(space, chance)).with_width(8))


SPACE = """
width 8
then {relu | id} conv3
p3..p4 = c3..c4 -> conv1
a@{3..4} = {sum | gp}(*, *)
b = a -> {id | bn}
p4 = sum(p4, b, p3?)
p3 = sum(b, p3)
"""


def test_necks_of_one_id_have_the_same_outputs():
    """All members of a small space: one id, one canonical text, and each equals that text."""
    space, texts, several = parse_space(SPACE), {}, 0
    for genotype in product(*(range(choice.count) for choice in choices(space))):
        architecture = decode(space, genotype)
        text = str(canonical(architecture))
        several += identity(architecture) in texts
        assert texts.setdefault(identity(architecture), text) == text
        if sum(genotype) % 3 == 0:
            check_outputs(architecture)
    assert several
    assert len(set(texts.values())) == len(texts) > 1


def test_necks_whose_outputs_differ_have_different_ids():
    head = "width 8\np3..p4 = c3..c4 -> conv1\n"
    tails = [f"p3 = {merge}(p3, p4)" for merge in ("sum", "mean", "max", "gp", "gp[pool=mean]")]
    tails += ["p3 = gp(p4, p3)", "p3 = sum(p3, p4 -> bilinear)", "p3 = sum(p3, p4) + p3", "p3 = p4"]
    tails += ["p3 = sum(p3, p4 -> relu)", "p3 = sum(p3, p4) -> relu", "p4 = p3", "p5 = p4"]
    found: dict[str, list[Tensor]] = {}
    for tail in tails:
        neck = built(parse(head + tail))
        with torch.no_grad():
            outputs = list(neck(features(neck.inputs)))
        for known in found.values():  # the tails have no weights: the laterals' are the same
            same = [a.shape for a in known] == [b.shape for b in outputs] and all(
                torch.allclose(a, b) for a, b in zip(known, outputs, strict=True)
            )
            assert not same, tail
        assert identity(neck.architecture) not in found
        found[identity(neck.architecture)] = outputs
