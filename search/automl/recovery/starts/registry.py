"""The starts by name, ours and those that other packages add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automl.methods import Method, Registry

if TYPE_CHECKING:
    from automl.recovery.base import Start

STARTS: Final[Registry[Start]] = Registry(
    "starts",
    (
        Method(
            "keep",
            "The weights as the policy's model has them.",
            "Han et al., 2015",
            "automl.recovery.starts.keep:Keep",
        ),
        Method(
            "rewind",
            "The dense network's first weights where the policy has left any: weights=FILE.pt.",
            "Frankle and Carbin, The Lottery Ticket Hypothesis, 2019",
            "automl.recovery.starts.rewind:Rewind",
            frozenset({"initial-weights"}),
        ),
        Method(
            "scratch",
            "New weights, drawn as each layer's class draws them.",
            "Liu et al., Rethinking the Value of Network Pruning, 2019",
            "automl.recovery.starts.scratch:Scratch",
        ),
    ),
)
