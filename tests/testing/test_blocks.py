"""The contract of alternatives refuses what is priced as something else than it is built as."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.compression import BlockForm, Stage, block_form
from automl.network import BlockUnit
from automl.testing import BlockContract


class _EndsInRelu(BlockForm):
    """A half-width unit with a ReLU too many."""

    name = "half-width"

    def stages(self, unit: BlockUnit) -> tuple[Stage, ...]:
        found = block_form("half-width").stages(unit)
        return (*found[:-1], replace(found[-1], relu=True)) if found else ()


class _Contract(BlockContract):
    name = "half-width"

    @property
    def form(self) -> BlockForm:
        return _EndsInRelu()


def test_a_relu_at_the_end_is_refused() -> None:
    with pytest.raises(AssertionError):
        _Contract().test_it_reads_and_writes_what_its_unit_does()
