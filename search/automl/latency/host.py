"""This machine, as far as its latency table must tell it from others."""

from __future__ import annotations

import hashlib
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

#: The runtime that this machine's own table is measured with, by the name of its distribution.
CPU_RUNTIME: Final = "onnxruntime"
_CPUINFO: Final = Path("/proc/cpuinfo")
_DEVICE_TREE: Final = Path("/proc/device-tree/model")
#: Fields of /proc/cpuinfo that tell processors apart, on x86 and on ARM.
_IDENTITY: Final = (
    "model name",
    "cpu family",
    "model",
    "stepping",
    "CPU implementer",
    "CPU part",
    "CPU variant",
    "flags",
    "Features",
)


@cache
def cpu_fields() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo; empty where there is no such file."""
    if not _CPUINFO.is_file():
        return {}
    found: dict[str, str] = {}
    for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def cpu_model() -> str:
    """What people call this processor or board."""
    if _DEVICE_TREE.is_file():
        return _DEVICE_TREE.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    return cpu_fields().get("model name") or platform.processor() or platform.machine()


def fingerprint(threads: int) -> str:
    """A file name's worth of what must not be mixed: processor, ONNX Runtime, threads."""
    identity = "\n".join(cpu_fields().get(name, "") for name in _IDENTITY) + cpu_model()
    digest = hashlib.sha256(identity.encode()).hexdigest()[:6]
    slug = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")[:40]
    return f"cpu-{slug}-{digest}-{CPU_RUNTIME}-{cpu_runtime_version()}-{threads}t"


def cpu_runtime_version() -> str:
    """Version of the installed ONNX Runtime, without importing it."""
    try:
        return metadata.version(CPU_RUNTIME)
    except metadata.PackageNotFoundError:
        return "none"
