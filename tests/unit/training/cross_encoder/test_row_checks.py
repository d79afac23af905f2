"""A wrong row is found wherever it is, and named by dataset, column and number: also one that nobody could know of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from datasets import Dataset, IterableDataset
from datasets.table import InMemoryTable

from tests.unit.training.cross_encoder.trainer_data import arguments, lists, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.checks import STREAMED_ROWS, TRANSFORMED_ROWS, check_data, row_checks
from training.cross_encoder.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    ListNetLoss,
    MarginMSELoss,
    MultipleNegativesRankingLoss,
)
from training.cross_encoder.row_errors import TrainingDataError
from training.cross_encoder.streams import StreamBatches

Row = dict[str, Any]
LATE = STREAMED_ROWS + 7


@pytest.fixture(scope="module")
def ranker(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(reranker_dir), device="cpu")


@pytest.fixture(scope="module")
def classifier(classifier_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(classifier_dir), device="cpu")


def many(rows: int, wrong: int) -> Dataset:
    """Pairs with one that is empty."""
    texts = ["x"] * rows
    texts[wrong] = ""
    return Dataset(InMemoryTable(pa.table({"a": texts, "b": ["y"] * rows, "label": [1.0] * rows})))


def stream(wrong: Row, base: Dataset | None = None, at: int = LATE) -> IterableDataset:
    """A stream of right rows but for the one at `at`."""
    right = (base or pairs(40)).to_list()

    def rows() -> Iterator[Row]:
        yield from right[:at]
        yield wrong
        yield from right[at:]

    return IterableDataset.from_generator(rows)


def test_the_wrong_number_of_labels_of_the_model_names_the_dataset(
    ranker: CrossEncoder, classifier: CrossEncoder, tmp_path: Path
) -> None:
    remedy = "this one has 3: load it with num_labels=1"
    with pytest.raises(TrainingDataError, match=f"^training dataset 'nli': Multiple.* 1 output label, {remedy}"):
        check_data(pairs(3), "training dataset 'nli'", MultipleNegativesRankingLoss(ranker), classifier.num_labels)
    trainer = CrossEncoderTrainer(
        ranker, arguments(tmp_path, max_steps=1), {"nli": pairs(3, labels=3)}, loss=CrossEntropyLoss(ranker)
    )
    with pytest.raises(TrainingDataError, match=r"^training dataset 'nli': Cross.*has 1: load it with num_labels=<"):
        trainer.train()


def test_all_stored_rows_are_looked_at(ranker: CrossEncoder) -> None:
    with pytest.raises(TrainingDataError, match=r"dataset 'web', column 'a', row 1040000: is empty: drop such rows"):
        check_data(many(1_050_000, wrong=1_040_000), "training dataset 'web'", BinaryCrossEntropyLoss(ranker), 1)


def test_a_row_of_a_shuffled_selection_has_the_number_that_it_has_there(ranker: CrossEncoder) -> None:
    """And rows that were left out are not looked at."""
    loss = BinaryCrossEntropyLoss(ranker)
    shuffled = many(45_000, wrong=31_234).shuffle(seed=1)
    with pytest.raises(TrainingDataError, match="column 'a', row") as caught:
        check_data(shuffled, "training dataset", loss, 1)
    (number,) = re.findall(r"row (\d+)", str(caught.value))
    assert shuffled[int(number)]["a"] == ""
    check_data(shuffled.filter(lambda row: row["a"] != ""), "training dataset", loss, 1)
    check_data(shuffled.select(range(int(number))), "training dataset", loss, 1)
    twice = shuffled.select([*range(20), int(number), 3, 3])
    with pytest.raises(TrainingDataError, match="column 'a', row 20: is empty"):
        check_data(twice, "training dataset", loss, 1)


@pytest.mark.parametrize("shuffled", [False, True])
def test_columns_that_a_format_leaves_out_are_not_looked_at(ranker: CrossEncoder, shuffled: bool) -> None:
    data = pairs(6).add_column("note", [None] * 6)
    data = data.shuffle(seed=0) if shuffled else data
    with pytest.raises(TrainingDataError, match="exactly 2 input columns"):
        check_data(data, "training dataset", BinaryCrossEntropyLoss(ranker), 1)
    check_data(data.with_format(columns=["query", "document", "label"]), "x", BinaryCrossEntropyLoss(ranker), 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"query": None, "document": "dog", "label": 1.0}, "column 'query', row 23: is None: fill it or drop such"),
        ({"query": "cat", "document": " ", "label": 1.0}, "column 'document', row 23: is empty: drop such rows with"),
        ({"query": 7, "document": "dog", "label": 1.0}, "column 'query', row 23: is int64, but a text is needed: choo"),
        ({"query": ["a"], "document": "dog", "label": 1.0}, "column 'query', row 23: is a list, but a text is needed"),
        ({"query": ["a", 1], "document": "dog", "label": 1.0}, "row 23: has a list with values of different kinds"),
        ({"query": "cat", "document": "dog", "label": "yes"}, "column 'label', row 23: is string, but .*: change the"),
        ({"query": "cat", "document": "dog", "label": 3.0}, "column 'label', row 23: is 3.0, but .*: scale them, or"),
        ({"query": "cat", "document": "dog", "label": [1.0]}, "column 'label', row 23: is a list, but .*: change the"),
        ({"query": "cat", "document": "dog", "label": None}, "column 'label', row 23: is None, but .*: mend such rows"),
        ({"query": "cat", "label": 1.0}, "column 'document', row 23: is missing: give every row the same columns"),
        ({"query": "cat", "document": "dog"}, "column 'label', row 23: is missing"),
        ({"query": "cat", "document": "d", "more": "e", "label": 1.0}, "column 'more', row 23: is one that the first"),
        ({"document": "dog", "query": "cat", "label": 1.0}, "column 'document', row 23: comes first, unlike in the"),
    ],
)
def test_a_wrong_row_anywhere_in_a_stream_is_named(ranker: CrossEncoder, wrong: Row, message: str) -> None:
    check = row_checks(BinaryCrossEntropyLoss(ranker), "training dataset 'web'", 1)
    batches = iter(StreamBatches({"web": stream(wrong)}, 4, endless=True, checks={"web": check}))
    assert len(list(islice(batches, LATE // 4))) == LATE // 4
    with pytest.raises(TrainingDataError, match=message) as caught:
        next(batches)
    assert str(caught.value).startswith("training dataset 'web', ")
    assert "The row is {" in str(caught.value)


def test_training_ends_at_a_wrong_row_with_its_name_after_the_batches_before_it(
    ranker: CrossEncoder, tmp_path: Path
) -> None:
    """The first rows are seen before the first step, this one when it comes."""
    wrong = {"query": 7, "document": "dog", "label": 1.0}
    args = arguments(tmp_path, max_steps=20)
    trainer = CrossEncoderTrainer(ranker, args, {"web": stream(wrong)}, loss=BinaryCrossEntropyLoss(ranker))
    with pytest.raises(TrainingDataError, match="training dataset 'web', column 'query', row 23: is int64"):
        trainer.train()
    assert len([entry for entry in trainer.state.log_history if "loss" in entry]) == LATE // 4
    trainer = CrossEncoderTrainer(ranker, args, {"web": stream(wrong, at=3)}, loss=BinaryCrossEntropyLoss(ranker))
    with pytest.raises(TrainingDataError, match="training dataset 'web', column 'query', row 3: is int64"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_lists_classes_and_margins_of_a_stream_are_looked_at(ranker: CrossEncoder, classifier: CrossEncoder) -> None:
    def refused(loss: Any, base: Dataset, wrong: Row, message: str) -> None:
        check = row_checks(loss, "training dataset", loss.model.num_labels)
        batches = StreamBatches({None: stream(wrong, base)}, 4, endless=False, checks={None: check})
        with pytest.raises(TrainingDataError, match=message):
            list(batches)
        list(StreamBatches({None: base.to_iterable_dataset()}, 4, endless=False, checks={None: check}))

    ranked = {"query": "q", "documents": ["a", "b"], "labels": [1.0]}
    refused(ListNetLoss(ranker), lists(40), ranked, "'labels', row 23: has 1 labels for 2 texts in column 'documents'")
    ranked = {"query": "q", "documents": ["a", ""], "labels": [1.0, 0.0]}
    refused(ListNetLoss(ranker), lists(40), ranked, "'documents', row 23: has a text that is empty")
    classes = {"query": "q", "document": "d", "label": 3}
    refused(CrossEntropyLoss(classifier), pairs(40, labels=3), classes, "row 23: is 3, but the model has the classes")
    classes = {"query": "q", "document": "d", "label": [0.2, 0.3, 0.5]}
    refused(CrossEntropyLoss(classifier), pairs(40, labels=3), classes, "row 23: is a list, unlike those before it")
    triplets = pairs(40).add_column("negative", ["n"] * 40).select_columns(["query", "document", "negative", "label"])
    margin = {"query": "q", "document": "d", "negative": None, "label": 1.0}
    refused(MarginMSELoss(ranker), triplets, margin, "column 'negative', row 23: is None")


def test_a_worker_of_the_loader_gives_the_same_error(ranker: CrossEncoder, tmp_path: Path) -> None:
    wrong = {"query": "cat", "document": "", "label": 1.0}
    args = arguments(tmp_path, max_steps=20, dataloader_num_workers=1)
    trainer = CrossEncoderTrainer(ranker, args, stream(wrong), loss=BinaryCrossEntropyLoss(ranker))
    with pytest.raises(TrainingDataError, match="training dataset, column 'document', row 23: is empty: drop such"):
        trainer.train()


def test_streams_of_evaluations_are_looked_at(ranker: CrossEncoder, tmp_path: Path) -> None:
    evaluation = {"dev": stream({"query": "cat", "document": None, "label": 1.0})}
    trainer = CrossEncoderTrainer(
        ranker, arguments(tmp_path), eval_dataset=evaluation, loss=BinaryCrossEntropyLoss(ranker)
    )
    with pytest.raises(TrainingDataError, match="evaluation dataset 'dev', column 'document', row 23: is None"):
        trainer.evaluate()


def test_rows_of_tensors_are_numbers(ranker: CrossEncoder) -> None:
    check = row_checks(BinaryCrossEntropyLoss(ranker), "training dataset", 1)
    assert check is not None
    check([{"a": "x", "b": "y", "label": torch.tensor(0.5)}], [0])
    with pytest.raises(TrainingDataError, match=r"column 'label', row 3: is 2\.0"):
        check([{"a": "x", "b": "y", "label": torch.tensor(2.0)}], [3])


def test_rows_are_counted_anew_in_each_epoch() -> None:
    seen: list[list[int]] = []
    stream = pairs(3).to_iterable_dataset()
    checks = {None: lambda _, numbers: seen.append(list(numbers))}
    list(islice(StreamBatches({None: stream}, 2, endless=True, checks=checks), 3))
    assert seen == [[0, 1], [2, 0], [1, 2]]


@pytest.mark.parametrize("named", [False, True])
def test_what_a_transform_makes_is_looked_at_when_it_is_made(ranker: CrossEncoder, tmp_path: Path, named: bool) -> None:
    """Before the first step only a part of it: the transform may be slow, or other each time."""
    rows = 2 * TRANSFORMED_ROWS
    data = Dataset.from_dict({"a": list(map(str, range(rows))), "label": [1.0] * rows})

    def transform(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        texts = [None if int(number) >= TRANSFORMED_ROWS else "y" for number in rows["a"]]
        return {"a": rows["a"], "b": texts, "label": rows["label"]}

    data.set_transform(transform)
    trainer = CrossEncoderTrainer(
        ranker,
        arguments(tmp_path, max_steps=30),
        {"web": data} if named else data,
        loss=BinaryCrossEntropyLoss(ranker),
    )
    words = "training dataset 'web'" if named else "training dataset"
    with pytest.raises(TrainingDataError, match=rf"{words}, column 'b', row \d+: is None: fill it or drop") as caught:
        trainer.train()
    number = re.findall(r"row (\d+):", str(caught.value))[0]
    assert f"'a': '{number}'" in str(caught.value), "the number of the row that it shows"


def test_losses_that_declare_nothing_get_any_rows() -> None:
    assert row_checks(object(), "training dataset", 1) is None
