"""Ctrl-C at every line: what has to hold wherever an interruption comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import torch


def interrupted(call: Callable[[], object], *modules: ModuleType, step: int = 1) -> Iterator[int]:
    """Call again and again, interrupted one line of some modules later each time.

    Args:
        call: What is interrupted; the last time it runs to its end.
        modules: Whose lines are counted.
        step: How many lines later each time.

    Yields:
        The line count, after each interruption.
    """
    files = {module.__file__ for module in modules}
    last = 0
    while True:
        last += step
        left = last

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        before, gradients = sys.gettrace(), torch.is_grad_enabled()
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        else:
            return
        finally:
            sys.settrace(before)
            # An interruption on the last line of `with torch.no_grad()` comes before its end.
            torch.set_grad_enabled(gradients)
        yield last
