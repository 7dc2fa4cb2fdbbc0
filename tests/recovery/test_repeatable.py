"""A GPU adds up in the same order while it trains, and as the user wants it before and after."""

from __future__ import annotations

import warnings

import pytest
import torch

from automl.recovery.repeatable import repeatable


def settings() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_a_processor_is_left_as_it_is() -> None:
    before = settings()
    with repeatable(torch.device("cpu")):
        assert settings() == before


@pytest.mark.parametrize("mine", [(False, False), (True, False), (True, True)])
def test_a_gpu_is_put_back(mine: tuple[bool, bool]) -> None:
    before = settings()
    try:
        torch.use_deterministic_algorithms(mine[0], warn_only=mine[1])
        with repeatable(torch.device("cuda")):
            assert settings() == (True, True)
            warnings.warn("x does not have a deterministic implementation", stacklevel=1)
        assert settings() == mine
        with pytest.raises(KeyError):
            broken()
        assert settings() == mine
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def broken() -> None:
    with repeatable(torch.device("cuda")):
        raise KeyError


def test_other_warnings_are_heard() -> None:
    with pytest.warns(UserWarning, match="something else"), repeatable(torch.device("cuda")):
        warnings.warn("something else", stacklevel=1)
