import numpy as np
import pytest
from bits_problem import BITFUSION, WEIGHT_ONLY, bits_problem
from contract import AgentContract, made_problem, run

from automl.agents.registry import make_agent
from automl.cost import Budget, Limit
from automl.errors import InfeasibleError
from automl.policy.policy import Bits, Policy
from automl.study.problem import Problem


class TestUniform(AgentContract):
    name = "uniform"
    beats_random = False  # one policy, whatever the sensitivity


def test_one_policy_with_one_ratio_and_all_blocks() -> None:
    problem = made_problem(12, seed=1, share=0.5)
    (trial,) = run(make_agent("uniform", problem), problem, 10)
    assert trial.policy.removed == frozenset()
    assert len(set(trial.policy.channels.values())) == 1


def test_no_larger_ratio_fits() -> None:
    problem = made_problem(12, seed=2, share=0.5)
    (trial,) = run(make_agent("uniform", problem), problem, 1)
    kept = next(iter(trial.policy.channels.values()))
    for larger in range(kept + 1, 5):
        vector = problem.space.dense.copy()
        vector[:12] = larger - 1
        assert not problem.budget.allows_all(problem.costs.price(vector[None]))[0]


def test_a_budget_out_of_reach_of_any_ratio_is_refused() -> None:
    problem = made_problem(12, seed=3)
    tight = Budget((Limit("latency", 1e-6),))
    with pytest.raises(InfeasibleError, match="no common ratio"):
        make_agent("uniform", Problem(problem.space, problem.costs, tight)).ask(1)


def test_the_dense_network_where_it_fits() -> None:
    problem = made_problem(12, seed=4, share=1.0)
    (policy,) = make_agent("uniform", problem).ask(1)
    assert np.array_equal(problem.space.encode(policy), problem.space.dense)


class TestUniformBits(TestUniform):
    def made(self, groups: int, seed: int = 0, share: float = 0.5) -> Problem:
        return bits_problem(groups, seed, share)


def fits_at(problem: Problem, bits: Bits) -> bool:
    names = [variable.name for variable in problem.space.variables]
    cost = problem.costs.cost(Policy(bits=dict.fromkeys(names, bits)))
    return problem.budget.allows(cost)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_one_precision_and_none_better_fits(share: float) -> None:
    problem = bits_problem(8, seed=1, share=share, options=BITFUSION)
    (trial,) = run(make_agent("uniform", problem), problem, 3)
    (chosen,) = set(trial.policy.bits.values())
    narrow, both = min(chosen.weights, chosen.activations), chosen.weights + chosen.activations
    assert fits_at(problem, chosen)
    for bits in BITFUSION:
        narrower, sum_ = min(bits.weights, bits.activations), bits.weights + bits.activations
        if (narrower, sum_) > (narrow, both):
            assert not fits_at(problem, bits)


def test_a_size_budget_takes_the_most_bits_of_weights() -> None:
    problem = bits_problem(5, options=WEIGHT_ONLY, quantity="bytes", share=0.2)
    (policy,) = make_agent("uniform", problem).ask(1)
    assert set(policy.bits.values()) == {Bits(6, 32)}  # a fifth of 32 bits is 6.4


def test_layers_without_the_common_precision_take_the_nearest() -> None:
    first, last = (Bits(4, 4), Bits(8, 8)), (Bits(6, 6), Bits(8, 8))
    problem = bits_problem(2, options=first, last=last, share=0.6, conversion=0.0)
    (policy,) = make_agent("uniform", problem).ask(1)
    assert policy.bits == {"l0": Bits(4, 4), "l1": Bits(6, 6)}


def test_eight_bits_go_before_any_channel_and_channels_before_four_bits() -> None:
    def chosen(share: float) -> tuple[Bits, int]:
        options = (Bits(4, 4), Bits(8, 8), Bits(32, 32))
        problem = bits_problem(6, groups=6, share=share, options=options, conversion=0.0)
        (policy,) = make_agent("uniform", problem).ask(1)
        (bits,), (kept,) = set(policy.bits.values()), set(policy.channels.values())
        return bits, kept

    assert chosen(1.0) == (Bits(32, 32), 16)
    assert chosen(0.9) == (Bits(8, 8), 16)
    whole = bits_problem(6, groups=6, options=(Bits(4, 4), Bits(8, 8), Bits(32, 32)))
    at_eight = Policy(bits={f"l{i}": Bits(8, 8) for i in range(6)})
    share = whole.costs.cost(at_eight).latency / whole.costs.dense.latency
    assert chosen(0.8 * share) == (Bits(8, 8), 12)
    assert chosen(0.4 * share) == (Bits(4, 4), 16)


def test_out_of_reach_of_any_precision() -> None:
    with pytest.raises(InfeasibleError, match="no common ratio and precision"):
        make_agent("uniform", bits_problem(4, share=1e-4)).ask(1)
