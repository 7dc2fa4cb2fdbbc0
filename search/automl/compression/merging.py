"""Layers made into one by least squares, and put into candidates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from automl.compression.database import unknown_moments
from automl.compression.kinds.applying import FurtherPart
from automl.compression.layer_matrix import input_rows, matrix, output_rows, set_matrix
from automl.compression.memory import CELLS
from automl.compression.moments import Moments
from automl.compression.reconstruction.solving import Gathered, LayerRows, Solver
from automl.compression.statistics import INPUT, Aim, Excerpt, Features
from automl.errors import SpaceError, nearest
from automl.network import (
    Address,
    Chain,
    ForwardTracer,
    LeafCall,
    Network,
    TracedModel,
    addresses,
    chains,
    composed,
    merge_layers,
    slice_side,
    with_identity,
)
from automl.policy import Bits, Policy, holds_identity
from automl.space import merges_of

Tensor = torch.Tensor
#: Weakest pull towards the product of the weights, relative to the mean second moment of the
#: inputs: as in `LeastSquares`.
_RIDGE: Final = 3e-3
#: Rows for each column that the one layer is solved on, where there are so many.
_ROWS_A_COLUMN: Final = 20


def merged_chains(
    traced: TracedModel, policy: Policy, parts: Sequence[FurtherPart] = ()
) -> tuple[Chain, ...]:
    """Layers that a policy makes one, in network order; none of blocks that are left out.

    Args:
        traced: The network.
        policy: The choices.
        parts: What it changes else.

    Raises:
        SpaceError: Layers that cannot become one, or of which something else is chosen too; names
            them.
    """
    network = traced.network
    known, chosen = {merge.name: merge for merge in network.merges}, merges_of(policy)
    for name in sorted(chosen - known.keys()):
        raise SpaceError(f"merge of {name!r}: {_refusal(traced, name)}")
    removed = (block for block in network.blocks if block.name in policy.removed)
    made = chosen.difference(*(block.merges for block in removed))
    others = {part.name: part.kind.name for part in parts}
    for name in sorted(made):
        for layer in known[name].chain:
            if layer in others:
                raise SpaceError(
                    f"merge of {name!r} and {others[layer]} of {layer!r} cannot both be chosen"
                )
    return chains(network.merges, made)


def adding_chains(network: Network, policy: Policy, made: Sequence[Chain]) -> frozenset[Chain]:
    """Of chains that a policy makes one layer, or replaces: those whose one layer adds itself."""
    chosen = merges_of(policy)
    some = (each for each in network.merges if each.name in chosen and each.addition)
    return frozenset(
        each.chain
        for each in some
        if each.chain in made and holds_identity(policy.bits.get(each.last, Bits()))
    )


def _refusal(traced: TracedModel, name: str) -> str:
    names = [merge.name for merge in traced.network.merges]
    if name not in dict(traced.model.named_modules()):
        return f"no such part{nearest(name, names)}"
    known = ", ".join(map(repr, names[:4])) + ", ..." * (len(names) > 4)
    return (
        "no layer of its kind alone reads what it writes, with an activation between them at most,"
        f" so that they could become one; of this network {known or 'no layer'} can"
    )


class Merging:
    """Makes layers of one network into one.

    What an activation did that is dropped is compensated for as far as a linear map can: the one
    layer is solved by least squares on what the dense network's first layer reads, towards what
    its last layer writes (or the addition that this ends in). It starts from the weights' product.

    Args:
        traced: The network.
        features: Gives what its dense layers aim at.
    """

    def __init__(self, traced: TracedModel, features: Callable[[], Features]) -> None:
        self._traced, self._features = traced, features
        self.network = traced.network
        self._solved: dict[Chain, nn.Module] = {}
        self._moments: dict[Chain, Moments] = {}

    def solve(self, wanted: Sequence[Chain], *, moments: bool = False) -> None:
        """Solve chains that are not solved yet, several in one walk over the images.

        Args:
            wanted: The chains.
            moments: Whether `moments_of` will be asked for.
        """
        held = self._moments if moments else self._solved
        left = [each for each in wanted if each not in held]
        if not left:
            return  # the features of the dense network may not be held any more
        features = self._features()
        while left:
            some, cells = list[_Wanted](), 0
            while left and (not some or cells + self._wanted(left[0], features).cells <= CELLS):
                some.append(self._wanted(left.pop(0), features))
                cells += some[-1].cells
            self._read(some, features)
            for each in some:
                self._solved[each.chain], found = each.solved()
                if moments:
                    self._moments[each.chain] = Moments(found().float(), 1)

    def solved(self, chain: Chain, *, adds: bool = False) -> nn.Module:
        """What the dense network's chain becomes: a layer of its own.

        Args:
            chain: Of the dense network.
            adds: Whether it adds what it reads itself, where the network did that.
        """
        self.solve([chain])
        layer = copy.deepcopy(self._solved[chain])
        return with_identity(layer) if adds else layer

    def moments_of(self, chain: Chain) -> Tensor:
        """Mean second moments of what one layer reads in the dense network; not held any longer.

        Returns:
            [runs, columns + 1, columns + 1], with a column of ones for the bias.
        """
        self.solve([chain], moments=True)
        return self._moments.pop(chain).total.double()

    def put(
        self,
        model: nn.Module,
        made: Sequence[Chain],
        kept: Mapping[Any, Tensor],
        adding: Collection[Chain] = (),
    ) -> None:
        """Run one layer in each chain's place, in place.

        Args:
            model: A candidate, its channels cut.
            made: The chains.
            kept: Positions that stay along sides that lose some.
            adding: Chains whose one layer adds what it reads itself.
        """
        self.solve(made)
        for chain in made:
            merged: Any = self.solved(chain, adds=chain in adding)
            ends = ((chain[0], "in"), (chain[-1], "out"))
            through = [kept.get((name, "through")) for name, _ in ends]
            if getattr(merged, "groups", 1) > 1 and through[0] is not None:
                slice_side(merged, "through", through[0])
            else:
                for (name, side), positions in zip(ends, through, strict=True):
                    stays = kept.get((name, side))
                    if positions is not None:
                        stays = self._written(name, positions) if side == "out" else positions
                    if stays is not None:
                        slice_side(merged, side, stays)
            merge_layers(model, chain, merged, adds=chain in adding)

    def _written(self, name: str, read: Tensor) -> Tensor:
        """The outputs of a depthwise layer's channels."""
        layer: Any = self._traced.model.get_submodule(name)
        times = layer.out_channels // layer.groups
        written: Tensor = (read.unsqueeze(1) * times + torch.arange(times)).flatten()
        return written

    def _wanted(self, chain: Chain, features: Features) -> _Wanted:
        model = self._traced.model
        layer: Any = composed([model.get_submodule(name) for name in chain])
        aim, chosen = features.aims.get(chain[-1]), features.chosen.get(chain[-1])
        if aim is None or chosen is None or chain[-1] not in features.targets:
            return _Wanted(chain, layer)
        extent = matrix(layer).shape[2] + 1
        most = min(_ROWS_A_COLUMN * extent, CELLS // (extent * getattr(layer, "groups", 1)))
        excerpt = Excerpt(chosen.shape[0], most)
        per_image = chosen.shape[1]
        places = excerpt.places(chosen)
        target = features.targets[chain[-1]].unflatten(0, (-1, per_image))
        target = target[: places.shape[0], : places.shape[1]].flatten(0, 1)
        shortcut = None
        if aim.shortcut is not None:
            shortcut = addresses(self._traced.trace).get(aim.shortcut, INPUT)
        gathered = Gathered(places.shape[0])
        return _Wanted(chain, layer, _Aimed(aim, places, target, shortcut, gathered))

    def _read(self, wanted: Sequence[_Wanted], features: Features) -> None:
        """Gather what the one layers would read in the dense network."""
        aimed = [each for each in wanted if each.aimed is not None]
        if not aimed:
            return
        reading = _Reading(
            self._traced.model,
            {each.chain[0] for each in aimed},
            {each.aimed.shortcut for each in aimed if each.aimed and each.aimed.shortcut},
        )
        most = max(each.aimed.places.shape[0] for each in aimed if each.aimed)
        for number, here in enumerate(features.parts.first(most).slices):
            images = features.parts.read(here)
            reading.pass_by(images)
            for each in aimed:
                each.gather(number, here, reading, images)


@dataclass(frozen=True, slots=True)
class _Aimed:
    """What one layer of a chain is solved towards.

    Attributes:
        aim: Of the chain's last layer.
        places: Where its inputs are read: [images, places].
        target: [images x places, outputs].
        shortcut: Where the other operand of the addition that it ends in was written.
        gathered: What it reads.
    """

    aim: Aim
    places: Tensor
    target: Tensor
    shortcut: Address | None
    gathered: Gathered


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A chain that is to be one layer.

    Attributes:
        chain: Its layers.
        layer: The one, with the product of their weights.
        aimed: None where nothing is known of what it is to write: it stays the product.
    """

    chain: Chain
    layer: nn.Module
    aimed: _Aimed | None = None

    @property
    def cells(self) -> int:
        """Numbers that are gathered for it."""
        if self.aimed is None:
            return 0
        runs, _, extent = matrix(self.layer).shape
        return self.aimed.places.numel() * runs * (extent + 1)

    def gather(self, number: int, here: slice, reading: _Reading, images: Tensor) -> None:
        """Take what it reads of some images."""
        assert self.aimed is not None
        some = slice(here.start, min(here.stop, self.aimed.places.shape[0]))
        if some.stop <= some.start:
            return
        places, linear = self.aimed.places[some], isinstance(self.layer, nn.Linear)
        share = self.aimed.aim.parts * (some.stop - some.start)
        rows = input_rows(self.layer, reading.inputs[self.chain[0]][:share], places)
        shortcut: Tensor | float = 0.0
        if self.aimed.shortcut is not None:
            found = images if self.aimed.shortcut == INPUT else reading.outputs[self.aimed.shortcut]
            shortcut = output_rows(found[:share], places, linear)
        self.aimed.gathered.add(number, some, rows, shortcut)

    def solved(self) -> tuple[nn.Module, Callable[[], Tensor]]:
        """The one layer, of least error where that is less than the product's on rows held out.

        Beside it, what gives the mean second moments of what it reads.
        """
        if self.aimed is None:
            return self.layer, lambda: unknown_moments(matrix(self.layer)).total
        layer, gathered = self.layer, self.aimed.gathered
        bias: Tensor = layer.get_parameter("bias")
        rows = LayerRows(
            gathered.rows(),
            self.aimed.target,
            gathered.shortcut,
            self.aimed.places.shape[0],
            3 if self.aimed.aim.rectified else 1,
        )
        before = matrix(layer)
        wide = torch.cat([before, bias.view(before.shape[0], -1, 1)], 2).mT.double()
        solver = Solver(rows)
        found = solver.solve(wide, _RIDGE)
        if found is not None:
            weights = found.mT.to(before.dtype)
            set_matrix(layer, weights[:, :, :-1])
            with torch.no_grad():
                bias.copy_(weights[:, :, -1].flatten())
        return layer, lambda: solver.moments


class _Reading(ForwardTracer):
    """Keeps what some layers of a network read and what some operations write.

    Args:
        model: The network.
        layers: Whose inputs are kept.
        written: Operations whose outputs are.
    """

    def __init__(self, model: nn.Module, layers: set[str], written: set[Address]) -> None:
        super().__init__(model)
        self._layers, self._written = layers, written
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[Address, Tensor] = {}

    def pass_by(self, images: Tensor) -> None:
        """One pass; what was kept of the one before is let go of."""
        self.inputs.clear()
        self.outputs.clear()
        with self.attached():
            self._model(images)

    def before(self, step: LeafCall, module: nn.Module, args: tuple[Any, ...]) -> None:
        if step.module in self._layers:
            self.inputs[step.module] = args[0]

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if step.address in self._written:
            self.outputs[step.address] = output
