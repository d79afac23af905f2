"""The untrained baseline: cosine of the parent's sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModel

from app.model.artifact import read_artifact
from app.model.bucketing import Budget, cut_batches
from app.model.types import EncodeOptions, FloatArray
from training.parent import load_tokenizer

MAX_LENGTH = 256
"""Tokens that all-MiniLM-L6-v2 reads of a text (its sentence_bert_config.json)."""


class BiEncoder:
    """Mean pooling over the last layer, then division by the norm."""

    def __init__(self, directory: Path) -> None:
        artifact = read_artifact(directory)
        self._tokenizer = load_tokenizer(artifact)
        self._model = AutoModel.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of shape (texts, dimension)."""
        rows = self._tokenizer.encode_texts(texts, EncodeOptions(max_length=MAX_LENGTH))
        out = np.empty((len(rows), self._model.config.hidden_size), dtype=np.float32)
        batches = cut_batches([len(row) for row in rows], Budget())
        for indices in tqdm(batches, desc="embed", unit="batch", mininterval=5, leave=False):
            padded = self._tokenizer.pad([rows[i] for i in indices])
            inputs = {name: torch.from_numpy(array) for name, array in padded.items()}
            inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])  # a single text is all first segment
            hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            out[indices] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return out

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Cosine of the two texts of each pair: shape (pairs,). A text that recurs is embedded once."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        position = {text: i for i, text in enumerate(texts)}
        vectors = self.embed(texts)
        first = vectors[[position[query] for query, _ in pairs]]
        second = vectors[[position[document] for _, document in pairs]]
        return np.asarray((first * second).sum(1), dtype=np.float32)
