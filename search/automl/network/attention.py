"""torch's `MultiheadAttention` with each of its weights in a layer, as it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor


class SplitAttention(nn.MultiheadAttention):
    """The same numbers as the attention that it was made from, by four linear layers.

    torch's holds the weights of queries, keys and values in one parameter of no layer.
    """

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's: (output, weights or None)."""
        batched = query.dim() == 3
        values = [each if batched else each.unsqueeze(0) for each in (query, key, value)]
        if batched and not self.batch_first:
            values = [each.transpose(0, 1) for each in values]
        layers = (self.q_proj, self.k_proj, self.v_proj)
        pairs = zip(layers, values, strict=True)
        q, k, v = (self._in_heads(layer(each)) for layer, each in pairs)
        mask = _mask(q, k, attn_mask, key_padding_mask)
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            mixed = weights @ v
        else:
            weights, mixed = None, F.scaled_dot_product_attention(q, k, v, mask)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return (output if self.batch_first else output.transpose(0, 1)), weights

    def _in_heads(self, values: Tensor) -> Tensor:
        batch, tokens, _ = values.shape
        return values.reshape(batch, tokens, self.num_heads, self.head_dim).transpose(1, 2)


def split_attentions(model: nn.Module) -> None:
    """Every `MultiheadAttention` as four layers, in place; the network gives the same numbers.

    Args:
        model: In eval mode, without gradients.
    """
    made: dict[nn.Module, SplitAttention] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if type(module) is nn.MultiheadAttention and _is_plain(module):
            parent, _, leaf = name.rpartition(".")
            split = made[module] = made.get(module) or _split(module)
            setattr(model.get_submodule(parent), leaf, split)


def _is_plain(attention: Any) -> bool:
    return attention.bias_k is None and not attention.add_zero_attn


def _split(attention: Any) -> SplitAttention:
    made: Any = SplitAttention.__new__(SplitAttention)
    made.__dict__.update(attention.__dict__)
    made._parameters, made._modules = dict(attention._parameters), dict(attention._modules)
    if attention.in_proj_weight is not None:
        weights = attention.in_proj_weight.detach().chunk(3)
    else:
        weights = [getattr(attention, f"{each}_proj_weight").detach() for each in "qkv"]
    bias = attention.in_proj_bias
    shifts = [None] * 3 if bias is None else bias.detach().chunk(3)
    for name in ("in_proj_weight", "in_proj_bias", *(f"{each}_proj_weight" for each in "qkv")):
        made._parameters.pop(name, None)
        made.register_parameter(name, None)
    for name, weight, shift in zip("qkv", weights, shifts, strict=True):
        setattr(made, f"{name}_proj", _linear(weight, shift))
    split: SplitAttention = made
    return split


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer.eval()


def _mask(query: Tensor, key: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """What is added to the scores [batch, heads, queries, keys]."""
    found = None
    if mask is not None:
        found = _added(mask, query)
        found = found if found.dim() == 2 else found.unflatten(0, (query.shape[0], -1))
    if padding is not None:
        keys = _added(padding, query).view(-1, 1, 1, key.shape[2])
        found = keys if found is None else found + keys
    return found


def _added(mask: Tensor, query: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask, float("-inf"))
