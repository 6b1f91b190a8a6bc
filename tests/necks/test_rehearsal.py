"""The worked example of own words: it passes its rehearsal, obeys its formula, repeats by seed."""

from pathlib import Path

import torch
from torch.nn import functional as F

from nas_fpn.language import SHIPPED, load_words, parse
from nas_fpn.necks import Neck, rehearse

FILE = Path(__file__).parents[2] / "docs" / "examples" / "words.py"
WORDS = load_words([FILE])
TEXT = "width 16\np3..p4 = c3..c4 -> conv1\np3 = agree(p3, p4 -> pixel) -> eca[kernel=5]"


def test_the_example_passes() -> None:
    rehearse(WORDS)
    rehearse(SHIPPED)


def test_the_example_is_its_formula() -> None:
    neck = Neck(parse(TEXT, words=WORDS), (4, 6), seed=0)
    fine, coarse = torch.randn(2, 4, 9, 7), torch.randn(2, 6, 5, 4)
    cell = neck.get_submodule("p3_2")
    p3, p4 = neck.p3((9, 7), fine), neck.p4((5, 4), coarse)
    spread = cell.operand2.get_submodule("0").spread
    up = F.pixel_shuffle(F.conv2d(p4, spread.weight, spread.bias), 2)[..., :9, :7]
    both = (p3 + up) * torch.sigmoid(p3 * up)
    (weight,) = cell.get_submodule("0").mix.parameters()  # [1, 1, 5]
    padded = F.pad(both.mean((2, 3)), (2, 2))  # [B, C + 4]
    gate = torch.stack([(padded[:, k : k + 5] * weight[0, 0]).sum(1) for k in range(16)], dim=1)
    torch.testing.assert_close(neck((fine, coarse))[0], both * gate.sigmoid()[:, :, None, None])


def test_weights_that_our_rule_does_not_draw_repeat_by_seed() -> None:
    architecture = parse(TEXT, words=WORDS)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = Neck(architecture, (4, 6), seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    other, third = (Neck(architecture, (4, 6), seed=seed) for seed in (5, 6))
    key = "p3_2.0.mix.weight"
    assert torch.equal(one.state_dict()[key], other.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], third.state_dict()[key])


def test_the_guide_shows_the_example_as_it_is() -> None:
    guide = (FILE.parents[1] / "words.md").read_text(encoding="utf-8")
    shown = guide.split("```python\n")[1].split("```")[0]
    there = FILE.read_text(encoding="utf-8").splitlines()
    assert [row for row in shown.splitlines() if row not in there] == []
