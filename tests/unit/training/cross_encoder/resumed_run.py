"""A training run in a process of its own: `python -m ...resumed_run MODEL OUTPUT [resume]`; killed by a test."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.training.cross_encoder.trainer_data import arguments, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer


def main(model_dir: str, output_dir: str, resume: bool) -> None:
    """Trains 12 steps with a checkpoint after each; prints the steps."""
    model = CrossEncoder(model_dir, device="cpu")
    args = arguments(Path(output_dir), max_steps=12, save_strategy="steps", save_steps=1, disable_tqdm=True)
    trainer = CrossEncoderTrainer(model, args, pairs(20))
    trainer.train(resume_from_checkpoint=resume)
    model.save_pretrained(str(Path(output_dir) / "final"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], len(sys.argv) > 3)
