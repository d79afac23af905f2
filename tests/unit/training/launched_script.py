"""A training script of a user: `python -m tests.unit.training.launched_script MODEL OUTPUT ROWS_PER_PROCESS`."""

from __future__ import annotations

import sys

from tests.unit.training.cross_encoder.trainer_data import lists, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from training.cross_encoder.losses import BinaryCrossEntropyLoss, LambdaLoss


def main(model_dir: str, output: str, rows: int) -> None:
    """Three epochs over two datasets, each with a loss of its own, and an evaluation after each."""
    model = CrossEncoder(model_dir)
    args = CrossEncoderTrainingArguments(
        output_dir=output,
        use_cpu=True,
        num_train_epochs=3,
        per_device_train_batch_size=rows,
        dataloader_drop_last=True,
        learning_rate=1e-3,
        adam_epsilon=1e-3,  # parameters without gradient must not follow rounding errors
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to="none",
    )
    trainer = CrossEncoderTrainer(
        model,
        args,
        train_dataset={"pairs": pairs(19), "lists": lists(11, longest=7)},
        eval_dataset={"pairs": pairs(5, seed=1), "lists": lists(3, seed=1)},
        loss={"pairs": BinaryCrossEntropyLoss(model), "lists": LambdaLoss(model)},
    )
    trainer.train()
    model.save_pretrained(f"{output}/final")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
