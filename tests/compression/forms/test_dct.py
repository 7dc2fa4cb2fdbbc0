import pytest
import torch
from scipy.fft import dctn
from torch import nn

from automl.compression import fitted
from automl.compression.forms.dct import Frequencies
from automl.testing import FormContract
from automl.testing.forms import moments_of


class TestFrequencies(FormContract):
    name = "dct"


def test_a_share_of_the_cosines_stays_in_few_values() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 12, 3)
    found = fitted(Frequencies(), (25, 3), module, moments_of(module)).view(12, 8, 3, 3)
    cosines = torch.from_numpy(dctn(found.double().numpy(), axes=(2, 3), norm="ortho"))
    strong = cosines[cosines.abs() > 1e-6]
    assert len(strong) == 216
    assert len((strong * 1e5).round().unique()) <= 8


def test_a_parameter_is_a_percentage_and_bits() -> None:
    for text in ("", "25", "25-9", "0-5", "100-5", "25-5-1"):
        with pytest.raises(ValueError, match="is no percentage and bits"):
            Frequencies().read(text)
