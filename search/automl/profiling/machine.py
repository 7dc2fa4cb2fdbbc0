"""What a machine can do: its processor, its memory, the packages that are installed, the folders.

Packages are told by what their distributions say of themselves, runtimes by the process that
measures, which loads them: what is installed but broken comes to light there.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from automl.errors import DISTRIBUTION, MeasureError, TargetError, install_command
from automl.latency import CPU_RUNTIME, cpu_fields, user_folder
from automl.profiling.device import Conditions, conditions
from automl.profiling.pipe import Pipe
from automl.profiling.protocol import Hello, parse_hello
from automl.profiling.runner import greeting

#: Of each extra of the distribution: the package that it brings, and what that is for.
EXTRAS: Final = {
    "images": ("pillow", "data that is a folder of pictures"),
    "safetensors": ("safetensors", "weights in .safetensors files"),
    "ray": ("ray", "searches and sweeps on a cluster"),
    "postgresql": ("psycopg", "studies in PostgreSQL"),
    "dashboard": ("optuna-dashboard", "automl dashboard"),
    "tensorboard": ("tensorboard", "scalars of a search in TensorBoard"),
    "notebook": ("ipywidgets", "progress bars in notebooks"),
    "tensorrt": ("tensorrt", "measuring with TensorRT; a Jetson's comes with JetPack"),
    "executorch": ("executorch", "delivery as .pte files"),
    "litert": ("litert-torch", "delivery as .tflite files"),
}
#: Instructions that integers or floats are quicker with, by their flags in /proc/cpuinfo.
_INSTRUCTIONS: Final = {
    "avx2": "AVX2",
    "avx512bw": "AVX-512",
    "avx_vnni": "AVX VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX INT8",
    "asimd": "NEON",
    "neon": "NEON",
    "asimddp": "dot product",
    "i8mm": "INT8 matrix",
}
#: Packages that weights, scores and times come from.
_WORKING: Final = ("torch", CPU_RUNTIME, "onnx", "numpy", "scipy", "optuna")
_REQUIREMENT: Final = re.compile(r"([\w.-]+)(?:\[[^]]*\])?>=([\d.]+)[^;]*(;.*extra\b.*)?")


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is used where it is installed.

    Attributes:
        name: Of its distribution.
        version: What is installed, "" where nothing is.
        least: The least version that will do, "" for any.
        purpose: What it is for.
        install: The command that installs it.
        needed: Whether nothing works without it.
        problem: Why it cannot be used, or "".
    """

    name: str
    version: str
    least: str
    purpose: str
    install: str
    needed: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder or file that is used.

    Attributes:
        purpose: What is there.
        path: None where there is nowhere to have it.
        exists: Whether it is there; folders are made when they are first needed.
        writable: Whether it can be written, or made.
    """

    purpose: str
    path: Path | None
    exists: bool
    writable: bool


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out of this machine.

    Attributes:
        system: Operating system and architecture.
        python: Version of the interpreter.
        instructions: Those that make a difference to networks; none where the system does not tell.
        saturates: Whether ONNX Runtime's sums of products of bytes saturate here; None where it
            cannot be asked.
        memory_bytes, available_bytes: All of it, and what is left; None where the system does not
            tell. A limit of the control group counts.
        state: Processor, cores, clocks.
        runtimes: Version of each runtime that the process which measures can load.
        packages: Needed ones first.
        folders: Where tables, runs, settings and scratch files are.
        problems: What is needed and broken, a sentence each.
    """

    system: str
    python: str
    instructions: tuple[str, ...]
    saturates: bool | None
    memory_bytes: int | None
    available_bytes: int | None
    state: Conditions
    runtimes: Mapping[str, str]
    packages: tuple[Package, ...]
    folders: tuple[Folder, ...]
    problems: tuple[str, ...]


def examine() -> Examination:
    """Find out what this machine can do; a process that loads its runtimes takes half a second."""
    problems: list[str] = []
    hello = _hello(problems)
    packages = tuple(_packages())
    folders = tuple(_folders())
    problems += [f"{each.name}: {each.problem}" for each in packages if each.problem]
    problems += [_unwritable(each) for each in folders if not each.writable]
    total, available = _memory()
    said = {} if hello is None else hello.runtimes
    return Examination(
        f"{platform.system()} {platform.machine()}",
        platform.python_version(),
        instructions(cpu_fields()),
        None if hello is None else hello.saturates.get(CPU_RUNTIME),
        total,
        available,
        conditions(),
        {name: version for name, version in said.items() if isinstance(version, str)},
        packages,
        folders,
        tuple(problems),
    )


def hello_here(python: str = sys.executable) -> Hello:
    """What the process that measures says first on this machine; it is ended.

    Raises:
        MeasureError: It cannot be started, or ends without a word.
    """
    pipe = Pipe([python, str(Path(__file__).with_name("worker.py"))])
    try:
        line = greeting(pipe, None, python)
        if line is None:
            status, text = pipe.ended()
            last = f": {text.splitlines()[-1]}" if text else ""
            raise MeasureError(f"it ended with status {status}{last}")
        return parse_hello(line, f"for {python}")
    finally:
        pipe.close()


def instructions(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Instructions that make a difference, from a processor's fields of /proc/cpuinfo."""
    flags = {*f"{fields.get('flags', '')} {fields.get('Features', '')}".split()}
    return tuple(dict.fromkeys(name for flag, name in _INSTRUCTIONS.items() if flag in flags))


def requirements() -> dict[str, tuple[str, bool]]:
    """The least version of each package that this distribution asks for, and whether it needs it.

    Nothing where it runs without having been installed.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    found = [match for line in lines if (match := _REQUIREMENT.fullmatch(line.replace(" ", "")))]
    asked: dict[str, tuple[str, bool]] = {}
    for match in found:
        asked.setdefault(match[1].lower(), (match[2].rstrip("."), match[3] is None))
    return asked


def version_of(package: str) -> str:
    """What is installed of a package, without loading it; "" where nothing is."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def working_versions() -> dict[str, str]:
    """Versions of the packages that a model's weights, scores and times come from."""
    found = {name: version_of(name) for name in _WORKING}
    return {name: version for name, version in found.items() if version}


def is_older(version: str, least: str) -> bool:
    """Whether a version comes before another, by their numbers."""
    return _numbers(version) < _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _hello(problems: list[str]) -> Hello | None:
    try:
        hello = hello_here()
    except MeasureError as error:
        problems.append(f"the process that measures: {error}")
        return None
    if not isinstance(hello.runtimes.get(CPU_RUNTIME), str) and version_of(CPU_RUNTIME):
        problems.append(f"{CPU_RUNTIME}: it is installed and cannot be loaded")
    return hello


def _packages() -> Iterator[Package]:
    asked = requirements()
    brought = {name: (extra, purpose) for extra, (name, purpose) in EXTRAS.items()}
    for name, (least, needed) in asked.items():
        if needed:
            version = version_of(name)
            problem = "not installed" if not version else ""
            if version and is_older(version, least):
                problem = f"{version} is older than {least}"
            install = f"pip install '{name}>={least}'"
            yield Package(name, version, least, "all that it does", install, True, problem)
    for name, (extra, purpose) in brought.items():
        least = asked.get(name, ("", False))[0]
        version = version_of(name)
        yield Package(name, version, least, purpose, install_command(extra), False)


def _folders() -> Iterator[Folder]:
    try:
        tables: Path | None = user_folder()
    except TargetError:
        tables = None
    yield _folder("tables", tables)
    yield _folder("runs", Path("runs").absolute())
    yield _folder("settings", Path("automl.toml").absolute())
    yield _folder("scratch files", Path(tempfile.gettempdir()))


def _folder(purpose: str, path: Path | None) -> Folder:
    if path is None:
        return Folder(purpose, None, False, False)
    there = next(each for each in (path, *path.parents) if os.path.exists(each))
    rights = os.W_OK | (os.X_OK if os.path.isdir(there) else 0)
    writable = (there == path or os.path.isdir(there)) and os.access(there, rights)
    return Folder(purpose, path, os.path.exists(path), writable)


def _unwritable(folder: Folder) -> str:
    if folder.path is None:
        return f"{folder.purpose}: there is no home folder for them: set AUTOML_HOME to a folder"
    return f"{folder.purpose}: {folder.path} cannot be written"


def _memory() -> tuple[int | None, int | None]:
    """All memory, and what of it is left."""
    if sys.platform != "linux":
        return None, None
    fields = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        fields[name] = 1024 * int(value.split()[0])
    total, left = fields.get("MemTotal"), fields.get("MemAvailable")
    limit = _group("memory.max")
    if limit is None or total is None or limit > total:
        return total, left
    used = _group("memory.current")
    free = limit if used is None else max(0, limit - used)
    return limit, free if left is None else min(left, free)


def _group(name: str) -> int | None:
    """A number of the control group that limits this process; None where it has none."""
    try:
        return int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
