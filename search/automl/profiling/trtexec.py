"""Profiles that `trtexec --exportProfile` writes, with the layers of `--exportLayerInfo`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, FailFast, Field, TypeAdapter, ValidationError

from automl.documents import fault_of, read_json
from automl.errors import UsageError
from automl.profiling.nodes import (
    MOST_MS,
    PROFILE_BYTES,
    Profile,
    ProfiledNode,
    Shape,
    onnx_op,
    size_of,
)

#: Lines that are no operator of the network. On the DLA one line stands for a subgraph and most of
#: its time shows up in the next reformatter; Myelin compiles subgraphs into kernels of its own.
_ASIDE: Final = (
    (
        lambda name: _around(name.lower(), "reformat"),
        "layout change at a subgraph (on the DLA it holds the subgraph's time)",
    ),
    (re.compile(r"reformat", re.I).search, "layout change"),
    (re.compile(r" to nvm$|^nvm to | copy finish$").search, "transfer to or from the DLA"),
    (re.compile(r"[{}]|ForeignNode").search, "subgraph in one line (DLA or Myelin)"),
    (re.compile(r"__my[el]|_myl\d|Myelin", re.I).search, "kernel of a subgraph (Myelin)"),
    (re.compile(r" copy( \d+)?$").search, "copy (part of a concatenation)"),
    (
        lambda name: "uantizeLinear" in name and _alone(name),
        "change of precision",
    ),
)
_CHANGES: Final = re.compile(r"(Quantize|Dequantize)Linear")
_LONGEST: Final = 1 << 16  # characters of a line's name
#: Operators whose shape is that of their tensors.
_PLAIN: Final = ("add", "mul", "resize")
_PRECISIONS: Final = ("bf16", "fp16", "fp32", "fp8", "int8")


def _around(name: str, word: str) -> bool:
    """Whether a word stands behind the end of a subgraph, or before the beginning of one."""
    first, last = name.find(word), name.rfind(word)
    return 0 <= name.find("}") < last or 0 <= first < name.rfind("{")


def _alone(name: str) -> bool:
    """Whether a line is of one operator, with none fused into it or merged with it."""
    return "+" not in name and "|" not in name and bool(_CHANGES.search(name))


Milliseconds = Annotated[float, Field(ge=0, le=MOST_MS)]
Size = Annotated[int, Field(ge=-(1 << 40), le=1 << 40)]


class _Entry(BaseModel):
    name: Annotated[str, Field(max_length=_LONGEST)]
    average_ms: Milliseconds = Field(alias="averageMs")
    median_ms: Milliseconds | None = Field(None, alias="medianMs")


class _Count(BaseModel):
    count: int = Field(ge=1, le=1 << 40)


class _Tensor(BaseModel):
    dimensions: list[Size] = Field(default=[], alias="Dimensions")
    format: str = Field("", alias="Format/Datatype")


def _named(found: Any) -> Any:
    """A layer that was exported without details is its name alone."""
    return {"Name": found} if isinstance(found, str) else found


class _LayerInfo(BaseModel):
    name: str = Field(alias="Name")
    kind: str = Field("", alias="ParameterType")
    inputs: list[_Tensor] = Field(default=[], alias="Inputs")
    outputs: list[_Tensor] = Field(default=[], alias="Outputs")
    kernel: list[Size] | None = Field(None, alias="Kernel")
    window: list[Size] | None = Field(None, alias="WindowSize")
    stride: list[Size] | None = Field(None, alias="Stride")
    padding: list[Size] | None = Field(None, alias="PrePadding")
    dilation: list[Size] | None = Field(None, alias="Dilation")
    groups: Size = Field(0, alias="Groups")
    pooling: str = Field("", alias="PoolingType")
    residual: int = Field(0, alias="HasResidual")


class _LayerFile(BaseModel):
    layers: Annotated[list[Annotated[_LayerInfo, BeforeValidator(_named)]], FailFast()] = Field(
        alias="Layers"
    )


_ENTRIES: Final = TypeAdapter(Annotated[list[_Entry], FailFast()])


def is_trtexec(found: Any) -> bool:
    """Whether JSON that was read is such a profile."""
    first = found[0] if isinstance(found, list) and found else None
    return isinstance(first, dict) and ("count" in first or "averageMs" in first)


def read_trtexec(found: Any, path: Path, layer_info: Path | None) -> Profile:
    """The profile's lines; the median of a layer where there is one, otherwise the mean.

    Args:
        found: The profile's JSON.
        path: Where it came from, for messages.
        layer_info: File of `--exportLayerInfo`, which tells shapes and precisions.

    Raises:
        UsageError: Fields are missing, or the run was of another batch than 1.
    """
    try:
        runs = _Count.model_validate(found[0]).count if "count" in found[0] else 0
        entries = _ENTRIES.validate_python(found[1:] if runs else found)
    except ValidationError as error:
        raise _unreadable(path, error) from error
    infos = {} if layer_info is None else _read_layers(layer_info)
    return Profile(
        "tensorrt", tuple(_node(entry, runs, infos.get(entry.name)) for entry in entries)
    )


def _read_layers(path: Path) -> dict[str, _LayerInfo]:
    try:
        found = read_json(path, UsageError, "layer information", most=PROFILE_BYTES, unique=False)
        layers = _LayerFile.model_validate(found).layers
    except ValidationError as error:
        raise _unreadable(path, error) from error
    for layer in layers:
        batch = next((t.dimensions[0] for t in layer.inputs if len(t.dimensions) == 4), 1)
        if batch != 1:
            raise UsageError(f"{path}: layer {layer.name!r} ran at batch {batch}; tables hold 1")
    return {layer.name: layer for layer in layers}


def _unreadable(path: Path, error: ValidationError) -> UsageError:
    return UsageError(f"{path}: {fault_of(error)}")


def _node(entry: _Entry, runs: int, info: _LayerInfo | None) -> ProfiledNode:
    milliseconds = entry.average_ms if entry.median_ms is None else entry.median_ms
    aside = next((why for holds, why in _ASIDE if holds(entry.name)), "")
    branches = tuple(tuple(_parts(branch)) for branch in entry.name.split(" || "))
    known = info is not None and not aside
    return ProfiledNode(
        entry.name,
        milliseconds / 1e3,
        runs,
        branches,
        aside,
        shape=_shape(info, branches[0]) if info is not None and known else None,
        fused=frozenset(("add",) if info is not None and info.residual else ()),
        precision=_precision(info) if info is not None and known else "",
    )


def _precision(info: _LayerInfo) -> str:
    formats = " ".join(tensor.format for tensor in info.inputs).lower()
    return next((precision for precision in _PRECISIONS if precision in formats), "")


def _pair(values: list[int] | None) -> tuple[int, int] | None:
    return (values[0], values[1]) if values is not None and len(values) == 2 else None


def _parts(branch: str) -> Iterator[str]:
    """Names of what was fused; pointwise functions are listed as PWN(a, PWN(b))."""
    for part in branch.split(" + "):
        if part.startswith("PWN("):
            yield from part.replace("PWN(", "").replace(")", "").split(", ")
        else:
            yield part


def _shape(info: _LayerInfo, parts: Sequence[str]) -> Shape | None:
    if not info.inputs or not info.outputs:
        return None
    in_channels, in_size = size_of(info.inputs[0].dimensions)
    out_channels, out_size = size_of(info.outputs[0].dimensions)
    if info.kind == "Convolution":
        op = "conv2d"
    elif info.kind == "Deconvolution":
        op = "conv_transpose2d"
    elif info.kind == "Pooling":
        op = "max_pool" if info.pooling == "MAX" else "avg_pool"
    else:
        op = onnx_op(parts[0]) if len(parts) == 1 else ""
        if op not in _PLAIN:
            return None
    return Shape(
        op,
        in_channels,
        out_channels,
        in_size,
        out_size,
        _pair(info.kernel or info.window),
        _pair(info.stride),
        _pair(info.padding),
        _pair(info.dilation),
        info.groups,
    )
