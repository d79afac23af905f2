"""Helpers that training scripts use."""

from __future__ import annotations

from training.lazy import attach

_MODULES = {
    "training.logging_handler": ["LoggingHandler"],
    "training.util.distributed": ["all_gather", "all_gather_with_grad", "get_rank", "get_world_size"],
    "training.util.environment": [
        "check_package_availability",
        "get_device_name",
        "is_accelerate_available",
        "is_datasets_available",
        "is_dist_initialized",
        "is_training_available",
    ],
    "training.util.file_io": ["disabled_tqdm", "http_get"],
    "training.util.hard_negatives": ["mine_hard_negatives"],
    "training.util.id_join": ["resolve_ids"],
    "training.util.misc": [
        "append_to_last_row",
        "disable_datasets_caching",
        "disable_logging",
        "fullname",
        "import_from_string",
    ],
    "training.util.quantization": ["quantize_embeddings"],
    "training.util.retrieval": ["semantic_search"],
    "training.util.similarity": [
        "SimilarityFunction",
        "cos_sim",
        "dot_score",
        "euclidean_sim",
        "manhattan_sim",
        "pairwise_angle_sim",
        "pairwise_cos_sim",
        "pairwise_dot_score",
        "pairwise_euclidean_sim",
        "pairwise_manhattan_sim",
        "pytorch_cos_sim",
    ],
    "training.util.tensor": ["batch_to_device", "normalize_embeddings", "truncate_embeddings"],
}

__getattr__, __dir__ = attach(__name__, {name: module for module, names in _MODULES.items() for name in names})
