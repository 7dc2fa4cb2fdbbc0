"""Making a policy's network: weights from the database, cut small, finished by the refit."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

import torch
from torch import nn

from automl.compression.blocks.gates import gates_left_out, without_gates
from automl.compression.blocks.library import Library, chosen_alternatives
from automl.compression.config import CompressionConfig
from automl.compression.database import Database, build_database, database_of
from automl.compression.feature_store import FeatureStore
from automl.compression.importance.channel_statistics import ChannelStatistics
from automl.compression.importance.elimination import PruningOrder
from automl.compression.importance.needs import check_needs
from automl.compression.importance.pieces import piece_orders
from automl.compression.importance.registry import IMPORTANCES
from automl.compression.kinds.applying import (
    FurtherPart,
    Running,
    further_parts,
    hollow,
    in_place,
    running,
)
from automl.compression.labelled import Labelled, targets_of, without_labels
from automl.compression.memory import Images, MemoryPlan
from automl.compression.merging import Merging, adding_chains, merged_chains
from automl.compression.quantization.joint_database import JointDatabase
from automl.compression.quantization.per_tensor import made_ready, quantizer_for
from automl.compression.quantization.registry import QUANTIZERS
from automl.compression.quantization.simulation import Plan, is_rounded, make_plan
from automl.compression.reconstruction.base import (
    FULL_REFIT,
    Candidate,
    Dense,
    Read,
    RefitSettings,
    StandIn,
)
from automl.compression.reconstruction.raw import Raw
from automl.compression.reconstruction.registry import RECONSTRUCTIONS
from automl.compression.resizing import resized
from automl.compression.statistics import Excerpt, Features, collect, laid_out_for
from automl.errors import QuantizationError, SpaceError, nearest
from automl.network import (
    Chain,
    Flow,
    TracedModel,
    forget_layout,
    kept_positions,
    laid_out,
    merged_trace,
    replace_layer,
    runs_alike,
    units_of,
    with_pieces_in_order,
)
from automl.policy import Bits, Policy

Tensor = torch.Tensor
#: Kind, name and option of a part.
_PartKey = tuple[str, str, str]
DEFAULT_CONFIG: Final = CompressionConfig()


class Compressor:
    """Makes compressed networks of one model from one set of calibration images.

    Args:
        traced: The model, traced.
        images: Calibration inputs of the data's own size, with their labels where there are any; at
            most as many as the config says are used.
        counts: Per channel group, the kept counts that may be asked for.
        config: By what weights are made.
        scheme: How integer layers compute on the target (`simulation.SCHEMES`); None for
            simulators. Where a layer's weights share one scale there, channels are scaled alike
            first.
        on_group: Told the name of each group when its channels have been ranked.
        orders: Per channel group, what an earlier compressor of the same arguments found; its
            `orders`. None finds it.
        features: Where features are kept; compressors of one network, its images and its config
            may share it.

    Raises:
        UsageError: A method of the config that is not there, that lacks what it needs, or options
            that it does not take; a limit of memory that is too small for the network.
    """

    def __init__(
        self,
        traced: TracedModel,
        images: Images | Labelled,
        counts: Mapping[str, Sequence[int]],
        *,
        config: CompressionConfig = DEFAULT_CONFIG,
        scheme: str | None = None,
        on_group: Callable[[str], None] = lambda name: None,
        orders: Mapping[str, PruningOrder] | None = None,
        features: FeatureStore | None = None,
    ) -> None:
        self.quantizer = quantizer_for(QUANTIZERS.build(config.quantization), scheme)
        self.config, self.scheme = config, scheme
        self.images = images_used(without_labels(images), config)
        # shown at another size than traced, maps are so much smaller
        scale = self.images[:1].numel() / math.prod(traced.network.input_shape)
        self._memory = MemoryPlan(traced.trace, config.memory, scale)
        targets = targets_of(images, len(self.images))
        if orders is None:
            check_needs(config.importance, traced, self.images[:2], targets)
        #: What candidates are made from: it computes what the traced one does.
        self.traced = traced = self._made_ready(traced)
        self._built, self._alike = dict[_PartKey, nn.Module](), dict[_PartKey, bool]()
        self._reconstruction = RECONSTRUCTIONS.build(config.reconstruction)
        self._features = FeatureStore() if features is None else features
        #: What importances read.
        self.statistics = ChannelStatistics(
            traced,
            lambda: self.features(0),
            self.images,
            targets=targets,
            plan=self._memory,
            seed=config.seed,
        )
        self.database: Database = (
            build_database(
                self.statistics,
                counts,
                IMPORTANCES.build(config.importance),
                compensation=config.compensation,
                on_group=on_group,
            )
            if orders is None
            else database_of(traced.model, traced.network, orders)
        )
        #: Rounded weights, (channels x bits) held jointly.
        self.joint = JointDatabase(
            self.database, traced.trace, lambda: self.features(0), scheme, self.quantizer
        )

    def _made_ready(self, traced: TracedModel) -> TracedModel:
        """The network as it is best rounded, pieces of maxout units in the order of their staying.

        It computes the same.
        """
        traced = made_ready(traced, self.quantizer)
        if not any(group.units for group in traced.network.groups):
            return traced
        statistics = ChannelStatistics(
            traced,
            lambda: self.features(0),
            self.images,
            plan=self._memory,
            seed=self.config.seed,
        )
        orders = piece_orders(IMPORTANCES.build(self.config.importance), statistics)
        return with_pieces_in_order(traced, orders, self.images[:2])

    @property
    def orders(self) -> dict[str, PruningOrder]:
        """Per channel group, what was found of it: all that is costly in the database."""
        return {name: entry.elimination for name, entry in self.database.entries.items()}

    @cached_property
    def merging(self) -> Merging:
        """Makes layers into one."""
        return Merging(self.traced, lambda: self.features(0))

    @cached_property
    def library(self) -> Library:
        """Trains what can run in units' places."""
        return Library(self.traced, self.images, self.config.seed)

    @cached_property
    def inputs_digest(self) -> str:
        """Of the calibration inputs that are used: other inputs, or another order, differ in it."""
        return digest_of(self.images)

    def features(self, resolution: int, settings: RefitSettings = FULL_REFIT) -> Features:
        """What the dense network does at a resolution (0 for the dense one).

        Args:
            resolution: Of the dense network's inputs; those of the dense one are whole.
            settings: At another resolution, how much of them is wanted.
        """
        if resolution == self.traced.network.resolutions[-1]:
            resolution = 0
        excerpt = settings.excerpt if resolution else None
        return self._features.get(resolution, excerpt, lambda: self._collect(resolution, excerpt))

    def _collect(self, resolution: int, excerpt: Excerpt | None) -> Features:
        return collect(
            self.traced.model,
            self.traced.trace,
            self.images,
            plan=self._memory,
            resolution=resolution,
            seed=self.config.seed,
            excerpt=excerpt,
        )

    def forget(self, but: int | None = None) -> None:
        """Let go of features, all but a resolution's (0 for the dense); collected anew if asked."""
        self._features.forget(0 if but == self.traced.network.resolutions[-1] else but)

    def make(
        self, policy: Policy, *, settings: RefitSettings = FULL_REFIT, finish: bool = True
    ) -> nn.Module:
        """The policy's network: a `QuantizedModel` where it has bits.

        Args:
            policy: What each part becomes.
            settings: How much is done to finish it.
            finish: Whether to finish it; without it the weights are the database's.

        Raises:
            QuantizationError: Bits of no such layer, or activations that are constant or not
                finite; it names the layer.
            SpaceError: A further choice that cannot be made.
        """
        finish = finish and not isinstance(self._reconstruction, Raw)
        gates = gates_left_out(self.traced.network, policy)
        policy = without_gates(self.traced.network, policy)
        parts = further_parts(self.traced.model, policy)
        merged = merged_chains(self.traced, policy, parts)
        others = chosen_alternatives(self.traced, policy, parts)
        made = (*merged, *(self.library.units[name].chain for name in others))
        runs, plan = self._planned(policy, parts, made)
        if plan.bits and not (finish or parts or made or gates):
            return self._rounded(policy, plan)
        model = self.database.candidate(policy)
        if not all(self._runs_alike(part) for part in parts):
            forget_layout(model)
        kept = self._kept(policy)
        adding = adding_chains(self.traced.network, policy, merged)
        self.merging.put(model, merged, kept, adding)
        self.library.put(model, others, kept)
        self.library.leave_out(model, gates, kept)
        if not (finish or plan.bits):
            return in_place(model, parts, lambda name: self.joint.moments_read(name, policy))
        if not (plan.bits or parts or made or policy.removed or self.database.kept(policy)):
            return model
        self._features.let_go()  # a refit takes moments of its own, of what its network reads
        candidate = Candidate(
            model,
            runs.trace,
            laid_out_for(model, self.features(policy.resolution, settings)),
            self.database.kept_outputs(policy),
            plan,
            policy.removed,
            {} if plan.bits else {part.name: part.finish for part in parts},
            _stand_ins(model, parts, runs) if plan.bits else {},
            Dense(self.traced.model, lambda name: self._read(name, policy)),
            frozenset(chain[-1] for chain in made),
            frozenset(chain[-1] for chain in adding),
        )
        method = self._reconstruction if finish else Raw()
        finished = method.finish(candidate, self.quantizer, settings)
        return finished if plan.bits else in_place(finished, parts)

    def _rounded(self, policy: Policy, plan: Plan) -> nn.Module:
        """The network of a policy with bits, nothing refitted."""

        def shown(here: slice) -> Tensor:
            return laid_out(self.traced.model, resized(self.images[here], policy.resolution))

        parts = self._memory.parts(shown, len(self.images))
        return self.joint.candidate(policy, plan, self.database.kept_outputs(policy), parts)

    def _runs_alike(self, part: FurtherPart) -> bool:
        """Whether what runs in a part's place does the same however its inputs lie in memory."""
        module = self.traced.model.get_submodule(part.name)
        key = _key_of(part)
        if key not in self._alike:
            calls = (call for call in self.traced.trace.calls if call.step.module == part.name)
            shapes = [call.in_shapes[0] for call in calls]
            built = self._build(part, module).eval()
            self._alike[key] = all(runs_alike(built, shape) for shape in shapes)
        return self._alike[key]

    def _read(self, layer: str, policy: Policy) -> Read:
        runs, columns = self.joint.columns_read(layer, policy)
        return Read(self.joint.moments_of(layer)[runs], columns)

    def plan(self, policy: Policy) -> Plan:
        """What a policy's network rounds; bits of layers in removed blocks mean nothing.

        Raises:
            QuantizationError: Bits of a layer that is none or whose bits cannot be chosen.
            SpaceError: A further choice that cannot be made.
        """
        policy = without_gates(self.traced.network, policy)
        parts = further_parts(self.traced.model, policy)
        units = {unit.name: unit for unit in units_of(self.traced.network)}
        others = chosen_alternatives(self.traced, policy, parts)
        made = merged_chains(self.traced, policy, parts)
        return self._planned(policy, parts, (*made, *(units[name].chain for name in others)))[1]

    def _planned(
        self, policy: Policy, parts: Sequence[FurtherPart], made: Sequence[Chain] = ()
    ) -> tuple[Running, Plan]:
        known = self.joint.flow.layers
        for name in policy.bits:
            if name not in known:
                raise QuantizationError(f"no layer {name!r} to quantise{nearest(name, known)}")
        flow = Flow(self.traced.trace, policy.removed)
        for part in parts:
            bits = policy.bits.get(part.name, Bits())
            if is_rounded(bits) and not part.takes_bits(bits):
                shown = part.kind.format(part.option)
                raise SpaceError(f"bits and {shown} of {part.name!r} cannot both be chosen")
        gone = {name for chain in made for name in chain[:-1]}  # their bits mean nothing
        rounds = any(is_rounded(policy.bits.get(name, Bits())) for name in {*flow.layers} - gone)
        runs = running(self.traced, parts if rounds else (), self._build)
        if made:
            sums = adding_chains(self.traced.network, policy, made)
            runs = replace(runs, trace=merged_trace(runs.trace, self.traced.model, made, sums))
        flow = Flow(runs.trace, policy.removed) if runs.places or made else flow
        return runs, make_plan(flow, runs.bits(flow, policy.bits), self.scheme)

    def _build(self, part: FurtherPart, module: nn.Module) -> nn.Module:
        """As the part, of the dense network, without numbers: only its operations count."""
        key = _key_of(part)
        if key not in self._built:
            self._built[key] = hollow(part.outline(module))
        return self._built[key]

    def _kept(self, policy: Policy) -> dict[tuple[str, str], Tensor]:
        """Positions that stay along sides that lose some."""
        model, groups = self.traced.model, self.traced.network.groups
        return kept_positions(model, groups, self.database.kept(policy))


def _key_of(part: FurtherPart) -> _PartKey:
    return part.kind.name, part.name, part.kind.format(part.option)


def _stand_ins(model: nn.Module, parts: Sequence[FurtherPart], runs: Running) -> dict[str, StandIn]:
    """Put what will run in the places of a candidate's layers, and keep the layers."""
    found = {}
    for part in parts:
        layer = copy.deepcopy(model.get_submodule(part.name))
        found[part.name] = StandIn(
            layer, runs.places[part.name], runs.ends[part.name], part.finish, part.build
        )
        replace_layer(model, part.name, part.outline(layer).train(layer.training))
    return found


def digest_of(images: Images) -> str:
    """Of inputs in their order: their shape, kind of number, and every value."""
    first = images[:1]
    content = hashlib.sha256(repr((first.dtype, tuple(images.shape))).encode())
    for number in range(len(images)):
        content.update(images[number : number + 1].contiguous().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def images_used(images: Images, config: CompressionConfig) -> Images:
    """Of the calibration inputs as many as the config says."""
    count = config.calibration
    if len(images) <= count:
        return images
    return images[:count] if isinstance(images, Tensor) else _FirstImages(images, count)


class _FirstImages:
    """Some of many images, the first ones; nothing is copied."""

    def __init__(self, images: Images, count: int) -> None:
        self._images = images
        self.shape = torch.Size((count, *images.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, here: slice | Tensor, /) -> Tensor:
        if isinstance(here, slice):
            here = slice(*here.indices(len(self)))
        return self._images[here]
