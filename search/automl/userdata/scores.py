"""Built-in scores: means of one value an image, so that two models can be compared by image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import nn

from automl.errors import DataError, Raised, attempt
from automl.network import column_scales, output_rows
from automl.userdata.data import MAX_BYTES
from automl.userdata.inputs import Coded
from automl.userdata.passes import Outputs, in_passes

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
#: Of fewer images than this accuracy tells candidates apart by steps that are too large.
FEW: Final = 500


@dataclass(frozen=True, slots=True)
class Reference:
    """What a model's outputs are compared with.

    Attributes:
        rows: One row per image, in the order of the batches.
        scale: What squared differences are divided by: a number, or one a column.
    """

    rows: Tensor
    scale: float | Tensor = 1.0

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
    def values(self, outputs: Outputs, reference: Reference) -> Tensor:
        """One value an image, float64 [images], larger is better."""

    def __call__(self, model: nn.Module, batches: Iterable[tuple[Tensor, Any]]) -> float:
        """The mean over all images, at the resolution of the batches."""
        return self.mean(model, (inputs for inputs, _ in batches), self.reference(batches))

    def mean(self, model: nn.Module, shown: Iterable[Tensor], reference: Reference) -> float:
        """The mean over the images of the reference, shown to the model as they are given here."""
        total, count = 0.0, 0
        for part in self.parts(model, shown, reference):
            total, count = total + float(part.sum()), count + len(part)
        return total / count

    def parts(
        self, model: nn.Module, shown: Iterable[Tensor], reference: Reference
    ) -> Iterator[Tensor]:
        """The values of the images of the reference, batch by batch."""
        first = 0
        for inputs in shown:
            here = reference[first : first + len(inputs)]
            with torch.no_grad():
                found = self.values(in_passes(model, inputs[: len(here.rows)]), here)
            yield found
            first += len(here.rows)
            if first == len(reference.rows):
                return


class Accuracy(ImageScore):
    """Top-1 accuracy: 1 for an image whose largest output is that of its class, else 0."""

    best = 1.0

    def reference(self, batches: Iterable[tuple[Tensor, Any]]) -> Reference:
        """The class of each image.

        Raises:
            DataError: Targets that are not one class index an input.
        """
        return Reference(torch.cat([class_indices(inputs, targets) for inputs, targets in batches]))

    def values(self, outputs: Outputs, reference: Reference) -> Tensor:
        """1 where the largest output is that of the class.

        Raises:
            DataError: Outputs that are not one row of classes an input.
        """
        return (_class_rows(outputs).argmax(1) == reference.rows).double()


class Confidence(Accuracy):
    """Probability that the outputs give to the class of an image, in place of right or wrong.

    It tells candidates apart where nearly all are right of each, and ranks others as accuracy does.
    """

    def values(self, outputs: Outputs, reference: Reference) -> Tensor:
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
        parts: list[Outputs] = []
        room = MAX_BYTES
        with torch.no_grad():
            for inputs, _ in batches:
                part = in_passes(self._dense, inputs)
                rows = output_rows(part, len(inputs))
                count = min(len(rows), max(1, room // (rows[0].numel() * rows.element_size())))
                parts.append(_first(part, count))
                room -= count * rows[0].numel() * rows.element_size()
                if count < len(inputs):
                    break
        whole = _joined(parts)
        count = len(whole) if isinstance(whole, Tensor) else len(next(iter(whole.values())))
        return Reference(output_rows(whole, count), column_scales(whole, count))

    def values(self, outputs: Outputs, reference: Reference) -> Tensor:
        """Minus the relative squared error."""
        rows = output_rows(outputs, len(reference.rows))
        return -((rows - reference.rows).double().square() / reference.scale).mean(1)


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

    def values(self, outputs: Outputs, reference: Reference) -> Tensor:
        """The ratio, in dB.

        Raises:
            DataError: Outputs of another shape than the targets.
        """
        outputs = only_tensor(outputs)
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


def only_tensor(outputs: Outputs) -> Tensor:
    """The one tensor that a network gives, or of several the one that is called logits.

    Raises:
        DataError: There are several, and none is called so.
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = outputs.get("logits", next(iter(outputs.values())) if len(outputs) == 1 else None)
    if found is None:
        raise DataError(
            f"the model gives {len(outputs)} outputs ({', '.join(outputs)}): they need a score of"
            " your own",
            options=("score",),
        )
    return found


def _first(outputs: Outputs, count: int) -> Outputs:
    if isinstance(outputs, Tensor):
        return outputs[:count]
    return {name: each[:count] for name, each in outputs.items()}


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """Outputs on one batch after another, as outputs on all."""
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    named = [part for part in parts if not isinstance(part, Tensor)]
    return {name: torch.cat([part[name] for part in named]) for name in named[0]}


def _class_rows(outputs: Outputs) -> Tensor:
    outputs = only_tensor(outputs)
    if outputs.dim() != 2:
        raise DataError(
            f"outputs of shape {tuple(outputs.shape)} are not one row of classes an input: "
            "they need a score of your own",
            options=("score",),
        )
    return outputs


def class_indices(inputs: Tensor | Coded, targets: Any) -> Tensor:
    """The class of each input.

    Raises:
        DataError: The targets are not one class index an input.
    """
    found = attempt(lambda: torch.as_tensor(targets))
    if isinstance(found, Raised):
        kind = type(targets).__name__
        raise DataError(
            f"targets in a {kind} of other things than numbers are not class indices: they need a"
            " score of your own",
            options=("score",),
        )
    classes = found[:, 0] if found.dim() == 2 and found.shape[1] == 1 else found
    if classes.is_floating_point() or classes.shape != inputs.shape[:1]:
        raise DataError(
            f"targets of shape {tuple(classes.shape)} and {classes.dtype} are not class indices "
            f"for {len(inputs)} inputs: they need a score of your own",
            options=("score",),
        )
    return classes
