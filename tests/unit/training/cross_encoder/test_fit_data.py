"""What `fit` and `old_fit` say of data that they cannot train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from tests.unit.training.cross_encoder.test_fit import BOTH, load, train
from training import InputExample
from training.cross_encoder.row_errors import TrainingDataError

GOOD = [InputExample(texts=["a", "b"], label=1), InputExample(texts=["c", "d"], label=0)] * 2


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fit` writes checkpoints/ where the script runs."""
    monkeypatch.chdir(tmp_path)


def loader(*last: InputExample, **options: Any) -> DataLoader[Any]:
    """Four good examples, then these."""
    return DataLoader([*GOOD, *last], batch_size=2, **options)  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize(
    ("texts", "label", "said"),
    [
        (["a", None], 1, "column 'sentence_1', row 4: is None"),
        (["a", " "], 1, "column 'sentence_1', row 4: is empty"),
        (["a", 3], 1, "column 'sentence_1', row 4: is int64, but a text is needed"),
        (["a", "b"], "yes", "column 'label', row 4: is string, but BinaryCrossEntropyLoss needs one number"),
        (["a", "b"], None, "column 'label', row 4: is None"),
        (["a", "b"], 2, "column 'label', row 4: is 2, but BinaryCrossEntropyLoss needs labels from 0 to 1"),
        (["a", "b"], [1, 0], "column 'label', row 4: is a list"),
    ],
)
def test_a_wrong_example_is_named_by_column_and_row(
    method: str, texts: list[Any], label: Any, said: str, reranker_dir: Path
) -> None:
    """`old_fit` failed somewhere in its step, and `fit` where it made a dataset of the examples."""
    with pytest.raises(TrainingDataError, match=said):
        train(load(reranker_dir), method, train_dataloader=loader(InputExample(texts=texts, label=label)))


@pytest.mark.parametrize(
    ("texts", "said"), [(["a", "b", "c"], "'sentence_2', row 4: is one that"), (["a"], "'sentence_1', row 4: is miss")]
)
def test_old_fit_names_an_example_with_other_texts_than_the_first(
    texts: list[str], said: str, reranker_dir: Path
) -> None:
    batches = loader(InputExample(texts=texts, label=1), num_workers=1)
    with pytest.raises(TrainingDataError, match=said):
        train(load(reranker_dir), "old_fit", train_dataloader=batches)


@BOTH
def test_a_class_that_the_model_has_not_is_named(method: str, classifier_dir: Path) -> None:
    with pytest.raises(TrainingDataError, match="row 4: is 7, but the model has the classes 0 to 2"):
        train(
            load(classifier_dir), method, train_dataloader=loader(InputExample(texts=["a", "b"], label=torch.tensor(7)))
        )


def test_old_fit_takes_classes_as_floats(classifier_dir: Path) -> None:
    """As it always did."""
    train(load(classifier_dir), "old_fit", train_dataloader=loader(InputExample(texts=["a", "b"], label=1.0)))


@BOTH
@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (lambda: [GOOD, GOOD], TypeError, "train_dataloader is a list: give a torch.utils.data.DataLoader"),
        (lambda: (batch for batch in [GOOD]), TypeError, "train_dataloader is a generator: give a"),
        (lambda: DataLoader(rows(), batch_size=2), TrainingDataError, "of type dict, not InputExample: make an"),
        (lambda: rows(), TrainingDataError, "or train on a dataset with CrossEncoderTrainer"),
        (lambda: DataLoader([], batch_size=2), ValueError, "no examples: nothing to train on"),
    ],
)
def test_what_is_no_loader_of_examples_is_refused(
    method: str, data: Callable[[], Any], error: type[Exception], said: str, reranker_dir: Path
) -> None:
    """It was an AttributeError about texts or collate_fn."""
    with pytest.raises(error, match=said):
        train(load(reranker_dir), method, train_dataloader=data())


def rows() -> Any:
    return Dataset.from_dict({"first": ["a", "c"], "second": ["b", "d"], "label": [1, 0]})
