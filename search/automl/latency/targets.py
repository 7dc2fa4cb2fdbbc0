"""Which latency tables there are, and where: shipped ones, the user's own, this machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

from automl.documents import open_file
from automl.errors import TableError, TargetError, nearest
from automl.latency.header import KnownError, TableHeader
from automl.latency.host import CPU_RUNTIME, cpu_model, cpu_runtime_version, fingerprint
from automl.latency.store import read_header
from automl.latency.table import LatencyTable

#: The target that is this machine; its table is made when it is first asked for.
CPU: Final = "cpu"
#: What its runtime computes in.
CPU_PRECISIONS: Final = ("fp32", "int8")
_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True)
class Target:
    """A table as its header describes it.

    Attributes:
        name, aliases: What it is asked for by.
        device, runtime: What was measured, with the runtime's version.
        precisions: What the table can price.
        rows: Measured operators; 0 where all is fitted.
        known_error: Of whole-network predictions, where it is known.
        path: The file.
        problem: Why the table cannot be used, or "".
    """

    name: str
    aliases: tuple[str, ...]
    device: str
    runtime: str
    precisions: tuple[str, ...]
    rows: int
    known_error: KnownError | None
    path: Path
    problem: str = ""


def user_folder() -> Path:
    """Where the user's own tables are: AUTOML_HOME/tables, or automl/tables in the data folder.

    Raises:
        TargetError: The user has no home folder.
    """
    home, data = os.environ.get("AUTOML_HOME"), os.environ.get("XDG_DATA_HOME")
    if home:
        return Path(home) / "tables"
    if data:
        return Path(data) / "automl" / "tables"
    try:
        return Path.home() / ".local" / "share" / "automl" / "tables"
    except RuntimeError:
        raise TargetError(
            "there is no home folder for tables: set AUTOML_HOME to a folder for them"
        ) from None


def table_folders() -> tuple[Path, ...]:
    """Folders that are searched for tables, in this order."""
    shipped = Path(str(resources.files("automl") / "latency_tables"))
    checkout = Path(__file__).resolve().parents[3] / "latency_tables"
    folders = (_own_folder(), shipped, checkout)
    return tuple(folder for folder in folders if folder is not None and os.path.isdir(folder))


def _own_folder() -> Path | None:
    """The user's folder, None where there is no home to have it in."""
    try:
        return user_folder()
    except TargetError:
        return None


def list_targets() -> tuple[Target, ...]:
    """All targets, this machine first. Of tables with the same name the first found is listed."""
    here = None if _own_folder() is None else cpu_path()
    found = {CPU: _cpu_target(here)}
    for path in _table_files():
        if path != here:
            target = _target(path)
            found.setdefault(target.name, target)
    return tuple(found.values())


def find_table(name_or_path: str | Path, *, threads: int = 1) -> LatencyTable:
    """The table of a target.

    Args:
        name_or_path: A file, the name or an alias of a table, or "cpu" for this machine.
        threads: CPU threads, for "cpu" only: each number of threads has its own table.

    Raises:
        TargetError: If there is no such target; the nearest names are given.
        TableError: If its table cannot be read or believed.
    """
    name = str(name_or_path)
    if name == CPU:
        return cpu_table(threads)
    path = Path(name_or_path)
    if os.path.isfile(path):
        return LatencyTable.read(path)
    if path.suffix == _SUFFIX:
        raise TargetError(f"there is no table at {path}")
    wanted = name.lower()
    names: list[str] = [CPU]
    for file in _table_files():
        target = _target(file)
        if wanted in {known.lower() for known in (target.name, *target.aliases)}:
            return LatencyTable.read(file, resume=file.parent == _own_folder())
        names += [target.name, *target.aliases]
    raise TargetError(
        f"no target {name!r}{nearest(name, names)}; `automl targets` shows all",
        found=name,
        valid=names,
        options=("target",),
    )


def cpu_path(threads: int = 1) -> Path:
    """File of this machine's own table, which need not exist.

    Raises:
        TargetError: The user has no home folder.
    """
    return user_folder() / f"{fingerprint(threads)}{_SUFFIX}"


def is_cpu_table(table: LatencyTable, threads: int = 1) -> bool:
    """Whether a table is this machine's own for a number of threads; no file is made or read."""
    if table.path is None or _own_folder() is None:
        return False
    return table.path.absolute() == cpu_path(threads).absolute()


def cpu_table(threads: int = 1) -> LatencyTable:
    """This machine's own table for a number of threads; an empty one is made where there is none.

    Raises:
        TargetError: The user has no home folder.
        TableError: If the table that is there cannot be read, or a new one cannot be written.
    """
    path = cpu_path(threads)
    if not os.path.exists(path):  # of a folder that may not be looked into, not an error here
        return LatencyTable.read_or_create(path, _cpu_header(threads))
    table = LatencyTable.read(path, resume=True)
    if not {*CPU_PRECISIONS} <= {*table.header.precisions}:  # from an earlier version
        table.set_header(table.header.model_copy(update={"precisions": CPU_PRECISIONS}))
    return table


def _cpu_header(threads: int) -> TableHeader:
    return TableHeader(
        name=fingerprint(threads),
        device=cpu_model(),
        runtime=CPU_RUNTIME,
        runtime_version=cpu_runtime_version(),
        threads=threads,
        precisions=CPU_PRECISIONS,
        provenance="measured on this machine by automl",
    )


def _cpu_target(path: Path | None) -> Target:
    if path is not None and os.path.exists(path):
        found = _target(path)
        return replace(found, name=CPU, aliases=(found.name,), precisions=CPU_PRECISIONS)
    runtime = f"{CPU_RUNTIME} {cpu_runtime_version()}"
    return Target(CPU, (), cpu_model(), runtime, CPU_PRECISIONS, 0, None, path or Path())


def _table_files() -> Iterator[Path]:
    for folder in table_folders():
        yield from sorted(folder.glob(f"*{_SUFFIX}"))


def _target(path: Path) -> Target:
    try:
        header = read_header(path)
    except TableError as error:
        return Target(path.stem, (), "", "", (), 0, None, path, str(error))
    with open_file(path) as file:
        rows = sum(1 for _ in file) - 1
    return Target(
        header.name,
        header.aliases,
        header.device,
        f"{header.runtime} {header.runtime_version}".strip(),
        header.precisions,
        rows,
        header.known_error,
        path,
    )
