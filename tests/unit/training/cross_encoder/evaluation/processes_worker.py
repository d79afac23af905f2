"""Run by torchrun's variables: one process of two that evaluate together; writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from torch import distributed

from tests.unit.training.cross_encoder.evaluation.fakes import FakeModel
from training.cross_encoder.evaluation import CrossEncoderClassificationEvaluator, CrossEncoderRerankingEvaluator
from training.evaluation import SequentialEvaluator
from training.evaluation.processes import shared

TEXTS = [f"text {'x' * i}" for i in range(9)]


def score(query: str, text: str) -> float:
    return (len(query) * 7 + len(text) * 5) % 11 / 11


def evaluator() -> SequentialEvaluator:
    positives = {TEXTS[0], TEXTS[4], TEXTS[7]}  # a set has another order in each process
    reranking = CrossEncoderRerankingEvaluator(
        [{"query": "q", "positive": positives, "negative": TEXTS[1:4]}], name="rank"
    )
    pairs = [["q", text] for text in TEXTS]
    return SequentialEvaluator([CrossEncoderClassificationEvaluator(pairs, [0, 1, 0] * 3), reranking])


def failing(_query: str, text: str) -> float:
    if distributed.get_rank() == 1:
        raise KeyError(text)
    return 0.5


def main(directory: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    model = FakeModel(score)
    with shared():
        report: dict[str, Any] = {"metrics": evaluator()(model, str(directory / "eval"))}
        report["shares"] = [[text for _, text in pairs] for pairs, _ in model.calls]
        one = CrossEncoderClassificationEvaluator([["q", "t"]], [1])
        report["fewer pairs than processes"] = one(FakeModel(score))
        try:
            evaluator()(FakeModel(failing))
        except Exception as error:
            report["failure"] = f"{type(error).__name__}: {error}"
    if rank == 0:
        report["alone"] = evaluator()(FakeModel(score))
    distributed.barrier()
    (directory / f"{rank}.json").write_text(json.dumps(report))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
