"""What a drawing shows of a trained neck is what its merges do."""

import xml.etree.ElementTree as ElementTree

import pytest
import torch

from nas_fpn.language import parse
from nas_fpn.language.draw import draw
from nas_fpn.necks import Neck, operand_weights

TEXT = """width 4
p3..p5 = c3..c5 -> conv1
repeat 2:
    p4 = {merge}(p4, p5, p3 -> relu maxpool)
p3 = sum(p3, p4)
"""


def trained(merge: str) -> Neck:
    neck = Neck(parse(TEXT.format(merge=merge)), (4, 4, 4), seed=0)
    with torch.no_grad():
        for name, parameter in neck.named_parameters():
            if name.endswith("merge.weight"):
                parameter.copy_(torch.tensor([0.5, -1.0, 2.0]) + ("1.p4" in name))
    return neck


@pytest.mark.parametrize("merge", ["fast", "softmax", "weighted"])
def test_weights_are_what_the_merge_multiplies_with(merge: str) -> None:
    neck = trained(merge)
    weights = operand_weights(neck)
    assert list(weights) == ["repeat1.1.p4", "repeat1.2.p4"]
    for key, found in weights.items():
        operation = neck.get_submodule(f"{key}.merge")
        for position, weight in enumerate(found):
            features = [torch.full((1, 1, 1, 1), float(k == position)) for k in range(3)]
            assert operation(*features).item() == pytest.approx(weight, abs=1e-6)


def test_merges_without_a_number_by_operand_have_none() -> None:
    for merge in ("sum", "max", "asff", "psum", "concat"):
        assert operand_weights(Neck(parse(TEXT.format(merge=merge)), (4, 4, 4), seed=0)) == {}


def test_a_heavier_operand_is_a_thicker_line() -> None:
    neck = trained("fast")
    root = ElementTree.fromstring(draw(neck.architecture, weights=operand_weights(neck)))
    weighed = {
        group.get("data-weight"): float(group[1].get("style", "").removeprefix("stroke-width:"))
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if group.get("data-weight")
    }
    assert list(weighed) == ["0.333, 0.2", "0, 0", "0.667, 0.8"]
    thin, least, thick = weighed.values()
    assert least < thin < thick


def test_what_never_learnt_is_drawn_as_if_nothing_were_known() -> None:
    neck = Neck(parse(TEXT.format(merge="fast")), (4, 4, 4), seed=0)
    assert (
        "stroke-width:"
        not in draw(neck.architecture, weights=operand_weights(neck)).partition("</style>")[2]
    )


def test_weights_must_fit_the_operands() -> None:
    with pytest.raises(ValueError, match=r"p3_2 has 2 operands, but got weights \(1,\)"):
        draw(
            parse("p3 = c3 -> conv1\np4 = c4 -> conv1\np3 = sum(p3, p4)\n"), weights={"p3_2": (1,)}
        )
