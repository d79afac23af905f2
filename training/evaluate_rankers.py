"""What reranks: models by name, as functions that score pairs of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.errors import ArtifactError
from app.model.cross_encoder import CrossEncoder
from app.model.types import FloatArray
from training.retrieval.matrix import Rows, pair_products

Scorer = Callable[[Sequence[tuple[str, str]]], FloatArray]
CHUNK = 256
"""Pairs scored at once: enough to sort by length, few enough for a lively progress bar."""
PARENT_TOKENS = 256
"""Tokens that a parent reads of a text, as all-MiniLM-L6-v2 does; fewer where it allows no more itself."""


def model_scorer(model: CrossEncoder, name: str = "model") -> Scorer:
    """Scores pairs with the model's logit; ranking needs no activation. Raises ArtifactError."""
    if model.num_labels > 1:
        raise ArtifactError(
            f"{model.artifact.directory}: has {model.num_labels} labels and gives no single score to rank by; evaluate "
            "a model with num_labels = 1, or measure classes during training (kind = 'classification')"
        )

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


def parent_scorer(directory: Path) -> Scorer:
    """The untrained baseline: scores pairs with the cosine of the parent's embeddings. Raises ArtifactError."""
    import torch

    from training.sentence_transformer import SentenceTransformer

    try:
        encoder = SentenceTransformer(directory, local_files_only=True, model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError) as error:
        raise ArtifactError(f"parent {directory}: cannot be loaded as a model of embeddings ({error})") from error
    encoder.max_seq_length = min(PARENT_TOKENS, encoder.max_seq_length)

    def score(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        first, queries = _places(query for query, _ in pairs)
        second, documents = _places(document for _, document in pairs)
        asked = encoder.encode_query(queries, normalize_embeddings=True, show_progress_bar=False)
        searched = encoder.encode_document(documents, normalize_embeddings=True, show_progress_bar=True)
        return pair_products(Rows(asked, "query"), Rows(searched, "document"), first, second)

    return score


def _places(texts: Iterable[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The index of each text among the different ones, and these."""
    known: dict[str, int] = {}
    places = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int64)
    return places, list(known)


def names_of(models: Iterable[str], taken: Iterable[str]) -> list[str]:
    """A short name for each model, the last part of its path, told apart from `taken` and each other by numbers."""
    names = list(taken)
    first = len(names)
    for model in models:
        short = Path(model).name or model
        same = sum(name == short or name.startswith(f"{short}-") for name in names)
        names.append(f"{short}-{same + 1}" if short in names else short)
    return names[first:]
