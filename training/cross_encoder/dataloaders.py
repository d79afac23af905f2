"""DataLoaders of the trainer: single datasets, several of them, and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from accelerate.data_loader import DataLoaderStateMixin
from accelerate.state import GradientState
from torch.utils.data import BatchSampler, DataLoader, Dataset
from transformers.trainer_utils import seed_worker

from training.cross_encoder.columns import DATASET_NAME
from training.cross_encoder.row_errors import TrainingDataError
from training.cross_encoder.streams import Batch, Check, Mix, StreamBatches, is_stream, share_of
from training.cross_encoder.training_args import CrossEncoderTrainingArguments
from training.training_args import MultiDatasetBatchSamplers


class NamedDataset(Dataset[Any]):
    """A dataset whose rows say which one they are of. Rows of a batch are fetched together."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset = dataset
        self.name = name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.dataset[index], DATASET_NAME: self.name}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        if hasattr(self.dataset, "__getitems__"):
            return [{**row, DATASET_NAME: self.name} for row in self.dataset.__getitems__(indices)]
        return [self[index] for index in indices]


class CheckedDataset(Dataset[Any]):
    """A dataset whose rows are made when they are asked for, and looked at then."""

    def __init__(self, dataset: Any, check: Check) -> None:
        self.dataset = dataset
        self.check = check

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.dataset.__getitems__(indices)
        self.check(rows, indices)
        return rows


def loader_settings(args: CrossEncoderTrainingArguments, collator: Any, training: bool) -> dict[str, Any]:
    """What all loaders are given."""
    settings: dict[str, Any] = {
        "collate_fn": collator,
        "num_workers": args.dataloader_num_workers,
        # Without an accelerator there is no copy that it would speed up, and PyTorch warns.
        "pin_memory": args.dataloader_pin_memory and args.device.type not in ("cpu", "mps"),
        "persistent_workers": args.dataloader_persistent_workers,
        "prefetch_factor": args.dataloader_prefetch_factor,
    }
    for name in ("multiprocessing_context", "in_order"):  # of newer transformers
        if hasattr(args, f"dataloader_{name}"):
            settings[name] = getattr(args, f"dataloader_{name}")
    if training:
        settings["worker_init_fn"] = partial(
            seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index
        )
    return settings


class Counted:
    """A collator that also tells how many batches the round has; it may run in a worker."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate

    def __call__(self, rows: Batch) -> tuple[int, Any]:
        return rows.in_round, self.collate(rows)


class EndlessLoader(DataLoader[Any]):
    """What is trained on of `StreamBatches`: raises TrainingDataError where they are none at all."""

    dataset: StreamBatches

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # only the batches are anybody's business
        is_empty = True
        for batch in super().__iter__():
            is_empty = False
            yield batch
        if is_empty:
            names = ", ".join(repr(name) for name in self.dataset.streams if name is not None)
            raise TrainingDataError(
                f"training dataset{' ' if names else ''}{names}: yields no row, so there is nothing to train on; look "
                "at what it reads and at its filters"
            )


class StreamLoader(DataLoaderStateMixin, DataLoader[Any]):  # type: ignore[misc]  # accelerate has no types
    """What is evaluated of `StreamBatches`; accelerate hears of a last round with fewer batches than processes.

    Without that, `gather_for_metrics` would count the batches twice that stand in for the missing ones.
    """

    dataset: StreamBatches

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # only the batches are anybody's business
        self.gradient_state = GradientState()
        self.begin()
        try:
            for count, batch in super().__iter__():
                if count < self.dataset.share.world:  # the trainer gathers a batch's loss once for each of its rows
                    self.end_of_dataloader, self.remainder = True, count * self.dataset.batch_size
                yield batch
        finally:
            self.end()


def rows_loader(dataset: Any, name: str | None, sampler: BatchSampler, settings: Mapping[str, Any]) -> DataLoader[Any]:
    """The loader of one dataset, or of several that are one already (`name` None)."""
    return DataLoader(dataset if name is None else NamedDataset(dataset, name), batch_sampler=sampler, **settings)


def has_streams(dataset: Any) -> bool:
    """Whether the dataset, or one of a dictionary's, can only be iterated over."""
    return any(map(is_stream, dataset.values())) if isinstance(dataset, Mapping) else is_stream(dataset)


def streams_loader(
    dataset: Any,
    name: str | None,
    batch_size: int,
    args: CrossEncoderTrainingArguments,
    settings: Mapping[str, Any],
    training: bool,
    checks: Mapping[Any, Check | None] | None = None,
) -> DataLoader[Any]:
    """The loader of a stream, or of a dictionary of streams and datasets, which are then read as streams.

    For training streams have no end. `args.dataset_weights` says how often each of several is drawn: equally often if
    unset, since nothing is known of their sizes. `checks` (by name) look at the rows as they come. Raises ValueError
    for choices that need sizes or whole datasets.
    """
    check_stream_choices(args)
    streams = {key: as_stream(one, args.seed, training) for key, one in named(dataset, name).items()}
    first = next(iter(streams.values()))
    in_turn = args.multi_dataset_batch_sampler == MultiDatasetBatchSamplers.ROUND_ROBIN
    if args.dataset_weights and training and set(args.dataset_weights) != set(streams):
        raise ValueError(f"dataset_weights are given for {sorted(args.dataset_weights)}, not for {sorted(streams)}")
    weights = args.dataset_weights if training and isinstance(args.dataset_weights, dict) else None
    batches = StreamBatches(
        streams,
        batch_size,
        endless=training,
        drop_last=training and args.dataloader_drop_last,
        mix=Mix(in_turn, weights, args.seed),
        share=share_of(first, args.process_index, args.world_size),
        checks=checks,
    )
    if training:
        return EndlessLoader(batches, batch_size=None, **settings)
    return StreamLoader(batches, batch_size=None, **{**settings, "collate_fn": Counted(settings["collate_fn"])})


def named(dataset: Any, name: str | None) -> dict[Any, Any]:
    """Datasets by name."""
    return dict(dataset) if isinstance(dataset, Mapping) else {name: dataset}


def as_stream(dataset: Any, seed: int, shuffled: bool) -> Any:
    """A dataset of known length, to be read like a stream; shuffled anew in each epoch for training."""
    if is_stream(dataset):
        return dataset
    stream = dataset.to_iterable_dataset()
    return stream.shuffle(seed=seed, buffer_size=10_000) if shuffled else stream


def check_stream_choices(args: CrossEncoderTrainingArguments) -> None:
    """Raises ValueError for arguments that a stream cannot follow."""
    wanted = {
        "batch_sampler": args.batch_sampler != "batch_sampler" and args.batch_sampler,
        "batch_tokens": args.batch_tokens,
        "length_bucketing": args.length_bucketing,
        "dataset_temperature": args.dataset_temperature,
    }
    if given := [name for name, value in wanted.items() if value]:
        raise ValueError(
            f"{' and '.join(given)} cannot be used with a streamed dataset, whose rows are not known beforehand: "
            "leave it out, or load the dataset without streaming"
        )
