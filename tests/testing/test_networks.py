"""The drawn network is the same for a seed, and its loss is what it says."""

from __future__ import annotations

import torch

from automl.compression.config import CompressionConfig
from automl.policy.policy import Policy
from automl.testing.networks import loss, made_compressor, made_images, made_network


def test_a_seed_draws_the_same_network_and_images_and_leaves_the_generator() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (made_network(seed).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert torch.equal(made_images(5, seed=2), made_images(5, seed=2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_loss_is_relative_to_the_variance() -> None:
    made = made_compressor(CompressionConfig())
    assert loss(made, made.traced.model) == 0.0
    few = {group.name: 1 for group in made.traced.network.groups}
    assert loss(made, made.make(Policy(few))) > 0.1
    images = made_images(64, seed=1000)
    with torch.no_grad():
        logits = made.traced.model(images)
    mean = torch.nn.Identity()
    mean.forward = lambda _: logits.mean(0).expand_as(logits)  # type: ignore[method-assign]
    assert abs(loss(made, mean) - 63 / 64) < 1e-4
