"""A process that holds one form of a model, or sentence-transformers, and scores when it is told to.

Orders and answers are lines of JSON. Between two orders it blocks on the pipe, so that it costs the others nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.model.bucketing import Budget
from app.model.cpus import available_cpus
from app.model.types import FloatArray
from tests.benchmarks.forms import FORMS, PEER

Pairs = list[tuple[str, str]]
Score = Callable[[Pairs, int], FloatArray]
"""Scores of pairs with a batch budget: padded tokens for our forms, pairs for sentence-transformers."""


def main() -> None:
    """Arguments: form, reference, directory of the exported graphs, file of texts; ends with its standard input."""
    name, reference, exported, texts = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    calls = {key: _pairs(value) for key, value in json.loads(Path(texts).read_text(encoding="utf-8")).items()}
    score = _peer(reference) if name == PEER else _form(name, Path(reference), Path(exported))
    print(json.dumps("loaded"), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(carried_out(score, calls[order["texts"]], order["size"])), file=answers, flush=True)


def carried_out(score: Score, calls: Sequence[Pairs], size: int) -> dict[str, Any]:
    """Seconds and scores of each call."""
    seconds, scores = [], []
    for pairs in calls:
        began = time.perf_counter()
        found = score(pairs, size)
        seconds.append(time.perf_counter() - began)
        scores.append(found.tolist())
    return {"seconds": seconds, "scores": scores}


def _pairs(calls: list[list[list[str]]]) -> list[Pairs]:
    return [[(query, document) for query, document in call] for call in calls]


def _form(name: str, reference: Path, exported: Path) -> Score:
    model = next(form for form in FORMS if form.name == name).load(reference, exported)
    return lambda pairs, size: model.predict(pairs, Budget(max_tokens=size))


def _peer(reference: str) -> Score:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(available_cpus())
    model = CrossEncoder(reference, device="cpu")
    return lambda pairs, size: np.asarray(model.predict(pairs, batch_size=size, show_progress_bar=False))


if __name__ == "__main__":
    main()
