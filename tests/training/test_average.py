"""The average of the weights, norms' statistics among them."""

import copy

import pytest
import torch
from torch import nn

from nas_fpn.training import follow, make_average


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_it_is_the_moving_average_of_parameters_and_statistics(model: nn.Module) -> None:
    average = make_average(model)
    expected = copy.deepcopy(model.state_dict())
    for step in range(1000, 1005):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1)
        follow(average, model, decay=0.9, step=step)
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * value
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])
        else:
            assert torch.equal(value, model.state_dict()[name]), "what counts is copied"


def test_the_first_weights_are_soon_forgotten(model: nn.Module) -> None:
    average = make_average(model)
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1.0)
    for step in range(30):
        follow(average, model, decay=0.999, step=step)
    for value in average.parameters():
        torch.testing.assert_close(value, torch.ones_like(value), atol=1e-3, rtol=0)


def test_no_decay_is_the_model_itself(model: nn.Module) -> None:
    average = make_average(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    follow(average, model, decay=0.0, step=7)
    assert torch.equal(average[0].weight, model[0].weight)


def test_it_is_ready_to_be_evaluated_and_does_not_learn(model: nn.Module) -> None:
    average = make_average(model)
    assert not average.training and model.training
    assert not any(p.requires_grad for p in average.parameters())
    assert average[0].weight.data_ptr() != model[0].weight.data_ptr()
