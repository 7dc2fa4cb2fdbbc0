"""What the command's tests share: a model of the user's, figures, a pipeline that stands in."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from automl.pipeline.requests import Event, Metrics, SearchResult
from policy_files import policy_file

DENSE = Metrics(0.93, 2.0e-3, 0.08, 2.1e-3, 1.2e7, 2.4e5)


SMALL = Metrics(0.915, 1.0e-3, 0.08, 1.05e-3, 5.0e6, 1.1e5)


MINE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

def loaders():
    part = [(torch.zeros(4, 3, 2, 2), torch.zeros(4, dtype=torch.long))]
    return part, part, part

def grayscale():
    part = [(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.long))]
    return part, part
"""


MODEL = ("--model", "mine.py:network", "--data", "mine.py:loaders")


BUDGET = ("--target", "cpu", "--budget", "50%")


class Pipeline:
    """Stands in for the pipeline: keeps what is asked and answers what is set."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.request: Any = None

    def __call__(self, request: Any, on_event: Callable[[Event], None]) -> Any:
        self.request = request
        on_event(Event("study", 1, 4, 0.9))
        if isinstance(self.answer, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if getattr(self.answer, "interrupted", False):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return self.answer


def result(**changes: Any) -> SearchResult:
    found = SearchResult(
        model=torch.nn.Identity(),
        dense=DENSE,
        compressed=SMALL,
        policy=policy_file(),
        policy_path=Path("runs/x/policy.json"),
        out=Path("runs/x"),
        trials=12,
        target="this machine, onnxruntime, 1 thread",
        scored_on="4 test inputs",
        notes=("head is left alone: it writes the classes",),
    )
    return replace(found, **changes)
