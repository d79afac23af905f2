"""Where sentence-transformers 6 keeps what all its trainers share; the modules below are found by `old_paths`."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        **dict.fromkeys(("BatchSamplers", "MultiDatasetBatchSamplers"), "training.training_args"),
        **dict.fromkeys(
            (
                "DefaultBatchSampler",
                "GroupByLabelBatchSampler",
                "MultiDatasetDefaultBatchSampler",
                "NoDuplicatesBatchSampler",
                "ProportionalBatchSampler",
                "RoundRobinBatchSampler",
            ),
            "training.sampler",
        ),
        "PeftAdapterMixin": "training.cross_encoder.peft_adapters",
    },
)
