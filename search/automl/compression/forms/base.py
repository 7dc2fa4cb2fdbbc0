"""A form: the set that a layer's matrix lives in, and the operators that compute its members.

The layer stays linear. Its matrix becomes the member of the set whose outputs differ least from
the layer's, for what it reads. Until a network is finished the layer stays one module with that
matrix; then the operators that were priced take its place: plain convolutions one after the other
(`Form`), sums of such (`Form.arrangement`), or the layer itself with a matrix that a special kernel
runs or that takes fewer bytes (`DenseForm`).

Forms are loaded where only a policy is read: torch is imported where it is used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from automl.compression.forms.arrangement import Arrangement, Serial, composed
from automl.network import WEIGHTED, Extent, Layer
from automl.policy import Bits, operators_bytes

if TYPE_CHECKING:
    from torch import Tensor

P = TypeVar("P")

#: Convolutions over maps, of all channels, of some, or of each by itself.
CONVOLUTIONS = ("conv2d", "depthwise_conv2d")
#: Channels in another order: in a form's operators a `Picked`, whose factor is the index.
GATHER = "gather"


class Form(ABC, Generic[P]):
    """A set of matrices, one for each value of its parameter.

    Shapes: a kernel is [runs, outputs, inputs, height, width], a layer with `groups` being that
    many runs side by side; a linear layer's height and width are 1. A metric is
    [runs, columns, columns], with a kernel's inputs, height and width as its columns. A factor is
    the kernel of one operator, its own groups first.

    Attributes:
        name: As policies and the registry write it.
        ops: Operators that it is a form of.
        kernel: The kernel that its operators need: "2:4" is priced by rows of "fp16+2:4", and
            offered where a table has such. "" for plain ones.
        takes_bits: Whether a member may be rounded to integers and still be one: zeros stay zero.
    """

    name: ClassVar[str]
    ops: ClassVar[tuple[str, ...]] = CONVOLUTIONS
    kernel: ClassVar[str] = ""
    takes_bits: ClassVar[bool] = True

    @abstractmethod
    def refusal(self, parameter: P | None, layer: Layer) -> str:
        """Why a layer cannot become this; "" where it can. None asks for no parameter at all."""

    @abstractmethod
    def parameters(self, layer: Layer) -> Sequence[P]:
        """What is tried of a layer that can become this, from what changes it most."""

    @abstractmethod
    def lower(self, parameter: P, layer: Layer) -> tuple[Layer, ...]:
        """The operators that the layer runs as; where it was cut small, ranks are as it allows.

        The layer's channels and groups may be arrays of numbers; then those of the operators are.
        """

    @abstractmethod
    def factors(self, parameter: P, kernel: Tensor, metric: Tensor | None) -> tuple[Tensor, ...]:
        """The kernels of the operators, of least error for inputs of a metric, float64.

        Args:
            parameter: Which set.
            kernel: The layer's, float64.
            metric: Of its inputs; None for that of the weights.
        """

    def arrangement(self, parameter: P, count: int) -> Arrangement:
        """How the operators belong together: one after the other, where this is not overridden.

        Args:
            parameter: Which set.
            count: How many there are in `factors`.

        Operators without a factor ("add") are priced and not placed. A chain may end with channels
        in another order, each of them once: the bias goes to the operator before.
        """
        return Serial(tuple(range(count)))

    def compose(self, parameter: P, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """The kernel of one convolution that computes what the factors do.

        Args:
            parameter: Which set.
            factors: Kernels of operators, of which in a chain one alone has taps along each axis.
                A form whose channels change their order composes them itself.
            window: Height and width of the layer's kernel.
        """
        return composed(self.arrangement(parameter, len(factors)), factors)

    def bytes(self, parameter: P, layer: Layer, bits: Bits) -> Any:
        """Bytes of a member in a packed file, biases aside: those of its operators' weights.

        Args:
            parameter: Which set.
            layer: Its channels and groups may be arrays; then so are the bytes.
            bits: Of the layer: what its weights are stored in.
        """
        return operators_bytes(self.lower(parameter, layer), bits)

    def kernel_of(self, operator: Layer) -> Any:
        """The kernel that one of the operators runs by; "" for the plain one.

        Args:
            operator: Its channels and groups may be arrays; then this may be an array of names.
        """
        return self.kernel if operator.op in WEIGHTED else ""

    @abstractmethod
    def write(self, parameter: P) -> str:
        """The parameter as policies write it."""

    @abstractmethod
    def read(self, text: str) -> P:
        """The parameter that `write` writes so.

        Raises:
            ValueError: The text is none.
        """


@dataclass(frozen=True, slots=True)
class StoredPart:
    """Numbers that a packed file holds of a layer.

    Attributes:
        values: Flat; floats, or whole numbers from 0 on.
        bits: Of each whole number, 1 to 16; 0 of floats, which take 4 bytes.
    """

    values: Tensor
    bits: int = 0


class DenseForm(Form[P]):
    """A set of matrices that the layer computes itself: for a special kernel, or in fewer bytes.

    A member runs as the layer does, with its matrix written into it, and is exported so. Where the
    form has a `kernel` it has the price of that; else the dense one, and it is worth something
    where the size is limited. `factors` gives the member itself, and `bytes` says what it takes.
    """

    takes_bits = False

    def lower(self, parameter: P, layer: Layer) -> tuple[Layer, ...]:
        """The layer."""
        return (layer,)

    @abstractmethod
    def bytes(self, parameter: P, layer: Layer, bits: Bits) -> Any:
        """As `Form.bytes`. Of floats: those of `pack`; a rounded layer is stored as any other."""

    def pack(self, parameter: P, kernel: Tensor) -> tuple[StoredPart, ...]:
        """What a packed file holds of a member whose numbers are floats; nothing: its weights.

        Args:
            parameter: Which set.
            kernel: The member, float64.
        """
        return ()

    def unpack(self, parameter: P, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
        """The member, to the accuracy of floats.

        Args:
            parameter: Which set.
            parts: The values of what was packed.
            shape: Of the kernel.

        Raises:
            ValueError: The form stores nothing of its own.
        """
        raise ValueError(f"{self.name} stores weights as they are")


def saves_bytes_alone(form: Form[Any]) -> bool:
    """Whether a form runs at the dense price: what it saves is size."""
    return isinstance(form, DenseForm) and not form.kernel


def saving(layer: Layer, operators: Sequence[Layer]) -> bool:
    """Whether operators multiply less than the layer whose place they take."""
    return sum(each.macs for each in operators) < layer.macs


def least(*numbers: Any) -> Any:
    """The least of some numbers; of arrays, the least at each place."""
    if all(isinstance(each, int) for each in numbers):
        return min(numbers)
    import numpy as np

    return reduce(np.minimum, numbers)


def op_of(layer: Layer, channels: int) -> str:
    """What an operator is that reads so many channels in each of a layer's groups."""
    grouped = layer.op == "depthwise_conv2d" or (isinstance(layer.groups, int) and layer.groups > 1)
    return "depthwise_conv2d" if grouped and channels == 1 else "conv2d"


def convolution(
    layer: Layer,
    sides: tuple[Any, Any],
    axes: tuple[bool, bool],
    *,
    last: bool,
    op: str = "conv2d",
    groups: Any = None,
) -> Layer:
    """An operator of a layer's chain, which has the layer's geometry along some axes alone.

    Args:
        layer: The layer.
        sides: Channels that are read and written: numbers, or arrays of them.
        axes: Whether the layer's taps and steps along the height, and along the width, are its own.
        last: Whether the steps of the axes that are not its own were made before it.
        op: What it is, of maps.
        groups: Its own; None for the layer's.
    """
    read, written = sides
    rows, columns = axes
    sized = {True: layer.out_size, False: layer.in_size}
    before = [sized[last and not own][axis] for axis, own in enumerate(axes)]
    after = [sized[last or own][axis] for axis, own in enumerate(axes)]
    if layer.op == "linear":
        return replace(layer, in_channels=read, out_channels=written)
    return replace(
        layer,
        op=op,
        in_channels=read,
        out_channels=written,
        kernel=_along(layer.kernel, rows, columns, 1),
        stride=_along(layer.stride, rows, columns, 1),
        padding=_along(layer.padding, rows, columns, 0),
        dilation=_along(layer.dilation, rows, columns, 1),
        groups=layer.groups if groups is None else groups,
        in_size=tuple(before),
        out_size=tuple(after),
    )


def _along(extent: Extent, rows: bool, columns: bool, other: int) -> Extent:
    return (extent[0] if rows else other, extent[1] if columns else other)


def whole_number(text: str) -> int:
    """A rank as it is written.

    Raises:
        ValueError: It is no whole number from 1 on.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise ValueError(f"{text!r} is no number of channels")
    return int(text)


def too_many(rank: int, most: int) -> str:
    """What to say of a rank that a layer does not have."""
    return f"{rank} channels between are more than its {most}" if rank > most else ""


def ranks(channels: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Numbers of channels to try, ascending: shares of those that there are, at least one."""
    return tuple(sorted({max(1, round(share * channels)) for share in shares}))
