"""Which precisions a layer is offered."""

import pytest

from automl.compression.kinds.bits import BitsKind
from automl.errors import SpaceError, TableError
from automl.policy.policy import Bits, Policy
from automl.space import build_space
from handmade import network


def test_bits_are_offered_to_layers_that_own_theirs() -> None:
    options = (Bits(32, 32), Bits(8, 8))
    space = build_space(network(), precisions=options, weight_only=(2, 4))
    (bits,) = space.of_kind("bits")
    assert space.variables[bits].name == "mix"
    assert space.variables[bits].options == (Bits(2, 32), Bits(4, 32), *options[::-1])
    held = build_space(network(), precisions=options, keep_first_last=True)
    assert held.variables[-1].options == (Bits(8, 8),)
    finest = build_space(network(), precisions=(Bits(4, 4), Bits(6, 6)), keep_first_last=True)
    assert finest.variables[-1].options == (Bits(6, 6),)
    with pytest.raises(SpaceError, match="only where layers may compute in float"):
        build_space(network(), precisions=(Bits(4, 4), Bits(8, 8)), weight_only=(4,))


@pytest.mark.parametrize("bits", [Bits(8, 8), Bits(4, 6), Bits(3, 32), Bits()])
def test_its_text_says_both_operands_and_is_read_again(bits: Bits) -> None:
    kind = BitsKind()
    assert kind.format(bits) == f"w{bits.weights}a{bits.activations}"
    assert kind.parse(kind.format(bits)) == bits


def test_it_is_shown_as_people_write_it() -> None:
    kind = BitsKind()
    assert [kind.show(bits) for bits in (Bits(8, 8), Bits(4, 32), Bits())] == ["int8", "w4", "fp32"]
    with pytest.raises(TableError, match="unknown precision 'w4b4'"):
        kind.parse("w4b4")


def test_a_policy_has_a_field_for_it() -> None:
    kind, policy = BitsKind(), Policy(bits={"mix": Bits(8, 8)})
    assert kind.policy(kind.chosen(policy)) == policy
