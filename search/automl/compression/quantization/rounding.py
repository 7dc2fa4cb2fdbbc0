"""Second-order rounding: each column's rounding error is compensated by the columns after it.

The weights W become Q so that tr((W-Q) H (W-Q)^T), the squared error of the outputs for inputs
with moments H, is small, not the error of the weights. Shapes as in `quantize`; columns of removed
channels are to be cut before. Weights that are 0 stay 0 as integers: a mask stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from automl.compression.quantization.codebook import Codebook
from automl.compression.quantization.qparams import (
    QParams,
    centred,
    fitted_qparams,
    round_to,
    values,
    weight_qparams,
)

Tensor = torch.Tensor
#: Wanted weights, columns of [runs, columns, outputs] -> the values that they may be rounded to.
Snap = Callable[[Tensor], Tensor]
#: Added to the moments' diagonal, relative to its mean.
DAMPING: Final = 1e-2
#: Steps of conjugate gradients for a codebook's entries.
_FIT_STEPS: Final = 12
#: Columns between which feedback goes one by one; later ones get it a block at a time.
_BLOCK: Final = 64


def quantized(
    weights: Tensor, moments: Tensor, bits: int, *, per_tensor: bool = False
) -> tuple[Tensor, QParams]:
    """Integers and their QParams, of least output error, without training.

    1. The scales of least error are found for rounding to the nearest.
    2. Second-order rounding finds the integers.
    3. The scales are fitted to the integers.
    4. Each column is rounded once more, with all others given (coordinate descent, as in Behdin et
       al. 2023, QuantEase).
    5. The scales are fitted again.

    None of the last three steps makes an output's error larger.

    Args:
        weights: [runs, outputs, columns].
        moments: Of the inputs, with the ones or without.
        bits: 1 to 8.
        per_tensor: Whether all output channels share one scale.

    Raises:
        QuantizationError: Weights that are not finite.
    """
    qparams = weight_qparams(weights, bits, moments=moments, per_tensor=per_tensor)
    integers = round_weights(weights, moments, qparams)
    qparams = fitted_qparams(weights, integers, qparams, moments, per_tensor=per_tensor)
    integers = improved(weights, integers, moments, qparams)
    return integers, fitted_qparams(weights, integers, qparams, moments, per_tensor=per_tensor)


def round_weights(
    weights: Tensor, moments: Tensor, qparams: QParams, *, damping: float = DAMPING
) -> Tensor:
    """Integers of least output error, by second-order rounding; never worse than the nearest.

    Source: Frantar et al. 2022 (GPTQ), after OBQ (Frantar & Alistarh 2022). Columns go in order of
    decreasing moment ("act order"). Differs: computed as Babai's nearest plane from one triangular
    factor, which gives the same integers without an inverse; errors are counted about the mean
    where the moments have the ones; dead columns are rounded to nearest, not set to zero; an output
    for which rounding to nearest has the smaller error is rounded to nearest.

    Args:
        weights: [runs, outputs, columns].
        moments: Of the inputs, with the ones or without.
        qparams: Of the weights.
        damping: Added to the moments' diagonal, relative to its mean.

    Returns:
        int8, of the weights' shape.
    """
    spread = centred(moments, weights.shape[2])
    second = _nearest_plane(weights, spread, _snap_to(qparams), damping, _live(weights, qparams))
    return _better(weights, spread, values(round_to(weights, qparams), qparams), second, qparams)


def improved(weights: Tensor, integers: Tensor, moments: Tensor, qparams: QParams) -> Tensor:
    """Integers with each column rounded once more, given all others; never worse."""
    spread, before = centred(moments, weights.shape[2]), values(integers, qparams)
    swept = _sweep(weights, before, spread, _snap_to(qparams), _live(weights, qparams))
    return _better(weights, spread, before, swept, qparams)


def rounded_beside(weights: Tensor, moments: Tensor, qparams: QParams, exact: Tensor) -> Tensor:
    """Values after second-order rounding of all weights but some, which compensate for the others.

    Args:
        weights: [runs, outputs, columns].
        moments: Of the inputs, with the ones or without.
        qparams: Of the weights that are rounded.
        exact: Which are not, of the weights' shape.

    Returns:
        float64, of the weights' shape.
    """
    spread, snap = centred(moments, weights.shape[2]), _snap_to(qparams)
    found = _nearest_plane(weights, spread, snap, DAMPING, exact=exact)
    return _sweep(weights, found, spread, snap, exact=exact)


def rounded_among(weights: Tensor, moments: Tensor, grids: Tensor) -> Tensor:
    """Second-order rounding to few values, others for each output; never worse than the nearest.

    Args:
        weights: [runs, outputs, columns].
        moments: Of the inputs, with the ones or without.
        grids: [runs, outputs, values].

    Returns:
        float64, of the weights' shape.
    """
    grids = grids.double()

    def snap(wanted: Tensor) -> Tensor:  # [runs, 1, outputs]
        apart = (wanted.squeeze(1).unsqueeze(2) - grids).abs()
        return grids.gather(2, apart.argmin(2, keepdim=True)).transpose(1, 2)

    spread = centred(moments, weights.shape[2])
    columns = weights.double().unbind(2)
    nearest = torch.stack([snap(each.unsqueeze(1)) for each in columns], 3).squeeze(1)
    found = _nearest_plane(weights, spread, snap, DAMPING)
    found = _least(weights, spread, nearest, found)
    return _least(weights, spread, found, _sweep(weights, found, spread, snap))


def round_to_codebook(weights: Tensor, moments: Tensor, codebook: Codebook) -> Codebook:
    """Shared values and indices of least output error, found as `quantized` finds integers.

    Args:
        weights: [runs, outputs, columns].
        moments: Of the inputs, with the ones or without.
        codebook: Of the weights, to start from. No step makes the layer's error larger.
    """
    spread = centred(moments, weights.shape[2])
    entries = codebook.entries.double()
    nearest = _snap_among(entries)(weights.double())
    found = _nearest_plane(weights, spread, _snap_among(entries), DAMPING)
    entries, found = _fitted_entries(
        weights, spread, entries, _least(weights, spread, nearest, found)
    )
    swept = _sweep(weights, found, spread, _snap_among(entries))
    entries, found = _fitted_entries(
        weights, spread, entries, _least(weights, spread, found, swept)
    )
    shared = entries.float().unique()
    return Codebook(shared, _index_among(shared.double(), found).to(torch.uint8), codebook.bits)


def corrected_bias(weights: Tensor, rounded: Tensor, moments: Tensor, bias: Tensor) -> Tensor:
    """The bias that takes out the mean error of the outputs, E[(W - Q) x].

    Source: Nagel et al. 2019, section 4.2 (data-free there; here from the inputs' measured mean).

    Args:
        weights: [runs, outputs, columns].
        rounded: What they became, as values.
        moments: Of the inputs, with the ones.
        bias: [runs x outputs], as the layer holds it.
    """
    mean = moments[:, :-1, -1:] / moments[:, -1:, -1:]
    shift = (weights.double() - rounded.double()) @ mean.double()
    return (bias.double() + shift.flatten()).to(bias.dtype)


def output_error(weights: Tensor, rounded: Tensor, moments: Tensor) -> Tensor:
    """tr(E H E^T) by output, [runs, outputs], float64; about the mean if moments have the ones."""
    return _output_error(weights, rounded, centred(moments, weights.shape[2]))


def _output_error(weights: Tensor, rounded: Tensor, spread: Tensor) -> Tensor:
    gap = weights.double() - rounded.double()
    return ((gap @ spread) * gap).sum(2)


def _least(weights: Tensor, spread: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Output by output, the values of the smaller error; the first where it is not larger."""
    less = _output_error(weights, second, spread) < _output_error(weights, first, spread)
    return torch.where(less.unsqueeze(2), second, first.double())


def _better(
    weights: Tensor, spread: Tensor, first: Tensor, second: Tensor, qparams: QParams
) -> Tensor:
    found = _least(weights, spread, first, second)
    return round_to(found.float(), qparams) if qparams.bits == 1 else _codes(found, qparams)


def _live(weights: Tensor, qparams: QParams) -> Tensor | None:
    """Which weights are not 0, as columns [runs, columns, outputs]; None where none is or may be.

    At 1 bit there is no 0 to keep.
    """
    live = weights != 0
    return None if qparams.bits == 1 or live.all() else live.double().transpose(1, 2)


def _codes(found: Tensor, qparams: QParams) -> Tensor:
    return (found / qparams.scale).round().to(torch.int8)


def _snap_to(qparams: QParams) -> Snap:
    scale = qparams.scale.double().transpose(1, 2)
    if qparams.bits == 1:
        return lambda wanted: torch.where(wanted < 0, -scale, scale)
    return lambda wanted: (
        (wanted / scale).round_().clamp_(-qparams.highest, qparams.highest) * scale
    )


def _index_among(entries: Tensor, wanted: Tensor) -> Tensor:
    """Which of ascending entries is nearest."""
    return torch.bucketize(wanted.contiguous(), (entries[1:] + entries[:-1]) / 2)


def _snap_among(entries: Tensor) -> Snap:
    return lambda wanted: entries[_index_among(entries, wanted)]


def _fitted_entries(
    weights: Tensor, spread: Tensor, entries: Tensor, found: Tensor
) -> tuple[Tensor, Tensor]:
    """The entries that are best for who has which, ascending, and the values that follow.

    Least squares in the outputs by conjugate gradients, of which no step makes the error larger.
    """
    index = _index_among(entries, found)

    def gathered(slope: Tensor) -> Tensor:
        return torch.zeros_like(entries).index_add_(0, index.flatten(), slope.flatten())

    change = torch.zeros_like(entries)
    left = gathered((weights.double() - found) @ spread)
    direction, size = left.clone(), float(left @ left)
    enough = 1e-12 * size
    for _ in range(min(len(entries), _FIT_STEPS)):
        across = gathered(direction[index] @ spread)
        bend = float(direction @ across)
        if not (size > enough and bend > 0):  # moments that are not finite stop here too
            break
        step = size / bend
        change, left = change + step * direction, left - step * across
        before, size = size, float(left @ left)
        direction = left + size / before * direction
    fitted = entries + change
    return fitted.sort().values, fitted[index]


def _nearest_plane(
    weights: Tensor,
    spread: Tensor,
    fake_quantize: Snap,
    damping: float,
    live: Tensor | None = None,
    exact: Tensor | None = None,
) -> Tensor:
    """Values after rounding column by column; each compensates for the errors of those before it.

    With H = R R^T, R upper triangular, the error is |E R|^2: column j of E R holds E_0..E_j only,
    so that column j is best rounded from W_j + sum over i < j of E_i R_ij / R_jj.
    """
    order = spread.diagonal(dim1=1, dim2=2).argsort(dim=1, descending=True, stable=True)
    index = order.unsqueeze(2).expand(-1, -1, weights.shape[1])
    target = weights.double().transpose(1, 2).gather(1, index)  # [runs, columns, outputs]
    feedback = _feedback(spread, order, damping)
    stays = None if live is None else live.gather(1, index)
    free = None if exact is None else exact.transpose(1, 2).gather(1, index)
    rounded = torch.empty_like(target)
    error = torch.zeros_like(target)
    for start in range(0, target.shape[1], _BLOCK):
        end = min(start + _BLOCK, target.shape[1])
        wanted = target[:, start:end] + feedback[:, start:end, :start] @ error[:, :start]
        for j in range(start, end):
            row = feedback[:, j : j + 1, start:j]
            aim = wanted[:, j - start : j - start + 1] + row @ error[:, start:j]
            found = fake_quantize(aim)
            if free is not None:
                found = torch.where(free[:, j : j + 1], aim, found)
            rounded[:, j : j + 1] = found if stays is None else found * stays[:, j : j + 1]
            error[:, j] = target[:, j] - rounded[:, j]
    return torch.empty_like(target).scatter_(1, index, rounded).transpose(1, 2)


def _feedback(spread: Tensor, order: Tensor, damping: float) -> Tensor:
    """R_ij / R_jj at [runs, j, i] of the damped moments in that order, H = R R^T."""
    along = order.unsqueeze(2).expand_as(spread)
    damped = _damped(spread, damping).gather(1, along).gather(2, along.transpose(1, 2))
    lower, failed = torch.linalg.cholesky_ex(damped.flip(1, 2))
    if failed.any():  # moments that are not finite: rounded without feedback
        lower = torch.eye(spread.shape[1], dtype=spread.dtype).expand_as(spread)
    upper = lower.flip(1, 2)
    ratios: Tensor = upper / upper.diagonal(dim1=1, dim2=2).unsqueeze(1)
    return ratios.transpose(1, 2).contiguous()


def _sweep(
    weights: Tensor,
    rounded: Tensor,
    spread: Tensor,
    fake_quantize: Snap,
    live: Tensor | None = None,
    exact: Tensor | None = None,
) -> Tensor:
    """Each column's best values given all others', one column after the other."""
    moments = _damped(spread, DAMPING)
    target = weights.double().transpose(1, 2).contiguous()  # [runs, columns, outputs]
    error = target - rounded.double().transpose(1, 2)
    slope = moments @ error
    own = moments.diagonal(dim1=1, dim2=2).unsqueeze(2)
    for start in range(0, target.shape[1], _BLOCK):
        end = min(start + _BLOCK, target.shape[1])
        before = error[:, start:end].clone()
        for j in range(start, end):
            here = slice(j, j + 1)
            aim = target[:, here] + slope[:, here] / own[:, here] - error[:, here]
            found = fake_quantize(aim)
            if live is not None:
                found = found * live[:, here]
            if exact is not None:
                found = torch.where(exact[:, None, :, j], aim, found)
            change = target[:, here] - found - error[:, here]
            error[:, here] += change
            slope[:, j:end] += moments[:, j:end, here] * change
        slope[:, end:] += moments[:, end:, start:end] @ (error[:, start:end] - before)
    return (target - error).transpose(1, 2)


def _damped(spread: Tensor, damping: float) -> Tensor:
    strength = damping * spread.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-12)
    return spread + torch.diag_embed(strength.unsqueeze(1).expand(-1, spread.shape[1]))
