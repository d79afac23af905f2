"""What reranks: models by name, as functions that score pairs of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.errors import ArtifactError
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray

Scorer = Callable[[Sequence[tuple[str, str]]], FloatArray]
CHUNK = 256
"""Pairs scored at once: enough to sort by length, few enough for a lively progress bar."""


def model_scorer(model: CrossEncoder, name: str = "model") -> Scorer:
    """Scores pairs with the model's first logit; ranking needs no activation. Raises ArtifactError."""

    def score(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        scores = np.empty(len(pairs), dtype=np.float32)
        with tqdm(total=len(pairs), desc=name, unit="pair", leave=False) as progress:
            for start in range(0, len(pairs), CHUNK):
                rows = model.tokenizer.encode_pairs(pairs[start : start + CHUNK], model.options)
                scores[start : start + CHUNK] = model.logits(rows)[:, 0]
                progress.update(len(rows))
        if not np.isfinite(scores).all():
            raise ArtifactError(
                f"{model.artifact.directory}: {np.count_nonzero(~np.isfinite(scores))} of {len(scores)} scores are NaN "
                "or infinite; export the model again, or try another --backend"
            )
        return scores

    return score


def names_of(models: Iterable[str], taken: Iterable[str]) -> list[str]:
    """A short name for each model, the last part of its path, told apart from `taken` and each other by numbers."""
    names = list(taken)
    first = len(names)
    for model in models:
        short = Path(model).name or model
        same = sum(name == short or name.startswith(f"{short}-") for name in names)
        names.append(f"{short}-{same + 1}" if short in names else short)
    return names[first:]
