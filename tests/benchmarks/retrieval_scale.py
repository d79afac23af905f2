"""Exact search at scale: time, share of the machine's matrix-product peak, and peak memory.

    python -m tests.benchmarks.retrieval_scale                      # 100,000 queries x 1,000,000 documents
    python -m tests.benchmarks.retrieval_scale --queries 2000       # a share of the queries, the whole corpus

The embeddings are synthetic (uniform on the sphere), written once to `--directory` and memory-mapped. The search runs
in a process of its own, whose peak resident memory the kernel reports; mapped pages of the files count in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 50_000
GIB = 2**30
LIMIT_GIB = 1.0
"""What the search may hold beside the embeddings."""


def main() -> None:
    options = _options()
    if options.child:
        print(json.dumps(_search(options)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(options.directory or temporary)
        directory.mkdir(parents=True, exist_ok=True)
        for name, rows, seed in (("corpus", options.documents, 1), ("queries", options.queries, 2)):
            _write(_file(directory, name, rows, options.width), rows, options.width, seed)
        arguments = [argument for argument in sys.argv[1:] if argument != "--child"]
        command = [sys.executable, "-m", "tests.benchmarks.retrieval_scale", *arguments, "--child"]
        child = subprocess.run([*command, "--directory", str(directory)], check=True, stdout=subprocess.PIPE, text=True)
    _print(json.loads(child.stdout), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--tile", type=int, nargs=2, help="queries and documents of a tile")
    parser.add_argument("--directory", help="where the embeddings are kept for the next run; else they are deleted")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _file(directory: Path, name: str, rows: int, width: int) -> Path:
    return directory / f"{name}-{rows}x{width}.npy"


def _write(path: Path, rows: int, width: int, seed: int) -> None:
    """The same rows for the same seed, however many of them are asked for."""
    if path.exists():
        return
    part = path.with_suffix(".part")
    out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=(rows, width))
    for number, start in enumerate(range(0, rows, BLOCK)):
        block = np.random.default_rng((seed, number)).standard_normal((BLOCK, width), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        out[start : start + BLOCK] = block[: rows - start]
    out.flush()
    del out
    part.replace(path)


def _search(options: argparse.Namespace) -> dict[str, float]:
    """Runs in the child: nothing but the search counts in its memory."""
    from training.retrieval.exact import exact_top_k

    directory = Path(options.directory)
    queries, corpus = (
        np.load(_file(directory, name, rows, options.width), mmap_mode="r")
        for name, rows in (("queries", options.queries), ("corpus", options.documents))
    )
    before = _peak_gflops()
    start, used = time.perf_counter(), time.process_time()
    hits = exact_top_k(queries, corpus, options.k, tile=options.tile, progress=True)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    after = _peak_gflops()
    return {
        "seconds": seconds,
        "cpus": cpu / seconds,
        "gflops": 2e-9 * options.queries * options.documents * options.width / seconds,
        "peak_gflops": max(before, after),
        "embeddings": queries.nbytes + corpus.nbytes,
        "hits": hits.indices.nbytes + hits.scores.nbytes,
        "rss": peak_bytes,
        "wrong": _wrong(queries, corpus, hits.indices, hits.scores, options.k),
    }


def _peak_gflops(size: int = 3072, rounds: int = 5) -> float:
    """The best of some square float32 products, by the same library."""
    import torch

    square = torch.ones(size, size)
    out = torch.mm(square, square)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(square, square, out=out)
        best = min(best, time.perf_counter() - start)
    return 2e-9 * size**3 / best


def _wrong(
    queries: NDArray[np.float32],
    corpus: NDArray[np.float32],
    indices: NDArray[np.int64],
    scores: NDArray[np.float32],
    k: int,
    sample: int = 5,
) -> int:
    """How many of some queries have other hits than a search in float64, document by document."""
    wrong = 0
    for row in np.linspace(0, len(queries) - 1, sample).astype(int):
        query = queries[row].astype(np.float64)
        parts = [
            np.einsum("nd,d->n", corpus[start : start + BLOCK].astype(np.float64), query).astype(np.float32)
            for start in range(0, len(corpus), BLOCK)
        ]
        every = np.concatenate(parts)
        best = np.argsort(-every, kind="stable")[:k]
        wrong += not (
            np.array_equal(indices[row, : len(best)], best) and np.array_equal(scores[row, : len(best)], every[best])
        )
    return wrong


def _print(found: dict[str, float], options: argparse.Namespace) -> None:
    beside = (found["rss"] - found["embeddings"]) / GIB
    print(f"{options.queries:,} queries x {options.documents:,} documents x {options.width}, k = {options.k}")
    print(f"time              {found['seconds']:10.1f} s   ({found['cpus']:.2f} processors busy)")
    print(f"rate              {found['gflops']:10.1f} GFLOP/s")
    print(f"product peak      {found['peak_gflops']:10.1f} GFLOP/s")
    print(f"share of the peak {100 * found['gflops'] / found['peak_gflops']:10.1f} %")
    print(f"embeddings        {found['embeddings'] / GIB:10.2f} GiB")
    print(f"peak memory       {found['rss'] / GIB:10.2f} GiB (hits: {found['hits'] / GIB:.2f} GiB)")
    print(f"beside embeddings {beside:10.2f} GiB (limit {LIMIT_GIB:.2f}): {'kept' if beside < LIMIT_GIB else 'BROKEN'}")
    print(f"wrong queries     {found['wrong']:10.0f} of 5 looked up again in float64")


if __name__ == "__main__":
    main()
