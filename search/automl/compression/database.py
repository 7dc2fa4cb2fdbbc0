"""The compression database: for every group and count, which channels stay and what reads them.

Built once from the dense network's statistics; making a candidate is copying from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from automl.compression.importance.base import Importance, remove
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import PruningOrder, Reader
from automl.compression.layer_matrix import columns, matrix, runs_of, set_matrix, weight_of
from automl.compression.moments import Moments, RunMoments
from automl.compression.statistics import Features
from automl.network import ChannelGroup, Network, Side, kept_positions, positions_of, smaller
from automl.policy import Policy

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """One group's eliminations.

    Attributes:
        group: The group.
        elimination: Order, and how weights follow it.
        slots: For each matrix that reads the group: (module, run of the module).
    """

    group: ChannelGroup
    elimination: PruningOrder
    slots: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Database:
    """Everything a candidate is copied from.

    Attributes:
        model: The dense network, batch norms folded.
        network: What the search sees of it.
        entries: Per group.
    """

    model: nn.Module
    network: Network
    entries: Mapping[str, GroupEntry]

    def kept(self, policy: Policy) -> dict[str, Tensor]:
        """Which channels of each group stay under a policy; groups that keep all are left out."""
        return {
            name: self.entries[name].elimination.kept(count)
            for name, count in policy.channels.items()
            if count < self.entries[name].group.channels
        }

    def kept_outputs(self, policy: Policy) -> dict[str, Tensor]:
        """Per layer that loses some of what it writes, which of its outputs stay."""
        positions = kept_positions(self.model, self.network.groups, self.kept(policy))
        result = {}
        for (name, side), places in positions.items():
            if side == "through":  # a depthwise layer may write several channels for each it reads
                module: Any = self.model.get_submodule(name)
                times = getattr(module, "out_channels", 1) // getattr(module, "groups", 1)
                places = (places.unsqueeze(1) * times + torch.arange(times)).flatten()
            if side != "in":
                result[name] = places
        return result

    def patches(self, policy: Policy) -> dict[str, tuple[Tensor, Tensor]]:
        """Weight matrices and biases of the layers that read cut groups, at full size."""
        changed: dict[str, tuple[Tensor, Tensor]] = {}
        for name, count in policy.channels.items():
            entry = self.entries[name]
            if count >= entry.group.channels:
                continue
            wide = {
                module: wide_weights(self.model.get_submodule(module))
                for module in dict.fromkeys(module for module, _ in entry.slots)
            }
            dense = [wide[module][run] for module, run in entry.slots]
            found = zip(entry.slots, dense, entry.elimination.weights(count, dense), strict=True)
            for (module, run), before, values in found:
                if module not in changed:
                    changed[module] = read_patch(self.model.get_submodule(module))
                weight, bias = changed[module]
                change = values - before
                weight[run] += change[:, :-1]
                outputs = slice(run * values.shape[0], (run + 1) * values.shape[0])
                if values.shape[0] * weight.shape[0] == bias.shape[0]:
                    bias[outputs] += change[:, -1]
        for name, count in policy.channels.items():
            self._silence(self.entries[name], count, changed)
            self._repeat(self.entries[name], count, changed)
        return changed

    def _repeat(
        self, entry: GroupEntry, count: int, changed: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        """Of maxout units, write a piece that stays in the place of those that are lost.

        Then the largest is one of those that stay.
        """
        if not entry.group.units:
            return
        kept = entry.elimination.kept(count).tolist()
        gone = [piece for piece in range(entry.group.channels) if piece not in kept]
        for side in entry.group.producers if gone else ():
            if side.module not in changed:
                changed[side.module] = read_patch(self.model.get_submodule(side.module))
            weight, bias = changed[side.module]
            rows, stays = weight.view(-1, weight.shape[2]), list(side.positions[kept[0]])
            for piece in gone:
                at = list(side.positions[piece])
                rows[at], bias[at] = rows[stays], bias[stays]

    def _silence(
        self, entry: GroupEntry, count: int, changed: dict[str, tuple[Tensor, Tensor]]
    ) -> None:
        """Zero what is lost of channels that are multiplied with each other."""
        gone = torch.ones(entry.group.channels, dtype=torch.bool)
        gone[entry.elimination.kept(count)] = False
        for pair in entry.group.pairs if bool(gone.any()) else ():
            for side in (pair.left, pair.right):
                if side.module not in changed:
                    changed[side.module] = read_patch(self.model.get_submodule(side.module))
                weight, bias = changed[side.module]
                at = positions_of(side, gone)
                weight.view(-1, weight.shape[2])[at] = 0.0
                bias[at] = 0.0

    def candidate(self, policy: Policy) -> nn.Module:
        """The compressed network, its weights copied from the database; nothing is refitted.

        The dense network is read alone: it is whole wherever an interruption comes.
        """
        replaced: dict[Tensor, Tensor] = {}
        for name, (weight, bias) in self.patches(policy).items():
            module: Any = self.model.get_submodule(name)
            replaced[module.weight] = weight_of(module, weight)
            replaced[module.bias] = bias
        groups, kept = self.network.groups, self.kept(policy)
        return smaller(self.model, groups, kept, policy.removed, replaced=replaced)


def write_patch(module: Any, patch: tuple[Tensor, Tensor]) -> None:
    """Write a weight matrix and a bias into a layer."""
    set_matrix(module, patch[0])
    with torch.no_grad():
        module.bias.copy_(patch[1])


def read_patch(module: Any) -> tuple[Tensor, Tensor]:
    """A layer's weight matrix and bias, copied."""
    return matrix(module), module.bias.detach().clone()


def build_database(
    statistics: ChannelStatistics,
    counts: Mapping[str, Sequence[int]],
    importance: Importance,
    *,
    compensation: bool = True,
    on_group: Callable[[str], None] = lambda name: None,
) -> Database:
    """Eliminate the channels of every group.

    Args:
        statistics: Of the dense network.
        counts: Per group, the kept counts that a search may ask for.
        importance: Which channels go first.
        compensation: Whether the weights that stay make up for what goes.
        on_group: Told the name of each group when it is done.
    """
    model, network = statistics.traced.model, statistics.traced.network
    features, entries = statistics.features, {}
    for group in network.groups:
        if group.name not in counts:
            continue
        readers, slots = readers_of(model, group, features)
        wanted = sorted({*counts[group.name], group.channels})
        elimination = remove(
            importance, group, readers, wanted, statistics, compensation=compensation
        )
        entries[group.name] = GroupEntry(group, elimination, slots)
        on_group(group.name)
    features.tighten()
    statistics.let_go()
    return Database(model, network, entries)


def database_of(model: nn.Module, network: Network, orders: Mapping[str, PruningOrder]) -> Database:
    """The database that `build_database` found earlier of the same network.

    Args:
        model: The dense network, batch norms folded.
        network: Its groups.
        orders: Per group, what was found of it.
    """
    entries = {
        group.name: GroupEntry(group, orders[group.name], slots_of(model, group))
        for group in network.groups
        if group.name in orders
    }
    return Database(model, network, entries)


def slots_of(model: nn.Module, group: ChannelGroup) -> tuple[tuple[str, int], ...]:
    """For each matrix that reads a group's channels: (module, run of the module)."""
    return tuple(
        (side.module, run)
        for side in group.consumers
        for module in [model.get_submodule(side.module)]
        for run in range(runs_of(module))
        if _own_columns(module, side.positions, run)[0]
    )


def _own_columns(
    module: nn.Module, positions: Sequence[Sequence[int]], run: int
) -> list[list[int]]:
    """Per channel of a group, its columns in one run of a module that reads it."""
    times = columns(module)
    per_run = matrix(module).shape[2] // times
    return [
        [
            (place - run * per_run) * times + offset
            for place in places
            if run * per_run <= place < (run + 1) * per_run
            for offset in range(times)
        ]
        for places in positions
    ]


def readers_of(
    model: nn.Module, group: ChannelGroup, features: Features
) -> tuple[list[Reader], tuple[tuple[str, int], ...]]:
    """All matrices that read a group's channels, and for each: (module, run of the module)."""
    readers, slots = [], []
    features.hold([side.module for side in group.consumers])
    for side in group.consumers:
        module = model.get_submodule(side.module)
        wide = wide_weights(module)
        moments = features.moments.get(side.module)
        moments = unknown_moments(matrix(module)) if moments is None else moments
        for run in range(runs_of(module)):
            own = _own_columns(module, side.positions, run)
            if not own[0]:
                continue
            columns_of = torch.tensor(own)
            readers.append(Reader(wide[run], RunMoments(moments, run), columns_of, moments.rows))
            slots.append((side.module, run))
    readers += pair_readers(model, group, features)
    return readers, tuple(slots)


def wide_weights(module: nn.Module) -> Tensor:
    """A layer's matrices with its bias as their last column: [runs, outputs, columns + 1].

    A transposed convolution has a bias for each channel, not for each output of its matrices: there
    the column is zero.
    """
    weights, bias = read_patch(module)
    runs, outputs, _ = weights.shape
    fits = bias.numel() == runs * outputs
    shift = bias.view(runs, outputs, 1) if fits else weights.new_zeros(runs, outputs, 1)
    return torch.cat([weights, shift], 2)


def pair_readers(model: nn.Module, group: ChannelGroup, features: Features) -> list[Reader]:
    """For each head of each product over a group's channels, its second operand as a matrix.

    Of queries q and keys k the mean of (q k)^2 is that of the outputs of a reader of q whose
    weights have the second moments of k, if q and k are independent.
    """
    readers = []
    for pair in group.pairs:
        sides = (pair.left, pair.right)
        features.hold([side.module for side in sides])
        left, right = (_written_moments(model, side, features) for side in sides)
        for one, other in zip(left, right, strict=True):
            values, vectors = torch.linalg.eigh(other[:-1, :-1])
            weight = vectors.T * values.clamp_min(0.0).sqrt().unsqueeze(1)
            wide = torch.cat([weight, weight.new_zeros(len(weight), 1)], 1)
            readers.append(Reader(wide.float(), one, torch.arange(len(weight)).unsqueeze(1)))
    return readers


def _written_moments(model: nn.Module, side: Side, features: Features) -> list[Tensor]:
    """Mean second moments of what a module writes at a group's channels and of one, per head."""
    module = model.get_submodule(side.module)
    weights = wide_weights(module)
    moments = features.moments.get(side.module, unknown_moments(matrix(module)))
    mean = moments.of(0) / max(moments.rows, 1)
    wide = weights.flatten(0, 1).double()
    last = torch.zeros(1, wide.shape[1], dtype=torch.float64)
    last[0, -1] = 1.0
    rows = (torch.cat([wide[list(at)], last]) for at in zip(*side.positions, strict=True))
    return [each @ mean @ each.T for each in rows]


def unknown_moments(weights: Tensor) -> Moments:
    """Moments of a layer that was never seen: every input counts alike."""
    extent = weights.shape[2] + 1
    eye = torch.eye(extent, dtype=torch.float64).expand(weights.shape[0], extent, extent)
    return Moments(eye, 1)
