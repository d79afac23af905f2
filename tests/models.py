"""Tiny models made on the fly: complete artifacts that every backend loads, written without torch in a blink."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from tests.onnx_bert import bert_graph

TEXT = """
the quick brown fox jumps over a lazy dog and cat while search engine ranks documents by relevance to query
capital of france is paris berlin germany rome italy what where who when how many people live in city river
machine learning model trains on data with loss and returns score for each pair of question answer passage
"""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_LENGTH = 512


def write_model(
    directory: Path,
    *,
    labels: Sequence[str] = ("LABEL_0",),
    problem_type: str | None = None,
    seed: int = 0,
    hidden_size: int = 32,
    layers: int = 2,
) -> Path:
    """Writes a random BERT cross-encoder whose scores differ clearly; returns `directory`.

    Files: config.json, tokenizer.json, tokenizer_config.json, model.safetensors, onnx/model.onnx. Labels are
    in logit order. Same arguments, same bytes.
    """
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    vocab_size = write_tokenizer(directory)
    config = bert_config(vocab_size, labels, problem_type, hidden_size, layers)
    weights = bert_weights(config, seed)
    write_json(directory / "config.json", config)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    onnx.save(bert_graph(weights, config), directory / "onnx" / "model.onnx")
    return directory


def write_tokenizer(directory: Path) -> int:
    """Writes a lower-casing WordPiece tokenizer of the words and letters of `TEXT`; returns its vocabulary size."""
    tokenizer = word_piece()
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": MAX_LENGTH,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    write_json(directory / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def word_piece() -> Tokenizer:
    """BERT's pipeline over a vocabulary of whole words, letters, digits and punctuation."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    words = sorted(set(TEXT.split()) - set(letters))
    entries = [*SPECIAL, *".,!?;:'\"()-", *letters, *(f"##{letter}" for letter in letters), *words]
    tokenizer = Tokenizer(WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))],
    )
    return tokenizer


def bert_config(
    vocab_size: int, labels: Sequence[str], problem_type: str | None, hidden_size: int, layers: int
) -> dict[str, Any]:
    """What transformers writes into `config.json` for such a model."""
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden_size,
        "hidden_act": "gelu",
        "max_position_embeddings": MAX_LENGTH,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": SPECIAL.index("[PAD]"),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "dtype": "float32",
    }
    return config if problem_type is None else {**config, "problem_type": problem_type}


def bert_weights(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Random float32 weights under BERT's names, large enough that different texts get clearly different scores."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for name, shape in bert_shapes(config).items():
        if "LayerNorm" in name:
            weights[name] = np.full(shape, float(name.endswith("weight")), dtype=np.float32)
        else:
            spread = 0.05 if name.endswith("bias") else 0.4 if name == "classifier.weight" else 0.3
            weights[name] = rng.normal(0.0, spread, shape).astype(np.float32)
    return weights


def bert_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of `BertForSequenceClassification` with its shape, in a fixed order."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "bert.embeddings.LayerNorm.weight": (hidden,),
        "bert.embeddings.LayerNorm.bias": (hidden,),
    }
    dense = {"bert.pooler.dense": (hidden, hidden), "classifier": (len(config["id2label"]), hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"bert.encoder.layer.{layer}"
        dense |= {f"{prefix}.attention.self.{name}": (hidden, hidden) for name in ("query", "key", "value")}
        dense |= {
            f"{prefix}.attention.output.dense": (hidden, hidden),
            f"{prefix}.intermediate.dense": (wide, hidden),
            f"{prefix}.output.dense": (hidden, wide),
        }
        for norm in (f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"):
            shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def write_json(path: Path, value: Any) -> None:
    """Writes JSON as transformers does: indented, UTF-8."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
