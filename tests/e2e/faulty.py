"""The service with a backend that sleeps or dies on demand: python -m tests.e2e.faulty [flags of rerank-server].

A row that contains the word "quick" takes 50 ms longer; one that contains "lazy" kills the scoring thread.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from app.__main__ import run
from app.model.artifact import Artifact
from app.model.backends import BACKENDS, BackendOptions
from app.model.backends.onnx import OnnxBackend
from app.model.tokenizer import PairTokenizer
from app.model.types import Batch, EncodeOptions, FloatArray


class FaultyBackend(OnnxBackend):
    """ONNX Runtime with trigger words."""

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        super().__init__(artifact, options)
        tokenizer = PairTokenizer(artifact.tokenizer_file, pad_id=artifact.pad_id, segments=artifact.segments)
        slow, fatal = tokenizer.encode_texts(["quick", "lazy"], EncodeOptions(8))
        self._slow, self._fatal = slow.ids[1], fatal.ids[1]

    def forward(self, batch: Batch) -> FloatArray:
        if np.any(batch["input_ids"] == self._fatal):
            raise SystemExit("the scoring thread was killed")
        time.sleep(0.05 * int((batch["input_ids"] == self._slow).any(axis=1).sum()))
        return super().forward(batch)


if __name__ == "__main__":
    BACKENDS["onnx"] = "tests.e2e.faulty:FaultyBackend"
    sys.exit(run(["--backend", "onnx", *sys.argv[1:]]))
