"""Trains, evaluates and exports cross-encoders; `rerank-training --help` is the way in.

Scripts for sentence-transformers run with `sentence_transformers` replaced by `training` in their imports. Names are
imported when they are first used.
"""

from __future__ import annotations

from training.lazy import attach
from training.old_paths import install

install()

_SUBMODULES = [
    "cross_encoder",
    "datasets",
    "evaluation",
    "models",
    "readers",
    "sampler",
    "sentence_transformer",
    "training_args",
    "util",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "CrossEncoder": "training.cross_encoder",
        "CrossEncoderModelCardData": "training.cross_encoder",
        "CrossEncoderTrainer": "training.cross_encoder",
        "CrossEncoderTrainingArguments": "training.cross_encoder",
        "DefaultBatchSampler": "training.sampler",
        "InputExample": "training.input_example",
        "LoggingHandler": "training.logging_handler",
        "MultiDatasetDefaultBatchSampler": "training.sampler",
        "SentenceTransformer": "training.sentence_transformer",
        "SentencesDataset": "training.datasets",
        "SimilarityFunction": "training.util.similarity",
        "__version__": "training.version",
        "export_dynamic_quantized_onnx_model": "training.backend",
        "export_optimized_onnx_model": "training.backend",
        "export_static_quantized_openvino_model": "training.backend",
        "mine_hard_negatives": "training.util.hard_negatives",
        "quantize_embeddings": "training.util.quantization",
        "resolve_ids": "training.util.id_join",
        **{name: f"{__name__}.{name}" for name in _SUBMODULES},
    },
)
