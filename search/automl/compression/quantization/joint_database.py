"""The database with bits: rounded weights of exactly the channels that stay.

Pruning comes first. The elimination (`obs`) updates the weights that stay, so that they compensate
for the channels that went. Then these weights are rounded, with the moments of the columns that
stay: a column that stays compensates for each rounding error. The other order would lose twice.
Columns that carry corrections would be cut, and the elimination would update rounded weights to
values that are not rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from automl.compression.database import Database, read_patch, unknown_moments, write_patch
from automl.compression.layer_matrix import columns, matrix, runs_of
from automl.compression.memory import ImageParts
from automl.compression.quantization.activation_ranges import ActivationQParams
from automl.compression.quantization.base import Quantizer
from automl.compression.quantization.calibrating import (
    CalibrationMode,
    ObserverMode,
    QParamsFinder,
)
from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import QParams
from automl.compression.quantization.rounding import corrected_bias, output_error
from automl.compression.quantization.simulation import (
    Plan,
    QuantizedModel,
    Source,
    make_plan,
    stored_bits,
)
from automl.compression.statistics import Features
from automl.network import FLOAT_BITS, Flow, Trace, kept_positions
from automl.policy import Bits, Policy

Tensor = torch.Tensor
#: Images on which activations' ranges are found where no refit finds them.
_IMAGES = 128
#: Activations of any integers: weights beside them are rounded alike.
_INTEGER = 8
#: Bytes of rounded weights that are kept for the next candidate.
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class RoundingLoss:
    """What a layer's rounded weights do to its outputs.

    Attributes:
        error: Mean squared error of the outputs, summed over them.
        gain: How much a squared error of what the layer reads, the same in every column, is of the
            outputs': the sum of squared weights.
    """

    error: float
    gain: float


#: A layer, its bits, and the counts of the groups that it reads.
_Key = tuple[str, Bits, tuple[tuple[str, int], ...]]


@dataclass(frozen=True, slots=True)
class Rounded:
    """A layer's rounded weights under a choice of channels and bits.

    Attributes:
        values: [runs, outputs, columns that stay], of all outputs.
        bias: Corrected where the quantizer does it: [outputs of all runs].
        store: What the values stand on.
        loss: What rounding does to the outputs.
    """

    values: Tensor
    bias: Tensor
    store: QParams | Codebook
    loss: RoundingLoss


class JointDatabase:
    """Rounded weights by (channels x bits), made when first asked for.

    Args:
        database: The eliminations.
        trace: The dense network's recorded pass.
        features: Of the dense network at its own resolution.
        scheme: Of the target's table, one of `simulation.SCHEMES`.
        quantizer: What rounds.
    """

    def __init__(
        self,
        database: Database,
        trace: Trace,
        features: Callable[[], Features],
        scheme: str | None,
        quantizer: Quantizer,
    ) -> None:
        self.database, self.scheme = database, scheme
        self._quantizer = quantizer
        self.flow = Flow(trace)
        self._features = features
        self._made: dict[_Key, Rounded] = {}
        self._bytes = 0
        self._losses: dict[_Key, RoundingLoss] = {}
        self._read: dict[str, list[str]] = {}
        for group in database.network.groups:
            for side in group.consumers:
                self._read.setdefault(side.module, []).append(group.name)

    def groups_read(self, layer: str) -> tuple[str, ...]:
        """Names of the channel groups whose channels a layer reads."""
        return tuple(self._read.get(layer, ()))

    def moments_of(self, layer: str) -> Tensor:
        """Mean second moments of what a layer of the dense network reads, as `Moments.total`."""
        moments = self._features().moments.get(layer)
        if moments is None:
            moments = unknown_moments(matrix(self.database.model.get_submodule(layer)))
        return moments.total / moments.rows

    def moments_read(self, layer: str, policy: Policy) -> Tensor:
        """As `moments_of`, of what a policy's channels leave of the layer's input."""
        runs, index = self.columns_read(layer, policy)
        return self._left(self.moments_of(layer)[runs], index)

    def columns_read(self, layer: str, policy: Policy) -> tuple[Tensor, Tensor]:
        """Of a layer's matrices those that stay under a policy's channels, and their columns.

        Returns:
            Places of the runs that stay, and [runs that stay, columns that stay].
        """
        kept = self._kept(policy)
        module = self.database.model.get_submodule(layer)
        index = self._columns_kept(layer, module, kept)
        runs = kept.get((layer, "through"), torch.arange(index.shape[0]))
        return runs, index[runs]

    @staticmethod
    def _left(mean: Tensor, index: Tensor) -> Tensor:
        """Moments of some columns [runs, columns that stay], and the ones."""
        ones = torch.full_like(index[:, :1], mean.shape[2] - 1)
        wide = torch.cat([index, ones], 1)
        mean = mean.gather(1, wide.unsqueeze(2).expand(-1, -1, mean.shape[2]))
        return mean.gather(2, wide.unsqueeze(1).expand(-1, wide.shape[1], -1))

    def rounded(self, layer: str, policy: Policy, bits: Bits) -> Rounded:
        """A layer's weights under a policy's channels, rounded to some bits.

        Raises:
            QuantizationError: Weights that are not finite.
        """
        return self._rounded(self._key(layer, policy, bits))

    def loss(self, layer: str, policy: Policy, bits: Bits) -> RoundingLoss:
        """What a layer's rounding does; remembered longer than its weights. Arguments as above.

        Raises:
            QuantizationError: Weights that are not finite.
        """
        key = self._key(layer, policy, bits)
        if key not in self._losses:
            self._rounded(key)
        return self._losses[key]

    def _key(self, layer: str, policy: Policy, bits: Bits) -> _Key:
        read = self._read.get(layer, ())
        counts = {name: policy.channels[name] for name in read if name in policy.channels}
        return layer, self.stored_as(bits), tuple(sorted(counts.items()))

    def stored_as(self, bits: Bits) -> Bits:
        """The same for all bits whose weights are rounded alike."""
        bits = stored_bits(bits, self.scheme)
        return replace(bits, activations=32 if bits.activations >= FLOAT_BITS else _INTEGER)

    def _rounded(self, key: _Key) -> Rounded:
        if key not in self._made:
            layer, bits, counts = key
            found = self._round(layer, Policy(dict(counts)), bits)
            self._losses[key] = found.loss
            self._bytes += found.values.nbytes
            if self._bytes > _KEPT_BYTES:
                self._made.clear()
                self._bytes = found.values.nbytes
            self._made[key] = found
        return self._made[key]

    def candidate(
        self, policy: Policy, plan: Plan, outputs: Mapping[str, Tensor], parts: ImageParts
    ) -> QuantizedModel:
        """The network of a policy with bits, nothing refitted.

        Args:
            policy: What each part becomes.
            plan: What its network rounds.
            outputs: Per layer whose outputs were cut, which stay.
            parts: Calibration inputs at the policy's resolution.
        """
        model = self.database.candidate(policy)
        weights: dict[str, QParams | Codebook] = {}
        for name, bits in plan.bits.items():
            if bits.weights < FLOAT_BITS:
                found = self.rounded(name, policy, bits)
                weights[name] = write_rounded(model.get_submodule(name), found, outputs.get(name))
        mode = CalibrationMode(model, plan, parts.first(_IMAGES), how=self._quantizer.ranges)
        mode.calibrate()
        return QuantizedModel(model, plan, mode.qparams, weights)

    def dense_plan(self, bits: Mapping[str, Bits]) -> Plan:
        """What the dense network rounds under a choice of bits."""
        return make_plan(self.flow, bits, self.scheme)

    def dense_qparams(self, plans: Sequence[Plan]) -> dict[Source, ActivationQParams]:
        """QParams for the values of the dense network as they are when nothing is rounded."""
        sources = dict.fromkeys(source for plan in plans for source in plan.sources())
        readers = {address: name for plan in plans for address, name in plan.readers.items()}
        kept = {address: origin for plan in plans for address, origin in plan.kept.items()}
        how = self._quantizer.ranges
        finder = QParamsFinder(sources, readers, self.scheme, kept, how=how)
        parts = self._features().parts.first(_IMAGES)
        ObserverMode(self.database.model, finder, parts).observe()
        return finder.qparams

    def _round(self, layer: str, policy: Policy, bits: Bits) -> Rounded:
        module: Any = self.database.model.get_submodule(layer)
        weights, bias = self.database.patches(policy).get(layer) or read_patch(module)
        index = self._columns_kept(layer, module, self._kept(policy))
        mean = self._left(self.moments_of(layer), index)
        weights = weights.gather(2, index.unsqueeze(1).expand(-1, weights.shape[1], -1))
        return self.round_matrix(weights, bias, mean, bits)

    def round_matrix(self, weights: Tensor, bias: Tensor, mean: Tensor, bits: Bits) -> Rounded:
        """Weights of any layer, rounded to some bits.

        Args:
            weights: [runs, outputs, columns].
            bias: [outputs of all runs].
            mean: Mean second moments of what is read: [runs, columns + 1, columns + 1].
            bits: As `stored_as` gives them.

        Raises:
            QuantizationError: Weights that are not finite.
        """
        values, store = self._quantizer.round(weights, mean, bits)
        error = float(output_error(weights, values, mean).sum())
        if self._quantizer.correct_bias:
            bias = corrected_bias(weights, values, mean, bias)
        return Rounded(values, bias, store, RoundingLoss(error, float(values.square().sum())))

    def _kept(self, policy: Policy) -> Mapping[tuple[str, str], Tensor]:
        database = self.database
        return kept_positions(database.model, database.network.groups, database.kept(policy))

    def _columns_kept(
        self, layer: str, module: Any, kept: Mapping[tuple[str, str], Tensor]
    ) -> Tensor:
        """[runs, columns that stay]: places in the layer's matrix."""
        runs, _, extent = matrix(module).shape
        if (layer, "in") not in kept:
            return torch.arange(extent).expand(runs, -1)
        times = columns(module)
        channels = kept[layer, "in"].view(runs, -1) % (extent // times)
        return (channels.unsqueeze(2) * times + torch.arange(times)).flatten(1)


def write_rounded(module: Any, found: Rounded, outputs: Tensor | None) -> QParams | Codebook:
    """Write rounded weights into a layer that reads their columns.

    Args:
        module: The layer.
        found: Its rounded weights.
        outputs: Those that are left; None for all.

    Returns:
        What the layer's weights stand on.
    """

    def left(rows: Tensor) -> Tensor:
        flat = rows.flatten(0, 1)
        flat = flat if outputs is None else flat[outputs]
        return flat.view(runs_of(module), -1, rows.shape[2])

    write_patch(
        module, (left(found.values), found.bias if outputs is None else found.bias[outputs])
    )
    if isinstance(found.store, QParams):
        return QParams(left(found.store.scale), found.store.bits)
    return Codebook(found.store.entries, left(found.store.indices), found.store.bits)
