"""The shared loop: the schedule, and an order of data that depends on the seed alone."""

import pytest
import torch

from nas_fpn.proxy.optimise import Schedule, draw_order, is_out_of_memory, optimise


def schedule(**changes: object) -> Schedule:
    given = {"steps": 20, "learning_rate": 0.1, "weight_decay": 0.0, "warmup": 0.2}
    return Schedule(**{**given, **changes})  # type: ignore[arg-type]


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [schedule().rate_at(step) for step in range(20)]
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[4] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.002


def test_one_step_trains_at_the_full_rate() -> None:
    assert schedule(steps=1).rate_at(0) == pytest.approx(0.1)


@pytest.mark.parametrize("evaluations", [1, 2, 3, 7])
def test_the_last_evaluation_is_at_the_end(evaluations: int) -> None:
    at = schedule(steps=50, evaluations=evaluations).report_at()
    assert max(at) == 50
    assert len(at) == evaluations


def test_each_epoch_sees_each_image_once() -> None:
    order = draw_order(10, 3, batch_size=4, steps=5, seed=0)
    assert order.shape == (5, 4)
    images, views = order.flatten() % 10, order.flatten() // 10
    assert sorted(images[:10].tolist()) == sorted(images[10:].tolist()) == list(range(10))
    assert set(views.tolist()) == {0, 1, 2}


def test_a_longer_training_begins_with_the_same_images() -> None:
    short, long = (draw_order(10, 1, batch_size=4, steps=s, seed=0) for s in (5, 9))
    assert torch.equal(short, long[:5])


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert draw_order(3, 1, batch_size=8, steps=2, seed=0).max() == 2


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_bowl_is_descended(optimiser: str) -> None:
    model = torch.nn.Linear(3, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    reports = list(
        optimise(
            model,
            schedule(steps=60, evaluations=2, optimiser=optimiser),
            loss=lambda step: (model.weight - 1).square().sum(),
            evaluate=lambda: {"ap": float(model.weight.detach().mean())},
        )
    )
    assert [report.steps for report in reports] == [30, 60]
    assert reports[-1].scores["ap"] == pytest.approx(1.0, abs=0.1)
    assert reports[-1].scores["loss"] < reports[0].scores["loss"]


def test_biases_and_fusion_weights_do_not_decay() -> None:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.ones_(model.weight)
    torch.nn.init.ones_(model.bias)
    plan = schedule(weight_decay=1.0)
    list(
        optimise(
            model,
            plan,
            loss=lambda _: 0.0 * sum(p.sum() for p in model.parameters()),
            evaluate=dict,
        )
    )
    assert (model.weight < 0.9).all()
    assert (model.bias == 1).all()


def test_an_infinite_gradient_is_found_though_the_loss_is_finite() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    plan = schedule(steps=1)
    with pytest.raises(FloatingPointError, match=r"step 1 of 1 on; try a learning_rate below 0\.1"):
        list(optimise(model, plan, loss=lambda _: model.weight.abs().sqrt().sum(), evaluate=dict))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (torch.OutOfMemoryError("no blocks"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
    ],
)
def test_lack_of_memory_is_told_from_other_faults(fault: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(fault) is expected
