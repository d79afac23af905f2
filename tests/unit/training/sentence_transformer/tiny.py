"""Tiny random embedding models, made by sentence-transformers itself, and texts for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer as Theirs
from sentence_transformers.sentence_transformer import modules
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.models import word_piece, write_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
MODERN: dict[str, Any] = {
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
    "local_attention": 16,
    "global_attn_every_n_layers": 2,
}
FAMILIES: dict[str, tuple[type[PreTrainedModel], type[Any], dict[str, Any]]] = {
    "bert": (BertModel, BertConfig, {}),
    "roberta": (RobertaModel, RobertaConfig, {}),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig, {}),
    "modernbert": (ModernBertModel, ModernBertConfig, MODERN),
    "distilbert": (DistilBertModel, DistilBertConfig, {"hidden_dim": 48}),
    "mpnet": (MPNetModel, MPNetConfig, {}),
}
PACKED = ("bert", "roberta", "xlm-roberta", "modernbert")
TEXTS = [
    "what is the capital of france",
    "paris is the capital of france, and berlin that of germany; rome that of italy",
    "a",
    "",
    "the quick brown fox jumps over a lazy dog",
    "  Search engine RANKS documents ",
    "a",
    " ".join(["people live in the city by the river"] * 12),
    "unknownword ünïcödé 12345",
]


def write_encoder(directory: Path, family: str = "bert", seed: int = 0, **changes: Any) -> Path:
    """A plain transformers directory of a random encoder whose biases and norms are not at their initial values."""
    kind, config, extra = FAMILIES[family]
    torch.manual_seed(seed)
    directory.mkdir(parents=True, exist_ok=True)
    vocab_size = write_tokenizer(directory)
    model = kind(config(**{**SIZES, **extra, "vocab_size": vocab_size, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(directory)
    return directory


def write_embedder(
    directory: Path, family: str = "bert", *more: torch.nn.Module, pooling: Any = "mean", **settings: Any
) -> Path:
    """A directory that sentence-transformers saved: encoder, pooling, and `more` modules behind it."""
    include_prompt = settings.pop("include_prompt", True)
    transformer = modules.Transformer(str(write_encoder(directory / "encoder", family)))
    pooled = modules.Pooling(32, pooling, include_prompt=include_prompt)
    torch.manual_seed(1)
    model = Theirs(modules=[transformer, pooled, *more], device="cpu", **settings)
    model.save_pretrained(str(directory / "model"), create_model_card=False)
    return directory / "model"


def write_static(directory: Path, dimension: int = 16) -> Path:
    """A directory with a static embedding model of sentence-transformers."""
    torch.manual_seed(2)
    model = Theirs(modules=[modules.StaticEmbedding(word_piece(), embedding_dim=dimension)], device="cpu")
    model.save_pretrained(str(directory), create_model_card=False)
    return directory
