"""What is asked of the pipeline and what it answers: one contract for the command and Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from automl.latency import CPU_RUNTIME
from automl.options import ProfileOptions, SearchOptions, SpaceOptions, values_of
from automl.pipeline.points import TrialPoint
from automl.pipeline.showing import result_figure, result_html

if TYPE_CHECKING:  # the command builds requests before torch is loaded
    from plotly.graph_objects import Figure
    from torch import nn

    from automl.latency import BoardComparison
    from automl.policy import Measured, PolicyFile
    from automl.recovery import TrainingPoint
    from automl.userdata import Batches, Data, Score


@dataclass(frozen=True, slots=True)
class Task:
    """The model that is to be compressed, with the data and the score that judge it.

    Attributes:
        model: In evaluation mode, on the CPU, its trained weights loaded.
        data: Decoded calibration, validation and test batches.
        score: (model, batches) -> float, larger is better.
        input_shape: Shape of one batch-1 input as it is priced, exported and measured; the data's
            may be of another height and width.
        model_name, data_name, score_name: What the user called them, for messages and files.
        notes: What the user should know of how it was chosen.
    """

    model: nn.Module
    data: Data
    score: Score
    input_shape: tuple[int, ...]
    model_name: str
    data_name: str
    score_name: str
    notes: tuple[str, ...] = ()

    @property
    def judged_on(self) -> Batches:
        """Data that results are judged on: the test's, or where there is none the validation's."""
        return self.data.test or self.data.validation


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest(SearchOptions):
    """One search: its options, with what they are about.

    Attributes:
        task: What is compressed.
        out: Folder for the policy, the study, the front and the log.
    """

    task: Task
    out: Path  # pyright: ignore[reportGeneralTypeIssues]  # a request has one for certain

    @property
    def seconds(self) -> float | None:
        """Most wall time of the study; None for no limit."""
        return self.time


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """Make the smaller model of a policy.

    Attributes:
        task: The dense model, and the data that it is refitted on.
        policy: A read policy file.
        out: Where the state dict goes.
        export: Where the exported model goes, or None; its ending says as what.
        packed: Where the weights go in the bits that the policy gave them, or None.
        huffman: Whether they are entropy-coded there.
        recover: Training after the refit, as `recovery_of` reads it; "0" for none.
        start: Which weights it begins with; None for the recipe's.
        quantizer: How rounding is trained; None for the recipe's.
        hook: What is done between its steps, beside what the recipe says.
        calibration: Most calibration inputs that were asked for, None for the usual. A policy that
            says how many it was made with is made with those.
        seed: Of the order of the training data, and of all else that the policy does not say;
            None for that of its search.
        beside: Folder of the policy's file, of one that is made from weights beside it.
        tensorboard: Whether the training's losses and scores are written for TensorBoard.
    """

    task: Task
    policy: PolicyFile
    out: Path
    export: Path | None = None
    packed: Path | None = None
    huffman: bool = False
    recover: str = "0"
    start: str | None = None
    quantizer: str | None = None
    hook: tuple[str, ...] = ()
    calibration: int | None = None
    seed: int | None = None
    beside: Path = Path()
    tensorboard: bool = False


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Measure a policy's model beside the dense one.

    Attributes:
        task: The dense model.
        policy: A read policy file.
        target: Name of the target to measure on.
        threads: Threads of the runtime.
        ssh: The board, user@host; none for this machine.
        python: The board's Python that has the runtime.
        answer_timeout: Seconds that the board may be silent; None for the usual.
        write: Where the policy is written with what was measured, or None.
    """

    task: Task
    policy: PolicyFile
    target: str
    threads: int = 1
    ssh: tuple[str, ...] = ()
    python: str = "python3"
    answer_timeout: float | None = None
    write: Path | None = None


@dataclass(frozen=True, slots=True)
class ProfileRequest(SpaceOptions):
    """Measure the operators that a search over a model can ask for, where the table lacks them.

    Integers are measured as they run inside a quantised network. The seed is that of the random
    policies that predictions are held against.

    Attributes:
        target: Name of the target.
        model: Whose operators to measure, or None when `ops` names them.
        input_shape: Shape of one batch-1 input of the model; () where there is no model.
        ops: A file of operators, or None.
        runtime: Name of what executes the operators, as `automl.profiling.RUNTIMES` lists them.
        calibrate: CSV of whole networks' times that a predictor is fitted to, or None.
        like: Target whose predictor is the start of that.
        profile: Somebody's profile of the model to read in place of measuring, or None.
        layer_info: What trtexec's --exportLayerInfo wrote with that profile, or None.
        precision: Of that profile, where it does not tell it.
    """

    target: str
    model: nn.Module | None
    input_shape: tuple[int, ...]
    ops: Path | None = None
    runtime: str = CPU_RUNTIME
    calibrate: Path | None = None
    like: str | None = None
    profile: Path | None = None
    layer_info: Path | None = None
    precision: str = ""


def profile_request(
    options: ProfileOptions, model: nn.Module | None, input_shape: tuple[int, ...]
) -> ProfileRequest:
    """What the options ask for, of a model or of none."""
    given = values_of(options)
    given["runtime"] = options.runtime or CPU_RUNTIME
    given["precision"] = options.precision or ""
    return ProfileRequest(model=model, input_shape=input_shape, **given)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What one model costs and is worth.

    Attributes:
        score: On the data that `SearchResult.scored_on` names.
        predicted_seconds: Priced from the table; None where the target has no time.
        error: Relative error known for the prediction (0.08 = 8 %); None where not known.
        measured_seconds: None where nothing was measured.
        macs: Multiply-accumulates of one input.
        bytes: Size of the weights.
        joules: Predicted energy of one input; None where the target does not know it.
        predicted_cycles: In place of seconds where the target is a simulator.
        counted_macs: What fvcore counts in the network itself; None where it was not asked.
        at_least: Whether the target has no price for some operator with weights: what is predicted
            of latency and energy is a lower bound.
        score_error: Standard error of the score, by its spread over the inputs; None where not
            known, as of a score that gives one number for all.
        change_error: Standard error of the score minus the dense network's, input by input; None
            where not known, and of the dense network itself.
        measured_spread: Relative half-width of the 68 % interval of what was measured.
    """

    score: float | None
    predicted_seconds: float | None
    error: float | None
    measured_seconds: float | None
    macs: float
    bytes: float
    joules: float | None = None
    predicted_cycles: float | None = None
    counted_macs: float | None = None
    at_least: bool = False
    score_error: float | None = None
    change_error: float | None = None
    measured_spread: float | None = None


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a stage of a search took.

    Attributes:
        name: Of the stage.
        seconds: Wall time.
        peak_bytes: Most memory that the process was resident with until its end; None where the
            system does not tell.
    """

    name: str
    seconds: float
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found. Files are in `out`.

    Attributes:
        model: The compressed model, ready to run; of integers, a `QuantizedModel`.
        dense, compressed: Metrics of the model as it came and of the best policy's model.
        policy: The best policy, as written.
        policy_path: Where it was written.
        out: The run folder.
        trials: Trials in the study, resumed ones among them.
        target: The target in words: device, runtime, threads, known error.
        scored_on: Which data the accuracies are from ("10,000 test images").
        interrupted: The study was cut short; the policy is the best until then.
        notes: What the user should know: parts left alone, budgets met already, capped data.
        stages: What each stage took, in the order in which they began.
    """

    model: nn.Module
    dense: Metrics
    compressed: Metrics
    policy: PolicyFile
    policy_path: Path
    out: Path
    trials: int
    target: str
    scored_on: str
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    stages: tuple[StageCost, ...] = ()

    def _repr_html_(self) -> str:
        return result_html(self)

    def plot(self) -> Figure:
        """Every scored trial of the run, score against latency, as a figure of plotly.

        Raises:
            StudyError: No trial of the run has a score and a latency.
            UsageError: plotly is not installed.
        """
        return result_figure(self)


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The smaller model and its files.

    Attributes:
        model: Of integers, a `QuantizedModel`.
        dense, compressed: Metrics of the model as it came and of this one.
        scored_on: Which data the accuracies are from.
        weights_path, export_path, packed_path: Files that were written.
        export_error: Largest difference of the file's outputs from the model's (of integers the
            mean), relative to the largest output.
        integers: Whether the model computes in integers somewhere.
        packed_bytes: Size of the packed file.
        notes: What the user should know.
    """

    model: nn.Module
    dense: Metrics
    compressed: Metrics
    scored_on: str
    weights_path: Path
    export_path: Path | None = None
    export_error: float | None = None
    integers: bool = False
    packed_path: Path | None = None
    packed_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Predicted beside measured, in seconds.

    Attributes:
        dense, compressed: Of both networks.
        target: What was measured on and how.
        notes: What the user should know.
        measured: What a policy file keeps of it; None where nothing was measured.
    """

    dense: Metrics
    compressed: Metrics
    target: str
    notes: tuple[str, ...] = ()
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """A whole network's seconds, predicted by a fit that had not seen it, and measured."""

    name: str
    predicted_seconds: float
    measured_seconds: float


@dataclass(frozen=True, slots=True)
class BoardShare:
    """What one of several boards measured.

    Attributes:
        board: Its name in the table's rows.
        rows: Rows that it added.
        compared: How it compares with the first one; None for that, and where it is not known.
    """

    board: str
    rows: int
    compared: BoardComparison | None = None


@dataclass(frozen=True, slots=True)
class ProfileResult:
    """What a table gained.

    Attributes:
        target: The table in words.
        table_path: Its file.
        asked: Operators asked for.
        known: How many of them had a row before.
        measured: Rows added.
        refused: Operators without a row, and why.
        notes: What the user should know.
        networks: Whole networks that the table's predictions were held against.
        error: Mean absolute relative error over them; None where there are none.
        boards: Of several that shared the work, what each did.
    """

    target: str
    table_path: Path
    asked: int
    known: int
    measured: int
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    networks: tuple[NetworkTime, ...] = ()
    error: float | None = None
    boards: tuple[BoardShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """Progress of a stage.

    Attributes:
        stage, done, total: What is done, and how much of it; `total` is None where it is not known.
        best: The best score so far, None before there is one.
        left_seconds: Until the stage is over, at the most, as far as that can be told.
        trial, training: What was finished or trained, where it is that of which this tells.
    """

    stage: str
    done: int = 0
    total: int | None = None
    best: float | None = None
    left_seconds: float | None = None
    trial: TrialPoint | None = None
    training: TrainingPoint | None = None


OnEvent = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Listens to no progress."""
