"""Models that know their answers: embeddings from a table, scores from the letters of a pair."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.util import cos_sim, pairwise_cos_sim


class TableModel:
    """Embeds by looking up; it is what both libraries ask of a model for mining."""

    device = torch.device("cpu")
    model_card_data = SimpleNamespace(base_model=None)
    similarity_fn_name = "cosine"

    def __init__(self, rows: Mapping[str, NDArray[np.float32]]) -> None:
        self.rows = rows
        self.encoded: list[list[str]] = []

    def encode(
        self, texts: Sequence[str], prompt: str | None = None, normalize_embeddings: bool = False, **_: Any
    ) -> NDArray[np.float32]:
        self.encoded.append(list(texts))
        found = np.stack([self.rows[(prompt or "") + text] for text in texts])
        return found / np.linalg.norm(found, axis=1, keepdims=True) if normalize_embeddings else found

    encode_query = encode_document = encode

    def similarity(self, first: Any, second: Any) -> torch.Tensor:
        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> torch.Tensor:
        return pairwise_cos_sim(first, second)

    def get_embedding_dimension(self) -> int:
        return len(next(iter(self.rows.values())))


class HashScorer:
    """A cross-encoder whose score, from 0 to 1, is a hash of the pair."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def predict(self, pairs: Sequence[tuple[str, str]], convert_to_tensor: bool = False, **_: Any) -> Any:
        self.calls.append(list(pairs))
        scores = np.array([score(*pair) for pair in pairs], dtype=np.float32)
        return torch.from_numpy(scores) if convert_to_tensor else scores


def score(query: str, document: str) -> float:
    digest = hashlib.sha256(f"{query}\n{document}".encode()).digest()
    return int.from_bytes(digest[:3], "big") / 2**24


def table(names: Sequence[str], dimensions: int = 8, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """A random row for each name; names that differ only behind a colon have the same row."""
    generator = np.random.default_rng(seed)
    rows = {
        stem: generator.standard_normal(dimensions).astype(np.float32) for stem in sorted({stem_of(n) for n in names})
    }
    return {name: rows[stem_of(name)] for name in names}


def stem_of(name: str) -> str:
    return name.partition(":")[0]
