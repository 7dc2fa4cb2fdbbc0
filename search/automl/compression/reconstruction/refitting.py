"""The walk of a finishing step: layers solved and rounded on what their network gives them.

How a layer is solved is the reconstruction's; `least_squares` says the rest.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.layer_matrix import input_rows, matrix, output_rows, places, set_matrix
from automl.compression.memory import CELLS, Gate
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.calibrating import CalibrationMode
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.rounding import corrected_bias
from automl.compression.quantization.simulation import QuantizedModel, Source, fake_quantize
from automl.compression.reconstruction.base import (
    Candidate,
    RefitSettings,
)
from automl.compression.reconstruction.changes import first_change, first_places
from automl.compression.reconstruction.solving import Gathered, LayerRows, Solver
from automl.compression.statistics import INPUT, WEIGHTED
from automl.errors import QuantizationError
from automl.heap import give_back
from automl.network import FLOAT_BITS, Address, Bypasses, LeafCall, addresses
from automl.policy import Bits

Tensor = torch.Tensor
#: Rows of which the moments are taken where the features hold none.
_ROWS = 20_000


#: A layer's weights, from its name, the module, its weights before (float64 [runs, columns + 1,
#: outputs of a run]) and its rows; None where they had better stay.
Solve = Callable[[str, nn.Module, Tensor, Solver], Tensor | None]


def refitted(
    candidate: Candidate, quantizer: Quantizer, settings: RefitSettings, solve: Solve
) -> nn.Module:
    """A candidate finished layer by layer, in place, rounded on the way where the plan has bits.

    Args:
        candidate: The network.
        quantizer: What rounds.
        settings: How much is done.
        solve: What a layer's weights become, before they are rounded.
    """
    refitter = Refitter(candidate, quantizer, settings, solve)
    refitter.calibrate()
    if not candidate.plan.bits:
        return candidate.model
    return QuantizedModel(candidate.model, candidate.plan, refitter.qparams, refitter.weights)


@dataclass(frozen=True, slots=True)
class _Shortcut:
    """The other operand of the addition that a layer ends in.

    Attributes:
        address: What wrote it.
        source: What its QParams are found by, where the addition rounds it as it reads.
    """

    address: Address
    source: Source | None


@dataclass(frozen=True, slots=True)
class _Reader:
    """A layer whose inputs are read.

    Attributes:
        gate: Where parts wait for it.
        name: Of the layer.
        module: With its weights.
        aimed: Whether it may aim at what the dense network writes.
    """

    gate: Gate
    name: str
    module: nn.Module
    aimed: bool = True


class _Reached(BaseException):  # a network may catch each Exception
    """The walk has come to where it was to stop."""


class Refitter(CalibrationMode):
    """Finishes a candidate in one walk over its calibration images.

    Args:
        candidate: The network.
        quantizer: What rounds.
        settings: How much is done.
        solve: What a layer's weights become, before they are rounded.
        done: Layers that stay as they are: an earlier walk has finished them.
        until: A module: the walk stops at the first layer with weights behind it.

    Attributes:
        weights: Per layer that was rounded, what its weights stand on.
        finished: Layers that are as they stay.
    """

    def __init__(
        self,
        candidate: Candidate,
        quantizer: Quantizer,
        settings: RefitSettings,
        solve: Solve,
        *,
        done: Collection[str] = (),
        until: str = "",
    ) -> None:
        features, plan = candidate.features, candidate.plan
        kept = candidate.kept_outputs
        parts = features.parts.first(settings.images)
        super().__init__(candidate.model, plan, parts, how=quantizer.ranges)
        self.weights: dict[str, QParams | Codebook] = {}
        self._inside = False  # whether the module to stop behind was entered
        self.finished, self._done, self._until = set(done), frozenset(done), until
        self._features, self._kept, self._settings = features, kept, settings
        self._quantizer, self._find, self._finishes = quantizer, solve, candidate.finishes
        self._merged = candidate.merged
        bypasses = Bypasses(candidate.trace)
        self._order = first_places(candidate.trace)
        self._first = first_change(candidate, self._order, bypasses)
        self._shortcuts = self._find_shortcuts(candidate, bypasses)
        waiting = Counter(shortcut.address for shortcut in self._shortcuts.values())
        self._waiting = [waiting.copy() for _ in parts.slices]
        self._captured: list[dict[Address, Tensor]] = [{} for _ in parts.slices]
        self._gathered: dict[Gate, Gathered] = {}
        #: By name: layers in whose places others run, and of all modules that do, which they are.
        self._stand_ins = candidate.stand_ins
        self._standing = {each.place: name for name, each in self._stand_ins.items()}
        self._ends = {each.end: name for name, each in self._stand_ins.items() if each.end}
        self._means: dict[str, Tensor] = {}
        self._within = {
            inner: name
            for inner in self._modules
            for place, name in self._standing.items()
            if inner == place or inner.startswith(f"{place}.")
        }

    def calibrate(self) -> None:
        """Walk the network over the inputs, as far as it is asked for."""
        with suppress(_Reached):
            super().calibrate()

    def expected(self, gate: Any) -> int:
        """As many parts as may wait there; within a layer's place, as at the layer."""
        what, (name, _) = gate
        layer = self._within.get(name)
        if layer is None:
            return super().expected(gate)
        return super().expected(("range" if what == "range" else "layer", (layer, 0)))

    def enter(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in self._standing:
            return
        if self._inside and self._until and not f"{name}.".startswith(f"{self._until}."):
            raise _Reached
        layer = self._standing[name]
        if name not in self._done:
            self._stand_in(layer, (*args, *kwargs.values())[0])
        elif layer in self._shortcuts:
            self._release(self._shortcuts[layer].address)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        name = step.module
        if step.op not in WEIGHTED:
            return
        if self._until in step.scope:
            self._inside = True
        elif self._inside:
            raise _Reached
        if name in self._done:
            layer = self._standing.get(name, name)
            if layer in self._shortcuts:
                self._release(self._shortcuts[layer].address)
            return
        if name in self._standing:
            self._stand_in(self._standing[name], args[0])
        bits, finish = self.plan.bits.get(name, Bits()), self._finishes.get(name)
        rounded, within = bits.weights < FLOAT_BITS, name in self._within
        reader = _Reader(("layer", step.address), name, module, aimed=not within)
        solver = self._read(reader, args[0], wanted=rounded or finish is not None)
        if solver is None:
            if not (rounded or finish or self._is_behind(name)):
                self.finished.add(name)
            return
        self.finished.add(name)
        if finish:
            finish(module, solver.moments)
        if rounded:
            self._round(name, module, solver.moments, bits)

    def _stand_in(self, name: str, values: Tensor) -> None:
        """Solve a layer, and make what runs in its place of it, on the layer's first input."""
        own = self._stand_ins[name]
        solver = self._read(_Reader(("form", (name, 0)), name, own.layer), values, wanted=True)
        if solver is None:
            return
        self.finished.add(own.place)
        own.finish(own.layer, solver.moments)
        self._means[name] = _mean_output(own.layer, solver.moments)
        self._modules[own.place].load_state_dict(own.build(own.layer).state_dict())

    def _read(self, reader: _Reader, values: Tensor, *, wanted: bool) -> Solver | None:
        """What a layer reads, from all parts that wait at it; it is solved where it aims at more.

        Args:
            reader: The layer.
            values: Its input, of the part that runs.
            wanted: Whether its moments are, even if it is not solved.

        Returns:
            None for a part that came late, and where nothing is asked of what the layer reads.
        """
        gate, name, module = reader.gate, reader.name, reader.module
        aimed = reader.aimed and name in self._features.targets
        if self.is_settled(gate):
            if aimed and self.part.number >= self.expected(gate) and name in self._shortcuts:
                self._release(self._shortcuts[name].address)  # a part that came late
            return None
        shortcut = self._shortcut(name, module) if aimed else None
        solved = shortcut is not None and self._settings.rounds > 0 and self._is_behind(name)
        if not (solved or wanted):
            return None
        images = self._parts.images_at(name) if aimed else None
        gathered = self._gathered.setdefault(gate, Gathered(images))
        rows = input_rows(module, values, self._places(reader, values))
        gathered.add(self.part.number, self.part.here, rows, 0.0 if shortcut is None else shortcut)
        del rows
        self.wait(gate)
        del self._gathered[gate]
        give_back(self._parts.full_bytes)  # parts of other sizes follow
        layer_rows = self._layer_rows(name, gathered, aimed=aimed)
        solver = Solver(layer_rows, thorough=self._settings.refine)
        if solved:
            self._solve(name, module, solver)
        return solver

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        super().after(step, func, args, kwargs, output)
        if self._waiting[self.part.number][step.address] > 0 and isinstance(output, Tensor):
            self._captured[self.part.number][step.address] = output

    def _is_behind(self, name: str) -> bool:
        """Whether a layer runs behind the first change, or is it."""
        own = self._stand_ins.get(name)
        return self._order.get(name if own is None else own.place, self._first) >= self._first

    def _find_shortcuts(self, candidate: Candidate, bypasses: Bypasses) -> dict[str, _Shortcut]:
        trace, removed = candidate.trace, candidate.removed
        written = addresses(trace)
        calls = {call.step.address: call for call in trace.calls}
        passed = {}  # what leaves a removed block is what entered it
        for past in filter(None, map(bypasses.of, removed)):
            passed[past.leaves] = past.enters
        result = {}
        inside = tuple(f"{name}." for name in removed)
        for name, aim in self._features.aims.items():
            value = None if name in candidate.adding else aim.shortcut
            if value is None or (inside and name.startswith(inside)):
                continue
            read = self.plan.inputs.get(aim.target)
            source = read[calls[aim.target].inputs.index(value)] if read else None
            while value in passed:
                value = passed[value]
            result[name] = _Shortcut(written.get(value, INPUT), source)
        return result

    def _shortcut(self, name: str, module: nn.Module) -> Tensor | float | None:
        """The compressed network's other operand of the addition; None if it did not run yet."""
        shortcut = self._shortcuts.get(name)
        if shortcut is None:
            return 0.0
        address, captured = shortcut.address, self._captured[self.part.number]
        if address == INPUT:
            value = self._parts.read(self.part.here)
        elif address in captured:
            value = captured[address]
        else:
            return None
        rows = output_rows(value, self._chosen(name, self.part.here), isinstance(module, nn.Linear))
        self._release(address)
        return (
            rows if shortcut.source is None else fake_quantize(rows, self.qparams[shortcut.source])
        )

    def _release(self, address: Address) -> None:
        """Let go of a captured value when the last layer that needs it has come."""
        waiting = self._waiting[self.part.number]
        waiting[address] -= 1
        if not waiting[address]:
            self._captured[self.part.number].pop(address, None)

    def _layer_rows(self, name: str, gathered: Gathered, *, aimed: bool) -> LayerRows:
        wide = gathered.rows()
        if not aimed:  # moments are all that is asked of it
            return LayerRows(wide, wide.new_zeros(wide.shape[1], 0), 0.0, 1, 1)
        images = self._parts.images_at(name)
        chosen = self._chosen(name, slice(0, images))
        per_image = self._features.chosen[name].shape[1]
        target: Tensor = self._features.targets[name].unflatten(0, (-1, per_image))
        target = target[:images, : chosen.shape[1]]
        if name in self._kept:
            target = target[:, :, self._kept[name]]
        rounds = self._settings.rounds if self._features.aims[name].rectified else 1
        return LayerRows(wide, target.flatten(0, 1), gathered.shortcut, images, rounds)

    def _chosen(self, name: str, here: slice) -> Tensor:
        chosen = self._settings.excerpt.places(self._features.chosen[name])
        if name in self._merged:  # it reads more than the layers whose place it takes
            most = CELLS // (matrix(self._modules[name]).shape[2] + 1)
            chosen = chosen[:, : max(1, most // self._parts.images_at(name))]
        return chosen[here]

    def _places(self, reader: _Reader, values: Tensor) -> Tensor:
        """The sampled places; of layers that the features do not know, some of each image.

        What a layer writes that others run for is compared where the layer's own inputs were read.
        """
        name = self._ends.get(reader.name, reader.name)
        if name in self._features.targets and (reader.aimed or reader.name in self._ends):
            return self._chosen(name, self.part.here)
        images = values.shape[0]
        total = places(reader.module, tuple(values.shape), images)
        count = max(1, min(_ROWS // (images * self.expected(reader.gate)), total))
        seed = zlib.crc32(reader.name.encode()) + self.part.number
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(images, total, generator=generator).topk(count, dim=1).indices

    def _solve(self, name: str, module: Any, solver: Solver) -> None:
        before = matrix(module)
        bias = module.bias.detach().view(before.shape[0], -1, 1)
        wide = torch.cat([before, bias], 2).transpose(1, 2).double()
        solved = self._find(name, module, wide, solver)
        if solved is None:
            return
        weights = solved.transpose(1, 2).to(before.dtype)
        set_matrix(module, weights[:, :, :-1])
        with torch.no_grad():
            module.bias.copy_(weights[:, :, -1].flatten())

    def _round(self, name: str, module: Any, moments: Tensor, bits: Bits) -> None:
        weights = matrix(module)
        for what, numbers in (("weights", weights), ("activations", moments)):
            if not torch.isfinite(numbers).all():
                raise QuantizationError(f"{name}: {what} that are not finite cannot be quantised")
        own = module.bias
        about = moments if own is not None else moments[:, :-1, :-1]
        rounded, self.weights[name] = self._quantizer.round(
            weights, about, bits, refine=self._settings.refine
        )
        set_matrix(module, rounded)
        if not self._quantizer.correct_bias or own is None:
            return
        if name in self._ends:  # what the parts before it lost is among it
            own.copy_(own + self._means[self._ends[name]] - _mean_output(module, moments))
        else:
            own.copy_(corrected_bias(weights, rounded, moments, own))


def _mean_output(module: Any, moments: Tensor) -> Tensor:
    """What a layer writes on average: [outputs of all runs]."""
    mean = (moments[:, :-1, -1:] / moments[:, -1:, -1:]).double()
    found: Tensor = (matrix(module).double() @ mean).flatten()
    return found if module.bias is None else found + module.bias.detach().double()
