"""What the row of every runtime has to hold to; see `automl.testing`."""

from __future__ import annotations

from typing import ClassVar

from automl.latency import op_key
from automl.policy import Precisions
from automl.profiling import RUNTIMES, Runtime, find_runtime, probe, runtime_of_table
from automl.profiling import SCHEMES as QUANTIZATION_SCHEMES


class RuntimeContract:
    """Five promises. Inherit it, and override what differs.

    Attributes:
        name: The runtime's, as it is asked for.
    """

    name: ClassVar[str]

    def make(self) -> Runtime:
        """The row."""
        return RUNTIMES.make(self.name)

    def test_it_goes_by_the_name_that_it_is_found_by(self) -> None:
        """Also where a table names it; the same each time."""
        assert self.make() == self.make()
        assert self.make().name == self.name
        assert find_runtime(self.name) == runtime_of_table(self.name) == self.make()
        assert self.make().title

    def test_a_new_table_has_precisions_that_prices_know(self) -> None:
        """What floats are computed in comes first."""
        row = self.make()
        precisions = Precisions(row.precisions)
        assert len(precisions.bits) == len(row.precisions)
        assert precisions.dense == row.dense

    def test_operators_are_offered_where_they_can_be_measured(self) -> None:
        """All that a new table has among them, and none where nothing can measure them."""
        row = self.make()
        if row.measures and row.takes_onnx:
            assert set(row.precisions) <= set(row.offered)
        else:
            assert row.offered == ()
        assert row.batch > 0

    def test_networks_are_quantized_in_a_scheme_that_there_is(self) -> None:
        """Of those that files are written in."""
        assert self.make().scheme in QUANTIZATION_SCHEMES

    def test_its_anchor_can_be_measured_and_belongs_into_its_tables(self) -> None:
        """In the precision of floats; where it takes no ONNX nothing is measured."""
        row = self.make()
        assert op_key(row.anchor.layer(), row.anchor.precision) == row.anchor
        if row.measures and row.takes_onnx:
            assert row.anchor.precision == row.dense
            assert probe(row.anchor, self.name).models
