"""What memory this process is resident with, and how what it freed goes back to the system."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

#: Options of glibc's mallopt (malloc.h): M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, and their bytes.
_MAPPED_FROM: Final = -3
_TRIMMED_FROM: Final = -1
_KEPT_BLOCK: Final = 64 << 20
_KEPT_FREE: Final = 256 << 20


def peak_bytes() -> int | None:
    """Most memory that this process was resident with; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource  # there is none on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """Memory that this process is resident with; 0 where the system is not Linux."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def reuse_freed() -> None:
    """Have glibc keep freed blocks of up to 64 MB for those after them, until `give_back`.

    By itself it gives blocks of more than 32 MB back when they are freed, and what is free at the
    heap's end: a network's larger maps were had anew from the system in each layer, page by page,
    which cost a quarter of EfficientNet-Lite1's passes. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    change = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries have none
    if change is not None:
        change(_MAPPED_FROM, _KEPT_BLOCK)
        change(_TRIMMED_FROM, _KEPT_FREE)


def give_back(beyond: int = 0) -> None:
    """Give the system what was freed, where the process is resident with more than so many bytes.

    glibc keeps freed blocks of less than 32 MB for itself, and those of one batch seldom fit the
    next: a walk of ResNet-50 over 100 images of 224 pixels was resident with 2.3 GB, of which 1.0
    were in use. Elsewhere nothing is done.
    """
    if resident_bytes() > beyond:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other libraries have none
        if trim is not None:
            trim(0)
