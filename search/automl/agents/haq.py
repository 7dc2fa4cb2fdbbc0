"""HAQ: an actor-critic agent goes through the network and gives each layer its bit-widths.

Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019.

An episode is one policy, and the policy's score is the reward of each step. Each layer has two
steps, in network order: the bits of its weights, then those of its activations. An action is a
number in [0, 1]. A policy over the budget has its bits lowered after the episode, by one option at
a time, until the cost fits: the last layer first, activations before weights.

What differs from the paper and its public code:

- Bits are those that the target has. Each has an equal share of [0, 1]. The code rounds half to
  even over [least - 0.5, most + 0.5], so that an action of 0 means 0 bits where the least is 1.
- An operand with one choice has no step. So the code's two environments (weights alone for a size,
  both for a latency) are one here.
- Latency, energy and size are limited alike, by the problem's own prices, and several may be at
  once. The code has one table for one network, and leaves energy unwritten.
- Bits whose price alone would not fall are not lowered, such as activations where only the size is
  over. The code lowers all.
- Conversions between layers can make every single step dearer. The layers then take the bits of a
  policy that is known to fit.
- The first and the last layer are choices like others. The code sets them to 8 bits, though only in
  policies that were over the budget, and reads its table at the wrong column for the first.
- Room that is left is filled at random, one option at a time. Lowering overshoots, and a policy
  under the budget is a weak proposal.
- The replay holds the actions of the policy that was scored. The code holds those before bits were
  lowered, of which the reward says nothing. There is no dummy row after an episode.
- The state has the layer's place and geometry (type, channels, map, stride, kernel), and the last
  action as realised. It has what the layer's fewest bits save in bytes, which stands for the number
  of weights, and in each limited quantity, which the paper does not have. It says whether weights
  or activations are chosen. Each column is in [0, 1]; the code leaves one unscaled.
- The score is the problem's, on data that training did not see. The code rewards the best
  *training* accuracy of a fine-tuning epoch. Nothing is fine-tuned here.
- Channels, blocks and resolution are held dense. Where the budget cannot be met so, they are held
  as in the policy of least additive sensitivity within it.
- What differs in the learning itself stands in `automl.agents.ddpg`, which AMC shares.
"""

from __future__ import annotations

from dataclasses import dataclass

from automl.agents.bits_env import BitsEnv
from automl.agents.ddpg import DdpgAgent, DdpgSettings
from automl.study import Problem


@dataclass(frozen=True, slots=True)
class HaqSettings(DdpgSettings):
    """Every knob; those named here differ from AMC's.

    The code's `decay` of 0.99 is for 600 episodes; for the few hundred that we mean it is AMC's.
    """

    replay_episodes: int = 64
    """Length of the replay, in episodes of two steps per layer: 128 transitions per layer."""
    warm_up: int = 20
    """Episodes without updates, of uniform actions where there is no warm start."""
    warm_sigma: float = 0.02
    """Spread of the warm-up's actions around those of a warm start (not in the code). With forty
    steps and seven bits few choices are to change at a time; it widens where none does."""
    sigma: float = 0.1
    """Spread after the warm-up. The code's 0.5 leaves a warm start at once; on made problems a cold
    one reached the same with 0.1, 0.2 and 0.5."""


class HaqAgent(DdpgAgent):
    """HAQ (Wang et al., 2019): a deep deterministic policy gradient gives each layer its bits.

    Args:
        problem: What to search; the bits of its layers are the steps.
        seed: Of the networks, the exploration and the batches.
        warm_start: Propose the optimum of additive sensitivity first, and put it in the replay
            first, where the problem has a sensitivity.
        settings: Every knob.

    Raises:
        SpaceError: If no layer of the space has a choice of bits.
        InfeasibleError: If nothing meets the budget; names the least.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        *,
        warm_start: bool = True,
        settings: HaqSettings | None = None,
    ) -> None:
        super().__init__(
            BitsEnv(problem), seed, warm_start=warm_start, settings=settings or HaqSettings()
        )
