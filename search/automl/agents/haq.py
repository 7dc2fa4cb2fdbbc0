"""HAQ: an actor-critic agent walks through the network and gives each layer its bit-widths.

Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019. An
episode is one policy: two steps a layer in network order, first the bits of its weights, then those
of its activations, an action in [0, 1] each, and the score at its end. When the walk has ended
and the policy is over the budget, bits are lowered by one option at a time, from the last layer to
the first, activations before weights, until the cost fits. What differs from the paper and its
public code:

- Bits are those that the target has, in equal shares of [0, 1], the ends within them: the code
  rounds half to even over [least - 0.5, most + 0.5], so an action of 0 means 0 bits where the
  least is 1. A layer with one choice of an operand has no step for it, so the code's two
  environments (weights alone for a size, both for a latency) are one here.
- Latency, energy and size are limited alike, several at once if wanted, by the problem's own
  prices; the code has one table for one network, and its energy raises NotImplementedError. A sweep
  does not lower bits whose price alone would not fall (activations, where only the size is over):
  the code lowers all. Where conversions between layers make that a dead end, the layers take the
  bits of a policy that is known to fit.
- The first and the last layer are choices like others: the code sets them to 8 bits, but only in
  policies that were over the budget, and reads its table at the wrong column for the first.
- What room is left after that is filled at random, one option at a time, as in our AMC: lowering
  sweeps overshoot, and a policy under the budget is a weak proposal.
- The replay holds the actions of the policy that was scored, the code those before bits were
  lowered, for which the reward says nothing; it has no dummy row after an episode.
- The state has the layer's place, its geometry (type, channels, map, stride, kernel), what its
  fewest bits save in bytes (for the number of weights; whether it is depthwise shows in that) and
  in each limited quantity (not in the paper), the last action as realised, and whether weights
  or activations are chosen, each column in [0, 1]; the code leaves the last bits unscaled in one
  environment.
- The score is the problem's, on data that training did not see; the code rewards the best
  *training* accuracy of a fine-tuning epoch. Nothing is fine-tuned here.
- Channels, blocks and resolution are held dense, or, where the budget cannot be met so, as in the
  policy of least additive sensitivity within it.
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
    """Length of the replay, in episodes of two steps a layer: 128 transitions a layer."""
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
