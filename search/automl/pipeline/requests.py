"""What is asked of the pipeline and what it answers: one contract for the command and Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from automl.errors import UsageError
from automl.latency import CPU_RUNTIME
from automl.units import parse_budget

if TYPE_CHECKING:  # the command builds requests before torch is loaded
    from torch import nn

    from automl.policy import PolicyFile
    from automl.userdata import Data, Score

#: Policies scored when neither trials nor seconds are given.
DEFAULT_TRIALS = 32
#: Precisions that are chosen from when none are asked for.
DEFAULT_PRECISIONS = ("float",)
#: Calibration images when none are asked for.
DEFAULT_CALIBRATION = 2000


@dataclass(frozen=True, slots=True)
class Task:
    """The model that is to be compressed, with the data and the score that judge it.

    Attributes:
        model: In evaluation mode, on the CPU, its trained weights loaded.
        data: Decoded calibration, validation and test batches.
        score: (model, batches) -> float, larger is better.
        input_shape: Shape of one batch-1 input.
        model_name, data_name, score_name: What the user called them, for messages and files.
    """

    model: nn.Module
    data: Data
    score: Score
    input_shape: tuple[int, ...]
    model_name: str
    data_name: str
    score_name: str


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One search, its inputs resolved.

    Attributes:
        task: What is compressed.
        target: Name of a target, or path of a latency table.
        budget: Budgets as written ("10ms", "50%", "4MB", "60MMACs"); all must hold.
        agent: Name of the agent.
        trials: Most policies to score; None lets the agent end.
        seconds: Most wall time of the study in seconds; None for no limit.
        seed: Of everything random.
        out: Folder for the policy, the study, the front and the log.
        resume: Go on with the study that is in `out`.
        storage: Address of the database that keeps the study, under the name of `out`; None for a
            file in `out`.
        round_to: Channel granularity; None learns it from the target's prices.
        depth: Whether blocks may be left out.
        resolutions: Input sizes to choose from; () keeps the dense one, None finds them.
        precisions: What layers may compute in: "float" alone for no choice, "auto" alone for all
            that pays on the target, or names ("int8", "w4a6"; "w4" or "w2-w6" for weights alone).
        keep_first_last: Hold the first and the last layer at 8 bits.
        threads: Threads that operators are measured with.
        full_scores: Score every candidate on all validation inputs; without it, one that cannot
            beat the best any more is given up early, where the score has a value an input.
        warm_start: Let an agent that learns start from the optimum of additive sensitivity.
        measure: Measure what the best candidates use until the winner rests on measured rows.
        ssh: Boards that are measured for that, as "user@host[:port]"; () for this machine.
        python: Interpreter of the boards that has the runtime.
    """

    task: Task
    target: str
    budget: tuple[str, ...]
    out: Path
    agent: str = "lagrangian"
    trials: int | None = DEFAULT_TRIALS
    seconds: float | None = None
    seed: int = 0
    resume: bool = False
    storage: str | None = None
    round_to: int | None = None
    depth: bool = True
    resolutions: tuple[int, ...] | None = None
    precisions: tuple[str, ...] = DEFAULT_PRECISIONS
    keep_first_last: bool = False
    threads: int = 1
    full_scores: bool = False
    warm_start: bool = True
    measure: bool = False
    ssh: tuple[str, ...] = ()
    python: str = "python3"


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """Make the smaller model of a policy.

    Attributes:
        task: The dense model, and the data that it is refitted on.
        policy: A read policy file.
        out: Where the state dict goes.
        export: Where the ONNX model goes, or None.
        packed: Where the weights go in the bits that the policy gave them, or None.
        huffman: Whether they are entropy-coded there.
        epochs: Epochs of fine-tuning on the training data after the refit; 0 for none.
        seed: Of everything random.
    """

    task: Task
    policy: PolicyFile
    out: Path
    export: Path | None = None
    packed: Path | None = None
    huffman: bool = False
    epochs: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Measure a policy's model beside the dense one.

    Attributes:
        task: The dense model.
        policy: A read policy file.
        target: Name of the target to measure on.
        threads: Threads of the runtime.
    """

    task: Task
    policy: PolicyFile
    target: str
    threads: int = 1


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """Measure the operators that a search over a model can ask for, where the table lacks them.

    Attributes:
        target: Name of the target.
        model: Whose operators to measure, or None when `ops` names them.
        input_shape: Shape of one batch-1 input of the model; () where there is no model.
        ops: A file of operators, or None.
        round_to: Channel granularity; None learns it from the target's prices.
        depth: Whether blocks may be left out.
        resolutions: As in `SearchRequest`.
        precisions: As in `SearchRequest`, of those that the runtime has; integers are measured as
            they run inside a quantised network.
        threads: Threads of the runtime.
        seed: Of the random policies that predictions are held against.
        runtime: Name of what executes the operators, as `automl.profiling.RUNTIMES` lists them.
        ssh: Boards that are measured, as "user@host[:port]"; () measures this machine.
        python: Interpreter of the boards that has the runtime.
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
    round_to: int | None = None
    depth: bool = True
    resolutions: tuple[int, ...] | None = None
    precisions: tuple[str, ...] = DEFAULT_PRECISIONS
    threads: int = 1
    seed: int = 0
    runtime: str = CPU_RUNTIME
    ssh: tuple[str, ...] = ()
    python: str = "python3"
    calibrate: Path | None = None
    like: str | None = None
    profile: Path | None = None
    layer_info: Path | None = None
    precision: str = ""


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


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found. Files are in `out`.

    Attributes:
        dense, compressed: Metrics of the model as it came and of the best policy's model.
        policy: The best policy, as written.
        policy_path: Where it was written.
        out: The run folder.
        trials: Trials in the study, resumed ones among them.
        target: The target in words: device, runtime, threads, known error.
        scored_on: Which data the accuracies are from ("10,000 test images").
        interrupted: The study was cut short; the policy is the best until then.
        notes: What the user should know: parts left alone, budgets met already, capped data.
    """

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


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """The smaller model and its files.

    Attributes:
        model: Of integers, a `QuantizedModel`.
        dense, compressed: Metrics of the model as it came and of this one.
        scored_on: Which data the accuracies are from.
        weights_path, export_path, packed_path: Files that were written.
        export_error: Largest difference of the ONNX outputs from the model's; of integers the mean,
            relative to the largest output.
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
    """Predicted beside measured, in seconds. `target` says what was measured on and how."""

    dense: Metrics
    compressed: Metrics
    target: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """A whole network's seconds, predicted by a fit that had not seen it, and measured."""

    name: str
    predicted_seconds: float
    measured_seconds: float


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


@dataclass(frozen=True, slots=True)
class Event:
    """Progress of a stage. `best` is the best score so far, None before there is one."""

    stage: str
    done: int
    total: int | None = None
    best: float | None = None


OnEvent = Callable[[Event], None]


def check_measuring(measure: bool, resume: bool, ssh: Sequence[str], budget: Sequence[str]) -> None:
    """What measuring in a search does not go with, found before anything is loaded.

    Raises:
        UsageError: Nothing to measure for, as no latency is limited; a study to resume; or boards
            that nothing is measured on.
    """
    if ssh and not measure:
        raise UsageError(
            "a board is given, which a search needs only where it measures",
            options=("measure", "ssh"),
        )
    if measure and resume:
        raise UsageError(
            "a search that measures does not resume: rows are kept in the table, start it again",
            options=("measure", "resume"),
        )
    if measure and not any(parse_budget(text).quantity == "latency" for text in budget):
        raise UsageError(
            "a search that measures needs a budget of time: nothing else is measured",
            options=("measure", "budget"),
        )


def ignore(_: Event) -> None:
    """Listens to no progress."""
