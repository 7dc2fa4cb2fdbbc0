"""A recovery that begins with new weights: what the architecture alone is worth."""

from __future__ import annotations

from typing import Any

import torch

from automl.errors import UsageError
from automl.recovery.base import Beginning, Start


class Scratch(Start):
    """Weights drawn anew (Liu et al., 2019): each layer's as its class draws them.

    What a network's own constructor does beyond that is not known, and not done.
    """

    def begin(self, beginning: Beginning) -> None:
        """Reset every layer under the seed.

        Raises:
            UsageError: A module has parameters of its own, and no `reset_parameters`.
        """
        modules: list[tuple[str, Any]] = [*beginning.student.named_modules()]
        for name, module in modules:
            own = any(True for _ in module.parameters(recurse=False))
            if own and not hasattr(module, "reset_parameters"):
                raise UsageError(
                    f"{name or 'the network'} has weights that nothing says how to draw anew:"
                    " start with keep"
                )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(beginning.seed)
            for _, module in modules:
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
