"""A policy's network beside the dense one on a board, over SSH."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import onnx

from automl.errors import MeasureError, UsageError
from automl.latency import TableHeader
from automl.network import TracedModel
from automl.pipeline.networks import timed_onnx
from automl.pipeline.requests import ProfileRequest, VerifyRequest
from automl.pipeline.runners import open_runner
from automl.policy import Measured, Policy
from automl.profiling import Runner, find_runtime, measure_models

#: Seconds for both networks, in turns.
_SECONDS: Final = 20.0
#: What runtimes say of files that are newer than they are.
_NEWER: Final = re.compile(r"opset|ir.version", re.IGNORECASE)


def measure_on_board(request: VerifyRequest, traced: TracedModel, header: TableHeader) -> Measured:
    """Time the dense network and the policy's on a board, in turns.

    Args:
        request: Names the board.
        traced: The dense network.
        header: Of the target's table: what runs, in which floats and integers.

    Raises:
        UsageError: Several boards, or a target whose runtime takes no ONNX files.
        MeasureError: The board cannot be reached, its key is not known, it lacks the runtime or has
            one that is older than the file, or it was lost.
    """
    board, *others = request.ssh
    if others:
        raise UsageError("a policy is verified on one board: name one", options=("ssh",))
    if not find_runtime(header.runtime).takes_onnx:
        raise UsageError(
            f"{header.runtime}, which runs on {header.name}, takes no ONNX files: name a target"
            " whose runtime does",
            options=("target",),
        )
    models = {
        "dense": timed_onnx(traced, Policy(), header),
        "compressed": timed_onnx(traced, request.policy.policy, header),
    }
    asked = ProfileRequest(
        model=None,
        input_shape=(),
        target=header.name,
        runtime=header.runtime,
        threads=request.threads,
        ssh=request.ssh,
        python=request.python,
        answer_timeout=request.answer_timeout,
    )
    with ExitStack() as stack:
        runner = open_runner(asked, stack)
        times = _timed(models, runner)
        info = runner.info
    state = info.conditions
    return Measured(
        dense_seconds=times["dense"],
        latency_seconds=times["compressed"],
        device=board.rpartition("@")[2] if state is None else state.processor,
        runtime=f"{info.runtime} {info.version}",
        threads=info.threads,
        clocks="" if state is None else state.clocks,
    )


def timed_here(header: TableHeader, seconds: Mapping[str, float], threads: int) -> Measured:
    """What this machine took, as a policy file keeps it.

    Args:
        header: Of its table.
        seconds: Of "dense" and "compressed".
        threads: Of the runtime.
    """
    return Measured(
        dense_seconds=seconds["dense"],
        latency_seconds=seconds["compressed"],
        device=header.device,
        runtime=f"{header.runtime} {header.runtime_version or ''}".strip(),
        threads=threads,
        clocks=header.clocks,
    )


def _timed(models: dict[str, bytes], runner: Runner) -> dict[str, float]:
    try:
        times = measure_models(models, runner, seconds_cap=_SECONDS)
    except MeasureError as error:
        if "refuses" not in error.message or _NEWER.search(error.message) is None:
            raise
        opset, version = _versions_of(models["compressed"])
        info = runner.info
        raise MeasureError(
            f"the board's {info.runtime} {info.version} is older than the file (opset {opset}, IR"
            f" version {version}): bring it up to date there; it said: {error}"
        ) from error
    return {name: timing.seconds for name, timing in times.items()}


def _versions_of(content: bytes) -> tuple[int, int]:
    """Opset and IR version of an ONNX file."""
    model = onnx.load_from_string(content)
    own = (each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return max(own, default=0), int(model.ir_version)
