"""Streams, and how rows become batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from datasets.distributed import split_dataset_by_node
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from tests.unit.training.cross_encoder.trainer_data import arguments, exact_model_dir, pairs
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer
from training.cross_encoder.losses import BinaryCrossEntropyLoss, MultipleNegativesRankingLoss
from training.cross_encoder.row_errors import TrainingDataError
from training.cross_encoder.row_sampling import sampler_choice
from training.cross_encoder.streams import Mix, Share, StreamBatches, is_stream, share_of
from training.cross_encoder.token_lengths import row_tokens
from training.sampling.length_bucketed import LengthBucketedBatchSampler


class Numbers:
    """A stream of rows {"x": 0}, {"x": 1}, ..."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({"x": i} for i in range(self.count))


def numbers(batches: Any) -> list[list[int]]:
    return [[row["x"] for row in batch] for batch in batches]


def test_a_stream_ends_where_it_ends_and_starts_again_where_it_is_endless() -> None:
    assert numbers(StreamBatches({None: Numbers(5)}, 2, endless=False)) == [[0, 1], [2, 3], [4]]
    assert numbers(StreamBatches({None: Numbers(5)}, 2, endless=False, drop_last=True)) == [[0, 1], [2, 3]]
    endless = StreamBatches({None: Numbers(3)}, 2, endless=True)
    assert numbers(islice(endless, 4)) == [[0, 1], [2, 0], [1, 2], [0, 1]]
    assert numbers(StreamBatches({None: Numbers(0)}, 2, endless=True)) == []


def test_processes_get_equally_many_batches() -> None:
    shares = [numbers(StreamBatches({None: Numbers(10)}, 2, endless=False, share=Share(rank, 2))) for rank in range(2)]
    assert shares == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], [8, 9]]]


def test_several_streams_come_in_turn_or_by_weight_and_say_their_name() -> None:
    streams = {"a": Numbers(4), "b": Numbers(4)}
    turns = StreamBatches(streams, 2, endless=True, mix=Mix(in_turn=True))
    assert [batch[0]["dataset_name"] for batch in islice(turns, 4)] == ["a", "b", "a", "b"]
    weighted = StreamBatches(streams, 2, endless=True, mix=Mix(weights={"a": 9.0, "b": 1.0}, seed=1))
    names = [batch[0]["dataset_name"] for batch in islice(weighted, 200)]
    assert 160 < names.count("a") < 200
    assert names == [batch[0]["dataset_name"] for batch in islice(weighted, 200)], "the seed decides"


def test_a_stream_that_was_split_among_processes_is_not_split_again() -> None:
    stream = pairs(8).to_iterable_dataset(num_shards=2)
    assert is_stream(stream)
    assert not is_stream(pairs(2))
    assert share_of(stream, 1, 2) == Share(1, 2)
    assert share_of(split_dataset_by_node(stream, rank=1, world_size=2), 1, 2) == Share(0, 1)


def test_tokens_of_a_row_are_those_of_its_pairs_as_the_model_cuts_them(reranker_dir: Path) -> None:
    encoder = CrossEncoder(str(reranker_dir), device="cpu", max_length=16).pair_encoder
    dataset = Dataset.from_dict({"q": ["the cat"], "docs": [["a dog", "paris " * 30]], "labels": [[1, 0]]})
    exact = [len(row) for row in encoder.pairs([("the cat", "a dog"), ("the cat", "paris " * 30)])]
    (tokens,) = row_tokens(dataset, encoder)
    assert exact[1] == 16
    assert sum(exact) <= tokens <= sum(exact) + 2


def test_models_that_pad_get_batches_of_like_length_where_the_loss_allows(tmp_path: Path) -> None:
    packed = CrossEncoder(str(exact_model_dir(tmp_path / "bert")), device="cpu")
    config = DistilBertConfig(vocab_size=300, dim=32, n_layers=1, n_heads=2, hidden_dim=32, num_labels=1)
    padded = SimpleNamespace(network=DistilBertForSequenceClassification(config))
    pairwise, in_batch = BinaryCrossEntropyLoss(packed), MultipleNegativesRankingLoss(packed)

    def chosen(model: Any, loss: Any, **kwargs: Any) -> Any:
        trainer = SimpleNamespace(args=arguments(tmp_path, **kwargs), model=model)
        return sampler_choice(trainer, pairs(4), loss)

    assert chosen(padded, pairwise) is LengthBucketedBatchSampler
    assert chosen(padded, pairwise, length_bucketing=False) is None
    assert chosen(padded, in_batch) is None, "in-batch negatives of one length would be easy to tell"
    assert chosen(padded, pairwise, batch_sampler="no_duplicates") is None
    assert chosen(packed, pairwise) is None
    assert chosen(packed, pairwise, length_bucketing=True) is LengthBucketedBatchSampler
    with pytest.raises(ValueError, match="length_bucketing makes the batches itself"):
        chosen(packed, pairwise, length_bucketing=True, batch_sampler="no_duplicates")
    with pytest.raises(ValueError, match="needs batch_tokens"):
        chosen(packed, pairwise, batch_sampler="token_budget")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", [None, "web"])
def test_training_on_a_stream_without_rows_is_refused(
    name: str | None, workers: int, reranker_dir: Path, tmp_path: Path
) -> None:
    """It took no step, and returned as if it had trained."""
    model = CrossEncoder(str(reranker_dir), device="cpu")
    nothing = pairs(8).to_iterable_dataset(num_shards=2).filter(lambda row: False)
    args = arguments(tmp_path, max_steps=4, dataloader_num_workers=workers)
    data = nothing if name is None else {name: nothing}
    said = "training dataset: yields no row" if name is None else "training dataset 'web': yields no row"
    with pytest.raises(TrainingDataError, match=said):
        CrossEncoderTrainer(model, args, data, loss=BinaryCrossEntropyLoss(model)).train()


def test_data_seed_orders_rows_in_place_of_seed(reranker_dir: Path, tmp_path: Path) -> None:
    model = CrossEncoder(str(reranker_dir), device="cpu")

    def order(**seeds: int) -> list[str]:
        batches = CrossEncoderTrainer(model, arguments(tmp_path, **seeds), pairs(12)).get_train_dataloader()
        return [text for batch in batches for text in batch["document"]]

    assert order(seed=1, data_seed=3) == order(seed=2, data_seed=3) == order(seed=3)
    assert order(seed=1, data_seed=3) != order(seed=1)


def test_weights_of_datasets_need_several_of_them(reranker_dir: Path, tmp_path: Path) -> None:
    """They had no effect where there is one without a name."""
    model = CrossEncoder(str(reranker_dir), device="cpu")
    args = arguments(tmp_path, max_steps=1, dataset_weights={"a": 1.0})
    for data in (pairs(8), pairs(8).to_iterable_dataset()):
        with pytest.raises(ValueError, match="give train_dataset as a dictionary of datasets, or"):
            CrossEncoderTrainer(model, args, data).train()


def test_an_evaluation_leaves_no_row_out(reranker_dir: Path, tmp_path: Path) -> None:
    """`dataloader_drop_last` is about training; evaluation data smaller than a batch would give no loss at all."""
    model = CrossEncoder(str(reranker_dir), device="cpu")
    args = arguments(tmp_path, dataloader_drop_last=True)
    trainer = CrossEncoderTrainer(model, args, pairs(6), eval_dataset=pairs(3))
    assert [len(batch["label"]) for batch in trainer.get_eval_dataloader()] == [3]
    assert [len(batch["label"]) for batch in trainer.get_train_dataloader()] == [4]
    assert [len(batch["label"]) for batch in trainer.get_test_dataloader(pairs(5))] == [4, 1]
    assert trainer.evaluate()["eval_loss"] > 0


def test_persistent_workers_are_kept_from_one_evaluation_to_the_next(reranker_dir: Path, tmp_path: Path) -> None:
    model = CrossEncoder(str(reranker_dir), device="cpu")
    args = arguments(tmp_path, dataloader_num_workers=1, dataloader_persistent_workers=True)
    trainer = CrossEncoderTrainer(model, args, eval_dataset={"a": pairs(3), "b": pairs(3)})
    assert trainer.get_eval_dataloader("a") is trainer.get_eval_dataloader("a")
    assert trainer.get_eval_dataloader("a") is not trainer.get_eval_dataloader("b")
    assert trainer.get_eval_dataloader(pairs(2)) is not trainer.get_eval_dataloader(pairs(2))
