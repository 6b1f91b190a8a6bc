"""The dense head: shapes, shared weights, and a start that depends on the seed alone."""

import pytest
import torch

from nas_fpn.detect.head import DenseHead, Tower

TOWERS: tuple[Tower, ...] = ("coupled", "decoupled")


def make_head(
    channels: int = 12, *, depth: int = 1, tower: Tower = "decoupled", seed: int = 0
) -> DenseHead:
    return DenseHead(
        (channels, channels), 3, levels=(3, 4), width=8, depth=depth, tower=tower, seed=seed
    )


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_predictions_of_all_levels_stand_side_by_side(tower: Tower, depth: int) -> None:
    features = [torch.randn(2, 12, 5, 7), torch.randn(2, 12, 3, 4)]
    predictions = make_head(depth=depth, tower=tower)(features)
    assert predictions.logits.shape == (2, 47, 3)
    assert predictions.distances.shape == (2, 47, 4)
    assert predictions.centreness.shape == (2, 47)
    assert (predictions.distances >= 0).all()


def test_points_run_row_by_row_as_in_the_grid() -> None:
    head = make_head(depth=0)
    feature = torch.randn(1, 12, 4, 6)
    logits = head([feature, feature[..., :2, :3]]).logits
    expected = head.logits(feature)[0, :, 2, 5]
    torch.testing.assert_close(logits[0, 2 * 6 + 5], expected)


def test_levels_share_the_head() -> None:
    head, feature = make_head(), torch.randn(1, 12, 4, 4)
    logits = head([feature, feature]).logits
    assert torch.equal(logits[:, :16], logits[:, 16:])


def test_the_same_seed_gives_the_same_head() -> None:
    torch.manual_seed(1)
    one = make_head(seed=5).state_dict()
    torch.manual_seed(2)
    two = make_head(seed=5).state_dict()
    other = make_head(seed=6).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["logits.weight"], other["logits.weight"])


@pytest.mark.parametrize("depth", [1, 2])
def test_what_does_not_touch_the_input_is_equal_for_other_channels(depth: int) -> None:
    one, two = (make_head(c, depth=depth).state_dict() for c in (8, 12))
    same = [key for key in one if one[key].shape == two[key].shape]
    assert len(same) == len(one) - 2
    assert all(torch.equal(one[key], two[key]) for key in same)


def test_a_coupled_head_has_one_tower() -> None:
    names = [name for name, _ in make_head(tower="coupled").named_parameters()]
    assert not [name for name in names if name.startswith("box_tower")]


def test_an_untrained_head_gives_each_class_one_in_a_hundred() -> None:
    features = [torch.randn(1, 12, 8, 8), torch.randn(1, 12, 4, 4)]
    chance = make_head()(features).logits.sigmoid().mean()
    assert 0.005 < chance < 0.02


def test_a_distance_always_has_a_gradient() -> None:
    head = make_head(depth=0)
    torch.nn.init.constant_(head.distances.bias, -5.0)
    distances = head([torch.randn(1, 12, 4, 4), torch.randn(1, 12, 2, 2)]).distances
    distances.sum().backward()
    assert (distances > 0).all()
    assert (head.distances.bias.grad > 0).all()


def test_unequal_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"levels \(3, 4\) have in_channels=\(8, 16\)"):
        DenseHead((8, 16), 3, levels=(3, 4))


def test_a_missing_level_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"one entry per level \(3, 4\), but got in_channels=\(8,\)"
    ):
        DenseHead((8,), 3, levels=(3, 4))


def test_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, but got 0"):
        DenseHead((8,), 0, levels=(3,))
