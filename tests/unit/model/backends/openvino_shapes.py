"""A process that scores batches of many shapes on OpenVINO and writes by how much that has made it grow [MB]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil

from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.openvino import OpenVinoBackend


def main() -> None:
    """Argument: an artifact."""
    backend = OpenVinoBackend(read_artifact(Path(sys.argv[1])), BackendOptions(threads=1))
    process = psutil.Process()
    before = 0
    for rows in (64, *range(1, 64)):
        ids = np.full((rows, 16), 5)
        backend.forward({"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0})
        before = before or process.memory_info().rss
    sys.stdout.write(str((process.memory_info().rss - before) / 1e6))


if __name__ == "__main__":
    main()
