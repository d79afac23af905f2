"""Readers of the older interface: files in, lists of `InputExample` out."""

from __future__ import annotations

from training.lazy import attach

__getattr__, __dir__ = attach(
    __name__,
    {
        "InputExample": "training.input_example",
        "LabelSentenceReader": "training.readers.label_sentence",
        "NLIDataReader": "training.readers.nli_data",
        "PairedFilesReader": "training.readers.paired_files",
        "STSBenchmarkDataReader": "training.readers.sts_data",
        "STSDataReader": "training.readers.sts_data",
        "TripletReader": "training.readers.triplet",
    },
)
