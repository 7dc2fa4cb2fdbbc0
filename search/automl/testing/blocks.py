"""What alternatives of units have to hold to; see `automl.testing`."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from automl.compression import BlockForm, Built, block_form, build, gate_factors, leave_out
from automl.export import count_macs
from automl.network import BlockUnit, TracedModel, trace_network, units_of
from automl.testing.networks import SHAPE, drawn, made_images

Tensor = torch.Tensor


class BlockNetwork(nn.Module):
    """A stem, a residual branch of two convolutions, one more unit that halves maps, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(24, 4)
        self.one, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.down, self.out = (
            nn.Conv2d(16, 24, 3, stride=2, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        found = F.relu(self.stem(images))
        found = F.relu(found + self.two(F.relu(self.one(found))))
        found = F.relu(self.out(F.relu(self.down(found))))
        logits: Tensor = self.head(found.mean((2, 3)))
        return logits


class BlockContract:
    """Four promises of an alternative. Inherit it.

    Attributes:
        name: The alternative's.
    """

    name: ClassVar[str]

    @property
    def form(self) -> BlockForm:
        """The alternative."""
        return block_form(self.name)

    def traced(self) -> TracedModel:
        """A drawn network with units; override where the alternative needs another."""
        return trace_network(drawn(BlockNetwork, 0).eval(), SHAPE, resolutions=())

    def units(self, traced: TracedModel) -> list[BlockUnit]:
        """Those that can become this."""
        found = [unit for unit in units_of(traced.network) if self.form.takes(unit)]
        assert found, "the drawn network has no such unit: override `traced`"
        return found

    def begun(self, traced: TracedModel, unit: BlockUnit) -> Built:
        """With the weights that training begins with."""
        built = build(self.form, unit, torch.Generator().manual_seed(0))
        self.form.begin(unit, [traced.model.get_submodule(name) for name in unit.chain], built)
        return built

    def test_it_goes_by_the_name_that_it_is_found_by(self) -> None:
        """And a policy writes it so."""
        assert self.form.name == self.name

    def test_it_reads_and_writes_what_its_unit_does(self) -> None:
        """Maps of the same shape, and it ends in one convolution without a ReLU."""
        traced = self.traced()
        if self.form.opens_gates:
            self.check_without_gates(traced)
            return
        for unit in self.units(traced):
            built, (last,) = self.begun(traced, unit), self.form.stages(unit)[-1].plans
            assert not self.form.stages(unit)[-1].relu
            assert (last.outputs, last.layer.groups) == (unit.last.outputs, 1)
            entering = torch.randn(2, unit.first.layer.in_channels, *unit.first.layer.in_size)
            written = built(entering)
            wanted = (2, unit.last.layer.out_channels, *unit.last.layer.out_size)
            assert tuple(written.shape) == wanted

    def check_without_gates(self, traced: TracedModel) -> None:
        """Nothing runs in a gate's place, and the map keeps its shape and is scaled by readers."""
        images = made_images(4)
        for unit in self.units(traced):
            assert unit.gate is not None
            assert not self.form.stages(unit)
            factors = gate_factors(traced.model, [unit.gate], images)[unit.gate.name]
            whole = traced.model(images)
            undo = leave_out(traced.model, unit.gate, factors)
            left = count_macs(traced.model, SHAPE).macs
            assert traced.model(images).shape == whole.shape
            undo()
            assert torch.equal(traced.model(images), whole)
            gone = sum(plan.layer.macs for plan in unit.plans)
            assert count_macs(traced.model, SHAPE).macs - left >= gone > 0

    def test_it_is_built_as_it_is_priced(self) -> None:
        """Its weights and biases, and the sizes of its maps, whatever channels around it stay."""
        traced = self.traced()
        for unit in [] if self.form.opens_gates else self.units(traced):
            built = self.begun(traced, unit)
            enters, leaves = torch.arange(7), torch.arange(5)
            built.cut(enters, leaves)
            kept = dict.fromkeys(unit.first.inputs.groups, len(enters))
            plans = [plan for stage in self.form.stages(unit) for plan in stage.plans]
            for plan, module in zip(plans, built.convolutions, strict=True):
                last = plan is plans[-1]
                layer = plan.at(
                    traced.network.dense_channels
                    | (dict.fromkeys(unit.last.outputs.groups, len(leaves)) if last else kept),
                    0,
                )
                own: Any = module
                made = (own.in_channels, own.out_channels, own.groups)
                assert made == (layer.in_channels, layer.out_channels, layer.groups)

    def test_it_begins_the_same_each_time(self) -> None:
        """From its generator alone, and the unit's weights are left as they are."""
        traced = self.traced()
        before = {name: value.clone() for name, value in traced.model.state_dict().items()}
        images = made_images(4)
        for unit in [] if self.form.opens_gates else self.units(traced):
            one, other = (self.begun(traced, unit) for _ in range(2))
            entering = torch.randn(2, unit.first.layer.in_channels, *unit.first.layer.in_size)
            assert torch.equal(one(entering), other(entering))
        for name, value in traced.model.state_dict().items():
            assert torch.equal(value, before[name])
        assert traced.model(images).isfinite().all()
