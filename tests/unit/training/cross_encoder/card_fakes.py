"""A cross-encoder, a trainer and evaluators with just what the model card asks of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from training.cross_encoder.model_card import CrossEncoderModelCardData

QUERIES = [f"what is number {i}" for i in range(120)]
DOCUMENTS = [f"number {i} is a number" for i in range(120)]


class FakeModel(torch.nn.Module):
    """Scores by the length of the second text."""

    def __init__(self, num_labels: int = 1, **card: Any) -> None:
        super().__init__()
        self.head = torch.nn.Linear(2, num_labels)
        self.num_labels = num_labels
        self.max_seq_length = 64
        self.predictions = 0
        self.model_card_data = CrossEncoderModelCardData(**card)
        self.model_card_data.register_model(self)

    def tokenizer(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[101, *range(len(text.split())), 102] for text in texts]}

    def predict(self, pairs: list[list[str]], **_: Any) -> np.ndarray:
        self.eval()
        self.predictions += 1
        scores = np.array([len(second) / 100 for _, second in pairs], dtype=np.float32)
        return scores if self.num_labels == 1 else np.stack([scores] * self.num_labels, axis=1)

    def rank(self, query: str, documents: list[str], **_: Any) -> list[dict[str, Any]]:
        scores = self.predict([[query, document] for document in documents])
        return [{"corpus_id": i, "score": scores[i]} for i in np.argsort(-scores)]


class FakeLoss(torch.nn.Module):
    def __init__(self, citation: str = "@article{fake,\n    title = {Fake}\n}", **config: Any) -> None:
        super().__init__()
        self.citation = citation
        self.config = config

    def get_config_dict(self) -> dict[str, Any]:
        return self.config


class OtherLoss(FakeLoss):
    pass


class FakeRankingEvaluator:
    def __init__(self, name: str = "", **config: Any) -> None:
        self.name = name
        self.config = config
        self.primary_metric = f"{name}_ndcg@10" if name else "ndcg@10"

    def get_config_dict(self) -> dict[str, Any]:
        return self.config

    def metrics(self, ndcg: float) -> dict[str, Any]:
        prefix = f"{self.name}_" if self.name else ""
        return {f"{prefix}map": np.float64(ndcg / 2), f"{prefix}ndcg@10": ndcg}


def pairs(rows: int = 120) -> Dataset:
    labels = [i % 4 == 0 for i in range(rows)]
    return Dataset.from_dict({"query": QUERIES[:rows], "answer": DOCUMENTS[:rows], "label": [int(x) for x in labels]})


def fake_trainer(train: Any = None, evaluation: Any = None, loss: Any = None, callbacks: Any = ()) -> SimpleNamespace:
    return SimpleNamespace(
        train_dataset=train,
        eval_dataset=evaluation,
        loss=loss if loss is not None else FakeLoss(alpha=0.5),
        evaluator=None,
        callback_handler=SimpleNamespace(callbacks=list(callbacks)),
    )
