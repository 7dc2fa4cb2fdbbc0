"""What further kinds of choices have to hold to, and one that is made up; see `automl.testing`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
import torch

from automl.compression import (
    CompressionConfig,
    Compressor,
    compression_kind,
    measure_sensitivity,
)
from automl.cost import (
    LATENCY,
    Budget,
    CostModel,
    build_cost_model,
    join,
    layer_operators,
    lookup_of,
)
from automl.methods import Method
from automl.network import Network
from automl.policy import FP32, Policy
from automl.space import (
    ChoiceKind,
    Sensitivity,
    Space,
    SpaceSettings,
    Variable,
    kind_of,
    open_space,
)
from automl.study import Problem
from automl.testing.networks import loss, made_compressor
from automl.units import QUANTITIES


class MadeUpKind(ChoiceKind[str]):
    """A kind of choice that no agent has heard of."""

    name = "made-up"

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """None: no network has such parts."""
        return ()

    def format(self, option: str) -> str:
        """The option."""
        return option

    def parse(self, text: str) -> str:
        """The option."""
        return text


#: For `KINDS.including`: the kind is known while a test lasts.
MADE_UP: Final = Method(
    MadeUpKind.name, "Tempting.", "no paper", f"{MadeUpKind.__module__}:{MadeUpKind.__name__}"
)


def with_made_up_kind(problem: Problem) -> Problem:
    """A problem with one choice more, of a kind that is made up.

    The choice saves a fifth of the dense network's cost and changes the outputs by next to nothing.
    Who holds it dense has the problem as it was.
    """
    costs, known = problem.costs, problem.sensitivity
    factors, whole = costs.factors()
    assert whole
    assert not costs.auxiliary
    assert known is not None
    variable = Variable(MadeUpKind.name, "part", ("least", "less", "dense"))
    space = Space((*problem.space.variables, variable), problem.space.nested)
    saved = 0.2 * np.nan_to_num(costs.dense.values())
    lookups = [lookup_of(factor.scope, factor.table) for factor in factors]
    lookups.append(
        lookup_of((len(problem.space.sizes),), np.linspace(0.0, 1.0, 3)[:, None] * saved)
    )
    limits = tuple(
        replace(limit, value=limit.value + float(saved[QUANTITIES.index(limit.quantity)]))
        for limit in problem.budget.limits
    )
    return Problem(
        space,
        CostModel(space, join(lookups, space.sizes), float(costs.constant[LATENCY]), costs.energy),
        Budget(limits),
        replace(known, single=(*known.single, np.array([2e-6, 1e-6, 0.0]))),
        (*problem.geometry, *problem.geometry[-1:]),
    )


class KindContract:
    """Six promises of a kind that changes layers, one by one. Inherit it.

    Attributes:
        name: The kind's.
    """

    name: ClassVar[str]

    def compressor(self) -> Compressor:
        """A compressor of a drawn network that has such choices; override where it has none."""
        return made_compressor(CompressionConfig())

    def space(self, made: Compressor) -> Space:
        """What is open in the network."""
        return open_space(made.traced.network, SpaceSettings(kinds=(self.name,)))

    def sensitivity(self, made: Compressor, space: Space) -> Sensitivity:
        """Of each choice, on the compressor's own images."""
        return measure_sensitivity(
            made.database,
            space,
            made.images[:],
            rounded=made.joint,
            merging=made.merging,
            library=made.library,
        )

    def alone(self, space: Space) -> Iterator[tuple[int, int, Policy]]:
        """Each option but the dense one, chosen alone: its variable, its place, the policy."""
        found = space.of_kind(self.name)
        assert found, "the drawn network has no such choice: override `compressor`"
        for position in found:
            for option in range(space.sizes[position] - 1):
                vector = space.dense.copy()
                vector[position] = option
                yield position, option, space.decode(vector)

    def test_it_goes_by_the_name_that_it_is_found_by(self) -> None:
        """And it can be measured and applied."""
        assert compression_kind(kind_of(self.name)).name == self.name

    def test_every_option_is_read_as_it_is_written(self) -> None:
        """The last is the dense one, which leaves its layer as it is."""
        kind, made = compression_kind(kind_of(self.name)), self.compressor()
        space = self.space(made)
        layers = {layer.name: layer for layer in made.traced.network.layers}
        for variable in (space.variables[index] for index in space.of_kind(self.name)):
            texts = [kind.format(option) for option in variable.options]
            assert len(set(texts)) == len(texts)
            assert [kind.parse(text) for text in texts] == [*variable.options]
            assert not kind.changes(variable.options[-1])
            layer = layers[variable.name]
            assert kind.lower(variable.options[-1], layer) == (layer,)

    def test_a_policy_keeps_what_was_chosen(self) -> None:
        """From the vector and back, beside all other choices."""
        space = self.space(self.compressor())
        vectors = space.random(32, np.random.default_rng(0))
        for vector in vectors:
            policy = space.decode(vector)
            assert np.array_equal(space.encode(policy), vector)
            assert hash(space.decode(vector)) == hash(policy)

    def test_it_costs_what_is_made(self) -> None:
        """The bytes of its model's weights, the MACs of its operators."""
        made = self.compressor()
        space = self.space(made)
        costs = build_cost_model(made.traced.network, space, None)
        for _, _, policy in self.alone(space):
            model = made.make(policy)
            found = costs.cost(policy)
            assert found.bytes == 4 * sum(each.numel() for each in model.parameters())
            runs = layer_operators(made.traced.network, policy, FP32)
            assert found.macs == sum(key.macs for _, key in runs)

    def test_its_model_computes_what_was_measured(self) -> None:
        """Before the finishing step: its sensitivity is the change of the outputs that it makes."""
        made = self.compressor()
        space = self.space(made)
        found = self.sensitivity(made, space)
        for position, option, policy in self.alone(space):
            changed = loss(made, made.make(policy, finish=False), made.images[:])
            assert np.isclose(found.single[position][option], changed, rtol=1e-3, atol=1e-9)
            assert found.single[position][-1] == 0.0

    def test_the_dense_network_stays_as_it_is(self) -> None:
        """Measured and made from; the same policy gives the same model each time."""
        made = self.compressor()
        space = self.space(made)
        before = {name: each.clone() for name, each in made.traced.model.state_dict().items()}
        self.sensitivity(made, space)
        _, _, policy = next(self.alone(space))
        with torch.no_grad():
            first, second = (made.make(policy)(made.images[:]) for _ in range(2))
        assert torch.equal(first, second)
        for name, each in made.traced.model.state_dict().items():
            assert torch.equal(each, before[name])
