"""Wrong data is found before the first step, and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, IterableDataset

from tests.unit.training.cross_encoder.trainer_data import lists, pairs
from training.cross_encoder import CrossEncoder
from training.cross_encoder.checks import check_column_names, check_data
from training.cross_encoder.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    ListNetLoss,
    MarginMSELoss,
    MSELoss,
    MultipleNegativesRankingLoss,
)
from training.cross_encoder.row_errors import TrainingDataError
from training.errors import DataError

TEXTS = ["what is a cat", "who is fox", "where is paris"]
LISTS = [["a", "b"], ["c"], ["d", "e", "f"]]


@pytest.fixture(scope="module")
def ranker(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(reranker_dir), device="cpu")


@pytest.fixture(scope="module")
def classifier(classifier_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(classifier_dir), device="cpu")


def check(dataset: Any, loss: Any, name: str = "training dataset 'web'") -> None:
    check_data(dataset, name, loss, loss.model.num_labels)


def refused(dataset: Any, loss: Any, message: str) -> None:
    with pytest.raises(TrainingDataError, match=message) as caught:
        check(dataset, loss)
    assert isinstance(caught.value, DataError)
    assert isinstance(caught.value, ValueError)
    assert "training dataset 'web'" in str(caught.value)


def data(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict(columns)


def test_right_data_of_every_kind_passes(ranker: CrossEncoder, classifier: CrossEncoder) -> None:
    check(pairs(5), BinaryCrossEntropyLoss(ranker))
    check(lists(5), ListNetLoss(ranker))
    check(pairs(5, labels=3), CrossEntropyLoss(classifier))
    check(pairs(5), MultipleNegativesRankingLoss(ranker))
    check(data(a=TEXTS, b=TEXTS, label=[True, False, True]), BinaryCrossEntropyLoss(ranker))
    check(data(a=TEXTS, b=TEXTS, label=[[0.2, 0.3, 0.5]] * 3), CrossEntropyLoss(classifier))
    check(data(a=TEXTS, b=TEXTS, c=TEXTS, score=[0.5, -1.0, 2.0]), MarginMSELoss(ranker))
    check(data(a=TEXTS, b=TEXTS, c=TEXTS, score=[[0.5, 1.0]] * 3), MarginMSELoss(ranker))
    check(data(a=TEXTS, b=TEXTS, label=[-100, 0, 2]), CrossEntropyLoss(classifier))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": TEXTS, "b": TEXTS}, "needs labels, but there is no column named label .* dataset.rename_column"),
        ({"a": TEXTS, "label": [0, 1, 0]}, "needs exactly 2 input columns .* dataset.select_columns"),
        ({"a": TEXTS, "b": TEXTS, "c": TEXTS, "label": [0, 1, 0]}, r"columns that are no labels are \['a', 'b', 'c'\]"),
        ({"id": [1, 2, 3], "b": TEXTS, "label": [0, 1, 0]}, "column 'id': is int64, but a text is needed"),
        ({"id": [1, 2, 3], "b": TEXTS, "label": [0, 1, 0]}, "texts of numbers with dataset.cast_column .*JSON lines"),
        ({"a": TEXTS, "b": ["x", None, "z"], "label": [0, 1, 0]}, "column 'b', row 1: is None: fill it or drop"),
        ({"a": TEXTS, "b": ["x", "y", ""], "label": [0, 1, 0]}, "column 'b', row 2: is empty: drop such rows"),
        ({"a": TEXTS, "b": ["x", " \n", "z"], "label": [0, 1, 0]}, "column 'b', row 1: is empty"),
        ({"a": TEXTS, "b": LISTS, "label": [0, 1, 0]}, "column 'b': is a list, but a text is needed"),
        ({"a": TEXTS, "b": TEXTS, "label": ["yes", "no", "yes"]}, "column 'label': is string, but .* one number"),
        ({"a": TEXTS, "b": TEXTS, "label": [[0], [1], [0]]}, "column 'label': is a list, but .* one number per row"),
        ({"a": TEXTS, "b": TEXTS, "label": [0.0, None, 1.0]}, "column 'label', row 1: is None"),
        ({"a": TEXTS, "b": TEXTS, "label": [0.0, float("nan"), 1.0]}, "column 'label', row 1: is nan"),
        ({"a": TEXTS, "b": TEXTS, "label": [0.0, 1.0, 4.0]}, "column 'label', row 2: is 4.0, but .* from 0 to 1"),
        ({"a": TEXTS, "b": TEXTS, "label": [0, 1, 2**53 + 1]}, "row 2: is 9007199254740993, but .* from 0 to 1"),
    ],
)
def test_wrong_pairs_are_refused(ranker: CrossEncoder, columns: dict[str, list[Any]], message: str) -> None:
    refused(data(**columns), BinaryCrossEntropyLoss(ranker), message)


def test_views_of_texts_are_texts(ranker: CrossEncoder) -> None:
    """Regression: Arrow's functions do not take them. They come from polars."""
    views = pa.array(["x", "y", " "], pa.string_view())
    rows = Dataset(pa.table({"a": TEXTS, "b": views, "label": [0, 1, 0]}))
    refused(rows, BinaryCrossEntropyLoss(ranker), "column 'b', row 2: is empty")
    lists = pa.array([["x"], ["y"], [""]], pa.list_(pa.string_view()))
    rows = Dataset(pa.table({"a": TEXTS, "b": lists, "label": [[0], [1], [0]]}))
    refused(rows, ListNetLoss(ranker), "column 'b', row 2: has a text that is empty")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"q": TEXTS, "docs": TEXTS, "labels": [[1]] * 3}, "column 'docs': is string, but a list of texts is needed"),
        ({"q": TEXTS, "docs": LISTS, "label": [1, 0, 1]}, "column 'label': is a single value, but ListNetLoss needs"),
        ({"q": TEXTS, "docs": LISTS, "labels": [[1, 0]] * 3}, "row 1: has 2 labels for 1 texts in column 'docs'"),
        (
            {"q": TEXTS, "docs": [["a", "b"], ["c"], ["d", "", "f"]], "labels": [[1, 0], [1], [1, 1, 0]]},
            "column 'docs', row 2: has a text that is empty",
        ),
        (
            {"q": TEXTS, "docs": [["a", "b"], [], ["d"]], "labels": [[1, 0], [], [1]]},
            "column 'docs', row 1: has a list that is empty",
        ),
        (
            {"q": TEXTS, "docs": LISTS, "labels": [[1.0, 0.0], [1.0], [1.0, float("inf"), 0.0]]},
            "column 'labels', row 2: is inf",
        ),
    ],
)
def test_wrong_lists_are_refused(ranker: CrossEncoder, columns: dict[str, list[Any]], message: str) -> None:
    refused(data(**columns), ListNetLoss(ranker), message)


def test_wrong_classes_are_refused(classifier: CrossEncoder) -> None:
    loss = CrossEntropyLoss(classifier)
    refused(data(a=TEXTS, b=TEXTS, label=[0, 3, 1]), loss, "row 1: is 3, but the model has the classes 0 to 2")
    refused(data(a=TEXTS, b=TEXTS, label=[0, 2**63 - 1, 1]), loss, "row 1: is 9223372036854775807, but the model has")
    refused(data(a=TEXTS, b=TEXTS, label=[0.0, 1.0, 1.0]), loss, "is double, but .* integer class ids")
    refused(data(a=TEXTS, b=TEXTS, label=[[0.5, 0.5]] * 3), loss, "row 0: has 2 numbers, but should have 3")


def test_wrong_margins_are_refused(ranker: CrossEncoder) -> None:
    columns = {"q": TEXTS, "p": TEXTS, "n1": TEXTS, "n2": TEXTS}
    loss = MarginMSELoss(ranker)
    refused(data(**columns, label=[0.1, 0.2, 0.3]), loss, "is one number, but there are 2 negatives")
    refused(data(**columns, label=[[1.0, 2.0]] * 2 + [[1.0]]), loss, "row 2: has 1 numbers, but should have 2 or 3")
    refused(data(q=TEXTS, p=TEXTS, label=[0.1] * 3), loss, "needs at least 3 input columns")


def test_a_model_with_the_wrong_number_of_labels_is_refused(classifier: CrossEncoder, ranker: CrossEncoder) -> None:
    with pytest.raises(TrainingDataError, match="MSELoss needs a model with 1 output label, this one has 3"):
        check_data(pairs(3), "training dataset", MSELoss(ranker), classifier.num_labels)


def test_rows_are_counted_as_the_dataset_counts_them(ranker: CrossEncoder) -> None:
    """Also where rows were selected, and beyond the first block."""
    texts = ["x"] * 12_000
    texts[11_000] = ""
    dataset = data(a=texts, b=["y"] * 12_000, label=[1] * 12_000).select(range(1_000, 12_000))
    refused(dataset, BinaryCrossEntropyLoss(ranker), "column 'a', row 10000: is empty")


def test_what_a_transform_gives_is_checked_instead_of_what_is_stored(ranker: CrossEncoder) -> None:
    dataset = data(a=TEXTS, b=TEXTS, label=[1, 0, 1])
    dataset.set_transform(lambda rows: {**rows, "b": ["" for _ in rows["b"]]})
    refused(dataset, BinaryCrossEntropyLoss(ranker), "column 'b', row 0: is empty")


def test_the_first_rows_of_a_stream_are_checked(ranker: CrossEncoder) -> None:
    def rows() -> Any:
        yield {"a": "cat", "b": "dog", "label": 1}
        yield {"a": "cat", "b": "", "label": 0}

    refused(IterableDataset.from_generator(rows), BinaryCrossEntropyLoss(ranker), "column 'b', row 1: is empty")


def test_losses_that_declare_nothing_take_what_they_like(ranker: CrossEncoder) -> None:
    check_data(data(a=[1, 2], b=[None, "x"]), "training dataset", object(), 1)


def test_reserved_column_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['dataset_name'\] are invalid"):
        check_column_names(data(dataset_name=["x"], a=["y"]), "training dataset")
