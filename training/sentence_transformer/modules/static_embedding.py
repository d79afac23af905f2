"""Texts as the mean of their tokens' fixed embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.model.types import IntArray
from training.cross_encoder.sources import Source
from training.sentence_transformer.modules.module import Features, Module, inside, read_weights, save_weights
from training.sentence_transformer.modules.word_tokens import token_ids

BLOCK_TOKENS = 1 << 16
"""Tokens whose embeddings are added up in one call."""


class StaticEmbedding(Module):
    """The mean over one embedding per token; a text without a token has zeros. Needs a fast tokenizer.

    Raises ValueError for another tokenizer, and where there are neither `embedding_weights`, of shape
    (vocabulary, dimension), nor an `embedding_dim` for random ones.
    """

    def __init__(
        self,
        tokenizer: Any,
        embedding_weights: NDArray[Any] | Tensor | None = None,
        embedding_dim: int | None = None,
        base_model: str | None = None,
    ) -> None:
        super().__init__()
        fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(fast, Tokenizer):
            raise ValueError("StaticEmbedding needs a fast tokenizer: tokenizers.Tokenizer.from_pretrained makes one")
        if embedding_weights is not None:
            self.embedding = nn.EmbeddingBag.from_pretrained(torch.as_tensor(embedding_weights), freeze=False)
        elif embedding_dim is not None:
            self.embedding = nn.EmbeddingBag(fast.get_vocab_size(), embedding_dim)
        else:
            raise ValueError("StaticEmbedding needs embedding_weights or embedding_dim")
        self.num_embeddings = self.embedding.num_embeddings
        self.embedding_dim = self.embedding.embedding_dim
        self.tokenizer: Tokenizer = fast
        self.tokenizer.no_padding()
        self.base_model = base_model

    @property
    def max_seq_length(self) -> float:
        """No limit."""
        return math.inf

    def encode_texts(self, texts: Sequence[str], prompt: str | None = None) -> tuple[list[IntArray], int]:
        """Token ids of each text, the prompt in front; and 0, as no token counts as the prompt's."""
        if prompt:
            texts = [prompt + text for text in texts]
        return token_ids(self.tokenizer, texts), 0

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None) -> Features:
        """Token ids laid end to end, and where each text begins among them."""
        rows, _ = self.encode_texts(inputs, prompt)
        return self._bags(rows)

    def forward(self, features: Features) -> Features:
        features["sentence_embedding"] = self.embedding(features["input_ids"], features["offsets"])
        return features

    def stream(self, rows: Sequence[IntArray], **_: Any) -> Iterator[tuple[Sequence[int], Features]]:
        """Indices of some `rows` with their features, until all had their turn."""
        ends = np.cumsum([len(row) for row in rows])
        start = 0
        while start < len(rows):
            before = ends[start] - len(rows[start])
            end = max(start + 1, int(np.searchsorted(ends, before + BLOCK_TOKENS, side="right")))
            yield range(start, end), self(self._bags(rows[start:end]))
            start = end

    def _bags(self, rows: Sequence[IntArray]) -> Features:
        device = self.embedding.weight.device
        ends = np.cumsum([0, *map(len, rows)])
        ids = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
        return {
            "input_ids": torch.from_numpy(ids).to(device),
            "offsets": torch.from_numpy(ends[:-1].astype(np.int32)).to(device),
        }

    def get_embedding_dimension(self) -> int:
        """Numbers per embedding."""
        return self.embedding_dim

    def save(self, output_path: str | Path, *, safe_serialization: bool = True) -> None:
        """Writes weights and tokenizer; there are no settings."""
        save_weights(self.state_dict(), Path(output_path))
        self.tokenizer.save(str(Path(output_path) / "tokenizer.json"))

    @classmethod
    def read(cls, source: Source, folder: str) -> StaticEmbedding:
        """The layouts of sentence-transformers and of model2vec."""
        path = source.file(inside(folder, "tokenizer.json"))
        if path is None:
            raise ValueError(f"{inside(source.name, folder)}: has no tokenizer.json; StaticEmbedding needs one")
        weights = read_weights(source, folder)
        return cls(Tokenizer.from_file(str(path)), weights.get("embedding.weight", _model2vec(weights)))


def _model2vec(weights: dict[str, Tensor]) -> Tensor | None:
    """One row per token of model2vec's tables: "embeddings", a "mapping" of tokens to them, "weights" of tokens."""
    rows = weights.get("embeddings")
    if rows is None:
        return None
    if "mapping" in weights:
        rows = rows[weights["mapping"].long()]
    if "weights" in weights:
        rows = (rows.float() * weights["weights"][:, None]).to(rows.dtype)
    return rows.contiguous()
