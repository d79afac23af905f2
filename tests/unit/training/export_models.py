"""Tiny random classifiers of the families that can be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.unit.model.tokenizer_styles import CORPUS, STYLES, save_style

PAIRS = [(query, document) for query in CORPUS[:4] for document in (*CORPUS, "paris", "")]
FAMILIES = (*STYLES, "electra", "distilbert")

# Electra projects its embeddings: with large weights even float32 rounding shows.
SIZES = {"electra": {"embedding_size": 48, "initializer_range": 0.15}, "distilbert": {"hidden_dim": 64}}


def write_tiny(model_type: str, directory: Path, labels: int = 1, hidden_size: int = 32, **changed: Any) -> Path:
    """Weights, configuration and tokenizer of a random model whose scores differ clearly; returns `directory`."""
    directory.mkdir(parents=True)
    save_style(model_type if model_type in STYLES else "bert", directory)
    extra = {**(STYLES[model_type][1] if model_type in STYLES else {}), **SIZES.get(model_type, {})}
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    pad = tokenizer.token_to_id("[PAD]")
    settings = {"num_hidden_layers": 2, "intermediate_size": 64, "initializer_range": 0.3, **extra, **changed}
    config = AutoConfig.for_model(
        model_type,
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=hidden_size,
        num_attention_heads=2,
        max_position_embeddings=130,
        num_labels=labels,
        pad_token_id=1 if pad is None else pad,
        **settings,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).eval().save_pretrained(directory)
    return directory
