"""From rows to scores: length-sorted batches, one activation over all logits, and the forms that users ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from app.model.types import Encoded
from training.cross_encoder.packed.chunks import suited_tokens

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

WINDOW_TOKENS = 32_768
"""Rows go to the model in pieces of about that many tokens: what a pass prepares once is then prepared seldom."""
logger = logging.getLogger(__name__)


def wants_progress(asked: bool | None) -> bool:
    """Progress bars are shown on request, and by default where this package logs at INFO or DEBUG."""
    if asked is not None:
        return asked
    return logger.getEffectiveLevel() in (logging.INFO, logging.DEBUG)


@torch.inference_mode()
def logits_of(model: CrossEncoder, rows: Sequence[Encoded], batch_size: int, progress: bool = False) -> Tensor:
    """Logits (rows, labels), float32, on the model's device, in the order of `rows`.

    Rows go through the model longest first, so that those of a batch are of one length. A batch holds at most as many
    tokens as `batch_size` of the longest rows, and never more than suits the device.
    """
    from tqdm.auto import tqdm

    if model.training:  # asked first: several threads may predict at once, and nothing is to be written then
        model.eval()
    device = model.device
    out = torch.empty((len(rows), model.num_labels), dtype=torch.float32, device=device)
    suited = suited_tokens(model)
    with tqdm(total=len(rows), desc="Pairs", disable=not progress) as bar:
        for indices in windows([len(row) for row in rows]):
            budget = min(suited, batch_size * len(rows[indices[0]]))
            scores = model({"rows": [rows[i] for i in indices], "chunk_tokens": budget})["scores"]
            out[torch.tensor(indices, device=device)] = scores
            bar.update(len(indices))
    return out


def windows(lengths: Sequence[int]) -> list[list[int]]:
    """Indices by falling length, in pieces of about WINDOW_TOKENS tokens."""
    pieces: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if room <= 0:
            pieces.append([])
            room = WINDOW_TOKENS
        pieces[-1].append(index)
        room -= lengths[index]
    return pieces


def activated(logits: Tensor, activation: Callable[..., Any] | None, num_labels: int, softmax: bool | None) -> Tensor:
    """Scores: shape (rows,) for one label, else (rows, labels). Logits are float32 before the activation."""
    scores: Tensor = logits if activation is None or not len(logits) else activation(logits)
    if num_labels == 1 and scores.ndim > 1:
        scores = scores.squeeze(-1)
    if softmax and scores.ndim > 1:
        scores = torch.softmax(scores, dim=1)
    return scores


def converted(scores: Tensor, single: bool, to_numpy: bool, to_tensor: bool) -> Any:
    """A tensor if asked, else a NumPy array if asked, else a list of tensors; of a single input its one element."""
    result: Tensor | np.ndarray[Any, Any] | list[Tensor]
    if to_tensor:
        result = scores
    elif to_numpy:
        result = scores.float().cpu().numpy()
    else:
        result = list(scores)
    return result[0] if single else result


def ranked(
    scores: Sequence[float], logits: Sequence[float], documents: Sequence[Any] | None, top_k: int | None
) -> list[dict[str, Any]]:
    """`{"corpus_id", "score", ["text"]}` by descending score.

    Where an activation saturates and scores are equal, logits decide; equal logits keep the order of the documents.
    """
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], -logits[i]))[:top_k]
    if documents is None:
        return [{"corpus_id": i, "score": scores[i]} for i in order]
    return [{"corpus_id": i, "score": scores[i], "text": documents[i]} for i in order]
