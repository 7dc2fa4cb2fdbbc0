"""What kinds are measured with, and forms of a layer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from compressed import compressor, images_for, same, state
from small import MAP, Plain, seeded
from torch import Tensor

from automl.compression.compressor import Compressor
from automl.compression.kinds.base import Bench, OneByOne, compression_kind
from automl.compression.sensitivity import measure_sensitivity
from automl.errors import SpaceError
from automl.network.traced_model import trace_network
from automl.space import KINDS, Space, SpaceSettings, Variable, kind_of
from automl.testing import MADE_UP, MadeUpKind
from handmade import network
from toy_kind import TaperKind, known


def bench(change: float = 1.0) -> Bench:
    made = compressor("residual")
    images = made.images[:2]
    return Bench(made.traced.model, made.database, made.joint, images, lambda _, x: change * len(x))


def test_one_by_one_tries_every_option_but_the_dense_one_and_restores_it() -> None:
    tried: list[tuple[str, int]] = []
    told: list[int] = []

    @contextmanager
    def trying(where: Bench, part: str, option: int) -> Iterator[Tensor]:
        tried.append((part, option))
        yield where.images[:option]
        tried.append(("restored", option))

    measurer = OneByOne(bench(), trying)
    row = measurer.row(Variable("channels", "g", (1, 2, 3)), lambda: told.append(len(tried)))
    assert row.tolist() == [1.0, 2.0, 0.0]
    assert tried == [("g", 1), ("restored", 1), ("g", 2), ("restored", 2)]
    assert told == [2, 4]
    assert measurer.pairwise([row]) == ()


def test_a_form_leaves_the_layer_as_it_is_in_its_last_option() -> None:
    kind = TaperKind()
    found = {variable.name: variable.options for variable in kind.variables(network(), settings())}
    assert found == dict.fromkeys(("stem", "free", "mix"), (1, 2, 4, None))
    assert kind.format(None) == "dense"
    assert kind.parse("dense") is None
    assert kind.parse(kind.format(4)) == 4
    layer = network().plans[0].layer
    assert kind.lower(None, layer) == (layer,)
    assert len(kind.lower(1, layer)) == 2
    module = torch.nn.Conv2d(3, 4, 3)
    before = module.weight.clone()
    kind.finish(None, module, None)
    assert torch.equal(module.weight, before)
    assert kind.build(None, module) is module
    assert not kind.changes(None)


def settings() -> SpaceSettings:
    return SpaceSettings()


def test_measuring_a_form_leaves_no_trace_also_where_it_fails() -> None:
    with known():
        traced = trace_network(seeded(Plain), MAP, resolutions=())
        made = Compressor(traced, images_for(MAP, 4), {"first": (4,)})
        before = state(traced.model)
        space = Space((Variable("taper", "first", (1, 2, None)),))
        found = measure_sensitivity(made.database, space, made.images, rounded=made.joint)
        alone = measure_sensitivity(made.database, space, made.images)
        assert same(before, traced.model)
        assert found.single[0][0] > found.single[0][2] == 0.0
        # where it is known what the layer reads, its bias takes out the mean error
        assert (found.single[0][:2] < alone.single[0][:2]).all()

        def failing(_: object, inputs: Tensor) -> float:
            raise RuntimeError("out of memory")

        where = Bench(traced.model, made.database, None, made.images, failing)
        measurer = TaperKind().measurer(space, where)
        with pytest.raises(RuntimeError, match="out of memory"):
            measurer.row(space.variables[0], lambda: None)
        assert same(before, traced.model)


def test_a_kind_that_cannot_be_measured_is_refused_and_not_zero() -> None:
    made = compressor("residual")
    with KINDS.including(MADE_UP):
        space = Space((Variable(MadeUpKind.name, "part", ("least", "dense")),))
        said = "kind 'made-up' can be priced, but neither measured nor applied: MadeUpKind is no"
        with pytest.raises(SpaceError, match=said):
            measure_sensitivity(made.database, space, made.images[:2])
        with pytest.raises(SpaceError, match=said):
            compression_kind(kind_of("made-up"))
    with pytest.raises(SpaceError, match="no kind of choice 'made-up'"):
        measure_sensitivity(made.database, space, made.images[:2])


def test_kinds_are_loaded_without_torch() -> None:
    script = (
        "from automl.space import KINDS, kind_of; import sys\n"
        "[kind_of(name) for name in KINDS.ours]; print('torch' in sys.modules)"
    )
    source = Path(__file__).resolve().parents[3] / "search"
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(source)},
    )
    assert done.stdout.strip() == "False"
