"""The space of a network: what each kind leaves open in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from automl.errors import SpaceError
from automl.network import Block, BlockUnit, MergeableLayers, Network, units_of
from automl.policy import Bits, is_float
from automl.space.kind import SpaceSettings, Variable, bit_options
from automl.space.registry import kind_of
from automl.space.space import Space

#: Kinds that are open where the settings leave something open for them.
BUILT_IN = ("resolution", "block", "channels", "bits", "form")


def build_space(
    network: Network,
    *,
    round_to: int | Mapping[str, int] = 1,
    resolutions: Sequence[int] | None = None,
    depth: bool = True,
    minimum_share: float = 0.0,
    precisions: Sequence[Bits] = (),
    weight_only: Sequence[int] = (),
    keep_first_last: bool = False,
) -> Space:
    """The space of a network: its resolution, its blocks, its channel groups and layers' bits.

    The options are those of `SpaceSettings`.

    Raises:
        SpaceError: As `open_space`.
    """
    settings = SpaceSettings(
        round_to=round_to,
        resolutions=resolutions,
        depth=depth,
        minimum_share=minimum_share,
        precisions=precisions,
        weight_only=weight_only,
        keep_first_last=keep_first_last,
    )
    return open_space(network, settings)


def open_space(network: Network, settings: SpaceSettings) -> Space:
    """The space of a network: what each kind leaves open in it.

    Raises:
        SpaceError: If the network does not run at one of the resolutions, a kind is unknown, two
            choices give one layer another form, or nothing is left to choose.
    """
    opened = [kind_of(name) for name in dict.fromkeys((*BUILT_IN, *settings.kinds))]
    variables = [each for kind in opened for each in kind.variables(network, settings)]
    if all(len(variable.options) == 1 for variable in variables):
        raise SpaceError(
            "nothing to choose: no channel group, block, resolution or bits are open"
            + "".join(f", no {name}" for name in settings.kinds)
        )
    _refuse_two_forms(variables)
    _refuse_replaced_integers(network, variables)
    _refuse_two_replacements(variables)
    positions = {(variable.kind, variable.name): i for i, variable in enumerate(variables)}
    parts = [
        *((("block", block.name), block) for block in network.blocks),
        *((("alternative", unit.name), _as_block(unit)) for unit in units_of(network)),
        *((("merge", each.name), _as_block(each)) for each in network.merges),
    ]
    kept = {("merge", each.name): ("bits", each.last) for each in network.merges}
    nested = []
    for gate, block in parts:
        if gate in positions:
            inside = [(kind.name, part) for kind in opened for part in kind.inside(block)]
            there = (each for each in inside if each in positions and each != kept.get(gate))
            nested.append((positions[gate], tuple(positions[each] for each in there)))
    return Space(tuple(variables), tuple(nested))


def _as_block(some: MergeableLayers | BlockUnit) -> Block:
    """What is chosen of layers that are replaced means nothing then, as in a block that is gone."""
    return Block(some.name, some.layers, some.groups)


def _refuse_two_replacements(variables: Sequence[Variable]) -> None:
    """Layers become one, or something else.

    Raises:
        SpaceError: Both are open.
    """
    kinds = {each.kind for each in variables}
    if {"merge", "alternative"} <= kinds:
        raise SpaceError("merge and alternatives of units cannot both be open: choose one of them")


def _refuse_replaced_integers(network: Network, variables: Sequence[Variable]) -> None:
    """What runs in the place of a unit computes in float.

    Raises:
        SpaceError: A layer that could be replaced and has no float among its bits.
    """
    open_to = {each.name for each in variables if each.kind == "alternative"}
    layers = {name for unit in units_of(network) if unit.name in open_to for name in unit.chain}
    for each in variables:
        if each.kind == "bits" and each.name in layers and not is_float(bit_options(each)[-1]):
            raise SpaceError(
                f"alternative and bits of {each.name!r} cannot both be chosen: what runs in"
                " their place computes in float, which is not among its bits"
            )


def _refuse_two_forms(variables: Sequence[Variable]) -> None:
    """One layer has one form; what runs in its place has the layer's bits.

    Raises:
        SpaceError: Two choices of one layer, by name.
    """
    forming = [each for each in variables if kind_of(each.kind).lowers]
    count = Counter(each.name for each in forming)
    rounded = {each.name: bit_options(each)[:-1] for each in variables if each.kind == "bits"}
    for each in forming:
        if count[each.name] > 1:
            other = next(o.kind for o in forming if o.name == each.name and o.kind != each.kind)
            raise SpaceError(f"{each.kind} and {other} of {each.name!r} cannot both be chosen")
        kind = kind_of(each.kind)
        fixed = [
            option
            for option in each.options
            if not all(kind.takes_bits(option, bits) for bits in rounded.get(each.name, ()))
        ]
        if fixed:
            raise SpaceError(
                f"bits and {kind.show(fixed[0])} of {each.name!r} cannot both be chosen:"
                " its numbers would be others"
            )
