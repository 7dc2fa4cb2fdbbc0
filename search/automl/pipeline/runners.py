"""Where a profile is measured, and the table that its rows go into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from automl.errors import MeasureError, TargetError, UsageError
from automl.latency import (
    CPU,
    CPU_RUNTIME,
    LatencyTable,
    TableHeader,
    cpu_table,
    find_table,
    user_folder,
)
from automl.pipeline.requests import ProfileRequest
from automl.profiling import (
    Host,
    LocalRunner,
    PooledRunner,
    Runner,
    SSHRunner,
    find_runtime,
    parse_host,
)


def open_runner(request: ProfileRequest, stack: ExitStack) -> Runner:
    """The device of a request: this machine, a board, or several that share the work.

    Raises:
        UsageError: A host that is not understood, or a board that is named twice.
        MeasureError: A device that cannot be reached or lacks the runtime; boards that differ.
    """
    threads, runtime = request.threads, request.runtime
    hosts = parse_hosts(request.ssh)
    if not hosts:
        silence = request.answer_timeout
        return stack.enter_context(LocalRunner(threads, runtime, silence=silence))
    if len(hosts) == 1:
        return stack.enter_context(_log_in(hosts[0], request))
    return stack.enter_context(PooledRunner(_connect(hosts, request)))


def parse_hosts(texts: Sequence[str]) -> list[Host]:
    """Hosts as they were typed, each a board of its own.

    Raises:
        UsageError: One that is not understood, or a board that is named twice.
    """
    hosts = [parse_host(text) for text in texts]
    seen: dict[str, Host] = {}
    for host in hosts:
        before = seen.setdefault(host.board.lower().removesuffix(":22"), host)
        if before is not host:
            raise UsageError(
                f"{before} and {host} are one board, which one worker measures at a time:"
                " name it once",
                options=("ssh",),
            )
    return hosts


def _log_in(host: Host, request: ProfileRequest) -> SSHRunner:
    return SSHRunner(
        host,
        request.threads,
        request.runtime,
        python=request.python,
        silence=request.answer_timeout,
    )


def _connect(hosts: Sequence[Host], request: ProfileRequest) -> list[SSHRunner]:
    """Log in to all boards at once.

    Raises:
        MeasureError: Some cannot be reached or lack the runtime; names each, with its reason.
    """

    def connect(host: Host) -> SSHRunner | MeasureError:
        try:
            return _log_in(host, request)
        except MeasureError as error:
            return error

    with ThreadPoolExecutor(len(hosts)) as threads:
        found = list(threads.map(connect, hosts))
    errors = [each for each in found if isinstance(each, MeasureError)]
    runners = [each for each in found if not isinstance(each, MeasureError)]
    if not errors:
        return runners
    with ExitStack() as opened:
        for runner in runners:
            opened.callback(runner.close)
    answered = ", ".join(runner.board for runner in runners) or "none"
    reasons = "; ".join(map(str, errors))
    raise MeasureError(f"{reasons} (of {len(hosts)} boards; those that can measure: {answered})")


def table_path(name: str) -> Path:
    """File of a table of the user's own.

    Raises:
        UsageError: A name that is no file's.
    """
    if name.endswith(".jsonl"):
        return Path(name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        raise UsageError(f"target {name!r} is no name for a table: letters, digits and .+-_ only")
    return user_folder() / f"{name}.jsonl"


def own_table(name: str) -> LatencyTable | None:
    """The user's own table of that name or alias, None where there is none yet.

    Raises:
        TargetError: The name is that of a shipped table, which is not written to.
        TableError: A table that cannot be read.
    """
    path = table_path(name)
    if path.exists():
        return LatencyTable.read(path, resume=True)
    try:
        found = find_table(name)
    except TargetError:
        return None
    if found.path is not None and found.path.parent == user_folder():
        return found
    raise TargetError(
        f"{name} is a table that comes with automl, and is not written to:"
        f" give yours a name of its own, such as my-{name}",
        found=name,
        options=("target",),
    )


def measured_table(request: ProfileRequest) -> LatencyTable | None:
    """The table that a request's rows go into; None where it has to be made.

    Raises:
        UsageError: `cpu` for another machine or another runtime.
        TargetError, TableError: See `own_table`.
    """
    if request.target == CPU:
        if request.ssh or request.runtime != CPU_RUNTIME:
            raise UsageError(
                "cpu is this machine with ONNX Runtime: give the board's table a name of its own",
                options=("target",),
            )
        return cpu_table(request.threads)
    return own_table(request.target)


def create_table(request: ProfileRequest, runner: Runner) -> LatencyTable:
    """A table without rows for what the runner measures."""
    path, info = table_path(request.target), runner.info
    state, runtime = info.conditions, find_runtime(info.runtime)
    return LatencyTable.read_or_create(
        path,
        TableHeader(
            name=path.stem,
            device=state.processor if state is not None else path.stem,
            runtime=info.runtime,
            runtime_version=info.version,
            threads=None if runtime.gpu else info.threads,
            precisions=runtime.precisions,
            clocks=state.clocks if state is not None else "",
            power_mode=state.power_mode if state is not None else "",
            provenance=provenance(request, runner),
        ),
    )


def provenance(request: ProfileRequest, runner: Runner) -> str:
    """Who measured, how, and how warm the board was at the start."""
    state = runner.info.conditions
    how = "over SSH" if request.ssh else "on this machine"
    boards = f" on {len(request.ssh)} boards" if len(request.ssh) > 1 else ""
    warm = state is not None and state.temperature is not None
    degrees = f", {state.temperature:.0f} °C at the start" if state is not None and warm else ""
    return f"measured {how}{boards} by automl{degrees}"
