"""One model from several fine-tunes of a common ancestor.

Averaging is built in; the other methods are mergekit's (extra `merge`), which is asked tensor by tensor in memory.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

    Mergeable: TypeAlias = CrossEncoder | str | os.PathLike[str]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
UNCOMPARED = {"architectures", "transformers_version", "torch_dtype", "dtype"}
"""Entries of a configuration that say where and how it was saved."""


@torch.no_grad()
def merge_models(
    cls: type[CrossEncoder],
    models: Sequence[Mergeable],
    method: str = "linear",
    *,
    base_model: Mergeable | None = None,
    parameters: Mapping[str, Any] | None = None,
    dtype: str | torch.dtype | None = torch.float32,
    out_dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    batch_options: Any = None,
    **load_kwargs: Any,
) -> CrossEncoder:
    """A new model in evaluation mode; everything but its floating-point weights comes from the first of `models`.

    "linear" averages, in proportion to `parameters["weight"]` (default: equal shares). Any other method of mergekit
    ("slerp", "ties", "dare_ties", "task_arithmetic", ...) takes that package's `parameters`, `base_model` where it
    works on differences to an ancestor, and `batch_options`. It computes in `dtype` (None: the type of the weights) and
    gives `out_dtype`. Paths and names of `models` are loaded with `load_kwargs`.

    Raises ValueError if the models differ in more than their weights or cannot be merged (adapters, exported graphs)
    or an argument is wrong, ImportError for a method other than "linear" without mergekit.
    """
    if isinstance(models, str | os.PathLike) or len(models) < 2:
        raise ValueError("merge needs a list of at least two models")
    types = _float_type("dtype", dtype), _float_type("out_dtype", out_dtype)
    inputs = list(models)
    base = _base(inputs, base_model, method)
    found = [_loaded(cls, one, device, load_kwargs) for one in inputs]
    _require_alike(found)
    states = [_floats(model, device) for model in found]
    wanted = dict(parameters or {})
    if method == "linear" and base is None and wanted.keys() <= {"weight"} and batch_options is None:
        weights = _averaged(states, _shares(wanted.get("weight", 1.0), len(states)), *types)
    else:
        weights = _by_mergekit(states, method, base, wanted, types, batch_options)
    merged: CrossEncoder = copy.deepcopy(found[0]).to(device)
    merged.loaded_card = None  # it describes one of the models, as does the record of a training
    merged.model_card_data = type(merged.model_card_data)(local_files_only=True)
    merged.model_card_data.register_model(merged)
    for name, tensor in _floats(merged, device).items():
        tensor.data = weights[name].clone()  # some methods hand out an input where nothing is to be changed
    merged.eval()
    return merged


def _loaded(
    cls: type[CrossEncoder], one: Mergeable, device: str | torch.device, load_kwargs: dict[str, Any]
) -> CrossEncoder:
    if isinstance(one, str | os.PathLike):
        return cls(one, device=device, **load_kwargs)
    if not isinstance(one, cls):
        raise TypeError(f"merge takes paths, names and {cls.__name__} models, not {type(one).__name__}")
    return one


def _float_type(argument: str, wanted: str | torch.dtype | None) -> torch.dtype | None:
    found = getattr(torch, wanted, None) if isinstance(wanted, str) else wanted
    if found not in FLOATS and wanted is not None:
        raise ValueError(f"{argument}={wanted!r}: float16, bfloat16, float32, float64 or None")
    return found


def _base(inputs: list[Any], base_model: Any, method: str) -> int | None:
    """The place of the ancestor among `inputs`, which it joins unless it is one of them already."""
    if base_model is None:
        return 0 if method == "slerp" else None
    for i, one in enumerate(inputs):
        paths = not isinstance(one, torch.nn.Module) and not isinstance(base_model, torch.nn.Module)
        if one is base_model or (paths and os.fspath(one) == os.fspath(base_model)):
            return i
    inputs.append(base_model)
    return len(inputs) - 1


def _floats(model: CrossEncoder, device: str | torch.device) -> dict[str, Tensor]:
    """The floating-point weights on `device` (parameters themselves where they are there), tied ones once."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            found.setdefault(id(tensor), (name, tensor.to(device)))
    return dict(found.values())


def _require_alike(models: Sequence[CrossEncoder]) -> None:
    for i, model in enumerate(models):
        if model.backend != "torch" or getattr(model.model, "peft_config", None):
            remedy = "load it with backend='torch'" if model.backend != "torch" else "merge its adapter into it first"
            raise ValueError(f"model {i} has no plain weights: {remedy}")
        if what := _difference(models[0], model):
            raise ValueError(f"model {i} has other {what} than model 0: only fine-tunes of one model can be merged")


def _difference(first: CrossEncoder, other: CrossEncoder) -> str:
    """What the two differ in beside their weights, in words; empty if nothing."""
    configs = [model.config.to_dict() for model in (first, other)]
    keys = sorted(key for key in configs[0].keys() | configs[1].keys() if not key.startswith("_"))
    differing = [key for key in keys if key not in UNCOMPARED and configs[0].get(key) != configs[1].get(key)]
    if differing:
        return f"settings in its configuration ({', '.join(differing)})"
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (first, other)]
    if shapes[0] != shapes[1] or str(first) != str(other):
        return "modules"
    tokens = [(model.tokenizer.get_vocab(), model.tokenizer.special_tokens_map) for model in (first, other)]
    return "" if tokens[0] == tokens[1] else "tokens"


def _shares(weight: Any, count: int) -> list[float]:
    weights = [float(weight)] * count if isinstance(weight, int | float) else [float(one) for one in weight]
    if len(weights) != count or sum(weights) == 0:
        raise ValueError(f"{len(weights)} weights for {count} models; give one each, with a sum that is not 0")
    return [one / sum(weights) for one in weights]


def _averaged(
    states: Sequence[dict[str, Tensor]], shares: Iterable[float], dtype: torch.dtype | None, out: torch.dtype | None
) -> dict[str, Tensor]:
    found = {}
    for name in states[0]:
        total: Any = sum(share * state[name].to(dtype) for share, state in zip(shares, states, strict=True))
        found[name] = total.to(out)
    return found


def _by_mergekit(
    states: Sequence[dict[str, Tensor]],
    method: str,
    base: int | None,
    parameters: dict[str, Any],
    types: tuple[torch.dtype | None, torch.dtype | None],
    batch_options: Any,
) -> dict[str, Tensor]:
    try:
        from mergekit.merge_methods import BasePolicy, get, merge_state_dicts
    except ImportError as error:
        raise ImportError(
            f"merge method {method!r} needs mergekit 0.1.5 or newer ('linear' does not): pip install 'crossrank[merge]'"
        ) from error
    chosen = get(method)
    if base is not None and chosen.spec.contract.base == BasePolicy.IGNORED:
        raise ValueError(f"merge method {method!r} has no use for a base_model")
    if any(parameter.name == "weight" for parameter in chosen.spec.parameters):
        parameters.setdefault("weight", 1.0)
    if method == "slerp":
        parameters.setdefault("t", 0.5)
    found: dict[str, Tensor] = merge_state_dicts(
        dict(enumerate(states)),
        chosen,
        base=base,
        parameters=parameters,
        dtype=types[0],
        out_dtype=types[1],
        batch_options=batch_options,
    )
    return found
