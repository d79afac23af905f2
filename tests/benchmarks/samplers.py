"""`python -m tests.benchmarks.samplers [rows]`: an epoch of NoDuplicates batches, beside sentence-transformers.

CPU seconds of this process, first epoch (with coding or hashing of the values) and second one, with the batches
compared; `many`, `some` and `few` say how many different questions there are, in `hub` a tenth of the rows share one.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import datasets
import torch
from sentence_transformers.base import sampler as library

from training.sampler import NoDuplicatesBatchSampler

LIMIT_S = 30
"""A pass that takes longer is given up: one sampler compared here can take hours."""


def questions(kind: str, rows: int, draw: random.Random) -> list[str]:
    if kind == "hub":
        return [f"question {0 if index % 10 == 0 else index}" for index in range(rows)]
    different = {"many": 1 << 40, "some": rows // 2, "few": rows // 200}[kind]
    return [f"question {draw.randrange(different)}" for _ in range(rows)]


def timed_epoch(sampler: Any, epoch: int) -> tuple[float, list[list[int]] | None]:
    """CPU seconds and the batches, None if the pass was given up."""
    sampler.set_epoch(epoch)
    start = time.process_time()
    batches = []
    for batch in sampler:
        batches.append(batch)
        if time.process_time() - start > LIMIT_S:
            return LIMIT_S, None
    return time.process_time() - start, batches


def compare(kind: str, rows: int) -> None:
    asked = questions(kind, rows, random.Random(0))
    data = datasets.Dataset.from_dict({"question": asked, "answer": [f"answer {row}" for row in range(rows)]})
    known: dict[str, Any] = {"batch_size": 64, "drop_last": False, "seed": 1}
    samplers = {
        "ours": NoDuplicatesBatchSampler(data, **known, generator=torch.Generator()),
        "6.2 hashed": library.NoDuplicatesBatchSampler(
            data, **known, generator=torch.Generator(), precompute_hashes=True, precompute_num_proc=1
        ),
        "6.2": library.NoDuplicatesBatchSampler(data, **known, generator=torch.Generator()),
    }
    expected: list[list[int]] | None = None
    for name, sampler in samplers.items():
        first_s, first = timed_epoch(sampler, 0)
        expected = first if expected is None else expected
        second_s = timed_epoch(sampler, 1)[0] if first is not None else float("nan")
        same = "given up" if first is None else "same batches" if first == expected else "OTHER BATCHES"
        print(f"{kind:5} {name:11} first {first_s:7.2f} s  second {second_s:7.2f} s  {same}", flush=True)


def main() -> None:
    datasets.disable_progress_bars()
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for kind in ("many", "some", "few", "hub"):
        compare(kind, rows)


if __name__ == "__main__":
    main()
