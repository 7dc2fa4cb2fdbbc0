"""What every reconstruction has to hold to; see `automl.testing`."""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar, Final

import torch
from torch import nn

from automl.compression import (
    RECONSTRUCTIONS,
    Candidate,
    CompressionConfig,
    Compressor,
    Dense,
    QuantizedModel,
    Read,
    Reconstruction,
    RefitSettings,
)
from automl.policy import Bits, Policy
from automl.testing.networks import loss, made_compressor

#: Bits that rounding to alone is lossy enough for something to be left to win back.
_BITS: dict[str, Bits] = dict.fromkeys(("inner", "outer", "last"), Bits(3, 8))

#: What a network loses moves by a tenth with the order in which sums are taken, by which way a few
#: weights are rounded: of so many networks the mean moves by a hundredth.
_NETWORKS: Final = 24


class ReconstructionContract:
    """Five promises. Inherit it, and override what differs.

    Attributes:
        name: The reconstruction's, as it is asked for, with options where it needs some.
        left: Share of the loss without it that may be left. What the elimination has compensated
            already is lost in neither case, so methods that find no more than that take more
            than 1: ranges of activations are found on other inputs.
    """

    name: ClassVar[str]
    left: ClassVar[float] = 1.0

    def make(self) -> Reconstruction:
        """The reconstruction."""
        return RECONSTRUCTIONS.build(self.name)

    def compressor(self, seed: int = 0) -> Compressor:
        """A compressor of a drawn network that finishes with it."""
        config = CompressionConfig(reconstruction=self.name)
        return made_compressor(config, seed, scheme="qdq-u8s8")

    def policies(self, made: Compressor) -> tuple[Policy, ...]:
        """Channels alone, bits alone, both, and a layer of another form with bits."""
        half = {group.name: group.channels // 2 for group in made.traced.network.groups}
        form = {"form": {"inner": "taps:1x3"}}
        both = Policy(half, bits=_BITS)
        return Policy(half), Policy(bits=_BITS), both, Policy(bits=_BITS, further=form)

    def test_a_candidate_that_is_right_is_left_as_it_is(self) -> None:
        """The dense network, copied."""
        made = self.compressor()
        copied = made.database.candidate(Policy())
        model, whole = made.traced.model, Policy()
        dense = Dense(
            model,
            lambda name: Read(made.joint.moments_of(name), made.joint.columns_read(name, whole)[1]),
        )
        plan = made.joint.dense_plan({})
        candidate = Candidate(copied, made.traced.trace, made.features(0), {}, plan, dense=dense)
        finished = self.make().finish(candidate, made.quantizer)
        assert not isinstance(finished, QuantizedModel)
        assert loss(made, finished) < 1e-6

    def test_less_is_lost_than_without_it(self) -> None:
        """On inputs that it has not seen, in the mean over `_NETWORKS` networks."""
        finished, unfinished = defaultdict[int, float](float), defaultdict[int, float](float)
        for seed in range(_NETWORKS):
            made = self.compressor(seed)
            for number, policy in enumerate(self.policies(made)):
                finished[number] += loss(made, made.make(policy))
                unfinished[number] += loss(made, made.make(policy, finish=False))
        for number, lost in finished.items():
            assert lost < self.left * unfinished[number]

    def test_the_same_candidate_gives_the_same_weights(self) -> None:
        """By one compressor twice, others in between, and by another."""
        made, other = self.compressor(seed=1), self.compressor(seed=1)
        for policy in self.policies(made):
            first = _weights(made.make(policy))
            assert _same(_weights(made.make(policy)), first)
            assert _same(_weights(other.make(policy)), first)

    def test_the_dense_network_stays_as_it_is(self) -> None:
        """Weights and features."""
        made = self.compressor(seed=2)
        before = {name: value.clone() for name, value in made.traced.model.state_dict().items()}
        moments = {name: each.total.clone() for name, each in made.features(0).moments.items()}
        targets = {name: each.clone() for name, each in made.features(0).targets.items()}
        for policy in self.policies(made):
            made.make(policy)
        assert _same(before, dict(made.traced.model.state_dict()))
        assert _same(targets, made.features(0).targets)
        assert _same(moments, {name: each.total for name, each in made.features(0).moments.items()})

    def test_little_can_be_asked_for(self) -> None:
        """Few images and rows, one round or none: finite weights, rounded where bits say so."""
        made = self.compressor(seed=3)
        for rounds in (0, 1):
            settings = RefitSettings(images=8, rows=64, rounds=rounds, refine=False)
            for policy in self.policies(made):
                model = made.make(policy, settings=settings)
                assert isinstance(model, QuantizedModel) == bool(policy.bits)
                assert all(torch.isfinite(value).all() for value in _weights(model).values())


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    network = model.network if isinstance(model, QuantizedModel) else model
    return {name: value.clone() for name, value in network.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )
