"""The same script with both libraries, from the same seed and data order, gives the same parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.unit.training.cross_encoder.trainer_data import exact_model_dir, lists, pairs, quiet

STEPS = 20


def trained(library: Any, losses: Any, directory: Path, output: Path, data: Any, loss: str, **kwargs: Any) -> Any:
    """State of the transformers model after `STEPS` steps."""
    model = library.CrossEncoder(str(directory), device="cpu")
    args = library.CrossEncoderTrainingArguments(
        output_dir=str(output), **quiet({"max_steps": STEPS, "warmup_steps": 3, "seed": 7, **kwargs})
    )
    trainer = library.CrossEncoderTrainer(
        model=model, args=args, train_dataset=data, eval_dataset=data, loss=getattr(losses, loss)(model)
    )
    trainer.train()
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
        {"gradient_accumulation_steps": 2, "max_steps": 6, "prompts": {"a": "query: ", "b": "find: "}},
    ),
}


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:sentence_transformers.*")
@pytest.mark.parametrize("case", CASES)
def test_twenty_steps_give_the_parameters_and_the_loss_of_the_library(case: str, tmp_path: Path) -> None:
    import sentence_transformers.cross_encoder as their_library
    import sentence_transformers.cross_encoder.losses as their_losses

    import training.cross_encoder as our_library
    import training.cross_encoder.losses as our_losses

    loss, data, kwargs = CASES[case]
    directory = exact_model_dir(tmp_path / "model")
    ours, our_metrics = trained(our_library, our_losses, directory, tmp_path / "ours", data, loss, **kwargs)
    data = {name: copy(one) for name, one in data.items()} if isinstance(data, dict) else data
    theirs, their_metrics = trained(their_library, their_losses, directory, tmp_path / "theirs", data, loss, **kwargs)
    assert ours.keys() == theirs.keys()
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    assert worst < 2e-5
    losses = [name for name in their_metrics if name.endswith("loss")]
    assert [our_metrics[name] for name in losses] == pytest.approx([their_metrics[name] for name in losses], abs=1e-4)


def copy(dataset: Dataset) -> Dataset:
    """The library sets a transform on the datasets that it is given."""
    return dataset.select(range(len(dataset)))
