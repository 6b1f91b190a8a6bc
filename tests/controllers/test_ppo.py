"""PPO: its policy, its clipped gain, what it makes of late, stale, failed and stopped trials."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from controllers import ppo
from nas_fpn.errors import RunError
from nas_fpn.language import Choice
from nas_fpn.record import Genotype, Outcome, Trial
from nas_fpn.search.controller import Problem
from nas_fpn.search.loading import load_controller

FILE = Path(__file__).parents[2] / "controllers" / "ppo.py"
COUNTS = [2, 5, 3, 1, 4]
PROBLEM = Problem(
    choices=tuple(Choice(f"c{i}", count) for i, count in enumerate(COUNTS)),
    identity=lambda genotype: "".join(map(str, genotype)),
    describe=lambda _: {},
)
BEST = (1, 4, 2, 0, 3)


def make(problem: Problem = PROBLEM, **settings: float) -> ppo.PPO:
    return ppo.controller(problem, seed=0, hidden=8, **settings)  # type: ignore[arg-type]


def policy(counts: list[int], reach: float = 1.0, hidden: int = 4) -> ppo.Policy:
    return ppo.Policy(counts, hidden, reach=reach, chance=torch.Generator().manual_seed(0))


def weights(controller: ppo.PPO) -> list[Tensor]:
    return [weight.clone() for weight in controller._policy.state_dict().values()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def told(score: float) -> Outcome:
    return Outcome("complete", {"ap": score}, steps=300)


def probability(controller: ppo.PPO, genotype: Genotype) -> float:
    return math.exp(controller._as_drawn(genotype).log_probabilities.sum().item())


def test_the_probabilities_of_all_genotypes_sum_to_one() -> None:
    every = torch.cartesian_prod(*map(torch.arange, COUNTS))
    one = policy(COUNTS)
    table = one(every)
    assert ppo.taken(table, every).sum(dim=1).exp().sum().item() == pytest.approx(1)
    assert torch.allclose(table.exp().sum(dim=2), torch.ones((), dtype=torch.float64))
    assert table[0, 0].exp()[2:].tolist() == [0, 0, 0]  # the first choice has two options


def test_an_answer_depends_on_those_before_it_and_on_no_other() -> None:
    one = policy(COUNTS)
    table = one(torch.tensor([[0, 1, 2, 0, 3], [0, 1, 2, 0, 0], [0, 4, 2, 0, 3]]))
    assert torch.equal(table[0], table[1])
    assert torch.equal(table[0, :2], table[2, :2])
    assert not torch.allclose(table[0, 2], table[2, 2])


def test_what_is_drawn_has_the_probabilities_of_the_policy() -> None:
    one, chance = policy([2, 3]), torch.Generator().manual_seed(1)
    drawn, kept = one.roll(torch.ones(4000, dtype=torch.float64), chance=chance)
    assert torch.allclose(kept, ppo.taken(one(drawn), drawn))
    for genotype in torch.cartesian_prod(torch.arange(2), torch.arange(3)):
        expected = ppo.taken(one(genotype[None]), genotype[None]).sum().exp().item()
        share = (drawn == genotype).all(dim=1).double().mean().item()
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / 4000))


def test_the_lstm_is_the_one_of_torch() -> None:
    one, genotypes = policy(COUNTS), torch.tensor([[1, 3, 0, 0, 2]])
    theirs = torch.nn.LSTMCell(4, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih.copy_(one.input_weight)
        theirs.weight_hh.copy_(one.hidden_weight)
        theirs.bias_ih.copy_(one.bias)
        theirs.bias_hh.zero_()
        state = None
        for i, count in enumerate(COUNTS):
            x = one.choice[i] + (one.answer[i - 1, genotypes[0, i - 1]] if i else 0)
            state = theirs(x[None], state)
            logits = (state[0] @ one.head_weight[i] + one.head_bias[i])[0, :count]
            found = one(genotypes)[0, i, :count]
            assert torch.allclose(found, logits.log_softmax(dim=0))


def test_the_gradient_is_that_of_finite_differences() -> None:
    one = policy([2, 3, 2], hidden=2)
    genotypes = torch.tensor([[1, 2, 0], [0, 1, 1]])
    before = policy([2, 3, 2], reach=0.7, hidden=2)(genotypes).detach()
    advantages = torch.tensor([1.3, -0.4], dtype=torch.float64)

    def loss(*values: Tensor) -> Tensor:
        named = dict(zip(dict(one.named_parameters()), values, strict=True))
        table = torch.func.functional_call(one, named, (genotypes,))
        log_ratios = ppo.taken(table, genotypes) - ppo.taken(before, genotypes)
        return ppo.clipped_gain(log_ratios, advantages, 0.2) + 0.1 * ppo.entropy(table).mean()

    assert torch.autograd.gradcheck(loss, tuple(one.parameters()))


def test_at_ratio_one_the_gain_is_the_policy_gradient() -> None:
    log_ratios = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([2.0, -1.0], dtype=torch.float64)
    ppo.clipped_gain(log_ratios, advantages, 0.2).backward()
    assert log_ratios.grad is not None
    assert torch.allclose(log_ratios.grad, advantages[:, None].expand(2, 3) / 6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "moves"),
    [
        (1.1, 1.0, 1.1, True),
        (1.5, 1.0, 1.2, False),  # already more likely by more than the clip: no further
        (0.5, 1.0, 0.5, True),
        (0.5, -1.0, -0.8, False),
        (1.5, -1.0, -1.5, True),
    ],
)
def test_clipping_acts_as_the_formula_says(
    ratio: float, advantage: float, gain: float, moves: bool
) -> None:
    log_ratio = torch.tensor([[math.log(ratio)]], requires_grad=True)
    found = ppo.clipped_gain(log_ratio, torch.tensor([advantage]), 0.2)
    found.backward()
    assert found.item() == pytest.approx(gain)
    assert log_ratio.grad is not None and (log_ratio.grad.item() != 0) == moves


def test_entropy_is_in_nats_and_padding_has_none() -> None:
    uniform = policy(COUNTS, reach=0.0)(torch.tensor([BEST]))
    assert ppo.entropy(uniform)[0].tolist() == pytest.approx([math.log(n) for n in COUNTS])


def test_weights_change_once_a_batch() -> None:
    controller = make(batch=4)
    start = weights(controller)
    for number in range(4):
        assert same(weights(controller), start)
        controller.tell(controller.ask(), told(0.1 * number))
    assert not same(weights(controller), start)


def test_trajectories_of_too_old_a_policy_are_dropped() -> None:
    controller = make(batch=1, stale=2)
    old, late = controller.ask(), controller.ask()
    for score in (0.1, 0.2):
        controller.tell(controller.ask(), told(score))
    before = weights(controller)
    controller.tell(late, told(0.3))  # two updates old: just in time
    assert not same(weights(controller), before)
    before = weights(controller)
    controller.tell(old, told(0.3))
    assert same(weights(controller), before)


def test_the_ratio_is_against_the_policy_that_proposed() -> None:
    controller = make(batch=2, minibatch=2)
    early = controller.ask()
    kept = controller._open[early.number].log_probabilities
    for score in (0.1, 0.2, 0.4, 0.3):
        controller.tell(controller.ask(), told(score))
    controller.tell(early, told(0.5))
    assert torch.equal(controller._trajectories[0].log_probabilities, kept)
    assert not torch.allclose(kept, controller._as_drawn(early.genotype).log_probabilities)


def test_stopped_trials_teach_nothing() -> None:
    controller = make(batch=1)
    start = weights(controller)
    controller.tell(controller.ask(), Outcome("stopped", {"ap": 0.9}, steps=100))
    assert same(weights(controller), start)


@pytest.mark.parametrize("state", ["failed", "rejected"])
def test_what_fails_becomes_less_likely(state: str) -> None:
    controller = make(batch=1)
    trial = controller.ask()
    before = probability(controller, trial.genotype)
    controller.tell(trial, Outcome(state, reason="out of memory"))  # type: ignore[arg-type]
    assert probability(controller, trial.genotype) < before


def test_priors_come_first_and_are_learnt_from() -> None:
    prior = (BEST, (0, 0, 0, 0, 0))
    problem = Problem(PROBLEM.choices, PROBLEM.identity, PROBLEM.describe, prior=prior)
    controller = make(problem, batch=2, minibatch=2)
    asked = [controller.ask() for _ in range(3)]
    assert tuple(trial.genotype for trial in asked[:2]) == prior
    before = probability(controller, BEST)
    controller.tell(asked[1], told(0.2))
    controller.tell(asked[0], told(0.4))
    assert probability(controller, BEST) > before


def test_a_trial_that_was_trained_with_another_genotype_is_learnt_from_as_trained() -> None:
    controller = make(batch=2, minibatch=2)
    before = probability(controller, BEST)
    controller.tell(controller.ask(), told(0.3))
    controller.tell(Trial(controller.ask().number, BEST), told(0.5))
    assert probability(controller, BEST) > before


def test_redraws_keep_a_policy_that_has_settled_from_repeating_itself() -> None:
    asked: dict[int, set[Genotype]] = {0: set(), 16: set()}
    for redraws, genotypes in asked.items():
        controller = make(redraws=redraws)
        for _ in range(60):  # half of the space
            trial = controller.ask()
            genotypes.add(trial.genotype)
            controller.tell(trial, told(float(sum(trial.genotype))))
    assert len(asked[16]) > 45
    assert len(asked[16]) > 2 * len(asked[0])


def test_it_learns_which_options_are_good() -> None:
    controller = make(redraws=0)
    asked = []
    for _ in range(80):
        asked.append(controller.ask())
        controller.tell(asked[-1], told(float(asked[-1].genotype[1])))
    assert sum(trial.genotype[1] >= 3 for trial in asked[40:]) > 30


def test_chance_and_threads_of_the_process_are_left_alone() -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    controller = make(batch=1)
    for score in (0.1, 0.2):
        controller.tell(controller.ask(), told(score))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, r"batch must be in \[1, inf\], but got 0"),
        ({"clip": -0.1}, r"clip must be in \[0, inf\], but got -0.1"),
        ({"baseline_decay": 1.0}, r"baseline_decay must be in \[0, 1\), but got 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        load_controller(FILE, PROBLEM, seed=0, settings=settings)
