"""Whether a network can be read at all: it runs, gives the same each time, and gives numbers."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from automl.errors import ModelError, Raised, attempt
from automl.network.forward_tracer import ForwardTracer, LeafCall
from automl.network.outputs import output_tensors

Tensor = torch.Tensor
#: Outputs for one input may differ by this share of their scale: of sums in another order.
_ROUNDING: Final = 1e-4
#: Where torch keeps layers of integer weights.
_INTEGER: Final = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
#: Places that an error names.
_NAMED: Final = 3


def refuse_quantized(model: nn.Module) -> None:
    """Raise ModelError where torch has made a model's weights integers already."""
    for name, module in model.named_modules():
        if type(module).__module__.startswith(_INTEGER):
            raise ModelError(
                f"the model is quantized already: {name or 'it'} is a {type(module).__module__}."
                f"{type(module).__name__}; give the model of floats that it was made from"
            )


def find_example(model: nn.Module, example: Tensor) -> Tensor:
    """An input on which the network gives numbers: `example`, or one like it between 0 and 1.

    Args:
        model: In eval mode.
        example: A random input, about half of it negative.

    Raises:
        ModelError: The network does not run on it, gives other outputs when it runs again, or gives
            no number.
    """
    outputs: list[Tensor] = []
    tried = [example, example.sigmoid()] if example.is_floating_point() else [example]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for each in tried:
            outputs = _run(model, each)
            _check_same(model, each, outputs)
            if not outputs or any(bool(torch.isfinite(output).any()) for output in outputs):
                return each  # between 0 and 1, logarithms and roots are numbers
    if not any(output.numel() for output in outputs):
        raise ModelError(
            "the model's outputs on random inputs are empty (it detects nothing): what is cut from "
            "it could not be held against it; give a model that ends before they are selected"
        )
    raise ModelError(
        "the model's outputs on random inputs are all NaN or infinite: what is cut from it could "
        "not be held against it"
    )


def _check_same(model: nn.Module, example: Tensor, expected: list[Tensor]) -> None:
    again = _run(model, example)
    if len(again) == len(expected) and all(map(_near, again, expected)):
        return
    draws = _Draws(model)
    with draws.attached():
        model(example.clone())
    places = list(dict.fromkeys(draws.found))
    if places:
        others = " and others" if len(places) > _NAMED else ""
        why = (
            f"{', '.join(places[:_NAMED])}{others} draws random numbers in eval mode too; give it "
            "fixed ones there, such as their mean"
        )
    else:
        why = "it keeps something from one run to the next, such as a counter or an observed range"
    raise ModelError(f"the model gives other outputs when it runs again on the same input: {why}")


def _near(found: Tensor, expected: Tensor) -> bool:
    numbers = expected[torch.isfinite(expected)]
    scale = float(numbers.abs().max()) if numbers.numel() else 0.0
    return found.shape == expected.shape and torch.allclose(
        found, expected, 0, _ROUNDING * scale, equal_nan=True
    )


class _Draws(ForwardTracer):
    """Names the operations that draw random numbers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.found: list[str] = []

    def after(
        self, step: LeafCall, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
            self.found.append(f"{step.op.rstrip('_')} in {step.scope[-1] or 'its forward'}")


def _run(model: nn.Module, example: Tensor) -> list[Tensor]:
    """All tensors that the network gives."""

    def run() -> list[Tensor]:
        with torch.no_grad():
            return output_tensors(model(example.clone()))

    found = attempt(run)
    if isinstance(found, Raised):
        raise does_not_run(example.shape, found.error) from found.error
    return found


def does_not_run(shape: torch.Size, error: BaseException) -> ModelError:
    """What a network raises on an input, in one line."""
    extents = "x".join(map(str, shape))
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(f"the model does not run on an input of shape {extents}: {first}")
