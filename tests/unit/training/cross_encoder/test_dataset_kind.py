"""Datasets that no training can begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from training.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments

ROWS = [{"query": "who", "passage": "a dog", "label": 1.0}]


def trainer(directory: Path, parent: Path, **data: Any) -> CrossEncoderTrainer:
    args = CrossEncoderTrainingArguments(str(directory), report_to="none", use_cpu=True)
    return CrossEncoderTrainer(CrossEncoder(parent, device="cpu"), args, **data)


def test_rows_without_named_columns_are_refused_with_the_remedy(parent_dir: Path, tmp_path: Path) -> None:
    """A list of rows, as an older DataLoader takes it, ended in "'list' object has no attribute 'column_names'"."""
    data = Dataset.from_list(ROWS)
    with pytest.raises(TypeError, match=r"training dataset is a list.*Dataset\.from_list"):
        trainer(tmp_path, parent_dir, train_dataset=ROWS)
    with pytest.raises(TypeError, match="evaluation dataset is a list"):
        trainer(tmp_path, parent_dir, train_dataset=data, eval_dataset=ROWS)


def test_an_empty_dataset_is_refused_by_its_name(parent_dir: Path, tmp_path: Path) -> None:
    """It ended in "num_samples should be a positive integer value"."""
    data = Dataset.from_list(ROWS)
    with pytest.raises(ValueError, match="training dataset is empty"):
        trainer(tmp_path, parent_dir, train_dataset=data.select([]))
    with pytest.raises(ValueError, match="training dataset 'b' is empty"):
        trainer(tmp_path, parent_dir, train_dataset={"a": data, "b": data.select([])})
