"""What a recovery is made of: losses, hooks, the weights that it begins with, and rounding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from automl.compression import ActivationQParams, Codebook, QParams
from automl.policy import Bits

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Step:
    """What a loss may read of one batch.

    Attributes:
        inputs: As the teachers are shown them, [images, ...].
        targets: As the data has them; None where there are none.
        found: The student's outputs of floats.
        aims: The teachers', one sequence a teacher, without gradients.
        features: What the student and the first teacher wrote in the places where their shapes
            agree but for the size of maps, by the modules' names.
        classes: Whether outputs of rows are scores of classes.
        student: The network that is trained.
        weights: Those of its layers as they will be delivered, norms folded, with gradients, by
            their names; none where no loss reads them.
    """

    inputs: Tensor
    targets: Any
    found: Sequence[Tensor]
    aims: Sequence[Sequence[Tensor]]
    features: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    classes: bool = True
    student: nn.Module = field(default_factory=nn.Identity)
    weights: Mapping[str, Tensor] = field(default_factory=dict)


class Term(ABC):
    """One loss, which is added to the others of a recipe.

    Attributes:
        reads_teachers: Whether it needs what the teachers give.
        reads_features: Whether it needs what is inside the networks.
        reads_weights: Whether it needs the student's weights.
        local: Whether each part learns from what is before it as it is: no gradient passes from one
            place of the features to the one before.
    """

    reads_teachers: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = False
    local: bool = False

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            DataError: The batch lacks what it needs.
        """


@dataclass(frozen=True, slots=True)
class HookPlan:
    """What a hook may read before the first step.

    Attributes:
        inputs: Some inputs as the student is shown them, [images, ...].
        seed: Of what is drawn.
        made: Layers whose weights are made of few numbers, each with its form's name: what stands
            in their place is not used, and is not for a hook to change.
        masked: Layers of which some weights stay zero, each with its form's name.
    """

    inputs: Tensor
    seed: int = 0
    made: Mapping[str, str] = field(default_factory=dict)
    masked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """What is told of a training while it goes on.

    Attributes:
        step, total: Steps done, and in all where that is known.
        loss: Of the last of them; None where a score is told.
        score: Held-back score of the weights after them; None where a loss is told.
    """

    step: int
    total: int | None
    loss: float | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a training stands.

    Attributes:
        step: Steps done before this one.
        share: Of the training that is done, from 0 to 1.
        rate: Learning rate of this step.
    """

    step: int
    share: float
    rate: float


class Hook:
    """What is done to a network between the steps of its training: nothing, here.

    What a hook knows beside the weights is its `state`: a training that was killed starts its hook
    again, on the weights of the checkpoint, and gives it the state back. What it draws comes from
    a generator of its own.

    Attributes:
        leaves: What it leaves in the weights: "" for nothing; "weights" that are zero or of few
            values; "channels" that are zero, and are cut out of what is delivered. With one that
            leaves something the last weights are kept, whatever their score.
        acts_on: Single "weights"; whole "channels"; what layers' "outputs" are told back; or the
            rounding of networks with "bits".
    """

    leaves: ClassVar[Literal["", "weights", "channels"]] = ""
    acts_on: ClassVar[Literal["weights", "channels", "outputs", "bits"]] = "weights"

    def start(self, model: nn.Module, plan: HookPlan) -> None:
        """See what there is to do on a network.

        Raises:
            UsageError: It can do nothing on this one.
        """

    def before_batch(self, model: nn.Module, moment: Moment) -> None:
        """Change what the next batch is shown to."""

    def before_step(self, model: nn.Module, moment: Moment) -> None:
        """Edit the gradients, which are clipped already; what masks them is a `WatchingHook`."""

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """Project or mask the weights."""

    def after_epoch(self, model: nn.Module, moment: Moment) -> None:
        """Do what is done once an epoch."""

    def finish(self, model: nn.Module) -> str:
        """Bring the weights that are kept to what the hook promises, and say what that came to."""
        return ""

    def detach(self, model: nn.Module) -> None:
        """Take off the network what the hook has put onto it; called after an error too."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that it goes on with."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` said."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a start may read.

    Attributes:
        student: The compressed network, its norms put back. It is changed in place.
        seed: Of what is drawn.
        cut: Makes of weights of the dense network, by their names, those of the student's shapes;
            None where nobody knows how.
    """

    student: nn.Module
    seed: int = 0
    cut: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None


class Start(ABC):
    """Which weights a recovery begins with."""

    def check(self, dense: Mapping[str, Tensor]) -> None:
        """See that what it needs is there, before anything is made.

        Args:
            dense: Weights of the dense network by their names.

        Raises:
            UsageError: It is not.
        """
        return

    @abstractmethod
    def begin(self, beginning: Beginning) -> None:
        """Set the student's weights, in place.

        Raises:
            UsageError: It needs what is not there.
        """


@dataclass(frozen=True, slots=True)
class Levels:
    """The integers that a value may take, counted from the zero point.

    Attributes:
        low, high: The smallest and the largest.
        binary: Whether there are none but these two.
    """

    low: int
    high: int
    binary: bool = False

    def nearest(self, units: Tensor) -> Tensor:
        """The nearest ones, halves to even; of two alone, by the sign."""
        if self.binary:
            return torch.where(units < 0, float(self.low), float(self.high))
        return units.round().clamp(self.low, self.high)


@dataclass(frozen=True, slots=True)
class GivenWeights:
    """A layer's weights, before their rounding is trained.

    Attributes:
        weights: As the policy's network has them, rounded: [runs, outputs, columns].
        known: What they stand on: integers with scales, or for weights alone a codebook.
        bits: Of the layer, as it is stored.
        shared: Whether all of them have one scale, as some targets want it.
        dense: The dense network's in the same place and shape; None where it has none.
        seed: Of what is drawn.
        aim: Weights that do best on what the layer reads where layers before it are rounded by
            their quantizers; None where it reads what the policy's network does.
        moments: Second moments of what it reads, with a column of ones where the layer has a bias,
            [runs, columns, columns]; None where nobody knows.
    """

    weights: Tensor
    known: QParams | Codebook
    bits: Bits
    shared: bool = False
    dense: Tensor | None = None
    seed: int = 0
    aim: Tensor | None = None
    moments: Tensor | None = None

    @property
    def wanted(self) -> Tensor:
        """What rounded weights are to stand for: the aim, or the dense network's, or the given."""
        whole = self.weights if self.dense is None else self.dense
        return whole if self.aim is None else self.aim


@dataclass(frozen=True, slots=True)
class GivenActivations:
    """A tensor of activations, before its rounding is trained.

    Attributes:
        known: The integers, with the step that calibration chose.
        seen: Some of its values before they are rounded, flat.
        seed: Of what is drawn.
    """

    known: ActivationQParams
    seen: Tensor
    seed: int = 0

    @property
    def levels(self) -> Levels:
        """The integers, counted from the zero point."""
        known = self.known
        return Levels(known.low - known.zero_point, known.high - known.zero_point)


class TrainedRounding(nn.Module):
    """Rounds with gradients; may draw while it is trained, and never in evaluation mode.

    What it draws depends on its seed and on how often it has drawn, which its state has: a training
    that was killed goes on with the same numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed
        self._drawn: Tensor
        self.register_buffer("_drawn", torch.zeros((), dtype=torch.int64))

    def uniform(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Numbers between 0 and 1, neither of them among these, drawn for this call."""
        seed = self._seed * 1_000_003 + int(self._drawn)
        generator = torch.Generator().manual_seed(seed % (1 << 63))
        self._drawn += 1
        least = torch.finfo(torch.float32).eps
        return torch.rand(tuple(shape), generator=generator).clamp(least, 1 - least).to(like)


class WeightRounding(TrainedRounding, ABC):
    """Rounds the weights of one layer from numbers that training moves.

    Attributes:
        reads_numbers: Whether what it gives is these numbers, rounded.
    """

    reads_numbers: ClassVar[bool] = True

    def begin(self, given: GivenWeights) -> Tensor:
        """The numbers that training begins with, [runs, outputs, columns]."""
        return given.weights

    @abstractmethod
    def forward(self, weights: Tensor) -> Tensor:
        """Weights rounded, with gradients; in evaluation mode exactly those of `frozen`.

        Args:
            weights: The numbers that training moves, [runs, outputs, columns].
        """

    @abstractmethod
    def frozen(self, weights: Tensor) -> tuple[Tensor, QParams | Codebook]:
        """The rounded weights, and what they stand on, of the given kind.

        Args:
            weights: As of `forward`.
        """

    def variance(self, weights: Tensor) -> Tensor | None:
        """How much each weight varies, where the layer's outputs are to be drawn; else None."""
        return None


class ActivationRounding(TrainedRounding, ABC):
    """Rounds one tensor of activations."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Values rounded, with gradients; in evaluation mode exactly as `frozen` says."""

    @abstractmethod
    def frozen(self) -> ActivationQParams:
        """The given integers, with the step that was trained."""


class TrainedQuantizer(ABC):
    """How values are rounded while a network is trained, and what gradients do there.

    Attributes:
        by_channel: Whether it gives weights alone integers with a scale an output channel, into
            which norms can be folded; where not, they get a codebook.
    """

    by_channel: ClassVar[bool] = False

    def refusal(self, bits: Bits) -> str:
        """Why it rounds no layer of these bits, as "it has three weights: w2"; "" where it does.

        Layers that it refuses are trained with `lsq` beside those that it takes.
        """
        return ""

    @abstractmethod
    def weights(self, given: GivenWeights) -> WeightRounding:
        """What rounds the weights of a layer whose bits it takes."""

    @abstractmethod
    def activations(self, given: GivenActivations) -> ActivationRounding:
        """What rounds a tensor of activations."""
