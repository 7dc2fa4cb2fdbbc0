"""The agents by name, ours and those that other packages add.

Another package adds one with an entry point in the group "automl.agents" whose value is a function
or class that takes (problem, seed, **options) and gives an `Agent`.
"""

from __future__ import annotations

from typing import Final, cast

from automl.errors import SpaceError
from automl.methods import Method, Registry
from automl.study import Agent, Problem

#: Most policies that an agent of another package scores, where it does not tell its own number.
DEFAULT_TRIALS: Final = 100


def _entry(
    name: str,
    maker: str,
    paper: str,
    summary: str,
    *,
    trials: int | None,
    batches: str,
    needs: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    fewest: int = 0,
) -> Method:
    """An agent that searches a space with choices of at least `fewest` of the kinds.

    It scores so many `trials` unless the user says otherwise; with None it ends by itself.
    `batches` says how it proposes several policies before it is told of the first, which is what
    several workers take.
    """
    details = {"kinds": kinds, "fewest": fewest, "trials": trials, "batches": batches}
    maker = f"automl.agents.{maker}"
    return Method(name, summary, paper, maker, needs=frozenset(needs), details=details)


AGENTS: Final = Registry[Agent](
    "agents",
    (
        _entry(
            "lagrangian",
            "lagrangian:LagrangianAgent",
            "Shoham and Gersho, 1988; Frantar and Alistarh, SPDY, 2022 (measured sensitivity)",
            "The exact optimum of measured, additive sensitivity within the budget, then those\n"
            "with kinds weighed by what candidates scored. Ends by itself, with 24 trials at most.",
            needs=("sensitivity",),
            trials=None,
            batches="eight mixes of kinds, then two policies a fit",
        ),
        _entry(
            "optuna-tpe",
            "optuna_samplers:TpeAgent",
            "Bergstra et al., 2011",
            "Tree-structured Parzen estimator (Optuna), drawn in a space projected onto the\n"
            "budget, from the additive optimum on.",
            trials=100,
            batches="constant liar: draws under way count as bad ones",
        ),
        _entry(
            "optuna-nsga2",
            "optuna_samplers:NsgaAgent",
            "Deb et al., 2002",
            "NSGA-II (Optuna): score against cost, a front within the budget in one study.\n"
            "Draws are projected onto the budget.",
            trials=200,
            batches="a generation's children do not depend on each other",
        ),
        _entry(
            "optuna-cmaes",
            "optuna_samplers:CmaEsAgent",
            "Hansen and Ostermeier, 2001",
            "CMA-ES (Optuna), drawn in a space projected onto the budget, from the\n"
            "additive optimum on.",
            trials=200,
            batches="drawn from the same distribution",
        ),
        _entry(
            "optuna-gp",
            "optuna_samplers:GpAgent",
            "Snoek et al., 2012",
            "Gaussian process (Optuna), drawn in a space projected onto the budget, from the\n"
            "additive optimum on. For up to a few hundred trials.",
            trials=100,
            batches="draws under way count in the acquisition",
        ),
        _entry(
            "amc",
            "amc:AmcAgent",
            "He et al., AMC, 2018",
            "Reinforcement learning (DDPG): goes through the network and keeps a share of each\n"
            "channel group, within the budget at every step. For hundreds of trials.",
            kinds=("channels",),
            fewest=1,
            trials=400,
            batches="episodes of one actor, learned from together",
        ),
        _entry(
            "haq",
            "haq:HaqAgent",
            "Wang et al., HAQ, 2019",
            "Reinforcement learning (DDPG): gives each layer the bits of its weights and of its\n"
            "activations, then lowers them in order until the cost fits. For hundreds of trials.",
            kinds=("bits",),
            fewest=1,
            trials=600,
            batches="episodes of one actor, learned from together",
        ),
        _entry(
            "three-dims",
            "three_dims:ThreeDimsAgent",
            "Wang et al., Accelerate CNNs from Three Dimensions, 2021",
            "One depth, one width ratio and one resolution: a polynomial of the score, fitted to\n"
            "few samples, at its optimum under the budget. Needs no more than twenty trials.",
            kinds=("block", "channels", "resolution"),
            fewest=2,
            trials=20,
            batches="its samples are known beforehand, the fit's optimum is one",
        ),
        _entry(
            "greedy",
            "greedy:GreedyAgent",
            "Yang et al., NetAdapt, 2018 (without its training)",
            "Step by step to the budget: every part proposes the least lowering that meets the\n"
            "step, the proposal whose completed policy scores best is taken.",
            trials=200,
            batches="the proposals of one step",
        ),
        _entry(
            "uniform",
            "uniform:UniformAgent",
            "the usual baseline",
            "One ratio for every channel group and one precision for every layer, the largest\n"
            "within the budget; all blocks stay. One trial.",
            trials=None,
            batches="one trial",
        ),
        _entry(
            "random",
            "random:RandomAgent",
            "Li and Talwalkar, 2019 (random search as a baseline)",
            "Random choices, brought into the budget and then raised where room is left.\n"
            "Every trial is feasible.",
            trials=100,
            batches="drawn independently",
        ),
    ),
)


def agents_for(problem: Problem) -> tuple[str, ...]:
    """Names of our agents that find in the problem all that they need."""
    offered = {each.kind for each in problem.space.variables if len(each.options) > 1}

    def can_search(agent: Method) -> bool:
        kinds = cast(tuple[str, ...], agent.details["kinds"])
        if "sensitivity" in agent.needs and problem.sensitivity is None:
            return False
        return len(offered.intersection(kinds)) >= cast(int, agent.details["fewest"])

    return tuple(name for name, agent in AGENTS.ours.items() if can_search(agent))


def make_agent(name: str, problem: Problem, seed: int = 0, **options: object) -> Agent:
    """The agent of that name.

    Raises:
        UnknownNameError: There is no such agent.
        UsageError: Its package fails to load it.
        SpaceError: The agent cannot search this problem; `agents` names those that can.
        InfeasibleError: The agent finds no policy within the budget.
    """
    try:
        return AGENTS.make(name, problem, seed, **options)
    except SpaceError as error:
        raise SpaceError(
            error.message,
            lacks=error.lacks,
            agents=(each for each in agents_for(problem) if each != name),
            options=("agent",),
        ) from error


def default_trials(name: str) -> int | None:
    """Most policies that the agent scores where neither a number nor a time is asked for.

    None where the agent ends by itself.

    Raises:
        UsageError: If there is no such agent.
    """
    return cast(int | None, AGENTS.get(name).details.get("trials", DEFAULT_TRIALS))
