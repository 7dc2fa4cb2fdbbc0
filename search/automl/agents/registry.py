"""The agents by name, ours and those that other packages add.

Another package adds one with an entry point in the group "automl.agents" whose value is a function
or class that takes (problem, seed, **options) and gives an `Agent`. Its summary is the first line
of its docstring.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Final, cast

from automl.errors import UsageError, nearest
from automl.study import Agent, Problem

GROUP: Final = "automl.agents"


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """An agent that can be asked for by name.

    Attributes:
        name: As in `--agent`.
        summary: What it does, in two lines at most.
        paper: Where it comes from.
        maker: "module:name" of a callable (problem, seed, **options) -> Agent.
    """

    name: str
    summary: str
    paper: str
    maker: str


def _entry(name: str, maker: str, paper: str, summary: str) -> tuple[str, AgentEntry]:
    return name, AgentEntry(name, summary, paper, f"automl.agents.{maker}")


AGENTS: Final[Mapping[str, AgentEntry]] = dict(
    (
        _entry(
            "lagrangian",
            "lagrangian:LagrangianAgent",
            "Shoham and Gersho, 1988; Frantar and Alistarh, SPDY, 2022 (measured sensitivity)",
            "The exact optimum of measured, additive sensitivity within the budget, and\n"
            "a few more under other weights of channels, blocks and resolution. At most eight trials.",
        ),
        _entry(
            "optuna-tpe",
            "optuna_samplers:TpeAgent",
            "Bergstra et al., 2011",
            "Tree-structured Parzen estimator (Optuna), drawn in a space projected onto the\n"
            "budget, from the additive optimum on.",
        ),
        _entry(
            "optuna-nsga2",
            "optuna_samplers:NsgaAgent",
            "Deb et al., 2002",
            "NSGA-II (Optuna): score against cost, a front within the budget in one study.\n"
            "Draws are projected onto the budget.",
        ),
        _entry(
            "optuna-cmaes",
            "optuna_samplers:CmaEsAgent",
            "Hansen and Ostermeier, 2001",
            "CMA-ES (Optuna), drawn in a space projected onto the budget, from the\n"
            "additive optimum on.",
        ),
        _entry(
            "optuna-gp",
            "optuna_samplers:GpAgent",
            "Snoek et al., 2012",
            "Gaussian process (Optuna), drawn in a space projected onto the budget, from the\n"
            "additive optimum on. For up to a few hundred trials.",
        ),
        _entry(
            "amc",
            "amc:AmcAgent",
            "He et al., AMC, 2018",
            "Reinforcement learning (DDPG): walks through the network and keeps a share of each\n"
            "channel group, within the budget at every step. For hundreds of trials.",
        ),
        _entry(
            "haq",
            "haq:HaqAgent",
            "Wang et al., HAQ, 2019",
            "Reinforcement learning (DDPG): gives each layer the bits of its weights and of its\n"
            "activations, then lowers them in order until the cost fits. For hundreds of trials.",
        ),
        _entry(
            "three-dims",
            "three_dims:ThreeDimsAgent",
            "Wang et al., Accelerate CNNs from Three Dimensions, 2021",
            "One depth, one width ratio and one resolution: a polynomial of the score, fitted to\n"
            "few samples, at its optimum under the budget. Needs no more than twenty trials.",
        ),
        _entry(
            "greedy",
            "greedy:GreedyAgent",
            "Yang et al., NetAdapt, 2018 (without its training)",
            "Step by step to the budget: every part proposes the least lowering that meets the\n"
            "step, the proposal whose completed policy scores best is taken.",
        ),
        _entry(
            "uniform",
            "uniform:UniformAgent",
            "the usual baseline",
            "One ratio for every channel group and one precision for every layer, the largest\n"
            "within the budget; all blocks stay. One trial.",
        ),
        _entry(
            "random",
            "random:RandomAgent",
            "Li and Talwalkar, 2019 (random search as a baseline)",
            "Random choices, brought into the budget and then raised where room is left.\n"
            "Every trial is feasible.",
        ),
    )
)


def describe_agents() -> tuple[AgentEntry, ...]:
    """All agents: ours first, then those of other packages, each by name."""
    added = sorted(_added().values(), key=lambda point: point.name)
    others = (
        AgentEntry(point.name, f"Added by {point.value}.", "see its package", point.value)
        for point in added
    )
    return (*AGENTS.values(), *others)


def make_agent(name: str, problem: Problem, seed: int = 0, **options: object) -> Agent:
    """The agent of that name.

    Raises:
        UsageError: If there is no such agent.
        SpaceError: If the agent cannot search this problem.
    """
    return cast(Agent, _maker(name)(problem, seed, **options))


def takes(name: str, option: str) -> bool:
    """Whether the agent of that name is made with an option of that name.

    Raises:
        UsageError: If there is no such agent.
    """
    return option in inspect.signature(_maker(name)).parameters


def _maker(name: str) -> Callable[..., object]:
    entry = AGENTS.get(name)
    if entry is not None:
        module, _, attribute = entry.maker.partition(":")
        return cast(Callable[..., object], getattr(import_module(module), attribute))
    added = _added()
    if name not in added:
        raise UsageError(f"no agent {name!r}{nearest(name, [*AGENTS, *added])}")
    return cast(Callable[..., object], added[name].load())


def _added() -> dict[str, EntryPoint]:
    """Agents of other packages; ours cannot be replaced."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in AGENTS}
