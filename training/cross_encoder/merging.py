"""One model from several fine-tunes of a common ancestor."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder


def merge_models(
    cls: type[CrossEncoder],
    models: Sequence[CrossEncoder | str | os.PathLike[str]],
    method: str = "linear",
    *,
    parameters: dict[str, Any] | None = None,
    dtype: torch.dtype | None = torch.float32,
    out_dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    **load_kwargs: Any,
) -> CrossEncoder:
    """The average of the weights of `models`, in proportion to `parameters["weight"]` (default: equal shares).

    Everything but the weights comes from the first model. Raises ValueError if the models differ in more than their
    weights, NotImplementedError for other methods than "linear", which need mergekit.
    """
    if method != "linear":
        state = "use it on the saved directories" if find_spec("mergekit") else "it is not installed"
        raise NotImplementedError(f"merge method {method!r}: only 'linear' is built in; mergekit has others ({state})")
    if len(models) < 2:
        raise ValueError("merge needs at least two models")
    found = [model if isinstance(model, cls) else cls(model, device=device, **load_kwargs) for model in models]  # type: ignore[arg-type]
    shares = _shares((parameters or {}).get("weight", 1.0), len(found))
    merged: CrossEncoder = copy.deepcopy(found[0]).to(device)
    merged.loaded_card = None  # it describes one of the models
    states = [model.state_dict() for model in found]
    _require_alike(states)
    target = merged.state_dict()
    for name, tensor in target.items():
        if tensor.is_floating_point():
            parts = (share * state[name].to(device, dtype) for share, state in zip(shares, states, strict=True))
            total: Any = sum(parts)
            tensor.copy_(total)
    if out_dtype is not None:
        merged.to(out_dtype)
    merged.eval()
    return merged


def _shares(weight: Any, count: int) -> list[float]:
    weights = [float(weight)] * count if isinstance(weight, int | float) else [float(one) for one in weight]
    if len(weights) != count or sum(weights) == 0:
        raise ValueError(f"{len(weights)} weights for {count} models; give one each, with a sum that is not 0")
    return [one / sum(weights) for one in weights]


def _require_alike(states: Sequence[dict[str, Tensor]]) -> None:
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    for i, other in enumerate(shapes[1:], start=1):
        if other != shapes[0]:
            raise ValueError(f"model {i} has other weights than model 0: only fine-tunes of one model can be merged")
