"""The choices: what a search may vary, as vectors of option indices."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automl.errors import SpaceError, nearest
from automl.policy import Policy
from automl.space.kind import Variable
from automl.space.parameters import parameter_name, parameter_values
from automl.space.registry import KINDS, choices_of, kind_of

#: Option indices, one column per variable: [variables] or [policies, variables].
Vectors = NDArray[np.int16]


@dataclass(frozen=True)
class Space:
    """All choices of a search.

    Attributes:
        variables: In the order of a vector's entries.
        nested: Per variable of a block or a merge: (its index, indices of the variables that live
            inside and mean nothing when the block is left out or the layers are one, whose bits
            are those of the last). Merges come after the blocks that they may lie in; a variable
            may lie in several.

    Raises:
        SpaceError: A variable of an unknown kind; names the nearest.
    """

    variables: tuple[Variable, ...]
    nested: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        for kind in self.kinds:
            kind_of(kind)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds that the variables are of, each once."""
        return tuple(dict.fromkeys(variable.kind for variable in self.variables))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of options per variable."""
        return tuple(len(variable.options) for variable in self.variables)

    @cached_property
    def dense(self) -> Vectors:
        """The vector of the dense network."""
        return np.array([size - 1 for size in self.sizes], dtype=np.int16)

    @cached_property
    def size(self) -> int:
        """How many different networks there are (inner choices of left-out blocks not counted)."""
        return self._count(frozenset(range(len(self.sizes))))

    def _count(self, variables: frozenset[int]) -> int:
        """How many different choices some variables leave, all others dense."""
        behind = ((gate, {*each}) for gate, each in self.nested if gate in variables)
        found = next((pair for pair in behind if variables & pair[1]), None)
        if found is None:
            return math.prod(self.sizes[each] for each in variables)
        gate, inside = found
        here = self._beside(gate, variables)
        others = here - {gate}
        changed = (self.sizes[gate] - 1) * self._count(others - inside)
        return (changed + self._count(others)) * self._count(variables - here)

    def _beside(self, gate: int, variables: frozenset[int]) -> frozenset[int]:
        """Among some variables, those that a gate has to do with, by way of other gates too."""
        here, grown = frozenset({gate}), frozenset[int]()
        while here != grown:
            grown = here
            for other, inside in self.nested:
                both = variables & {other, *inside}
                if other in variables and both & here:
                    here |= both
        return here

    @cached_property
    def digest(self) -> str:
        """Hash of all choices; a study is not resumed with another space."""
        text = repr((self.variables, self.nested))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def blocks_around(self) -> Mapping[int, int]:
        """The variable of the block around each variable that lies in one."""
        return {
            inner: gate
            for gate, inners in self.nested
            if self.variables[gate].kind == "block"
            for inner in inners
        }

    @cached_property
    def _gates(self) -> tuple[tuple[NDArray[np.intp], NDArray[np.bool_]], ...]:
        """Per variable: the gate that it lies behind (itself where there is none), and whether.

        Several such, one after the other, where a variable lies behind more than one gate.
        """
        levels: list[dict[int, int]] = []
        for gate, inners in self.nested:
            after = [place for place, level in enumerate(levels) if gate in level]
            taken = [place for place, level in enumerate(levels) if level.keys() & {*inners}]
            place = 1 + max((*after, *taken), default=-1)
            levels += [{}] * (place == len(levels))
            levels[place] = levels[place] | dict.fromkeys(inners, gate)
        found = []
        for level in levels:
            gates = np.arange(len(self.variables), dtype=np.intp)
            gates[list(level)] = list(level.values())
            found.append((gates, gates != np.arange(len(gates))))
        return tuple(found)

    @cached_property
    def positions(self) -> Mapping[tuple[str, str], int]:
        """Index of each variable by (kind, name)."""
        return {(variable.kind, variable.name): i for i, variable in enumerate(self.variables)}

    def of_kind(self, kind: str) -> tuple[int, ...]:
        """Indices of the variables of one kind."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.kind == kind)

    def kinds_but(self, *kinds: str) -> tuple[str, ...]:
        """Names of the kinds that leave something to choose, but for these."""
        open_kinds = (each.kind for each in self.variables if len(each.options) > 1)
        return tuple(name for name in dict.fromkeys(open_kinds) if name not in kinds)

    def encode(self, policy: Policy) -> Vectors:
        """The policy as a vector [variables].

        Raises:
            SpaceError: If the policy makes a choice that the space does not hold, or one of an
                unknown kind.
        """
        vector = self.dense.copy()
        for name in dict.fromkeys((*KINDS.ours, *policy.further)):
            kind = kind_of(name)
            for part, option in choices_of(kind, policy).items():
                position = self.positions.get((name, part))
                if position is None:
                    raise SpaceError(f"the space has no choice of {name} {part!r}".rstrip())
                vector[position] = self._index(position, option)
        return self.canonical(vector)

    def _index(self, position: int, option: Any) -> int:
        """The option's position among those of a variable."""
        variable = self.variables[position]
        try:
            return variable.options.index(option)
        except ValueError:
            kind = kind_of(variable.kind)
            shown = ", ".join(map(kind.show, variable.options))
            what = f"{kind.name} of {variable.name!r}" if variable.name else kind.name
            found = kind.show(option)
            raise SpaceError(f"{what} cannot be {found}: the space has {shown}") from None

    def decode(self, vector: Vectors) -> Policy:
        """The policy of a vector [variables]; every variable of the space is named in it."""
        chosen: dict[str, dict[str, Any]] = {}
        for variable, index in zip(self.variables, vector.tolist(), strict=True):
            chosen.setdefault(variable.kind, {})[variable.name] = variable.options[index]
        parts = [kind_of(kind).policy(options) for kind, options in chosen.items()]
        return reduce(or_, parts) if parts else Policy()

    def parameters(self, policy: Policy) -> dict[str, int | str]:
        """The policy as plain values, one for each variable by its name.

        Raises:
            SpaceError: As `encode`.
        """
        rows = zip(self.variables, self.encode(policy).tolist(), strict=True)
        return {parameter_name(each): parameter_values(each)[index] for each, index in rows}

    def policy(self, parameters: Mapping[str, int | str]) -> Policy:
        """The policy of plain values, as `parameters` gives them.

        Raises:
            SpaceError: A value for no variable of the space, none for one of them, or one that is
                none of its options.
        """
        named = {parameter_name(each): each for each in self.variables}
        for name in parameters:
            if name not in named:
                raise SpaceError(f"the space has no choice {name!r}{nearest(name, named)}")
        vector = self.dense.copy()
        for position, (name, variable) in enumerate(named.items()):
            if name not in parameters:
                raise SpaceError(f"there is no value for {name!r}")
            found, values = parameters[name], parameter_values(variable)
            if found not in values:
                valid = ", ".join(map(str, values))
                raise SpaceError(f"{name} cannot be {found!r}: the space has {valid}")
            vector[position] = values.index(found)
        return self.decode(vector)

    def canonical(self, vectors: Vectors) -> Vectors:
        """Vectors [..., variables] with the insides of left-out blocks and of merges set to dense.

        Networks are equal exactly when their canonical vectors are.
        """
        for gates, inside in self._gates:
            left_out = (vectors != self.dense)[..., gates] & inside
            vectors = np.where(left_out, self.dense, vectors)
        return vectors

    def random(self, count: int, generator: np.random.Generator) -> Vectors:
        """`count` canonical vectors [count, variables], each option as likely as the next."""
        drawn = generator.integers(0, self.sizes, size=(count, len(self.sizes)))
        return self.canonical(drawn.astype(np.int16))


#: Extra sensitivity of choices together: (two variables or three, table over their options).
Pairwise = tuple[tuple[tuple[int, ...], NDArray[np.float64]], ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What each choice does to the network when it is made alone.

    Attributes:
        single: Per variable of the space, per option: mean squared change of the logits relative to
            their variance, 0 for the dense option. Additive to first order.
        images: How many calibration images it was measured on.
        pairwise: What two choices do beyond the sum of both, where that is known: (two variables of
            the space, sensitivity [options of the one, options of the other], 0 where either is
            dense). Of three choices what they do beyond that, of each two of them too.
    """

    single: tuple[NDArray[np.float64], ...]
    images: int
    pairwise: Pairwise = ()
