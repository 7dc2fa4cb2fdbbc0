"""Built-in scores: means of one value an image, so that two models can be compared by image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import nn

from automl.errors import DataError
from automl.userdata.data import MAX_BYTES
from automl.userdata.passes import in_passes

Tensor = torch.Tensor
#: A score: (model, batches) -> float, larger is better. The model is in evaluation mode.
Score = Callable[[nn.Module, Iterable[tuple[Tensor, Any]]], float]

#: What the built-in scores are called, where they are shown.
ACCURACY_NAME: Final = "top-1 accuracy"
LOGITS: Final = "logits"
PSNR: Final = "psnr"
CONFIDENCE: Final = "probability of the right class"
#: From this accuracy of the dense network on, too few images are left to tell candidates apart.
SATURATED: Final = 0.995


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model's outputs are compared with.

    Attributes:
        rows: One row per image, in the order of the batches.
        scale: What differences are divided by.
    """

    rows: Tensor
    scale: float = 1.0

    def __getitem__(self, chosen: slice | Tensor) -> Reference:
        """The rows of some images."""
        return Reference(self.rows[chosen], self.scale)


class ImageScore(ABC):
    """A score that is the mean of one value an image.

    Attributes:
        best: No image has a larger value.
    """

    best: ClassVar[float]

    @abstractmethod
    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        """What the outputs on these batches are to be compared with."""

    @abstractmethod
    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        """One value an image, float64 [images], larger is better."""

    def __call__(self, model: nn.Module, batches: Iterable[tuple[Tensor, Any]]) -> float:
        """The mean over all images, at the resolution of the batches."""
        return self.mean(model, (inputs for inputs, _ in batches), self.reference(batches))

    def mean(self, model: nn.Module, shown: Iterable[Tensor], reference: Reference) -> float:
        """The mean over the images of the reference, shown to the model as they are given here."""
        total, first = 0.0, 0
        with torch.no_grad():
            for inputs in shown:
                here = reference[first : first + len(inputs)]
                outputs = in_passes(model, inputs[: len(here.rows)])
                total += float(self.values(outputs, here).sum())
                first += len(here.rows)
                if first == len(reference.rows):
                    break
        return total / first


class Accuracy(ImageScore):
    """Top-1 accuracy: 1 for an image whose largest output is that of its class, else 0."""

    best = 1.0

    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        """The class of each image.

        Raises:
            DataError: Targets that are not one class index an input.
        """
        return Reference(torch.cat([_classes(inputs, targets) for inputs, targets in batches]))

    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        """1 where the largest output is that of the class.

        Raises:
            DataError: Outputs that are not one row of classes an input.
        """
        return (_class_rows(outputs).argmax(1) == reference.rows).double()


class Confidence(Accuracy):
    """Probability that the outputs give to the class of an image, in place of right or wrong.

    It tells candidates apart where nearly all are right of each, and ranks others as accuracy does.
    """

    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        """The softmax of the outputs at the class; 0 where there is no output of that class.

        Raises:
            DataError: Outputs that are not one row of classes an input.
        """
        probabilities, classes = _class_rows(outputs).double().softmax(1), reference.rows.long()
        known = (classes >= 0) & (classes < probabilities.shape[1])
        found = probabilities.gather(1, torch.where(known, classes, 0)[:, None])[:, 0]
        return torch.where(known, found, 0.0)


class Logits(ImageScore):
    """How near the outputs are to the dense network's; 0 is the best, labels are not read.

    The value of an image is minus the mean squared difference of its outputs, relative to the
    variance of the dense outputs over images (mean over outputs).

    Args:
        dense: The network to be near to.
    """

    best = 0.0

    def __init__(self, dense: nn.Module) -> None:
        self._dense = dense

    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        """The dense network's outputs, of as many images as a gigabyte holds, and their variance.

        The images are to be at the dense network's resolution, whatever the candidate's.
        """
        parts: list[Tensor] = []
        room = MAX_BYTES
        with torch.no_grad():
            for inputs, _ in batches:
                part = in_passes(self._dense, inputs).flatten(1)
                parts.append(part[: max(1, room // (part[0].numel() * part.element_size()))])
                room -= parts[-1].numel() * part.element_size()
                if parts[-1].shape[0] < inputs.shape[0]:
                    break
        rows = torch.cat(parts)
        variance = float(rows.var(0).mean()) if rows.shape[0] > 1 else 1.0
        return Reference(rows, max(variance, 1e-12))

    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        """Minus the relative squared error."""
        errors = (outputs.flatten(1) - reference.rows).double().square().mean(1)
        return -errors / reference.scale


class PeakSignalToNoise(ImageScore):
    """Peak signal-to-noise ratio of pictures whose white is 1, in dB: -10 log10 of the mean square.

    The value of an image is that of all its outputs together, at most `best`, which is that of an
    image without any error.
    """

    best = 100.0

    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        """The targets.

        Raises:
            DataError: Targets that are no tensors of numbers, one an input.
        """
        return Reference(torch.cat([_pictures(inputs, targets) for inputs, targets in batches]))

    def values(self, outputs: Tensor, reference: Reference) -> Tensor:
        """The ratio, in dB.

        Raises:
            DataError: Outputs of another shape than the targets.
        """
        if outputs.shape != reference.rows.shape:
            raise DataError(
                f"outputs of shape {tuple(outputs.shape)} are no pictures like the targets of "
                f"{tuple(reference.rows.shape)}: they need another score",
                options=("score",),
            )
        errors = (outputs - reference.rows).double().square().flatten(1).mean(1)
        return -10 * torch.log10(errors.clamp_min(10 ** (-self.best / 10)))


#: The default score.
top1_accuracy: Final = Accuracy()
#: The score of networks that put out pictures.
psnr: Final = PeakSignalToNoise()


def _pictures(inputs: Tensor, targets: Any) -> Tensor:
    if not isinstance(targets, Tensor) or not targets.is_floating_point():
        found = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise DataError(f"targets of {found} are no pictures of floats", options=("score",))
    if targets.shape[:1] != inputs.shape[:1]:
        raise DataError(f"{len(inputs)} inputs have targets of shape {tuple(targets.shape)}")
    return targets


def _class_rows(outputs: Tensor) -> Tensor:
    if outputs.dim() != 2:
        raise DataError(
            f"outputs of shape {tuple(outputs.shape)} are not one row of classes an input: "
            "they need a score of your own",
            options=("score",),
        )
    return outputs


def _classes(inputs: Tensor, targets: Any) -> Tensor:
    classes = torch.as_tensor(targets)
    if classes.is_floating_point() or classes.shape != inputs.shape[:1]:
        raise DataError(
            f"targets of shape {tuple(classes.shape)} and {classes.dtype} are not class indices "
            f"for {len(inputs)} inputs: they need a score of your own",
            options=("score",),
        )
    return classes
