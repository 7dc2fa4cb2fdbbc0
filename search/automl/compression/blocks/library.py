"""The block library of a network: alternatives trained once to write what its units do."""

from __future__ import annotations

import hashlib
import math
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn.utils import parametrize

from automl.compression.blocks.building import Built, build, put
from automl.compression.blocks.gates import gate_factors, take_up
from automl.compression.blocks.registry import block_form
from automl.compression.kinds.applying import FurtherPart
from automl.compression.memory import Images
from automl.compression.quantization.simulation import is_rounded
from automl.errors import SpaceError, UnknownNameError, nearest
from automl.files import replacing
from automl.network import BlockUnit, ForwardTracer, Gate, LeafCall, TracedModel, units_of
from automl.policy import Policy
from automl.space import Space, alternatives_of

Tensor = torch.Tensor
#: Steps that an alternative is trained for, and inputs a step.
STEPS: Final = 300
BATCH: Final = 32
#: Of Adam; falls to zero along a cosine.
RATE: Final = 3e-3
#: Of the files; a change of how alternatives are trained is a new one.
_VERSION: Final = 1
#: A unit, and the name of what is to run in its place.
Wanted = tuple[BlockUnit, str]


class Library:
    """Alternatives of one network's units, each trained when it is first asked for.

    An alternative is trained alone, on what the dense network's unit reads, towards what it writes
    (mean squared error), with Adam. Its weights hang on the network, the inputs, the seed, the
    unit and the form alone: whoever asks for it, in whatever order, gets the same.

    Source: LANA (Molchanov et al. 2022) and Puzzle (Bercovich et al. 2024): each alternative
    distilled locally, once. Differs: the finishing step solves the last convolution again in each
    candidate, on what it reads there.

    Args:
        traced: The network.
        images: Calibration inputs.
        seed: Of the order of these, and of the weights to begin with.
    """

    def __init__(self, traced: TracedModel, images: Images, seed: int) -> None:
        self._traced, self._images, self._seed = traced, images, seed
        self._folder: Path | None = None
        self.units: Mapping[str, BlockUnit] = {unit.name: unit for unit in units_of(traced.network)}
        self._made: dict[tuple[str, str], Built] = {}
        self._identity = ""
        self._factors: dict[str, Tensor] = {}

    def keep(self, folder: Path) -> None:
        """Keep trained weights there, so that a search which goes on does not train again."""
        self._folder = folder

    def solve(
        self,
        wanted: Sequence[Wanted],
        on_step: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Train what was not trained yet, all in the same walks over the inputs.

        Args:
            wanted: What is asked for.
            on_step: Told (steps done, steps in all).
        """
        left = [each for each in wanted if (each[0].name, each[1]) not in self._made]
        left = [each for each in left if not self._read(*each)]
        if not left:
            return
        pupils = [_Pupil(self._begun(*each), *each) for each in left]
        reading = _Reading(self._traced.model, [unit for unit, _ in left])
        generator = torch.Generator().manual_seed(self._seed)
        order: list[int] = []
        for step in range(STEPS):
            while len(order) < BATCH:
                order += torch.randperm(len(self._images), generator=generator).tolist()
            batch, order = torch.tensor(order[:BATCH]), order[BATCH:]
            reading.pass_by(self._images[batch])
            share = 0.5 * (1 + math.cos(math.pi * step / STEPS))
            for pupil in pupils:
                pupil.learn(reading, RATE * share)
            on_step(step + 1, STEPS)
        for (unit, form), pupil in zip(left, pupils, strict=True):
            self._made[unit.name, form] = pupil.taught()
            self._write(unit, form)

    def train(
        self, space: Space, on_step: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Train all that a space leaves open; `on_step` as for `solve`."""
        some = [space.variables[place] for place in space.of_kind("alternative")]
        wanted = [
            (self.units[each.name], str(form))
            for each in some
            for form in each.options[:-1]
            if not block_form(str(form)).opens_gates
        ]
        self.solve(wanted, on_step)

    def made(self, unit: BlockUnit, form: str) -> Built:
        """A trained alternative with modules of its own."""
        self.solve([(unit, form)])
        return self._made[unit.name, form].copied()

    def put(
        self, model: nn.Module, chosen: Mapping[str, str], kept: Mapping[tuple[str, str], Tensor]
    ) -> None:
        """Run alternatives in their units' places, in place.

        Args:
            model: A candidate, its channels cut.
            chosen: Names of forms, by unit.
            kept: Positions that stay along sides that lose some.
        """
        wanted = [(self.units[name], form) for name, form in chosen.items()]
        self.solve(wanted)
        for unit, form in wanted:
            put(model, unit, self.made(unit, form), kept)

    def leave_out(
        self, model: nn.Module, gates: Sequence[Gate], kept: Mapping[tuple[str, str], Tensor]
    ) -> None:
        """Have the readers of gates that a candidate lacks take up what these multiplied with.

        Args:
            model: The candidate, its channels cut.
            gates: What was left out.
            kept: Positions that stay along sides that lose some.
        """
        for gate in gates:
            take_up(model, gate, self.factors_of(gate), kept)

    def factors_of(self, gate: Gate) -> Tensor:
        """What a gate multiplies its channels with; all gates' are found in one walk."""
        if not self._factors:
            every = self._traced.network.gates
            self._factors = gate_factors(self._traced.model, every, self._images)
        return self._factors[gate.name]

    def _begun(self, unit: BlockUnit, form: str) -> Built:
        seed = zlib.crc32(f"{self._seed} {unit.name} {form}".encode())
        method = block_form(form)
        built = build(method, unit, torch.Generator().manual_seed(seed))
        layers = [self._traced.model.get_submodule(name) for name in unit.chain]
        method.begin(unit, layers, built)
        return built

    def _path(self, unit: BlockUnit, form: str) -> Path | None:
        if self._folder is None:
            return None
        if not self._identity:
            self._identity = self._found_identity()
        return self._folder / f"{unit.name}-{form}-{self._identity}.pt"

    def _found_identity(self) -> str:
        digest = hashlib.sha256(repr((_VERSION, STEPS, BATCH, RATE, self._seed)).encode())
        values = [*self._traced.model.state_dict().values()]
        values += [self._images[place : place + 1] for place in range(len(self._images))]
        for value in values:
            digest.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _read(self, unit: BlockUnit, form: str) -> bool:
        """Take what is kept of an alternative; False where that is nothing, or no such file."""
        path = self._path(unit, form)
        if path is None or not path.is_file():
            return False
        built = build(block_form(form), unit)
        try:
            found = torch.load(path, weights_only=True, map_location="cpu")
            built.body.load_state_dict(found["body"])
            built.last.load_state_dict(found["last"])
        except (
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            pickle.UnpicklingError,
        ):  # cut short, or of another program: it is made anew
            return False
        self._made[unit.name, form] = built
        return True

    def _write(self, unit: BlockUnit, form: str) -> None:
        path = self._path(unit, form)
        if path is None:
            return
        built = self._made[unit.name, form]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            torch.save(
                {"body": built.body.state_dict(), "last": built.last.state_dict()}, temporary
            )


class _Pupil:
    """An alternative that is trained.

    Args:
        built: Changed in place.
        unit: Whose place it takes.
        form: What it is.
    """

    def __init__(self, built: Built, unit: BlockUnit, form: str) -> None:
        self._built, self._unit = built, unit
        block_form(form).hold(built)
        values = [*built.body.parameters(), *built.last.parameters()]
        self._optimiser = torch.optim.Adam([each.requires_grad_(True) for each in values], RATE)
        self._scale = 0.0

    def learn(self, reading: _Reading, rate: float) -> None:
        """One step on what was read last."""
        entering, aim = reading.entering[self._unit.name], reading.leaving[self._unit.name]
        self._scale = self._scale or max(float(aim.var()), 1e-12)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        loss = (self._built(entering) - aim).square().mean() / self._scale
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def taught(self) -> Built:
        """As it is now, without gradients; weights that were held are numbers by themselves."""
        for module in self._built.convolutions:
            if parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(module, "weight")
        for module in (self._built.body, self._built.last):
            module.requires_grad_(False)
            for value in module.parameters():
                value.grad = None
        return self._built


class _Reading(ForwardTracer):
    """Keeps what units of the dense network read and write.

    Args:
        model: The network.
        units: Which.
    """

    def __init__(self, model: nn.Module, units: Sequence[BlockUnit]) -> None:
        super().__init__(model)
        self._firsts = {unit.chain[0]: unit.name for unit in units}
        self._lasts = {unit.chain[-1]: unit.name for unit in units}
        self.entering: dict[str, Tensor] = {}
        self.leaving: dict[str, Tensor] = {}

    def pass_by(self, images: Tensor) -> None:
        """One pass; what was kept of the one before is let go of."""
        self.entering.clear()
        self.leaving.clear()
        with self.attached():
            self._model(images)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        if step.module in self._firsts:
            self.entering[self._firsts[step.module]] = args[0].clone()

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.module in self._lasts:
            self.leaving[self._lasts[step.module]] = output.clone()


def chosen_alternatives(
    traced: TracedModel, policy: Policy, parts: Sequence[FurtherPart] = ()
) -> dict[str, str]:
    """Names of forms by the unit in whose place they run; none of blocks that are left out.

    Args:
        traced: The network.
        policy: The choices.
        parts: What it changes else.

    Raises:
        SpaceError: A unit that is none or cannot become what is chosen, or one of whose layers
            something else is chosen too; names them.
    """
    units, found = {unit.name: unit for unit in units_of(traced.network)}, dict[str, str]()
    others = {part.name: part.kind.name for part in parts}
    others |= {name: "bits" for name, bits in policy.bits.items() if is_rounded(bits)}
    for name, form in alternatives_of(policy).items():
        if name not in units:
            known = nearest(name, units)
            raise SpaceError(
                f"alternative of {name!r}: no convolutions in a row begin there{known}"
            )
        unit = units[name]
        if unit.block in policy.removed and unit.block:
            continue
        try:
            can = block_form(form).takes(unit)
        except UnknownNameError as error:
            raise SpaceError(f"alternative of {name!r}: {error}") from None
        if not can:
            raise SpaceError(f"alternative of {name!r} cannot be {form}")
        for layer in unit.chain:
            if layer in others:
                raise SpaceError(
                    f"alternative of {name!r} and {others[layer]} of {layer!r} cannot both be"
                    " chosen"
                )
        found[name] = form
    return found
