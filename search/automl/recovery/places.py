"""What two networks write in the places where they agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from automl.network import output_tensors

Tensor = torch.Tensor


@contextmanager
def watching(
    model: nn.Module, names: Collection[str], *, cut: bool = False
) -> Iterator[dict[str, Tensor]]:
    """What these modules write while the block runs, by their names.

    Args:
        model: The network.
        names: Of its modules.
        cut: Whether what comes after them reads a copy without gradients.
    """
    found: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def seen(_: nn.Module, __: Any, output: Any) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            found[name] = output
            return output.detach().clone() if cut else None

        return seen

    handles = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def agreeing_places(
    student: nn.Module,
    teacher: nn.Module,
    inputs: Tensor,
    shown: Tensor,
    *,
    run: nn.Module | None = None,
) -> tuple[str, ...]:
    """Names of modules whose outputs are of one width in both networks, in the order of names.

    Those are modules that hold others, such as blocks, or, where no such module agrees, any. Of
    several that write the same tensor the outermost is named. The networks' outputs are none.

    Args:
        student, teacher: Both have modules of those names.
        inputs: As the teacher is shown them.
        shown: As the student is.
        run: What runs the student, where that is not itself.
    """
    common = {name for name, _ in student.named_modules() if name}
    common &= {name for name, _ in teacher.named_modules()}
    ordered = [name for name, _ in teacher.named_modules() if name in common]
    with watching(student, ordered) as found, watching(teacher, ordered) as aims:
        ends = [*output_tensors((run or student)(shown)), *output_tensors(teacher(inputs))]
    agreeing = _distinct(
        {name: found[name] for name in ordered if _agree(found.get(name), aims.get(name))}, ends
    )
    holding = [
        name for name in agreeing if any(True for _ in teacher.get_submodule(name).children())
    ]
    return tuple(holding or agreeing)


def _agree(found: Tensor | None, aim: Tensor | None) -> bool:
    """Whether shapes are the same but for the size of maps."""
    if found is None or aim is None or not found.is_floating_point() or found.dim() < 2:
        return False
    if found.dim() == 4:
        return found.shape[:2] == aim.shape[:2]
    return found.shape == aim.shape


def _distinct(found: Mapping[str, Tensor], ends: Collection[Any]) -> list[str]:
    """Names of tensors that are no ends, the first of each."""
    seen, kept = {id(end) for end in ends}, []
    for name, tensor in found.items():
        if id(tensor) not in seen:
            kept.append(name)
        seen.add(id(tensor))
    return kept
