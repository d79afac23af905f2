"""Whether a model can run packed, and as what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from app.model.packed.bert import BertNetwork, RobertaNetwork
from app.model.packed.fused_attention import attend_fused
from app.model.packed.gpu_attention import attend_on_gpu, runs_on_gpu
from app.model.packed.grid_attention import attend_in_grid
from app.model.packed.modernbert import ModernBertNetwork
from app.model.packed.network import Attention, Network

FAMILIES: dict[str, type[Network]] = {
    "transformers.models.bert.modeling_bert.BertForSequenceClassification": BertNetwork,
    "transformers.models.roberta.modeling_roberta.RobertaForSequenceClassification": RobertaNetwork,
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaForSequenceClassification": RobertaNetwork,
    "transformers.models.modernbert.modeling_modernbert.ModernBertForSequenceClassification": ModernBertNetwork,
}
ENCODERS: dict[str, type[Network]] = {
    "transformers.models.bert.modeling_bert.BertModel": BertNetwork,
    "transformers.models.roberta.modeling_roberta.RobertaModel": RobertaNetwork,
    "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaModel": RobertaNetwork,
    "transformers.models.modernbert.modeling_modernbert.ModernBertModel": ModernBertNetwork,
}
"""Encoders without a head, whose hidden states are pooled."""
PLAIN = ("torch.nn.modules.", "transformers.activations")
DROPOUTS = frozenset({"dropout", "drop", "out_drop"})
"""What modules are called of which these networks read the rate alone."""
AUTHORS = ("torch.", "transformers.")
"""Where forward passes, and what decorates them, are written: a patched one comes from elsewhere."""


def network_of(model: nn.Module, families: Mapping[str, type[Network]] = FAMILIES) -> type[Network] | None:
    """The network among `families` that computes what `model` computes, or None where only the model itself can.

    None for other architectures, and where something was put into the model that its own forward pass would meet:
    hooks, adapters, quantised or otherwise replaced layers, patched forward passes, wrapped weights, gradient
    checkpointing, compilation.
    """
    kind = type(model)
    network = families.get(f"{kind.__module__}.{kind.__qualname__}")
    if network is None or torch.compiler.is_compiling():
        return None
    if not all(_untouched(one, kind.__module__) and _fits(name, one) for name, one in model.named_modules()):
        return None
    return network if network.covers(model) and _plain_parameters(model) else None


def inference_attention(model: nn.Module) -> Attention:
    """Attention without dropout for `model` where it is and in its own precision."""
    parameter = next(model.parameters())
    if parameter.device.type == "cpu":
        return attend_fused
    return attend_on_gpu if runs_on_gpu(model, parameter.dtype) else attend_in_grid


def _untouched(module: nn.Module, home: str) -> bool:
    """Whether this is a module of the model's own file or of PyTorch, as it was defined."""
    where = type(module).__module__
    state: dict[str, Any] = module.__dict__
    return (
        (where == home or where.startswith(PLAIN))
        and "forward" not in state
        and _author(type(module).forward).startswith(AUTHORS)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
        and module._compiled_call_impl is None
        and not state.get("gradient_checkpointing", False)
    )


def _fits(name: str, module: nn.Module) -> bool:
    """Whether a module of PyTorch is of the kind that its place is for: networks compute some places by themselves."""
    place = name.rpartition(".")[2]
    if place in DROPOUTS:
        return type(module) in (nn.Dropout, nn.Identity)
    if place == "LayerNorm":
        return type(module) is nn.LayerNorm
    return place != "activation" or type(module) is nn.Tanh  # of the pooler


def _author(forward: Any) -> str:
    """The module in which its outermost function is written; `functools.wraps` would hide it from `__module__`."""
    return str(getattr(forward, "__globals__", {}).get("__name__", ""))


def _plain_parameters(model: nn.Module) -> bool:
    parameters = list(model.parameters())
    kinds = {(type(parameter), parameter.dtype, parameter.device) for parameter in parameters}
    return len(kinds) == 1 and type(parameters[0]) is nn.Parameter and parameters[0].is_floating_point()
