"""The same script with both libraries, from the same seed and data order, gives the same parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from tests.unit.training.cross_encoder.trainer_data import arguments, exact_model_dir, lists, pairs, quiet

STEPS = 20


def trained(library: Any, losses: Any, directory: Path, output: Path, data: Any, loss: str, **kwargs: Any) -> Any:
    """State of the transformers model after `STEPS` steps, and what was measured then."""
    model = library.CrossEncoder(str(directory), device="cpu")
    args = library.CrossEncoderTrainingArguments(
        output_dir=str(output), **quiet({"max_steps": STEPS, "warmup_steps": 3, "seed": 7, **kwargs})
    )
    trainer = library.CrossEncoderTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=data, loss=getattr(losses, loss)(model)
    )
    trainer.train()
    assert trainer.state.global_step == kwargs.get("max_steps", STEPS)
    return model.model.state_dict(), trainer.evaluate()


CASES = {
    "pairs": ("BinaryCrossEntropyLoss", pairs(30), {}),
    "lists": ("ListNetLoss", lists(24), {}),
    "in-batch negatives": (
        "MultipleNegativesRankingLoss",
        pairs(30).remove_columns("label"),
        {"batch_sampler": "no_duplicates"},
    ),
    "several datasets": (
        "BinaryCrossEntropyLoss",
        {"a": pairs(18), "b": pairs(9, seed=1)},
        {"gradient_accumulation_steps": 2, "prompts": {"a": "query: ", "b": "find: "}},
    ),
    "a model that pads": ("BinaryCrossEntropyLoss", pairs(30), {}),
}
PADS = "a model that pads"


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:sentence_transformers.*")
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_give_the_parameters_and_the_loss_of_the_library(case: str, tmp_path: Path) -> None:
    import sentence_transformers.cross_encoder as their_library
    import sentence_transformers.cross_encoder.losses as their_losses

    import training.cross_encoder as our_library
    import training.cross_encoder.losses as our_losses

    loss, data, kwargs = CASES[case]
    directory = (padded_model_dir if case == PADS else exact_model_dir)(tmp_path / "model")
    # The library knows no such switch: its batches are never made by length.
    exact = {"length_bucketing": False} if case == PADS else {}
    ours, our_metrics = trained(our_library, our_losses, directory, tmp_path / "ours", data, loss, **kwargs, **exact)
    data = {name: copy(one) for name, one in data.items()} if isinstance(data, dict) else data
    theirs, their_metrics = trained(their_library, their_losses, directory, tmp_path / "theirs", data, loss, **kwargs)
    assert ours.keys() == theirs.keys()
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    assert worst < 2e-5
    losses = [name for name in their_metrics if name.endswith("loss")]
    assert [our_metrics[name] for name in losses] == pytest.approx([their_metrics[name] for name in losses], abs=1e-4)


def padded_model_dir(directory: Path) -> Path:
    """A DistilBERT without dropout: it has no packed forward, so that batches are made by length unless told not to."""
    exact_model_dir(directory)
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    config = DistilBertConfig(
        vocab_size=vocabulary,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        num_labels=1,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
    )
    torch.manual_seed(0)
    DistilBertForSequenceClassification(config).save_pretrained(directory)
    return directory


def test_the_exact_parity_switch_is_needed_there(tmp_path: Path) -> None:
    """Without it, the model that pads gets batches of like length by default; the models that pack do not."""
    from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
    from training.sampling.default import DefaultBatchSampler
    from training.sampling.length_bucketed import LengthBucketedBatchSampler

    def sampler(make: Any, name: str, **kwargs: Any) -> Any:
        model = CrossEncoder(str(make(tmp_path / name)), device="cpu")
        return type(
            CrossEncoderTrainer(model, arguments(tmp_path, **kwargs), pairs(30)).get_train_dataloader().batch_sampler
        )

    assert sampler(padded_model_dir, "pads") is LengthBucketedBatchSampler
    assert sampler(padded_model_dir, "off", length_bucketing=False) is DefaultBatchSampler
    assert sampler(exact_model_dir, "packs") is DefaultBatchSampler


def copy(dataset: Dataset) -> Dataset:
    """The library sets a transform on the datasets that it is given."""
    return dataset.select(range(len(dataset)))
