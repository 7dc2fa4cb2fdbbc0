"""Few maps that are computed, and many that are cheaply made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from automl.compression.forms.base import Form, convolution, saving
from automl.compression.forms.grouped import reordered
from automl.network import Extent, Layer

if TYPE_CHECKING:
    from torch import Tensor

#: How many outputs there are for each map that is computed.
_TRIED = (4, 2)
#: Where the taps are: with the maps that are computed, or with what is made of them.
TAPS_FIRST, TAPS_LAST = "first", "last"
#: Outputs for each map, and one of these.
Parameter = tuple[int, str]


class Ghost(Form[Parameter]):
    """A convolution into few maps, each of which gives several outputs by a depthwise one.

    With the taps first a k x k convolution makes the maps, and each output is a multiple of one of
    them. With the taps last a 1 x 1 convolution does, and each output has taps of its own on one.
    Which map an output is made of is k-means up to scale; what follows the maps is the best behind
    them.

    Source: Han et al. 2020 (GhostNet). Differs: in closed form in the metric of the inputs'
    moments; a map gives as many outputs as are near it, and those that it computes are not passed
    on untouched; one of the two convolutions has taps, so that the layer stays one linear map.
    """

    name = "ghost"
    ops = ("conv2d",)

    def refusal(self, parameter: Parameter | None, layer: Layer) -> str:
        """A layer takes it that has taps and mixes all of its channels."""
        if layer.op not in self.ops or layer.groups > 1:
            return "it does not mix all of its channels"
        if max(layer.kernel) < 2:
            return "it has no taps"
        if layer.out_channels < 2:
            return "it has one output"
        if parameter is None or 1 < parameter[0] <= layer.out_channels:
            return ""
        return f"it has {layer.out_channels} outputs, not several for each of {parameter[0]}"

    def parameters(self, layer: Layer) -> Sequence[Parameter]:
        """4 and 2 outputs for each map, the taps last and first."""
        found = [(outputs, place) for outputs in _TRIED for place in (TAPS_LAST, TAPS_FIRST)]
        fits = [each for each in found if not self.refusal(each, layer)]
        return [each for each in fits if saving(layer, self.lower(each, layer))]

    def lower(self, parameter: Parameter, layer: Layer) -> tuple[Layer, ...]:
        """The maps, each of them as often as there are outputs of it, and the outputs."""
        few, place = parameter
        early, late = place == TAPS_FIRST, place == TAPS_LAST
        written = layer.out_channels
        maps = _maps(few, written)
        made = convolution(layer, (layer.in_channels, maps), (early, early), last=False)
        return (
            made,
            reordered(layer, written, made.out_size),
            convolution(
                layer,
                (written, written),
                (late, late),
                last=True,
                op="depthwise_conv2d",
                groups=written,
            ),
        )

    def factors(
        self, parameter: Parameter, kernel: Tensor, metric: Tensor | None
    ) -> tuple[Tensor, ...]:
        """[1, maps, inputs, ...], the map of each output, and [outputs, 1, 1, ...]."""
        few, place = parameter
        maps = _maps(few, kernel.shape[1])
        if place == TAPS_FIRST:
            from automl.compression.forms.sharing import lines

            own = None if metric is None else metric[0]
            drawn, which, scale = lines(kernel[0].flatten(1), own, maps)
            return drawn.view(1, maps, *kernel.shape[2:]), which, scale.view(-1, 1, 1, 1, 1)
        from automl.compression.forms.pointwise import pointwise

        drawn, which, taps = pointwise(kernel[0], None if metric is None else metric[0], maps)
        return drawn[None, ..., None, None], which, taps[:, None, None]

    def compose(self, parameter: Parameter, factors: Sequence[Tensor], window: Extent) -> Tensor:
        """The map of each output, times its taps."""
        drawn, which, taps = factors
        return drawn[:, which] * taps[:, 0, 0][:, None]

    def write(self, parameter: Parameter) -> str:
        """As "2-first"."""
        return "-".join(map(str, parameter))

    def read(self, text: str) -> Parameter:
        """As "2-first"."""
        few, _, place = text.partition("-")
        if not (few.isascii() and few.isdigit() and 1 < int(few) < 1000):
            raise ValueError(f"{few!r} is no number of outputs for each map, from 2 to 999")
        if place not in (TAPS_FIRST, TAPS_LAST):
            raise ValueError(f"{text!r} does not say whether the taps are first or last")
        return int(few), place


def _maps(few: int, outputs: Any) -> Any:
    """How many maps are computed, rounded up; of an array, each."""
    return -(-outputs // few)
