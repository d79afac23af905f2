"""Datasets and loaders of the older interface, made of `InputExample`s."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "DenoisingAutoEncoderDataset": "training.datasets.denoising_auto_encoder",
        "NoDuplicatesDataLoader": "training.datasets.no_duplicates_dataloader",
        "SentenceLabelDataset": "training.datasets.sentence_label",
        "SentencesDataset": "training.datasets.sentences",
    },
)
