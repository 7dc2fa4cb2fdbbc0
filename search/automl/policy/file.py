"""Policy files: a policy as JSON, with where it came from and what it was predicted to cost.

Reading one runs no code. The schema is versioned: version 1 is read too, unknown ones are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from automl.documents import fault_of, parse_json, read_json, shown
from automl.errors import PolicyError, nearest
from automl.files import write_whole
from automl.network import Network
from automl.policy.further import check_further
from automl.policy.policy import Bits, Policy
from automl.policy.showing import policy_html
from automl.units import MOST_SEED

SCHEMA: Final = 2
#: Bytes that a file may have: some thousand layers. Each wrong field of it is told of in memory.
POLICY_BYTES: Final = 3 << 18

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
#: Costs and errors that can be: shares of them are numbers.
Cost = Annotated[float, Field(ge=0.0, le=1e18)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Channels(_Part):
    """How many channels of a group stay. `dense` is how many there were."""

    dense: Positive
    kept: Positive

    @model_validator(mode="after")
    def _of_what_there_is(self) -> Channels:
        if self.kept > self.dense:
            found = {"kept": self.kept, "dense": self.dense}
            raise PydanticCustomError("kept", "kept {kept} of {dense} channels", found)
        return self


class Precision(_Part):
    """Bits of a layer's weights and of its input activations; 32 is float."""

    weights: Annotated[int, Field(ge=1, le=32)] = 32
    activations: Annotated[int, Field(ge=1, le=32)] = 32


class Model(_Part):
    """The model that the policy is for."""

    name: str
    fingerprint: str
    input_shape: Annotated[tuple[Positive, ...], FailFast()]


class PolicyTarget(_Part):
    """The device that the policy was priced on, and the table that priced it.

    Attributes:
        name: As it was asked for.
        description: In words.
        table_digest: Of the table.
        scheme: Of its quantised graphs; None for simulators and where all is float.
        floats: What floats of its ONNX files are: fp16 for strongly typed runtimes of that kind.
    """

    name: str
    description: str = ""
    table_digest: str = ""
    scheme: str | None = None
    floats: Literal["fp32", "fp16"] = "fp32"


class MadeWith(_Part):
    """By what the weights of the policy's model were made: `automl.compression.CompressionConfig`.

    Attributes:
        importance: Which channels went first, with options.
        compensation: Whether the weights that stayed made up for them.
        reconstruction: How the weights were found, with options.
        quantization: How they were rounded, with options.
        calibration: At most so many calibration inputs were read.
        seed: Of the order in which a shuffling loader gave them, and of the places sampled.
        inputs_digest: Of the calibration inputs that were used.
        memory: Bytes that might be held; 0 in files that do not say.
    """

    importance: str
    reconstruction: str
    quantization: str
    calibration: Positive
    seed: Seed
    inputs_digest: str
    memory: Annotated[int, Field(ge=0)] = 0
    compensation: bool = True


class Predicted(_Part):
    """What the policy was predicted to cost. Shares say where the latency's parts came from.

    Attributes:
        latency_seconds: None where the target prices no time.
        latency_cycles: In place of it where the target is a simulator.
        latency_error: Known relative error of the latency (0.08 = 8 %); None where not known.
        macs: Multiply-accumulates of one input.
        bytes: Size of the weights.
        joules: Energy of one input; None where the target has none.
        measured, interpolated, fitted: Shares of the latency, summing to 1.
        at_least: Whether the target has no price for some operator with weights: latency and energy
            are at least what is said.
    """

    latency_seconds: Cost | None
    latency_cycles: Cost | None = None
    latency_error: Cost | None = None
    macs: Cost
    bytes: Cost
    joules: Cost | None = None
    measured: Share = 0.0
    interpolated: Share = 0.0
    fitted: Share = 0.0
    at_least: bool = False


class Measured(_Part):
    """What whole networks took, dense and compressed in turns.

    Attributes:
        dense_seconds, latency_seconds: Of the dense network and of the policy's.
        device: What they were measured on.
        runtime: With its version.
        threads: Of the runtime.
        clocks: As the device told them; "" where it did not.
    """

    dense_seconds: Cost
    latency_seconds: Cost
    device: str
    runtime: str
    threads: Positive
    clocks: str = ""


class Lineage(_Part):
    """Of a search in stages: the policy's network is made from weights that training left.

    Attributes:
        stage, stages: Which of how many.
        parent: SHA-256 of the policy of the stage before, as its file is written; of the first, of
            what the search began with.
        recovered: What it was trained with.
        weights: Name of the file beside the policy.
        weights_digest: SHA-256 of that file.
    """

    stage: Positive
    stages: Positive
    parent: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    recovered: str
    weights: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    weights_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PolicyFile(_Part):
    """A policy with its origin.

    Attributes:
        schema_version: Of the file's form.
        automl: Version of the program that wrote it.
        model: Whose policy it is.
        target: What it was priced on.
        budget: The budgets that it meets, as written.
        channels: Per channel group that was open: dense and kept.
        bits: Precision per layer; layers that are not named stay as they are.
        removed: Blocks left out.
        resolution: Square input size; 0 keeps the dense one.
        made_with: By what the model's weights were made; None in files of schema 1, which do not
            say.
        further: Per further kind of choice, per part: the option as the kind writes it.
        predicted: Its predicted cost.
        dense: The dense model's predicted cost.
        score: What it scored, None where it was not scored.
        scored_on: On which data ("5,000 validation images").
        agent: Which agent found it.
        seed: With which seed.
        measured: What the networks took where they were measured; None where they were not.
        lineage: Of the last stage, where there were several; the network is then made from the
            weights that it names. None where it is made from the dense network.
    """

    schema_version: Literal[2] = SCHEMA
    automl: str
    model: Model
    target: PolicyTarget
    budget: Annotated[tuple[str, ...], FailFast()]
    channels: dict[str, Channels] = Field(default_factory=dict)
    bits: dict[str, Precision] = Field(default_factory=dict)
    removed: Annotated[tuple[str, ...], FailFast()] = ()
    resolution: Annotated[int, Field(ge=0)] = 0
    made_with: MadeWith | None
    further: dict[str, dict[str, str]] = Field(default_factory=dict)
    predicted: Predicted
    dense: Predicted
    score: float | None = None
    scored_on: str = ""
    agent: str
    seed: Seed
    measured: Measured | None = None
    lineage: Lineage | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields, those that earlier files lack where they say something."""
        found: dict[str, Any] = write(self)
        for name in ("measured", "lineage"):
            if getattr(self, name) is None:
                del found[name]
        return found

    def _repr_html_(self) -> str:
        return policy_html(self)

    @property
    def policy(self) -> Policy:
        """The choices alone."""
        return Policy(
            {name: group.kept for name, group in self.channels.items()},
            frozenset(self.removed),
            self.resolution,
            {name: Bits(each.weights, each.activations) for name, each in self.bits.items()},
            self.further,
        )

    def with_score(self, score: float, scored_on: str) -> PolicyFile:
        """The same policy, scored."""
        return self.model_copy(update={"score": score, "scored_on": scored_on})


def choices(policy: Policy, network: Network) -> dict[str, Any]:
    """The fields of a `PolicyFile` that hold a policy."""
    dense = network.dense_channels
    kept = {name: policy.channels[name] for name in dense if name in policy.channels}
    order = [block.name for block in network.blocks]
    return {
        "channels": {name: Channels(dense=dense[name], kept=kept[name]) for name in kept},
        "bits": {
            name: Precision(weights=bits.weights, activations=bits.activations)
            for name, bits in policy.bits.items()
        },
        "removed": tuple(sorted(policy.removed, key=order.index)),
        "resolution": policy.resolution,
        "further": {kind: dict(options) for kind, options in policy.further.items()},
    }


def write_policy(file: PolicyFile, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        PolicyError: The folder cannot be written to.
    """
    try:
        write_whole(path, file.model_dump_json(indent=2) + "\n")
    except OSError as problem:
        raise PolicyError(f"{path} cannot be written: {problem.strerror}") from problem


def read_policy(path: Path) -> PolicyFile:
    """Read and check a policy file.

    Raises:
        PolicyError: No such file, not JSON (with line and column), of an unknown version, or a
            field that is missing, unknown or wrong, by name; a kind of choice that is unknown
            (with the nearest), or an option that it does not know.
    """
    found = read_json(path, PolicyError, "policy", most=POLICY_BYTES)
    return _policy_of(found, f"policy {path}")


def parse_policy(text: str, where: str) -> PolicyFile:
    """A policy of a text, such as a bundle's; `where` is what errors call it.

    Raises:
        PolicyError: As `read_policy`.
    """
    if len(text) > POLICY_BYTES:
        raise PolicyError(f"{where} has more than {POLICY_BYTES:,} characters")
    return _policy_of(parse_json(text, where, PolicyError), where)


def _policy_of(found: Any, where: str) -> PolicyFile:
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version not in (1, SCHEMA) or isinstance(version, bool | float):
        what = "no schema_version" if version is None else f"schema_version {shown(version)}"
        raise PolicyError(f"{where} has {what}; this automl reads versions 1 and {SCHEMA}")
    try:
        file = PolicyFile.model_validate(_upgraded(found) if version == 1 else found)
    except ValidationError as problem:
        raise PolicyError(f"{where}: {fault_of(problem, PolicyFile.model_fields)}") from problem
    check_further(file.further, f"{where}: further")
    return file


def _upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """A file of schema 1 as one of schema 2: the scheme's old name, and nothing of how it was made.

    What is wrong in it is left for the check of the fields to find.
    """
    target = found.get("target")
    if isinstance(target, dict) and "form" in target and "scheme" not in target:
        renamed = {"scheme" if key == "form" else key: value for key, value in target.items()}
        found = {**found, "target": renamed}
    if "made_with" not in found:
        found = {**found, "schema_version": SCHEMA, "made_with": None}
    return found


def check_fits(file: PolicyFile, network: Network) -> None:
    """Check that a policy is for this network.

    Raises:
        PolicyError: Another fingerprint or input, groups, blocks, layers or resolutions that the
            network lacks, or more channels than there are.
    """
    if file.model.fingerprint != network.fingerprint:
        raise PolicyError(
            f"the policy is for another model: {file.model.name} with fingerprint "
            f"{file.model.fingerprint[:12]}, this one is {network.fingerprint[:12]}"
        )
    if file.model.input_shape != network.input_shape:
        raise PolicyError(
            f"the policy is for inputs of {file.model.input_shape}, not {network.input_shape}"
        )
    _check_names("channel group", file.channels, network.dense_channels)
    _check_names("block", file.removed, [block.name for block in network.blocks])
    owners = [plan.layer.name for plan in network.plans if plan.owner == plan.layer.name]
    _check_names("layer", file.bits, owners)
    parts = {plan.layer.name for plan in network.plans}
    parts |= {*network.dense_channels, *(block.name for block in network.blocks)}
    for options in file.further.values():
        _check_names("part", options, parts)
    for name, channels in file.channels.items():
        dense = network.dense_channels[name]
        if channels.dense != dense:
            raise PolicyError(
                f"the policy keeps {channels.kept} of {channels.dense} channels of {name}, "
                f"the model has {dense}"
            )
    if file.resolution and file.resolution not in network.resolutions:
        known = ", ".join(map(str, network.resolutions))
        raise PolicyError(f"the model does not run at resolution {file.resolution} (only {known})")


def _check_names(kind: str, found: Any, known: Any) -> None:
    for name in found:
        if name not in known:
            raise PolicyError(f"the model has no {kind} {name!r}{nearest(name, known)}")
