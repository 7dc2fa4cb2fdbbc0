"""What is compressed where no model is named: each example by its name, the usual one first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from automl.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Example:
    """A trained network with its data.

    Attributes:
        name: What it is chosen by.
        model, data: Where they are, as module:NAME.
        input_shape: One input as a device will see it, batch 1 first.
        score: What its networks are judged by; None for top-1 accuracy.
    """

    name: str
    model: str
    data: str
    input_shape: tuple[int, ...]
    score: str | None = None

    @property
    def values(self) -> dict[str, str]:
        """Options of a task by name, as they are written."""
        shape = "x".join(map(str, self.input_shape[1:]))
        found = {"model": self.model, "data": self.data, "input_shape": shape}
        return found if self.score is None else found | {"score": self.score}


EXAMPLES: Final = (
    Example(
        "classifier",
        "automl.example.model:pretrained",
        "automl.example.data:loaders",
        (1, 1, 28, 28),
    ),
    Example(
        "denoiser",
        "automl.example.denoiser.model:pretrained",
        "automl.example.denoiser.data:loaders",
        (1, 3, 480, 640),
        "psnr",
    ),
)


def find_example(name: str) -> Example:
    """The example of a name.

    Raises:
        UnknownNameError: There is none; names the nearest.
    """
    for each in EXAMPLES:
        if each.name == name:
            return each
    raise UnknownNameError("example", name, (each.name for each in EXAMPLES))


def example_of(model: str) -> Example | None:
    """The example whose model goes by this name; None where it is another's."""
    return next((each for each in EXAMPLES if each.model == model), None)
