"""Precision: the bits of a layer's weights and of what it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automl.compression.kinds.base import Bench, CompressionKind, Measurer
from automl.errors import SpaceError
from automl.network import Network
from automl.policy import Bits, Policy, bits_of, fineness, format_bits, is_float
from automl.space import Space, SpaceSettings, Variable


class BitsKind(CompressionKind[Bits]):
    """The bits of a layer's weights and of what it reads."""

    name = "bits"
    ordered = True

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """One a layer that has bits of its own, where there is more than one precision."""
        options = _options(settings)
        if len(options) < 2:
            return []
        held = next((bits for bits in (Bits(8, 8), Bits(8, 32)) if bits in options), options[-1])
        ends = held_ends(network, settings)
        return [
            Variable(self.name, name, (held,) if name in ends else options)
            for name in _layers(network)
        ]

    def format(self, option: Bits) -> str:
        """Always both: "w8a8"."""
        return f"w{option.weights}a{option.activations}"

    def parse(self, text: str) -> Bits:
        """A precision's name, or "w4a6"."""
        return bits_of(text)

    def show(self, option: Bits) -> str:
        """ "int8", "w4a6", or "w4" where weights alone are rounded."""
        return format_bits(option)

    def chosen(self, policy: Policy) -> Mapping[str, Bits]:
        """The policy's own field."""
        return policy.bits

    def policy(self, options: Mapping[str, Bits]) -> Policy:
        """The policy's own field."""
        return Policy(bits=options)

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """Rounded weights and inputs, alone and with the channels that a layer reads."""
        from automl.compression.quantization.bits_sensitivity import BitsSensitivity

        if bench.rounded is None:
            raise SpaceError(
                "the space has bits: their sensitivity cannot be measured without the rounding"
            )
        return BitsSensitivity(
            bench.rounded,
            space,
            lambda made: bench.change(made, bench.images),
            bench.model,
            bench.passes,
        )


def held_ends(network: Network, settings: SpaceSettings) -> frozenset[str]:
    """The first and the last layer with bits, where they keep theirs whatever is chosen."""
    layers = _layers(network)
    held = settings.keep_first_last and layers and len(_options(settings)) > 1
    return frozenset({layers[0], layers[-1]}) if held else frozenset()


def _layers(network: Network) -> Sequence[str]:
    """Those that have bits of their own, in network order."""
    owners = (plan.layer.name for plan in network.plans if plan.owner == plan.layer.name != "")
    return [*dict.fromkeys(owners)]


def _options(settings: SpaceSettings) -> tuple[Bits, ...]:
    """Ascending, the dense one last."""
    weight_only = settings.weight_only
    computed = set(settings.precisions) or ({Bits()} if weight_only else set())
    finest = max(computed, key=fineness, default=Bits())
    if weight_only and not is_float(finest):
        raise SpaceError("weights can be rounded alone only where layers may compute in float")
    return tuple(sorted({*computed, *(Bits(bits, 32) for bits in weight_only)}, key=fineness))
