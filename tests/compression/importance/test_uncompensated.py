"""Channels that go alone: the weights that stay are not touched, and the error is known."""

from __future__ import annotations

import pytest
import torch
from ranked import compressor_for, images_of
from readers import error, made
from small import Plain, seeded
from torch import Tensor

from automl.compression.database import build_database
from automl.compression.importance.elimination import Reader
from automl.compression.importance.obs import Obs
from automl.compression.importance.uncompensated import output_gram, remove_alone, summed_gram
from automl.policy.policy import Policy


def zeroed(reader: Reader, gone: list[int]) -> Tensor:
    weight = reader.weight.clone()
    weight[:, reader.columns[gone].flatten()] = 0.0
    return weight


@pytest.mark.parametrize("times", [1, 3])
def test_what_stays_is_left_as_it_was_and_the_error_is_that_of_zeros(times: int) -> None:
    readers = [made(6, times, 4, seed=1), made(6, 1, 3, seed=2)]
    order = [4, 1, 5, 0, 3, 2]
    found = remove_alone(readers, range(1, 7), order)
    assert list(found.order) == order
    for count in range(1, 7):
        gone = order[: 6 - count]
        dense = [reader.weight for reader in readers]
        expected = [zeroed(reader, gone) for reader in readers]
        assert all(map(torch.equal, found.weights(count, dense), expected))
        off = sum(error(reader, weight) for reader, weight in zip(readers, expected, strict=True))
        assert found.error[count] == pytest.approx(off, rel=1e-4, abs=1e-9)


def test_products_of_wide_layers_are_those_of_narrow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = made(10, 3, 4)
    whole = output_gram(reader)
    monkeypatch.setattr("automl.compression.importance.uncompensated._BLOCK", 6)
    torch.testing.assert_close(output_gram(reader), whole)
    torch.testing.assert_close(whole, whole.T)


def test_centred_products_are_covariances() -> None:
    """A channel that is the same everywhere has none."""
    rows = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).double()
    rows[:, 1] = 2.0
    wide = torch.cat([rows, torch.ones(300, 1)], 1).double()
    weight = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    reader = Reader(weight, wide.T @ wide / 300, torch.arange(3).unsqueeze(1))
    found = summed_gram([reader], centred=True)
    parts = rows.unsqueeze(1) * weight[:, :3].double()  # rows, outputs, channels
    energy = ((wide @ weight.double().T) ** 2).sum(1).mean()
    variances = parts.var(0, unbiased=False).sum(0) / energy
    torch.testing.assert_close(found.diagonal(), variances)
    assert abs(float(found[1, 1])) < 1e-9


def test_a_database_without_compensation_has_the_dense_weights_that_stay() -> None:
    statistics = compressor_for(seeded(Plain), images_of(8)).statistics
    counts = {"first": (4,)}
    database = build_database(statistics, counts, Obs(), compensation=False)
    compensated = build_database(statistics, counts, Obs())
    policy = Policy({"first": 4})
    kept = database.kept(policy)["first"]
    assert torch.equal(kept, compensated.kept(policy)["first"])
    dense = statistics.traced.model.get_submodule("second").weight[:, kept]  # type: ignore[index]
    assert torch.equal(database.candidate(policy).get_submodule("second").weight, dense)  # type: ignore[arg-type]
    changed = compensated.candidate(policy).get_submodule("second").weight
    assert not torch.allclose(changed, dense, atol=1e-3)  # type: ignore[arg-type]
