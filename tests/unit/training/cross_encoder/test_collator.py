"""Rows to batches."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.unit.training.cross_encoder.trainer_data import pairs
from training.cross_encoder import CrossEncoder
from training.cross_encoder.data_collator import CrossEncoderDataCollator
from training.cross_encoder.row_errors import RowError
from training.cross_encoder.texts import TokenizedText


@pytest.fixture(scope="module")
def model(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(reranker_dir), device="cpu")


def test_columns_keep_the_datasets_order_and_labels_leave_them(model: CrossEncoder) -> None:
    rows = [{"b": "cat", "score": 1.0, "a": "dog"}, {"b": "fox", "score": 0.0, "a": "lazy"}]
    batch = CrossEncoderDataCollator(encoder=model.pair_encoder)(rows)
    assert list(batch) == ["label", "b", "a"]
    assert torch.equal(batch["label"], torch.tensor([1.0, 0.0]))
    assert batch["b"] == ["cat", "fox"]


def test_label_is_the_first_of_the_label_names_whatever_the_order_of_columns() -> None:
    batch = CrossEncoderDataCollator()([{"score": 0.5, "text": "cat", "label": 1}])
    assert batch["label"].tolist() == [1]
    assert batch["score"] == [0.5]


def test_lists_of_labels_become_a_list_of_tensors() -> None:
    batch = CrossEncoderDataCollator()([{"q": "cat", "labels": [1, 2]}, {"q": "dog", "labels": [3]}])
    assert [row.tolist() for row in batch["label"]] == [[1, 2], [3]]


def test_texts_carry_the_ids_that_the_encoder_gives_them(model: CrossEncoder) -> None:
    rows = [{"q": "the cat", "docs": ["a dog", "the cat"]}]
    batch = CrossEncoderDataCollator(encoder=model.pair_encoder)(rows)
    assert isinstance(batch["q"][0], TokenizedText)
    assert batch["docs"][0][1] is batch["q"][0], "equal texts are tokenised once"
    assert np.array_equal(batch["docs"][0][0].ids, model.pair_encoder.ids(["a dog"])[0])


def test_texts_that_a_prompt_will_stand_before_are_not_tokenised_in_vain(model: CrossEncoder) -> None:
    collator = CrossEncoderDataCollator(encoder=model.pair_encoder, prompts="query: ")
    batch = collator([{"q": "cat", "d": "dog"}])
    assert batch["prompt"] == "query: "
    assert not isinstance(batch["q"][0], TokenizedText)
    assert isinstance(batch["d"][0], TokenizedText)


def test_prompts_and_tasks_are_chosen_by_dataset() -> None:
    collator = CrossEncoderDataCollator(prompts={"a": "find: "}, router_mapping={"b": "rank"}, tokenize={"a": True})
    assert collator([{"q": "cat", "dataset_name": "a"}]) == {"dataset_name": "a", "prompt": "find: ", "q": ["cat"]}
    assert collator([{"q": "cat", "dataset_name": "b"}]) == {"dataset_name": "b", "task": "rank", "q": ["cat"]}


@pytest.mark.parametrize("name", ["prompts", "router_mapping"])
def test_prompts_and_tasks_per_column_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be per-column"):
        CrossEncoderDataCollator(**{name: {"data": {"query": "x"}}})


def test_the_collator_works_in_worker_processes_and_holds_no_model(model: CrossEncoder) -> None:
    collator = CrossEncoderDataCollator(encoder=model.pair_encoder)
    assert len(pickle.dumps(collator)) < sum(p.numel() for p in model.parameters()) * 4
    loader = DataLoader(pairs(6), batch_size=3, collate_fn=collator, num_workers=1)
    batch = next(iter(loader))
    assert np.array_equal(batch["document"][0].ids, model.pair_encoder.ids([str(batch["document"][0])])[0])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"q": None, "d": "dog"}, "column 'q' is None: fill it"),
        ({"q": "cat", "d": " "}, "column 'd' is empty: drop"),
        ({"q": "cat", "d": ["dog", ""]}, "column 'd' has an entry 1 that is empty"),
        ({"q": "cat", "d": []}, "column 'd' has a list that is empty"),
        ({"q": "cat", "label": None}, "column 'label' is no label"),
        ({"q": "cat", "label": "yes"}, "column 'label' is no label"),
    ],
)
def test_a_wrong_row_is_named_by_its_content(row: dict[str, object], message: str) -> None:
    collator = CrossEncoderDataCollator(checked=True)
    with pytest.raises(RowError, match=message) as caught:
        collator([{**row, "dataset_name": "web"}])
    assert "dataset 'web'" in str(caught.value)
    assert "'q': " in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
