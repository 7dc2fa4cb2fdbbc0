"""What a kind of choice adds to its options: how it is measured on a model, and applied to one.

Kinds are loaded where only a policy is read: torch is imported where it is used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from automl.errors import SpaceError
from automl.network import Layer, Network
from automl.policy import DENSE as DENSE  # how kinds write the option that changes nothing
from automl.space import ChoiceKind, Pairwise, Space, SpaceSettings, Variable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from automl.compression.blocks.library import Library
    from automl.compression.database import Database
    from automl.compression.merging import Merging
    from automl.compression.quantization.joint_database import JointDatabase
    from automl.network import ResumedPasses

T = TypeVar("T")
Floats = NDArray[np.float64]

#: Operators that have weights.
WEIGHTED = ("conv2d", "depthwise_conv2d", "conv_transpose2d", "linear")


@dataclass(frozen=True, slots=True)
class Bench:
    """What sensitivities are measured on.

    Attributes:
        model: A copy of the dense network; changed, and restored whatever happens.
        database: Candidates' weights.
        rounded: The database's rounded weights and its inputs' moments, where there are any.
        images: Calibration inputs.
        change: How much a network's outputs on some inputs differ from the dense ones.
        passes: Of the model, begun where it is changed; none where each is to be whole.
        merging: Makes layers into one.
        library: Has trained what can run in units' places.
    """

    model: nn.Module
    database: Database
    rounded: JointDatabase | None
    images: Tensor
    change: Callable[[Callable[[Tensor], Any], Tensor], float]
    passes: ResumedPasses | None = None
    merging: Merging | None = None
    library: Library | None = None


class Measurer(Protocol):
    """Measures the choices of one kind in one space."""

    def row(self, variable: Variable, on_option: Callable[[], None]) -> Floats:
        """The sensitivity of each option alone, 0 for the dense one; told of all but that."""
        ...

    def pairwise(self, sensitivity: Sequence[Floats]) -> Pairwise:
        """What choices do together (`Sensitivity.pairwise`), from the rows of all variables."""
        ...


#: Makes one choice on the bench's model, gives the inputs to show it, and restores it.
Trying = Callable[[Bench, str, Any], AbstractContextManager["Tensor"]]


class OneByOne:
    """Makes one choice after the other, each alone, and looks at the outputs.

    Args:
        bench: What they are made on.
        trying: Makes a choice and restores it.
        changed: Names of all modules that a variable's choices change or put others in the place
            of, where they change nothing else: what the network computes before these is then
            computed once.
    """

    def __init__(
        self,
        bench: Bench,
        trying: Trying,
        changed: Callable[[Bench, Variable], Collection[str]] | None = None,
    ) -> None:
        self._bench, self._trying, self._changed = bench, trying, changed

    def row(self, variable: Variable, on_option: Callable[[], None]) -> Floats:
        """As `Measurer.row`."""
        found = np.zeros(len(variable.options))
        model: Callable[[Tensor], Any] = self._bench.model
        passes = self._bench.passes
        if self._changed is not None and passes is not None:
            model = passes.since(self._changed(self._bench, variable))
        for index, option in enumerate(variable.options[:-1]):
            with self._trying(self._bench, variable.name, option) as images:
                found[index] = self._bench.change(model, images)
            on_option()
        return found

    def pairwise(self, sensitivity: Sequence[Floats]) -> Pairwise:
        """None: choices made one by one say nothing of two."""
        return ()


class CompressionKind(ChoiceKind[T]):
    """A kind of choice that can be measured on a model and applied to one.

    Resolution, blocks, channels and bits change many parts at once: they are applied where a
    candidate is made (`Compressor.make`). So are merges. Other kinds are applied part by part, in
    two steps.

    Attributes:
        by_part: Whether they are.
    """

    by_part: ClassVar[bool] = True

    @abstractmethod
    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """What measures the choices of this kind.

        Raises:
            SpaceError: The bench lacks what they are measured with.
        """

    def changes(self, option: T) -> bool:
        """Whether an option is another than the dense one."""
        return True

    def refusal(self, option: T, module: nn.Module) -> str:
        """Why a part of the dense network cannot be brought to an option; "" where it can."""
        return ""

    def finish(self, option: T, module: nn.Module, moments: Tensor | None) -> None:
        """Bring a part to its option, after the finishing step solved the part's weights.

        Args:
            option: What was chosen.
            module: The part, its weights changed in place.
            moments: Mean second moments of what it reads, with a column of ones for the bias:
                [runs, columns + 1, columns + 1]; None where nothing is refitted.
        """

    def build(self, option: T, module: nn.Module) -> nn.Module:
        """What runs in a finished part's place: a module that computes the same."""
        return module

    def outline(self, option: T, module: nn.Module) -> nn.Module:
        """As `build`, whatever its numbers are: the operations and shapes alone count."""
        return self.build(option, module)


class LayerKind(CompressionKind[T | None], Generic[T]):
    """A form of a layer's weights: the layer stays linear and runs as other operators.

    A form is a set of matrices. The layer's matrix becomes the best member of the set (`fit`). The
    layer stays one module with that matrix while sensitivities are measured and in the finishing
    step. At the end the operators that compute the same replace it (`build`). The option None
    leaves a layer as it is.
    """

    lowers = True

    @abstractmethod
    def forms(self, layer: Layer) -> Sequence[T]:
        """What a layer can become, from what changes it most; none where it is not open."""

    @abstractmethod
    def operators(self, form: T, layer: Layer) -> tuple[Layer, ...]:
        """The operators that a layer runs as, in their order; the last has the bias."""

    @abstractmethod
    def fit(self, form: T, module: nn.Module, moments: Tensor | None) -> Tensor:
        """The member of the set that is nearest to a layer's weights: [runs, outputs, columns].

        Args:
            form: The set.
            module: The layer; `automl.compression.matrix` gives its weights so.
            moments: As in `finish`.
        """

    @abstractmethod
    def replacement(self, form: T, module: nn.Module) -> nn.Module:
        """Modules that compute what a layer does whose weights are in the set."""

    @abstractmethod
    def write(self, form: T) -> str:
        """A form as text."""

    @abstractmethod
    def read(self, text: str) -> T:
        """The form that `write` writes so.

        Raises:
            ValueError: The text is none.
        """

    def variables(self, network: Network, settings: SpaceSettings) -> Sequence[Variable]:
        """A choice for each layer with weights that has forms, in network order."""
        layers = {
            plan.layer.name: plan.layer for plan in network.plans if plan.layer.op in WEIGHTED
        }
        open_to = {name: tuple(self.forms(layer)) for name, layer in layers.items()}
        return [
            Variable(self.name, layer, (*forms, None)) for layer, forms in open_to.items() if forms
        ]

    def format(self, option: T | None) -> str:
        """As `write`, or "dense"."""
        return DENSE if option is None else self.write(option)

    def parse(self, text: str) -> T | None:
        """As `read`; None for "dense"."""
        return None if text == DENSE else self.read(text)

    def lower(self, option: T | None, layer: Layer) -> tuple[Layer, ...]:
        """As `operators`, or the layer itself."""
        return (layer,) if option is None else self.operators(option, layer)

    def changes(self, option: T | None) -> bool:
        """Whether the layer takes another form."""
        return option is not None

    def finish(self, option: T | None, module: nn.Module, moments: Tensor | None) -> None:
        """The layer's weights become the nearest member of the set.

        Where it is known what the layer reads, its bias takes out the outputs' mean error.
        """
        import torch

        from automl.compression.layer_matrix import matrix, set_matrix
        from automl.compression.quantization.rounding import corrected_bias

        if option is None:
            return
        before, bias = matrix(module), cast("Tensor | None", module.bias)
        values = self.fit(option, module, moments)
        set_matrix(module, values)
        if moments is not None and bias is not None:
            with torch.no_grad():
                bias.copy_(corrected_bias(before, values, moments, bias))

    def build(self, option: T | None, module: nn.Module) -> nn.Module:
        """As `replacement`, or the layer itself."""
        return module if option is None else self.replacement(option, module)

    def measurer(self, space: Space, bench: Bench) -> Measurer:
        """Writes fitted weights into one layer at a time and looks at the outputs."""
        return OneByOne(bench, self._fitted, lambda _, variable: (variable.name,))

    @contextmanager
    def _fitted(self, bench: Bench, layer: str, option: T | None) -> Iterator[Tensor]:
        from automl.compression.database import read_patch, write_patch

        module = bench.model.get_submodule(layer)
        moments = None if bench.rounded is None else bench.rounded.moments_of(layer)
        before = read_patch(module)
        try:
            self.finish(option, module, moments)
            yield bench.images
        finally:
            write_patch(module, before)


def compression_kind(kind: ChoiceKind[Any]) -> CompressionKind[Any]:
    """A kind as one that can be measured and applied.

    Raises:
        SpaceError: It is a plain `ChoiceKind`.
    """
    if not isinstance(kind, CompressionKind):
        raise SpaceError(
            f"kind {kind.name!r} can be priced, but neither measured nor applied: "
            f"{type(kind).__name__} is no automl.compression.CompressionKind"
        )
    return kind
