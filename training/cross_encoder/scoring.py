"""One forward call for all pairs of a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

WRAPPERS = ("module", "_orig_mod")
"""Where DistributedDataParallel and `torch.compile` keep the module that they wrap."""


def score_pairs(
    model: Callable[..., Any],
    pairs: Sequence[tuple[str, str]],
    *,
    mini_batch_tokens: int | None = None,
    prompt: str | None = None,
    task: str | None = None,
) -> Tensor:
    """Scores of `pairs` with gradient: float32, shape (pairs, labels), in their order.

    `model` is a CrossEncoder, bare or wrapped for distributed training, and is called once; or any callable that
    takes the pairs and returns their scores, of shape (pairs,) or (pairs, labels). `task` is for models whose
    tokenizer tells tasks apart; those of sequence classification do not.
    """
    encoder = _find_encoder(model)
    if encoder is None:
        scores: Tensor = model(pairs)
        return (scores if scores.ndim > 1 else scores.unsqueeze(-1)).float()
    features = {"rows": encoder.pairs(pairs, prompt), "mini_batch_tokens": mini_batch_tokens}
    found: Tensor = model(features)["scores"]
    return found


def _find_encoder(model: Any) -> Any:
    """The `pair_encoder` of the model below its wrappers, or None."""
    while model is not None:
        encoder = getattr(model, "pair_encoder", None)
        if encoder is not None:
            return encoder
        model = next((inner for name in WRAPPERS if (inner := getattr(model, name, None)) is not None), None)
    return None
