from dataclasses import replace

import numpy as np
import pytest
from contract import AgentContract, made_problem, run, trial

from automl.agents.registry import make_agent
from automl.agents.three_dims import ThreeDimsAgent, constrained_optimum
from automl.cost import Budget, CostModel, Limit
from automl.cost.factors import COLUMNS, LATENCY, MACS, Lookup, join
from automl.errors import InfeasibleError, SpaceError
from automl.policy.policy import Policy
from automl.solver.exact import solve
from automl.solver.response_surface import LowRank, fit_log_cost
from automl.space import Sensitivity, Space, Variable
from automl.study.problem import Problem

BLOCKS = 6
SIZES = (16, 20, 24, 28, 32)
WIDTHS = tuple(range(2, 17, 2))


class TestThreeDims(AgentContract):
    name = "three-dims"
    beats_random = False  # one ratio for all groups: where their sensitivity differs, it must lose

    def test_one_group_is_enough(self) -> None:
        with pytest.raises(SpaceError, match="no removable blocks and no resolutions"):
            self.make(made_problem(1))

    def test_it_ends_when_the_space_is_exhausted(self) -> None:
        problem = made_problem(4, seed=5)
        assert 1 <= len(run(self.make(problem), problem, 2000)) < problem.space.size


def device(call: float, pixel: float, share: float = 0.5) -> Problem:
    """Blocks with a group each at any of five input sizes; a call's cost and a pixel's are given.

    Latency of a block: `call`, and `pixel` times its share of channels and of pixels.
    """
    variables = [Variable("resolution", "", SIZES)]
    nested = []
    for number in range(BLOCKS):
        nested.append((len(variables), (len(variables) + 1,)))
        variables.append(Variable("block", f"b{number}", (0, 1)))
        variables.append(Variable("channels", f"g{number}", WIDTHS))
    space = Space(tuple(variables), tuple(nested))
    shape = (len(SIZES), 2, len(WIDTHS))
    resolution, kept, width = np.indices(shape)
    pixels = (np.array(SIZES)[resolution] / SIZES[-1]) ** 2
    channels = np.array(WIDTHS)[width] / WIDTHS[-1]
    rows = np.zeros((resolution.size, COLUMNS))
    rows[:, LATENCY] = (kept * (call + pixel * pixels * channels)).ravel()
    rows[:, MACS] = (kept * pixels * channels).ravel()
    lookups = []
    for number in range(BLOCKS):
        scope = (0, 1 + 2 * number, 2 + 2 * number)
        strides = (2 * len(WIDTHS), len(WIDTHS), 1)
        steps = [(v, s * np.arange(n)) for v, s, n in zip(scope, strides, shape, strict=True)]
        lookups.append(Lookup(tuple(steps), rows))
    costs = CostModel(space, join(lookups, space.sizes), 1e-4)
    budget = Budget((Limit("latency", share * costs.dense.latency),))
    return Problem(space, costs, budget)


def score(policy: Policy) -> float:
    """The same network on either device: every dimension has its price."""
    depth = 1.0 - len(policy.removed) / BLOCKS
    live = [
        count for name, count in policy.channels.items() if f"b{name[1:]}" not in policy.removed
    ]
    width = np.mean(live) / WIDTHS[-1] if live else 0.0
    resolution = policy.resolution / SIZES[-1]
    loss = 0.3 * (1.0 - depth) ** 2 + 0.3 * (1.0 - width) ** 2 + 0.6 * (1.0 - resolution) ** 2
    return float(0.9 - loss)


def search(problem: Problem, seed: int = 0) -> tuple[Policy, float, int]:
    """The best policy, its score, and how many trials it took."""
    agent = ThreeDimsAgent(problem, seed)
    done: list[Policy] = []
    while policies := agent.ask(8):
        first = len(done)
        agent.tell(
            [trial(problem, first + i, each, score(each)) for i, each in enumerate(policies)]
        )
        done += policies
    best = max(done, key=score)
    return best, score(best), len(done)


def test_the_split_follows_the_device() -> None:
    calls, _, _ = search(device(call=1.0, pixel=0.1))
    pixels, _, _ = search(device(call=0.02, pixel=1.0))
    # Where a call is what costs, only depth helps; where pixels cost, blocks can stay.
    assert calls.resolution == SIZES[-1]
    assert len(calls.removed) >= 3
    assert pixels.resolution < SIZES[-1]
    assert len(pixels.removed) <= 1


@pytest.mark.parametrize(("call", "pixel"), [(1.0, 0.1), (0.02, 1.0), (0.3, 0.7)])
def test_it_comes_near_the_best_mix_in_twenty_trials(call: float, pixel: float) -> None:
    problem = device(call, pixel)
    mixes = ThreeDimsAgent(problem).mixes
    allowed = [problem.space.decode(vector) for vector in mixes.vectors[mixes.allowed]]
    everything = [score(policy) for policy in allowed]
    _, reached, trials = search(problem)
    assert trials <= 20
    assert reached > max(everything) - 0.1 * (max(everything) - np.median(everything))


def test_at_an_inner_optimum_gains_are_as_elasticities() -> None:
    points = np.random.default_rng(0).uniform(0.3, 1.0, (300, 3))
    falling = np.array([-1.0, 2.0, -1.0])  # -(1 - x)^2
    coefficients = np.tile(np.eye(3)[0], (3, 3, 1))
    coefficients[np.arange(3), np.arange(3)] = falling * np.array([[0.3], [0.3], [0.5]])
    accuracy = LowRank(coefficients, 0.9, 1.0)
    cost = fit_log_cost(points, points[:, 0] * points[:, 1] ** 2 * points[:, 2] ** 2)
    limits, least = np.array([0.4]), np.full(3, 0.3)
    optimum = constrained_optimum(accuracy, [cost], limits, points[:3], least)
    assert (optimum > 0.31).all()
    assert (optimum < 0.99).all()
    ratio = optimum * accuracy.gradient(optimum) / cost.elasticities(optimum)
    assert ratio == pytest.approx([ratio.mean()] * 3, rel=1e-3)
    assert float(cost(optimum[None])[0]) == pytest.approx(np.log(0.4), abs=1e-4)


def test_room_that_is_left_goes_to_the_thinnest_groups() -> None:
    problem = device(0.3, 0.7)
    policy, _, _ = search(problem)
    vector = problem.space.encode(policy)
    for variable in problem.space.of_kind("channels"):
        if policy.channels[problem.space.variables[variable].name] < WIDTHS[-1]:
            more = vector.copy()
            more[variable] += 1
            assert not problem.budget.allows_all(problem.costs.price(more[None]))[0]


def test_a_warm_start_samples_the_mix_nearest_to_the_additive_optimum_first() -> None:
    problem = device(0.02, 1.0)
    # Sensitivity of what is removed or narrowed is so small that the optimum keeps the resolution.
    sensitivity = tuple(
        (1.0 if variable.kind == "resolution" else 1e-3) * (1.0 - np.arange(size) / (size - 1)) ** 2
        for variable, size in zip(problem.space.variables, problem.space.sizes, strict=True)
    )
    warm = replace(problem, sensitivity=Sensitivity(sensitivity, images=1))
    first = ThreeDimsAgent(warm).ask(1)[0]
    assert first.resolution == SIZES[-1]
    assert first != ThreeDimsAgent(warm, warm_start=False).ask(1)[0]
    optimum = solve(warm.costs, sensitivity, warm.budget).vector
    kept = optimum[list(warm.space.of_kind("block"))].mean()
    assert 1.0 - len(first.removed) / BLOCKS == pytest.approx(kept, abs=0.34)


def test_a_budget_that_no_mix_meets_is_refused_with_the_least() -> None:
    tight = replace(device(1.0, 1.0), budget=Budget((Limit("latency", 1e-6),)))
    with pytest.raises(InfeasibleError, match="the least is"):
        make_agent("three-dims", tight)
