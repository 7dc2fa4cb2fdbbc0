"""Norms are put back where they were folded: the network computes what it did, and trains."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from automl.errors import DataError, ModelError
from automl.network.fold import FoldedNorm, copied, fold
from automl.network.traced_model import trace_network
from automl.network.unfold import with_norms, without_norms


class Mixed(nn.Module):
    """Dense, grouped, depthwise, 1 x 1 and transposed convolutions, a linear layer, and a layer
    that is called twice: all with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8, eps=1e-3)
        self.grouped, self.grouped_norm = nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(8, momentum=0.3)
        self.point, self.point_norm = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2, groups=2)
        self.up_norm = nn.BatchNorm2d(4, affine=False)
        self.again, self.again_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.hidden, self.hidden_norm = nn.Linear(4, 12), nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.stem_norm(self.stem(x)))
        x = torch.relu_(self.grouped_norm(self.grouped(x)))
        x = self.point_norm(self.point(torch.relu(self.depthwise_norm(self.depthwise(x)))))
        x = torch.relu(self.up_norm(self.up(x)))
        x = self.again_norm(self.again(self.again_norm(self.again(x))))
        return self.head(torch.relu(self.hidden_norm(self.hidden(x.mean((2, 3))))))


FOLDED = ("stem_norm", "grouped_norm", "depthwise_norm", "point_norm", "up_norm", "hidden_norm")


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(20, 3, 10, 10, generator=generator) for _ in range(3)]


@pytest.fixture
def folded() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Mixed().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                for value in (module.running_var, module.weight):
                    if value is not None:
                        nn.init.uniform_(value, 0.5, 2)
    result = copied(model)
    fold(result, batches()[0][:1])
    return result


def test_norms_are_back_and_the_outputs_stay(folded: nn.Module) -> None:
    trained = with_norms(folded, batches())
    found = {
        n for n, m in trained.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    }
    assert found == {*FOLDED, "again_norm"}
    assert (trained.stem_norm.eps, trained.depthwise_norm.momentum) == (1e-3, 0.3)
    assert all(value.requires_grad for value in trained.parameters())
    fresh = torch.randn(4, 3, 10, 10, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(trained(fresh), folded(fresh), rtol=1e-4, atol=1e-5)


def test_a_batch_of_all_inputs_is_normalised_to_the_very_same(folded: nn.Module) -> None:
    """The statistics are those of the data: training begins where evaluation is."""
    trained = with_norms(folded, batches())
    inputs = torch.cat(batches())
    for name in FOLDED:
        trained.get_submodule(name).train()
    torch.testing.assert_close(trained(inputs), folded(inputs), rtol=1e-3, atol=1e-4)


def test_weights_have_the_length_that_they_had_before_folding(folded: nn.Module) -> None:
    trained = with_norms(folded, batches())
    for layer in ("stem", "grouped", "hidden"):
        lengths = trained.get_submodule(layer).weight.flatten(1).norm(dim=1)
        place = folded.get_submodule(f"{layer}_norm")
        assert isinstance(place, FoldedNorm)
        torch.testing.assert_close(lengths, torch.full_like(lengths, place.weight_norm))


def test_what_was_trained_is_folded_again(folded: nn.Module) -> None:
    trained = with_norms(folded, batches())
    optimiser = torch.optim.SGD(trained.parameters(), 0.05)
    trained.train()
    for inputs in batches():
        optimiser.zero_grad()
        trained(inputs).square().mean().backward()
        optimiser.step()
    delivered = without_norms(copy.deepcopy(trained))
    inputs = batches()[0]
    torch.testing.assert_close(delivered(inputs), trained.eval()(inputs), rtol=1e-4, atol=1e-5)
    assert delivered.state_dict().keys() == folded.state_dict().keys()
    assert not torch.allclose(delivered(inputs), folded(inputs))
    assert not any(value.requires_grad for value in delivered.parameters())
    again = with_norms(delivered, batches())  # and once more
    torch.testing.assert_close(again(inputs), delivered(inputs), rtol=1e-4, atol=1e-5)


def test_dead_channels_stay_dead_and_finite(folded: nn.Module) -> None:
    with torch.no_grad():
        folded.stem.weight[2] = 0  # type: ignore[index]
    trained = with_norms(folded, batches())
    inputs = batches()[0]
    torch.testing.assert_close(trained(inputs), folded(inputs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(without_norms(trained)(inputs), folded(inputs), rtol=1e-4, atol=1e-5)


def test_a_network_without_norms_is_copied() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    traced = trace_network(model, (1, 3, 10, 10), resolutions=())
    trained = with_norms(traced.model, batches())
    assert trained.state_dict().keys() == traced.model.state_dict().keys()
    assert torch.equal(trained(batches()[0]), traced.model(batches()[0]))
    assert torch.equal(without_norms(trained)(batches()[0]), traced.model(batches()[0]))


def test_of_several_layers_in_one_place_the_last_has_the_norm(folded: nn.Module) -> None:
    """As low-rank and separable forms are."""
    folded.point = nn.Sequential(nn.Conv2d(8, 3, 1, bias=False), nn.Conv2d(3, 6, 1))
    for value in folded.parameters():
        value.requires_grad_(False)
    trained = with_norms(folded, batches())
    assert isinstance(trained.point_norm, nn.BatchNorm2d)
    inputs = batches()[0]
    torch.testing.assert_close(trained(inputs), folded(inputs), rtol=1e-4, atol=1e-5)
    delivered = without_norms(trained)
    torch.testing.assert_close(delivered(inputs), folded(inputs), rtol=1e-4, atol=1e-5)
    assert delivered.state_dict().keys() == folded.state_dict().keys()


def test_a_place_whose_layer_is_gone_stays_without_a_norm(folded: nn.Module) -> None:
    folded.point = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU())
    trained = with_norms(folded, batches())
    assert isinstance(trained.point_norm, FoldedNorm)
    inputs = batches()[0]
    torch.testing.assert_close(trained(inputs), folded(inputs), rtol=1e-4, atol=1e-5)


def test_what_is_no_network_with_norms_put_back_is_refused(folded: nn.Module) -> None:
    with pytest.raises(ModelError, match="Mixed is not a network whose norms were put back"):
        without_norms(folded)
    with pytest.raises(DataError, match="no inputs"):
        with_norms(folded, [])


def test_norms_of_layers_that_are_named_stay_folded(folded: nn.Module) -> None:
    student = with_norms(folded, batches(), {"stem", "point"})
    normed = {n for n, each in student.named_modules() if isinstance(each, nn.BatchNorm2d)}
    assert normed == {"grouped_norm", "depthwise_norm", "up_norm", "again_norm"}
    assert isinstance(student.get_submodule("stem_norm"), FoldedNorm)
    assert torch.equal(student.get_parameter("stem.weight"), folded.get_parameter("stem.weight"))
    inputs = batches()[0]
    torch.testing.assert_close(student(inputs), folded(inputs), rtol=1e-4, atol=1e-5)
    assert without_norms(student).state_dict().keys() == folded.state_dict().keys()
