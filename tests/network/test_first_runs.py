"""Networks that cannot be read as they are: named in one line, with the place."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl.errors import ModelError
from automl.network.first_runs import find_example
from automl.network.traced_model import trace_network


class Sampling(nn.Module):
    """A variational autoencoder: its code is drawn, in eval mode too."""

    class Code(nn.Module):
        def forward(self, mean: Tensor) -> Tensor:
            return mean + torch.randn_like(mean)

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.code, self.decode = nn.Linear(6, 8), self.Code(), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decode(self.code(F.relu(self.encode(x))))
        return decoded


class Counting(nn.Module):
    """Gives more each time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.runs = nn.Linear(6, 8), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        scaled: Tensor = self.layer(x) * self.runs
        return scaled


class Dropping(nn.Module):
    """Drops values in eval mode too, in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.second(F.dropout(self.first(x), 0.5)), 0.5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Sampling(), "randn_like in code draws random numbers in eval mode too"),
        (Dropping(), "bernoulli in its forward draws random numbers"),
        (Counting(), "it keeps something from one run to the next"),
    ],
)
def test_a_model_that_gives_other_outputs_each_time_is_refused(
    model: nn.Module, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        trace_network(model, (1, 6))
    assert "\n" not in str(caught.value)


def test_random_numbers_that_reach_no_output_do_no_harm() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            torch.rand(3)
            layer: Tensor = self.layer(x)
            return layer

    model, example = Unused().eval(), torch.randn(1, 6)
    state = torch.random.get_rng_state()
    assert find_example(model, example) is example
    assert torch.equal(torch.random.get_rng_state(), state)


class Logarithm(nn.Module):
    """Takes the logarithm of its input, or of what is always negative."""

    def __init__(self, negative: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.negative = nn.Linear(8, 16), nn.Linear(16, 4), negative

    def forward(self, x: Tensor) -> Tensor:
        taken = torch.log(-1 - x.square() if self.negative else x)
        second: Tensor = self.second(F.relu(self.first(taken)))
        return second


def test_a_model_of_positive_inputs_is_tried_on_such() -> None:
    network = trace_network(Logarithm(), (1, 8)).network
    assert [(group.name, group.channels) for group in network.groups] == [("first", 16)]


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(ModelError, match="outputs on random inputs are all NaN or infinite"):
        trace_network(Logarithm(negative=True), (1, 8))


class Insisting(nn.Module):
    """Asserts its input's size, as vision transformers do."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 8, 1)
        self.head, self.size = nn.Linear(8, 4), size

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[-1] == self.size, "Input height doesn't match model")
        head: Tensor = self.head(F.relu(self.second(F.relu(self.first(x)))).mean((2, 3)))
        return head


def test_an_assertion_is_one_line_and_leaves_one_resolution() -> None:
    network = trace_network(Insisting(32), (1, 3, 32, 32)).network
    assert network.resolutions == (32,)
    assert [group.name for group in network.groups] == ["first", "second"]
    with pytest.raises(ModelError, match=r"1x3x32x32: Input height doesn't match model$"):
        trace_network(Insisting(48), (1, 3, 32, 32))


def test_a_model_of_integer_weights_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch means to move this function
        model = torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), {nn.Linear}
        )
    with pytest.raises(ModelError, match="quantized already: 0 is a torch"):
        trace_network(model, (1, 6))
