"""Weights that torch computes from others (norms, masks) baked in: as they are in eval mode."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm

from automl.network.held import places_of


def bake(model: nn.Module) -> None:
    """Every parametrised weight becomes a parameter of its own, in place.

    Those of `torch.nn.utils.parametrize`, and the weight norms, spectral norms and pruning masks
    that torch computes by a hook before each pass.

    Args:
        model: In eval mode.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module):
            _leave(module)
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, WeightNorm):
                hook.remove(module)
                del module._forward_pre_hooks[key]
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)


def _leave(module: nn.Module) -> None:
    """As `parametrize.remove_parametrizations`, which changes copies of the module as well."""
    parts: nn.ModuleDict = module.parametrizations  # type: ignore[assignment]
    values = {name: getattr(module, name).detach().clone() for name in parts}
    kind = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    module.__class__ = kind
    for name, value in values.items():
        setattr(module, name, nn.Parameter(value, requires_grad=False))


def computed(model: nn.Module) -> list[Tensor]:
    """Tensors that modules hold and that were computed with gradients, which torch cannot copy."""
    held = (place.tensor for place in places_of(model))
    return [each for each in held if each.grad_fn is not None]
