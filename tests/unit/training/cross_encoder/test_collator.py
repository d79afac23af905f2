"""Rows to batches."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from app.model.tokenizer import PairTokenizer
from tests.unit.training.cross_encoder.trainer_data import (
    arguments,
    exact_model_dir,
    identical,
    largest_difference,
    lists,
    pairs,
    weights,
)
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.data_collator import CrossEncoderDataCollator
from training.cross_encoder.encoding import PromptedText
from training.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss, MultipleNegativesRankingLoss
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


@pytest.mark.parametrize("form", ["torch", "numpy"])
def test_labels_of_a_formatted_dataset_are_numbers_and_lists_as_ever(form: str) -> None:
    """One number comes as a tensor there."""
    collate = CrossEncoderDataCollator()
    numbers = Dataset.from_dict({"q": ["cat", "dog"], "label": [1.0, 0.0]}).with_format(form)
    assert torch.equal(collate([numbers[0], numbers[1]])["label"], torch.tensor([1.0, 0.0]))
    lists = Dataset.from_dict({"q": ["cat", "dog"], "label": [[1.0, 2.0], [3.0]]}).with_format(form)
    assert [row.tolist() for row in collate([lists[0], lists[1]])["label"]] == [[1.0, 2.0], [3.0]]


def test_lists_of_labels_become_a_list_of_tensors() -> None:
    batch = CrossEncoderDataCollator()([{"q": "cat", "labels": [1, 2]}, {"q": "dog", "labels": [3]}])
    assert [row.tolist() for row in batch["label"]] == [[1, 2], [3]]


def test_texts_carry_the_ids_that_the_encoder_gives_them(model: CrossEncoder) -> None:
    rows = [{"q": "the cat", "docs": ["a dog", "the cat"]}]
    batch = CrossEncoderDataCollator(encoder=model.pair_encoder)(rows)
    assert isinstance(batch["q"][0], TokenizedText)
    assert batch["docs"][0][1] is batch["q"][0], "equal texts are tokenised once"
    assert np.array_equal(batch["docs"][0][0].ids, model.pair_encoder.ids(["a dog"])[0])


def test_texts_that_a_prompt_will_stand_before_carry_the_ids_of_both(model: CrossEncoder) -> None:
    collator = CrossEncoderDataCollator(encoder=model.pair_encoder, prompts="query: ")
    batch = pickle.loads(pickle.dumps(collator([{"q": "cat", "d": "cat"}])))
    assert (batch["prompt"], batch["q"], batch["d"]) == ("query: ", ["cat"], ["cat"])
    assert isinstance(batch["q"][0], PromptedText)
    assert not isinstance(batch["q"][0], TokenizedText), "its ids are not those of the text alone"
    assert batch["q"][0].prompted == "query: cat"
    assert np.array_equal(batch["q"][0].prompted.ids, model.pair_encoder.ids(["query: cat"])[0])
    assert isinstance(batch["d"][0], TokenizedText)
    assert np.array_equal(batch["d"][0].ids, model.pair_encoder.ids(["cat"])[0])


def test_a_prompt_without_columns_or_texts_does_no_harm(model: CrossEncoder) -> None:
    collator = CrossEncoderDataCollator(encoder=model.pair_encoder, prompts="query: ")
    assert list(collator([{"label": 1.0}])) == ["label", "prompt"]
    assert collator([{"q": 7, "d": ("cat", 1)}])["q"] == [7]


@pytest.fixture
def in_forward(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are tokenised while a loss computes, by the copy of the tokenizer or the tokenizer itself."""
    found: list[str] = []
    inside: list[bool] = []
    for kind in (BinaryCrossEntropyLoss, ListNetLoss, MultipleNegativesRankingLoss):
        monkeypatch.setattr(kind, "forward", flagged(kind.forward, inside))
    for kind, name in ((PairTokenizer, "ids"), (PreTrainedTokenizerBase, "__call__")):
        monkeypatch.setattr(kind, name, recorded(getattr(kind, name), inside, found))
    return found


def flagged(forward: Callable[..., Any], inside: list[bool]) -> Callable[..., Any]:
    """`forward`, with `inside` filled as long as it runs."""

    @wraps(forward)  # its signature says that it takes prompts
    def run(*args: Any, **kwargs: Any) -> Any:
        inside.append(True)
        try:
            return forward(*args, **kwargs)
        finally:
            inside.pop()

    return run


def recorded(call: Callable[..., Any], inside: list[bool], found: list[str]) -> Callable[..., Any]:
    """`call`, which takes texts, with those in `found` that it gets while `inside` is filled."""

    def run(self: Any, texts: Any, *args: Any, **kwargs: Any) -> Any:
        found.extend(texts if inside else [])
        return call(self, texts, *args, **kwargs)

    return run


def trained(folder: Path, output: Path, kind: type[nn.Module], data: Dataset, **options: Any) -> dict[str, Tensor]:
    """The weights after two steps."""
    model = CrossEncoder(str(folder), device="cpu")
    args = arguments(output, max_steps=2, **options)
    CrossEncoderTrainer(model, args, data, loss=kind(model)).train()
    return weights(model)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (BinaryCrossEntropyLoss, pairs(8)),
        (ListNetLoss, lists(8)),
        (MultipleNegativesRankingLoss, pairs(8).remove_columns("label")),
    ],
)
def test_a_step_with_prompts_tokenises_nothing_in_forward_and_learns_the_same(
    tmp_path: Path, in_forward: list[str], kind: type[nn.Module], data: Dataset
) -> None:
    """The same as from data that has the prompt in its texts."""
    folder = exact_model_dir(tmp_path / "model")
    written = data.map(lambda row: {"query": "query: " + row["query"]})
    expected = trained(folder, tmp_path / "written", kind, written)
    found = trained(folder, tmp_path / "prompt", kind, data, prompts="query: ")
    plain = trained(folder, tmp_path / "plain", kind, data)
    assert in_forward == []
    assert identical(found, expected)
    assert largest_difference(found, plain) > 0


def test_texts_that_the_collator_left_alone_are_seen_in_forward(tmp_path: Path, in_forward: list[str]) -> None:
    """The count of the test above is a count."""
    model = CrossEncoder(str(exact_model_dir(tmp_path / "model")), device="cpu")
    CrossEncoderDataCollator(encoder=model.pair_encoder)([{"q": "cat", "d": "dog"}])
    assert in_forward == []
    BinaryCrossEntropyLoss(model)([["cat"], ["dog"]], torch.tensor([1.0]), prompt="query: ")
    assert in_forward == ["query: cat", "dog"]


def test_another_prompt_than_the_collators_counts(model: CrossEncoder) -> None:
    """Losses may put their own before the texts, or none."""
    batch = CrossEncoderDataCollator(encoder=model.pair_encoder, prompts="query: ")([{"q": "cat", "d": "dog"}])
    for prompt in ("find: ", None):
        (found,) = model.pair_encoder.pairs([(batch["q"][0], batch["d"][0])], prompt)
        (expected,) = model.pair_encoder.pairs([("cat", "dog")], prompt)
        assert np.array_equal(found.ids, expected.ids)


def test_a_loss_of_the_librarys_protocol_gets_plain_texts_with_prompts_too(model: CrossEncoder, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Any, labels: Any, prompt: str | None = None) -> Tensor:
            seen.append((type(inputs[0][0]), prompt))
            return next(model.parameters()).sum() * 0

    args = arguments(tmp_path, max_steps=1, prompts="query: ")
    CrossEncoderTrainer(model, args, pairs(4), loss=Own()).train()
    assert seen == [(str, "query: ")]


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
