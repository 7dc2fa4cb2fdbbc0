"""AMC: an actor-critic agent goes through the network and prunes it part by part.

He et al., "AMC: AutoML for Model Compression and Acceleration on Mobile Devices", ECCV 2018, with
the deep deterministic policy gradient of Lillicrap et al., 2015.

An episode is one policy, and the policy's score is the reward of each step. Each removable block
and each channel group is a step, in network order. An action is a number in [0, 1].

What differs from the paper and its public code:

- A step is a channel group (all layers that share the channels), where AMC's is a layer. So
  residual networks and any kernel size are covered.
- A block is a step of its own, before its groups. An action of one half or less leaves it out, and
  its groups have no steps then.
- Bits stay dense. The resolution is lowered only where the budget cannot be met otherwise.
- An action is rounded to the nearest option that leaves the rest a way into the budget, by true
  prices of every limit. So the end is within the budget. The paper clips the action by what the
  remaining layers cost at their smallest ratio, linearly, rounds up, and may end over the budget.
- There is no lower bound of 0.2 but the space's own smallest option.
- The state's "rest" is that of the later steps, from the first step on. Prices are those of the
  limited quantities (the worst where several are limited), where the code has MACs or weights.
- Room that an episode leaves is filled at random, one option at a time. Without that, the random
  episodes of the warm-up spend only part of the budget.
- What differs in the learning itself stands in `automl.agents.ddpg`, which HAQ shares.
"""

from __future__ import annotations

from dataclasses import dataclass

from automl.agents.ddpg import DdpgAgent, DdpgSettings
from automl.agents.pruning_env import PruningEnv
from automl.study import Problem


@dataclass(frozen=True, slots=True)
class AmcSettings(DdpgSettings):
    """Every knob, at the values of the public code unless a line here or above says otherwise."""

    warm_up: int = 40
    """Episodes without updates (100 in the code). From nothing, on ResNet-56 with the sum of
    sensitivities for a score, it was ahead of random search after 80 episodes; with 100 it is level
    until then."""


class AmcAgent(DdpgAgent):
    """AMC (He et al., 2018): a deep deterministic policy gradient keeps a share of each group.

    Args:
        problem: What to search; its channel groups and blocks are the steps.
        seed: Of the networks, the exploration and the batches.
        warm_start: Propose the optimum of additive sensitivity first, and put it in the replay
            first, where the problem has a sensitivity.
        settings: Every knob.

    Raises:
        SpaceError: If the space has no channel group.
        InfeasibleError: If channels, blocks and resolution cannot meet the budget.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        *,
        warm_start: bool = True,
        settings: AmcSettings | None = None,
    ) -> None:
        super().__init__(
            PruningEnv(problem), seed, warm_start=warm_start, settings=settings or AmcSettings()
        )
