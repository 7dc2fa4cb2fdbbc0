"""What a table is keyed by."""

from __future__ import annotations

import pytest
from small_tables import conv

from automl.latency.keys import MISSING, SOURCES, OpKey, op_key
from automl.network.layers import Layer

LAYER = Layer("a", "conv2d", 8, 16, (3, 5), (2, 1), (1, 2), (1, 3), 4, (9, 8), (4, 7), "something")


def test_a_layers_key_is_the_layer_without_its_name() -> None:
    key = op_key(LAYER, "int8")
    assert key.precision == "int8"
    assert key.layer("a") == LAYER
    assert op_key(key.layer(), "int8") == key


def test_keys_count_as_layers_do() -> None:
    assert conv(8, 16).macs == conv(8, 16).layer().macs == 8 * 16 * 9 * 64


def test_keys_can_be_ordered_and_hashed() -> None:
    assert sorted([conv(16, 8), conv(8, 16), OpKey("add", 8, 8)])[0].op == "add"
    assert len({conv(8, 8), conv(8, 8), conv(8, 16)}) == 2


def test_missing_is_the_code_after_the_sources() -> None:
    assert SOURCES[0] == "measured"
    with pytest.raises(IndexError):
        SOURCES[MISSING]
