"""Activations as integers: QParams per tensor, the range found on the calibration inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch

from automl.errors import QuantizationError

Tensor = torch.Tensor
How = Literal["mse", "percentile", "max"]
#: Values that an observer keeps.
CAPACITY: Final = 1 << 17
#: Values that are alike at an end of the range: a clip wrote them.
_CLIPPED: Final = 16
#: Factors tried on the ends of the range: all pairs first, then one end after the other.
_COARSE: Final = torch.logspace(0.0, -2.5, 14, dtype=torch.float64)
_MIDDLE: Final = torch.logspace(-0.2, 0.2, 25, dtype=torch.float64)
_FINE: Final = torch.linspace(0.96, 1.04, 17, dtype=torch.float64)
_TINY, _HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class ActivationQParams:
    """What integers of a tensor stand for: (integer - zero_point) x scale.

    Attributes:
        scale: A float32 number.
        zero_point: The integer of 0, which is exact. Symmetric QParams have 0.
        low: The smallest integer: 0, or -128 of signed 8 bits.
        high: The largest.
    """

    scale: float
    zero_point: int
    low: int
    high: int


class Observer:
    """A tensor's values over batches: its exact ends, and a sample of bounded size.

    Every value seen is in the sample with the same chance; the same values and seed, in the same
    order, leave the same sample.

    Args:
        name: Whose values, for errors.
        seed: Of the sample.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.least, self.largest = float("inf"), float("-inf")
        self._generator = torch.Generator().manual_seed(seed)
        self._parts: list[Tensor] = []
        self._held, self._share = 0, 1.0

    def add(self, values: Tensor) -> None:
        """Take in a batch of any shape.

        Raises:
            QuantizationError: A value that is NaN or infinite.
        """
        flat = values.detach().flatten().float()
        if not flat.numel():
            return
        least, largest = (float(end) for end in flat.aminmax())
        if not (abs(least) <= _HUGE and abs(largest) <= _HUGE):
            kind = "NaN" if least != least else "infinite"
            raise QuantizationError(f"{self.name}: {kind} activations on the calibration inputs")
        self.least, self.largest = min(self.least, least), max(self.largest, largest)
        wanted = round(len(flat) * self._share)
        while wanted > CAPACITY // 2:
            self._share, wanted = self._share / 2, wanted // 2
            self._thin()
        if wanted < len(flat):
            flat = flat[torch.randint(len(flat), (wanted,), generator=self._generator)]
        self._parts.append(flat.clone())
        self._held += len(flat)
        while self._held > CAPACITY:
            self._share /= 2
            self._thin()

    def sample(self) -> Tensor:
        """The sampled values, ascending, float64, with the exact ends among them.

        Raises:
            QuantizationError: No values were added.
        """
        if not self._parts:
            raise QuantizationError(f"{self.name}: the calibration inputs never reach it")
        ends = torch.tensor([self.least, self.largest])
        return torch.cat([*self._parts, ends]).sort().values.double()

    def _thin(self) -> None:
        kept = [
            part[torch.rand(len(part), generator=self._generator) < 0.5] for part in self._parts
        ]
        self._parts = [torch.cat(kept)] if kept else []
        self._held = sum(len(part) for part in self._parts)


def range_of(
    observer: Observer, bits: int, *, signed: bool, how: How = "mse", percentile: float = 99.99
) -> ActivationQParams:
    """The QParams for the values that an observer has seen.

    "max" covers all of them; "percentile" leaves out the share beyond a percentile at each end;
    "mse" has the least squared error over the sample: among pairs of ends on a coarse net, then
    one end after the other on finer ones.

    Args:
        observer: Of the tensor.
        bits: 2 to 8.
        signed: Symmetric with zero point 0 (TensorRT's scheme); else unsigned with a zero point.
        how: How the range is found.
        percentile: Of "percentile".

    Raises:
        QuantizationError: Values that are all the same, or a range that float32 cannot hold.
    """
    points = observer.sample()
    if observer.least == observer.largest:
        value = f"{observer.least:g}"
        raise QuantizationError(
            f"{observer.name}: constant activations ({value}) on the calibration inputs"
        )
    low, high = float(points[0]), float(points[-1])
    if how == "percentile":
        beyond = 1 - percentile / 100
        low, high = _quantile(points, beyond), _quantile(points, 1 - beyond)
        if low == high == 0:  # nearly all are zero: the rest is what matters
            low, high = float(points[0]), float(points[-1])
    low, high = min(low, 0.0), max(high, 0.0)
    if how == "mse":
        low, high = _least_error(points, low, high, bits, signed)
    return _qparams(observer.name, low, high, bits, signed)


def fake(values: Tensor, qparams: ActivationQParams) -> Tensor:
    """Values rounded as QuantizeLinear and DequantizeLinear would make them."""
    return torch.fake_quantize_per_tensor_affine(
        values, qparams.scale, qparams.zero_point, qparams.low, qparams.high
    )


def _quantile(points: Tensor, share: float) -> float:
    return float(points[round(share * (len(points) - 1))])


def _levels(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _qparams(name: str, low: float, high: float, bits: int, signed: bool) -> ActivationQParams:
    bottom, top = _levels(bits, signed)
    scale = max(high, -low) / top if signed else (high - low) / top
    if scale < _TINY or high - low > _HUGE:
        raise QuantizationError(
            f"{name}: activations from {low:g} to {high:g} have a range that float32 cannot hold"
        )
    scale = float(torch.tensor(scale, dtype=torch.float32))
    zero_point = 0 if signed else min(max(round(-low / scale), bottom), top)
    return ActivationQParams(scale, zero_point, bottom, top)


def _least_error(
    points: Tensor, low: float, high: float, bits: int, signed: bool
) -> tuple[float, float]:
    """Ends of the range of least squared error, none beyond a clip that wrote the values.

    A wider range would fit hardly better, and its last integers would stand for numbers that the
    clip never lets through: ONNX Runtime then takes the clip for needed, and runs the convolution
    before it in float.
    """
    extent = max(high, -low)
    sums = _Sums(points / extent)
    ends = torch.tensor([low / extent, high / extent], dtype=torch.float64)
    widest = _widest(points / extent)
    if signed:
        ends = ends.abs().max() * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    pairs = torch.cartesian_prod(_COARSE, _COARSE)
    if signed or not ends[0] or not ends[1]:  # one number decides
        pairs = torch.stack([_COARSE, _COARSE], 1)
    ends = _best(sums, ends * pairs, bits, signed)
    for factors in (_MIDDLE, _FINE):
        for moved in ([0, 1],) if signed else ([0, 1], [1], [0]):
            tried = ends.repeat(len(factors), 1)
            tried[:, moved] *= factors.unsqueeze(1)
            ends = _best(sums, tried.clamp(widest[0], widest[1]), bits, signed)
    return float(ends[0]) * extent, float(ends[1]) * extent


def _widest(points: Tensor) -> Tensor:
    """The ends [2] that a range may have: that of a clip, or none."""
    first, last = (points == points[0]).sum(), (points == points[-1]).sum()
    far = float("inf")
    return torch.stack(
        [
            points[0] if first >= _CLIPPED and points[0] < 0 else points.new_tensor(-far),
            points[-1] if last >= _CLIPPED and points[-1] > 0 else points.new_tensor(far),
        ]
    )


def _best(sums: _Sums, ends: Tensor, bits: int, signed: bool) -> Tensor:
    """Of candidates [n, 2] the one of least error."""
    return ends[sums.errors(ends[:, 0], ends[:, 1], bits, signed).argmin()]


class _Sums:
    """Squared error of rounding sorted points by any QParams, from running sums."""

    def __init__(self, points: Tensor) -> None:
        self._points = points
        parts = torch.stack([torch.ones_like(points), points, points * points])
        self._below = torch.nn.functional.pad(parts.cumsum(1), (1, 0))

    def errors(self, low: Tensor, high: Tensor, bits: int, signed: bool) -> Tensor:
        """Summed squared error for each range [candidates]."""
        bottom, top = _levels(bits, signed)
        scale = torch.maximum(high, -low) / top if signed else (high - low) / top
        scale = scale.clamp_min(1e-30)
        zero = torch.zeros_like(scale) if signed else (-low / scale).round().clamp(bottom, top)
        steps = torch.arange(bottom, top + 1, dtype=torch.float64)
        level = (steps - zero.unsqueeze(1)) * scale.unsqueeze(1)  # [candidates, levels]
        inner = torch.searchsorted(self._points, level[:, 1:] - scale.unsqueeze(1) / 2)
        ends = torch.full_like(inner[:, :1], len(self._points))
        places = torch.cat([torch.zeros_like(ends), inner, ends], 1)
        part = self._below[:, places[:, 1:]] - self._below[:, places[:, :-1]]
        return (part[2] - 2 * level * part[1] + level * level * part[0]).sum(1)
