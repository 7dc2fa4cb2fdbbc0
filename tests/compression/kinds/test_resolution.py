"""Which input sizes a network can be given."""

import pytest
import torch
from compressed import compressor

from automl.compression.kinds.resolution import ResolutionKind
from automl.compression.sensitivity import measure_sensitivity
from automl.errors import SpaceError
from automl.policy.policy import Policy
from automl.space import Space, Variable, build_space
from handmade import network


def test_depth_and_resolution_can_be_closed() -> None:
    space = build_space(network(), round_to=4, resolutions=[32], depth=False)
    assert {variable.kind for variable in space.variables} == {"channels"}
    with pytest.raises(SpaceError, match="does not run at resolution 24"):
        build_space(network(), resolutions=[24])


def test_the_first_layer_stands_for_it_and_no_block_holds_it() -> None:
    kind, traced = ResolutionKind(), network()
    assert kind.is_at(traced.plans[0], "")
    assert kind.inside(traced.blocks[0]) == ()


def test_a_policy_has_a_field_for_it() -> None:
    kind = ResolutionKind()
    assert kind.policy(kind.chosen(Policy(resolution=16))) == Policy(resolution=16)
    assert kind.chosen(Policy()) == {}
    assert kind.parse(kind.format(16)) == 16


def test_it_is_measured_on_resized_images() -> None:
    made = compressor("residual")
    sizes = made.traced.network.resolutions
    space = Space((Variable("resolution", "", (sizes[0], sizes[-1])),))
    found = measure_sensitivity(made.database, space, made.images[:4])
    assert found.single[0][0] > 0.0
    assert torch.equal(made.images, compressor("residual").images)
