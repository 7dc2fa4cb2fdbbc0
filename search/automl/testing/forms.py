"""What forms of a layer have to hold to; see `automl.testing`."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final, cast

import numpy as np
import torch
from torch import nn

from automl.compression import (
    DenseForm,
    Form,
    Picked,
    StoredPart,
    built,
    fitted,
    form_of,
    layer_of,
    matrix,
    outline,
    set_matrix,
)
from automl.network import WEIGHTED, Layer
from automl.policy import Bits, bits_of, operators_bytes, with_kernel
from automl.testing.networks import drawn

Tensor = torch.Tensor
#: Height and width of the maps that layers are tried on.
MAPS: Final = (9, 10)

#: Layers of all kinds, by what is special in them.
LAYERS: Final = {
    "plain": lambda: nn.Conv2d(8, 12, 3, padding=1),
    "unpadded": lambda: nn.Conv2d(6, 9, 3),
    "strided": lambda: nn.Conv2d(6, 9, 3, stride=2, padding=1),
    "dilated": lambda: nn.Conv2d(6, 6, 3, padding=2, dilation=2),
    "grouped": lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2),
    "depthwise": lambda: nn.Conv2d(6, 6, 5, padding=2, groups=6),
    "depthwise, two maps each": lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "without a bias": lambda: nn.Conv2d(6, 8, 3, padding=1, bias=False),
    "oblong": lambda: nn.Conv2d(5, 8, (3, 5), stride=(1, 2), padding=(1, 2)),
    "padded to the same size": lambda: nn.Conv2d(5, 6, 3, padding="same", dilation=2),
    "of even width": lambda: nn.Conv2d(5, 6, 4, padding=1),
    "padded by reflection": lambda: nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"),
    "wide": lambda: nn.Conv2d(3, 20, 7, padding=3),
    "narrow": lambda: nn.Conv2d(24, 3, 3, padding=1),
    "of one tap": lambda: nn.Conv2d(8, 9, 1, stride=2),
    "of one dimension": lambda: nn.Conv1d(6, 8, 5, padding=2),
    "linear": lambda: nn.Linear(9, 11),
    "transposed": lambda: nn.ConvTranspose2d(6, 8, 3),
    "of three dimensions": lambda: nn.Conv3d(4, 6, 3, padding=1),
}


class FormContract:
    """Eleven promises of a form. Inherit it.

    Attributes:
        name: The form's.
    """

    name: ClassVar[str]

    def form(self) -> Form[Any]:
        """The form, as the registry makes it; override for one that is in none."""
        return form_of(self.name)

    def cases(self) -> Iterator[tuple[Any, Layer, Any]]:
        """Layers that can take it, and its parameters: (module, the layer on maps, parameter)."""
        form, tried = self.form(), 0
        for kind, make in LAYERS.items():
            module = drawn(make, zlib.crc32(kind.encode()))
            bare = layer_of(module)
            if bare is None or bare.op not in form.ops or form.refusal(None, bare):
                continue
            layer = on_maps(bare)
            for parameter in form.parameters(layer):
                tried += 1
                yield module, layer, parameter
        assert tried, "no layer can take it"

    def test_it_goes_by_the_name_that_it_is_found_by(self) -> None:
        """As policies write it."""
        assert self.form().name == self.name

    def test_every_parameter_is_read_as_it_is_written(self) -> None:
        """And can be taken by the layer that it is offered to."""
        form = self.form()
        for _, layer, parameter in self.cases():
            assert form.read(form.write(parameter)) == parameter
            assert form.refusal(parameter, layer) == ""

    def test_what_runs_computes_what_the_fitted_layer_does(self) -> None:
        """To the accuracy of floats, fitted with data and without."""
        for module, _, parameter in self.cases():
            inputs = inputs_of(module)
            for moments in (None, moments_of(module)):
                whole = with_matrix(module, fitted(self.form(), parameter, module, moments))
                runs = built(self.form(), parameter, whole)
                with torch.no_grad():
                    torch.testing.assert_close(runs(inputs), whole(inputs), rtol=1e-4, atol=1e-5)

    def test_its_outline_runs_the_same_operators(self) -> None:
        """With other numbers, which are found later."""
        for module, _, parameter in self.cases():
            whole = with_matrix(module, fitted(self.form(), parameter, module, moments_of(module)))
            runs, found = (
                built(self.form(), parameter, whole),
                outline(self.form(), parameter, module),
            )
            assert str(found) == str(runs)
            found.load_state_dict(runs.state_dict())
            inputs = inputs_of(module)
            with torch.no_grad():
                torch.testing.assert_close(found(inputs), runs(inputs), rtol=0, atol=0)

    def test_it_runs_as_the_operators_that_are_priced(self) -> None:
        """Their weights, their multiplications, the size of their maps."""
        form = self.form()
        for module, layer, parameter in self.cases():
            runs, operators = built(form, parameter, module), form.lower(parameter, layer)
            ran = outputs_of(runs, inputs_of(module))
            weighing = [each for each in operators if each.op in (*WEIGHTED, "gather")]
            for (part, values), operator in zip(ran, weighing, strict=True):
                if isinstance(part, Picked):
                    assert operator.op == "gather"
                    continue
                alone = layer_of(part)
                assert alone is not None
                sized = replace(alone, in_size=operator.in_size, out_size=operator.out_size)
                assert sized == operator
                if layer.op != "linear":
                    assert tuple(values.shape[2:]) == operator.out_size[: values.ndim - 2]
            if isinstance(form, DenseForm):
                assert operators == (layer,)
            else:
                assert sum(each.macs for each in operators) < layer.macs

    def test_it_saves_bytes_where_it_saves_no_time(self) -> None:
        """A form that runs as the layer itself by the plain kernel is smaller than the layer."""
        form = self.form()
        for _, layer, parameter in self.cases():
            size = form.bytes(parameter, layer, Bits())
            assert size > 0.0
            if isinstance(form, DenseForm) and not form.kernel:
                assert size < operators_bytes([layer], Bits())

    def test_a_packed_layer_has_the_bytes_that_are_told_and_is_the_member(self) -> None:
        """Of a form that is stored in fewer bytes, to the accuracy of floats."""
        form = self.form()
        for module, layer, parameter in self.cases():
            if not isinstance(form, DenseForm):
                continue
            values = fitted(form, parameter, module, moments_of(module)).double()
            kernel = values.unflatten(2, (-1, *layer.kernel))
            parts = form.pack(parameter, kernel)
            if not parts:  # its weights are stored as they are
                continue
            assert sum(map(part_bytes, parts)) == form.bytes(parameter, layer, Bits())
            for part in parts:
                assert not part.bits or int(part.values.max()) < 1 << part.bits
            found = form.unpack(parameter, [each.values for each in parts], kernel.shape)
            torch.testing.assert_close(found, kernel, rtol=1e-5, atol=1e-6, check_dtype=False)

    def test_bytes_are_told_of_many_widths_at_once(self) -> None:
        """As a search prices them: channels as arrays."""
        form = self.form()
        for _, layer, parameter in self.cases():
            counts = np.arange(1, layer.in_channels + 1) if layer.groups == 1 else layer.in_channels
            many = replace(layer, in_channels=cast(int, counts))
            found = np.broadcast_to(form.bytes(parameter, many, Bits()), np.shape(counts))
            each = [replace(layer, in_channels=int(count)) for count in np.atleast_1d(counts)]
            expected = [form.bytes(parameter, one, Bits()) for one in each]
            assert np.ravel(found).tolist() == expected

    def test_its_operators_are_priced_by_the_kernel_that_it_needs(self) -> None:
        """Or by plain rows."""
        form = self.form()
        for _, layer, parameter in self.cases():
            operators = form.lower(parameter, layer)
            kernels = {form.kernel_of(each) for each in operators}
            assert form.kernel in kernels
            assert kernels <= {form.kernel, ""}
            widths = np.arange(1, layer.in_channels + 1) * layer.groups
            many = form.lower(parameter, replace(layer, in_channels=cast(int, widths)))
            found = [np.broadcast_to(form.kernel_of(each), widths.shape) for each in many]
            for place, width in enumerate(widths.tolist()):
                alone = form.lower(parameter, replace(layer, in_channels=width))
                told = [form.kernel_of(each) for each in alone]
                assert [str(each[place]) for each in found] == told
            assert bits_of(with_kernel("fp16", form.kernel)) == Bits(16, 16)

    def test_a_fitted_layer_stays_what_it_is(self) -> None:
        """Weights of the set are the nearest to themselves."""
        for module, _, parameter in self.cases():
            once = fitted(self.form(), parameter, module, moments_of(module))
            again = fitted(self.form(), parameter, with_matrix(module, once), None)
            torch.testing.assert_close(again, once, rtol=1e-4, atol=1e-5)

    def test_a_layer_that_was_cut_runs_as_what_is_priced_of_it(self) -> None:
        """With ranks as far as it has them."""
        form = self.form()
        for module, layer, parameter in self.cases():
            if layer.groups > 1 or layer.op == "linear":
                continue
            cut = type(module)(
                2, 3, module.kernel_size, module.stride, module.padding, module.dilation
            )
            small = replace(layer, in_channels=2, out_channels=3)
            if form.refusal(None, small):
                continue
            held = sum(each.weight.numel() for each in weighted(built(form, parameter, cut)))
            told = form.lower(parameter, small)
            assert held == sum(weights(each) for each in told if each.op in WEIGHTED)


def part_bytes(part: StoredPart) -> int:
    """Of numbers in a packed file."""
    count = part.values.numel()
    return -(-count * part.bits // 8) if part.bits else 4 * count


def outputs_of(runs: nn.Module, inputs: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """What each operator of a form wrote, in the order in which they ran."""
    found = list[tuple[nn.Module, Tensor]]()

    def note(module: nn.Module, _: object, written: Tensor) -> None:
        found.append((module, written))

    leaves = [each for each in runs.modules() if not any(each.children())]
    handles = [each.register_forward_hook(note) for each in leaves]
    with torch.no_grad():
        runs(inputs)
    for handle in handles:
        handle.remove()
    return found


def weighted(module: nn.Module) -> Iterator[Any]:
    """Modules with weights."""
    return (each for each in module.modules() if hasattr(each, "weight"))


def weights(layer: Layer) -> int:
    """How many an operator has."""
    pairs = layer.in_channels * layer.out_channels // layer.groups
    return pairs * layer.kernel[0] * layer.kernel[1]


def on_maps(layer: Layer) -> Layer:
    """A layer with the sizes of what it reads and writes."""
    if layer.op == "linear":
        return replace(layer, in_size=(3, 1), out_size=(3, 1))
    flat = layer.kernel[1] == 1 and layer.kernel[0] > 1
    sizes = (MAPS[0], 1) if flat else MAPS
    written = tuple(
        (size + 2 * pad - apart * (taps - 1) - 1) // step + 1
        for size, pad, apart, taps, step in zip(
            sizes, layer.padding, layer.dilation, layer.kernel, layer.stride, strict=True
        )
    )
    return replace(layer, in_size=sizes, out_size=written)


def inputs_of(module: Any) -> Tensor:
    """Three drawn inputs."""
    generator = torch.Generator().manual_seed(5)
    if isinstance(module, nn.Linear):
        return torch.randn((3, module.in_features), generator=generator)
    sizes = MAPS[: len(module.kernel_size)]
    return torch.randn((3, module.in_channels, *sizes), generator=generator)


def moments_of(module: nn.Module) -> Tensor:
    """Mean second moments of drawn rows, far from alike, with the column of ones."""
    runs, _, columns = matrix(module).shape
    generator = torch.Generator().manual_seed(6)
    mixed = torch.randn((runs, columns, columns), generator=generator, dtype=torch.float64)
    rows = torch.randn((runs, 400, columns), generator=generator, dtype=torch.float64) @ mixed + 1
    wide = torch.cat([rows, torch.ones_like(rows[:, :, :1])], 2)
    return wide.transpose(1, 2) @ wide / 400


def with_matrix(module: nn.Module, values: Tensor) -> nn.Module:
    """A copy of a layer with other weights."""
    made = copy.deepcopy(module)
    set_matrix(made, values)
    return made
