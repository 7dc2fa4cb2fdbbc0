"""Training in legs: after each everything is kept, so that a training can stop and go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Training:
    """What changes while a network is trained.

    Attributes:
        optimizers: Each of some of its parameters.
        legs, steps: How many legs there are in all, and steps of the optimizers in each.
        weights: File that the last leg writes; beside it stand what goes on and the report.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    legs: int
    steps: int
    weights: Path

    def step(self, leg: int, step: int, loss: Tensor) -> None:
        """Step down a loss. The rate rises in the first leg and falls in the last third of all.

        In between it is constant (Haegele et al., NeurIPS 2024), so that the number of legs can
        still be changed there.
        """
        done = leg * self.steps + step + 1
        left = self.legs * self.steps - done + 1
        share = min(1.0, done / self.steps, 3 * left / (self.legs * self.steps))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group.setdefault("highest", group["lr"])
            optimizer.step()


def go_on(training: Training, run_leg: Callable[[int], float], minutes: float) -> bool:
    """Run the legs that are left, each from its number to its mean loss. True where all are done.

    Each leg's randomness is to come from its number alone. No leg is begun after `minutes`.
    """
    kept = training.weights.with_suffix(".legs.pt")
    started, state = time.monotonic(), _load(training, kept)
    for leg in range(state["done"], training.legs):
        if time.monotonic() - started > 60 * minutes:
            return False
        before = time.process_time()
        loss = run_leg(leg)
        state = {"done": leg + 1, "cpu": state["cpu"] + time.process_time() - before}
        _save(training, kept, state)
        print(
            f"leg {leg + 1} of {training.legs}: loss {loss:.4f}, {state['cpu']:.0f} s of CPU",
            flush=True,
        )
    _write(training.weights, training.model.state_dict())
    report = {"legs": training.legs, "cpu_seconds": round(state["cpu"]), "torch": torch.__version__}
    training.weights.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    return True


def _load(training: Training, kept: Path) -> dict[str, Any]:
    if not kept.is_file():
        return {"done": 0, "cpu": 0.0}
    state: dict[str, Any] = torch.load(kept, map_location="cpu", weights_only=True)
    for each, values in zip((training.model, *training.optimizers), state["kept"], strict=True):
        each.load_state_dict(values)
    return {"done": state["done"], "cpu": state["cpu"]}


def _save(training: Training, kept: Path, state: dict[str, Any]) -> None:
    parts = [each.state_dict() for each in (training.model, *training.optimizers)]
    _write(kept, {"kept": parts, **state})


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(content, partial)
    os.replace(partial, path)
