"""The scripts of the documents that users learn from, unshortened, with `sentence_transformers` called `training`.

Where a document leaves a name to the reader (a loader, a path), the test gives it.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification

from training import InputExample
from training.cross_encoder.evaluation import (
    CECorrelationEvaluator,
    CESoftmaxAccuracyEvaluator,
    CrossEncoderClassificationEvaluator,
)
from training.training_args import BatchSamplers

from .conftest import all_nli, duplicates, stsb

SCRIPTS = Path(__file__).parent / "scripts"


def run(name: str, **given: Any) -> SimpleNamespace:
    """The names that a script leaves behind."""
    return SimpleNamespace(**runpy.run_path(str(SCRIPTS / f"{name}.py"), init_globals=given, run_name="__main__"))


def pairs(data: Dataset) -> list[list[str]]:
    """The texts of the first two columns."""
    first, second, _ = data.column_names
    return [[row[first], row[second]] for row in data]


def loader(data: Dataset) -> DataLoader[Any]:
    """Batches of 4 pairs with the third column as label."""
    labels = data[data.column_names[2]]
    samples = [InputExample(texts=pair, label=label) for pair, label in zip(pairs(data), labels, strict=True)]
    return DataLoader(samples, shuffle=True, batch_size=4)  # type: ignore[arg-type]


def test_document_000_trains_on_scores_and_saves_the_best_model(tmp_path: Path) -> None:
    data = stsb()
    script = run(
        "document_000_scores",
        train_dataloader=loader(data),
        evaluator=CECorrelationEvaluator(pairs(data), list(data["score"]), name="sts-dev"),
        num_epochs=2,
        warmup_steps=1,
        model_save_path=str(tmp_path / "output"),
    )
    saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / "output")
    assert saved.config.num_labels == 1
    assert len(script.train_samples) == 2
    assert [file.name for file in (tmp_path / "output" / "eval").iterdir()]


def test_document_000_trains_on_classes_and_saves_the_best_model(tmp_path: Path) -> None:
    data = all_nli()
    script = run(
        "document_000_classes",
        train_dataloader=loader(data),
        evaluator=CESoftmaxAccuracyEvaluator(pairs(data), list(data["label"]), name="nli-dev"),
        num_epochs=1,
        warmup_steps=1,
        model_save_path=str(tmp_path / "output"),
    )
    assert script.model.predict(pairs(data)[:2]).shape == (2, 3)
    assert (tmp_path / "output" / "model.safetensors").is_file()


def test_document_001_works_as_its_signatures_say(tmp_path: Path) -> None:
    data = duplicates()
    query, *documents = {question: None for pair in pairs(data) for question in pair}
    calls: list[tuple[float, float, int]] = []
    script = run(
        "document_001_reference",
        sentence_pairs=pairs(data),
        labels=list(data["label"]),
        gold_scores=list(stsb()["score"]),
        classes=list(all_nli()["label"]),
        samples=[{"query": query, "positive": documents[:1], "negative": documents[1:3]}],
        train_dataloader=loader(data),
        output_path=str(tmp_path / "output"),
        callback=lambda *call: calls.append(call),
    )
    assert script.model.max_length == 64
    assert len(calls) == 3  # evaluation_steps=1, and three batches
    assert all(isinstance(score, float) for score, _, _ in calls)
    assert script.scores.shape == (12,)
    assert 0 <= script.scores.min() <= script.scores.max() <= 1
    torch.testing.assert_close(script.probabilities.sum(dim=1), torch.ones(12))
    for name, result in script.results.items():
        assert isinstance(result, float), name
    assert script.results["reranking"] in (1.0, 0.5, pytest.approx(1 / 3))
    for folder in ("", "saved", "saved_pretrained"):
        assert (tmp_path / "output" / folder / "model.safetensors").is_file()


def test_document_002_adds_a_head_only_where_there_is_none() -> None:
    script = run("document_002_model")
    assert (script.with_head.num_labels, script.model.num_labels) == (1, 1)
    assert list(script.with_head.fresh_parameters) == []
    assert sorted(script.model.fresh_parameters) == ["classifier.bias", "classifier.weight"]


def test_document_002_loads_data_from_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    script = run("document_002_hub_data")
    assert script.eval_dataset.column_names == ["premise", "hypothesis", "label"]
    assert "features: ['premise', 'hypothesis', 'label']" in capsys.readouterr().out


def test_document_002_loads_data_from_files(tmp_path: Path) -> None:
    (tmp_path / "my_file.csv").write_text("anchor,positive\na,b\n", encoding="utf-8")
    (tmp_path / "my_file.json").write_text(json.dumps([{"anchor": "c", "positive": "d"}]), encoding="utf-8")
    script = run("document_002_local_data")
    assert script.csv_dataset["train"][0] == {"anchor": "a", "positive": "b"}
    assert script.dataset.to_list() == [{"anchor": "c", "positive": "d"}]


def test_document_002_has_a_loss_for_pairs_of_related_texts() -> None:
    script = run("document_002_loss")
    batch = script.train_dataset[:4]
    value = script.loss([batch["question"], batch["answer"]], None)
    value.backward()
    assert value.item() > 0
    assert all(parameter.grad is not None for parameter in script.model.parameters())


def test_document_002_arguments_hold_what_they_are_given() -> None:
    args = run("document_002_arguments", BatchSamplers=BatchSamplers).args
    assert args.batch_sampler == "no_duplicates"
    assert args.warmup_steps == 0.1
    assert args.fp16 is torch.accelerator.is_available()  # which a CPU does not have; a warning says so


def test_document_002_evaluates_on_nano_beir() -> None:
    results = run("document_002_nano_beir").results
    assert len([key for key in results if key.endswith("_ndcg@10") and "base" not in key]) == 12
    assert 0 <= results["NanoBEIR_R100_mean_ndcg@10"] <= 1


def test_document_002_evaluates_a_correlation() -> None:
    assert sorted(run("document_002_correlation").results) == ["sts_dev_pearson", "sts_dev_spearman"]


def test_document_002_evaluates_a_classification() -> None:
    given = {"CrossEncoderClassificationEvaluator": CrossEncoderClassificationEvaluator}
    results = run("document_002_classification", **given).results
    assert sorted(results) == ["all-nli-dev_f1_macro", "all-nli-dev_f1_micro", "all-nli-dev_f1_weighted"]


def test_document_002_simple_example_trains_evaluates_saves_and_uploads(
    tmp_path: Path, hub: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]
) -> None:
    script = run("document_002_simple_example")
    run_name = "reranker-MiniLM-L12-H384-uncased-gooaq-cmnrl"
    assert "Model max length: 512\nModel num labels: 1" in capsys.readouterr().out
    assert script.trainer.state.global_step == 5
    evaluations = [entry for entry in script.trainer.state.log_history if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [5]  # the last step is always evaluated
    assert "eval_NanoBEIR_R100_mean_ndcg@10" in evaluations[0]
    assert (tmp_path / "models" / run_name / "checkpoint-5" / "trainer_state.json").is_file()
    final = tmp_path / "models" / run_name / "final"
    assert AutoModelForSequenceClassification.from_pretrained(final).config.num_labels == 1
    card = (final / "README.md").read_text(encoding="utf-8")
    for part in ("MiniLM-L12-H384 trained on GooAQ", "apache-2.0", "NanoMSMARCO", "CachedMultipleNegativesRankingLoss"):
        assert part in card
    assert [upload.repo_id for upload in hub] == [f"user/{run_name}"]
    assert {"model.safetensors", "README.md", "config.json"} <= hub[0].files


def test_document_002_deprecated_fit_trains(tmp_path: Path) -> None:
    script = run("document_002_deprecated_fit")
    assert script.model.predict([["What are pandas?", "The giant panda ..."]]).shape == (1,)
    assert (tmp_path / "checkpoints" / "model").is_dir()
