"""The card in a saved directory, after a run of the real trainer on a real model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from datasets import Dataset

from tests.unit.training.cross_encoder.test_model_card import section
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from training.cross_encoder.card import hub
from training.cross_encoder.evaluation import CrossEncoderClassificationEvaluator
from training.cross_encoder.losses import BinaryCrossEntropyLoss

QUERIES = ["capital of france", "quick brown fox", "machine learning", "lazy dog"] * 2
ANSWERS = ["paris is a city", "the fox jumps | over", "a model trains on data\n\n\n", "<b>cat</b>"] * 2
LABELS = [1, 0, 1, 0] * 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, reranker_dir: Path) -> Path:
    """Trained for four steps, evaluated at two and four, the better one loaded, then saved."""

    def refuse(dataset_id: str) -> tuple[bool, list[str]]:
        raise AssertionError(f"the Hub was asked for {dataset_id}")

    folder = tmp_path_factory.mktemp("real")
    data = Dataset.from_dict({"query": QUERIES, "answer": ANSWERS, "label": LABELS})
    pairs = list(zip(QUERIES, ANSWERS, strict=True))
    model = CrossEncoder(str(reranker_dir), device="cpu")
    args = CrossEncoderTrainingArguments(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=2,
        max_steps=4,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_dev_average_precision",
        learning_rate=1e-3,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = CrossEncoderTrainer(
        model=model,
        args=args,
        train_dataset=data,
        eval_dataset=data.select(range(4)),
        loss=BinaryCrossEntropyLoss(model),
        evaluator=CrossEncoderClassificationEvaluator(pairs, LABELS, name="dev"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "offline", lambda: False)
        patch.setattr(hub, "look_up_dataset", refuse)
        trainer.train()
        model.save_pretrained(str(folder / "model"))
    return folder / "model"


def test_every_section_is_there(saved: Path) -> None:
    text = (saved / "README.md").read_text()
    data = yaml.safe_load(text.removeprefix("---\n").partition("\n---\n")[0])
    assert data["pipeline_tag"] == "text-ranking"
    assert {"generated_from_trainer", "dataset_size:8", "loss:BinaryCrossEntropyLoss"} <= set(data["tags"])
    assert "average_precision" in data["metrics"]
    assert "base_model" not in data, "a local directory is no model of the Hub"
    assert "* Evaluated with <code>CrossEncoderClassificationEvaluator</code>" in section(text, "### Metrics")
    assert "| query | answer | label |" in section(text, "### Training Dataset")
    assert "<li>min: 4 tokens</li>" in section(text, "### Training Dataset")
    assert "* Size: 4 evaluation samples" in section(text, "### Evaluation Dataset")
    assert "<code>BinaryCrossEntropyLoss</code>" in section(text, "### Training Dataset")
    changed = re.findall(r"- `(\w+)`", section(text, "#### Non-Default Hyperparameters"))
    assert sorted(changed) == sorted(
        {
            "per_device_train_batch_size",
            "max_steps",
            "load_best_model_at_end",
            "learning_rate",
            "use_cpu",
            "dataloader_pin_memory",
        }
    )
    log = section(text, "### Training Logs")
    assert "| Epoch | Step | Training Loss | Validation Loss | dev_average_precision |" in log
    assert "The bold row denotes the saved checkpoint." in log
    for heading in ("## Usage", "### Training Hardware", "### Training Time", "### Framework Versions"):
        assert section(text, heading)
    assert "print(scores)\n# [" in text
    assert "'score': " in text
    assert not re.search(r"\n[ \t]*\n[ \t]*\n", text)


def test_a_loaded_model_keeps_its_card(saved: Path, tmp_path: Path) -> None:
    text = (saved / "README.md").read_text()
    CrossEncoder(str(saved), device="cpu").save_pretrained(str(tmp_path / "again"))
    assert (tmp_path / "again" / "README.md").read_text() == text
