"""How the trainer gets its batches: checks, collator, samplers, loaders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from datasets import DatasetDict
from torch import nn
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader
from transformers import Trainer
from transformers.utils import logging

from training.cross_encoder.checks import check_data, row_checks
from training.cross_encoder.data_blocks import is_transformed
from training.cross_encoder.data_collator import CrossEncoderDataCollator
from training.cross_encoder.dataloaders import (
    CheckedDataset,
    NamedDataset,
    has_streams,
    loader_settings,
    named,
    rows_loader,
    streams_loader,
)
from training.cross_encoder.model import CrossEncoder
from training.cross_encoder.needs import Needs
from training.cross_encoder.row_errors import TrainingDataError
from training.cross_encoder.row_sampling import sampler_choice
from training.sampling.build import build_batch_sampler, build_multi_dataset_batch_sampler
from training.sampling.concat import BatchedConcatDataset
from training.sampling.steps import DealtBatchSampler, StepBatchSampler

logger = logging.get_logger(__name__)


class DataTrainer(Trainer):
    """The part of `CrossEncoderTrainer` that has to do with data."""

    model: Any
    args: Any
    loss: Any
    evaluator: Any
    data_collator_class: type[CrossEncoderDataCollator]
    train_batch_sampler: Any
    _collator_is_ours: bool
    _checked: list[Any]
    _one_dataset_per_step: bool
    _eval_dataloaders: dict[str, DataLoader[Any]]
    _names_of_given: dict[int, str]
    _losses: Callable[[], dict[Any, nn.Module]]
    _loss_of: Callable[[str | None], nn.Module]

    def get_data_collator(self, model: CrossEncoder, args: Any, processing_class: Any = None) -> Any:
        """The collator for data that no collator was given for."""
        return self.data_collator_class(
            router_mapping=args.router_mapping, prompts=args.prompts, encoder=model.pair_encoder
        )

    def _check(self, kind: str, dataset: Any, name: str | None = None) -> None:
        """Raises TrainingDataError if the data does not fit its loss; each dataset is looked at once."""
        if dataset is None or any(dataset is known for known in self._checked):
            return
        for key, one in named(dataset, name).items():
            check_data(one, words(kind, key), self._loss_of(key), self.model.num_labels, self.label_columns())
        self._checked.append(dataset)

    def _row_checks(self, kind: str, names: Any) -> dict[Any, Any]:
        """What looks at the rows of each dataset as they come, where it has a loss."""
        known = [name for name in names if not isinstance(self.loss, Mapping) or name in self.loss]
        labels, outputs = self.label_columns(), self.model.num_labels
        return {name: row_checks(self._loss_of(name), words(kind, name), outputs, labels) for name in known}

    def label_columns(self) -> tuple[str, ...]:
        default = self.data_collator_class().valid_label_columns
        return tuple(getattr(self.data_collator, "valid_label_columns", default))

    def _collator(self) -> Any:
        """The collator, told which losses take tokenised texts and declare what they need."""
        if self._collator_is_ours and isinstance(self.data_collator, CrossEncoderDataCollator):
            losses = self._losses()
            tokenize = {name: bool(getattr(loss, "tokenized", False)) for name, loss in losses.items()}
            checked = {name: Needs.of(loss) is not None for name, loss in losses.items()}
            self.data_collator.encoder = self.model.pair_encoder
            self.data_collator.tokenize = tokenize if isinstance(self.loss, Mapping) else tokenize[None]
            self.data_collator.checked = checked if isinstance(self.loss, Mapping) else checked[None]
        return self.data_collator

    def get_batch_sampler(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> BatchSampler:
        """The sampler of one dataset, as `args.batch_sampler` says; override it for one of your own."""
        return build_batch_sampler(
            self.args.batch_sampler, dataset, batch_size, drop_last, valid_label_columns, generator, seed
        )

    def get_multi_dataset_batch_sampler(
        self,
        dataset: ConcatDataset[Any],
        batch_samplers: list[BatchSampler],
        generator: torch.Generator | None = None,
        seed: int | None = 0,
    ) -> BatchSampler:
        """The sampler over several datasets, as `args.multi_dataset_batch_sampler` says."""
        return build_multi_dataset_batch_sampler(
            self.args.multi_dataset_batch_sampler,
            dataset,
            batch_samplers,
            generator,
            seed,
            weights=self.args.dataset_weights,
            temperature=self.args.dataset_temperature,
            names=[part.name for part in dataset.datasets if isinstance(part, NamedDataset)],
        )

    def _build_dataloader(
        self, dataset: Any, batch_size: int, dataset_kind: str, name: str | None = None
    ) -> DataLoader[Any]:
        training = dataset_kind == "train"
        settings = loader_settings(self.args, self._collator(), training)
        if has_streams(dataset):
            self._one_dataset_per_step = self._one_dataset_per_step or training
            # Not prepared by accelerate: the stream deals out its batches itself.
            checks = self._row_checks(dataset_kind, named(dataset, name))
            return streams_loader(dataset, name, batch_size, self.args, settings, training, checks)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        generator = torch.Generator().manual_seed(seed)
        parts = named(dataset, name)
        checks = self._row_checks(dataset_kind, parts)
        # What an evaluation leaves out would be left out of every evaluation.
        drop_last = training and self.args.dataloader_drop_last
        samplers = []
        for key, part in parts.items():
            own = sampler_choice(self, part, self._loss_of(key)) if training else None
            make = self.get_batch_sampler if own is None else own
            samplers.append(make(part, batch_size, drop_last, list(self.label_columns()), generator, seed))
        if isinstance(dataset, Mapping):
            rows = BatchedConcatDataset(
                [NamedDataset(checked(part, checks.get(key)), key) for key, part in parts.items()]
            )
            sampler = self._mixed(rows, samplers, generator, seed, self.args.world_size if training else 1)
            loader = rows_loader(rows, None, sampler, settings)
        else:
            sampler = samplers[0]
            loader = rows_loader(checked(dataset, checks.get(name)), name, sampler, settings)
        if training:
            self._check_batches(sampler, batch_size, sum(map(len, parts.values())))
            self.train_batch_sampler = sampler
            self._one_dataset_per_step = True
        # Filling up the last round of batches would mix datasets; an evaluation waits for a batch on every process.
        self.accelerator.even_batches = not training
        prepared_loader: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared_loader

    def _check_batches(self, sampler: Any, batch_size: int, rows: int) -> None:
        """Raises TrainingDataError where there is nothing to do in an epoch."""
        needed = self.args.world_size if self.args.dataloader_drop_last else 1
        if hasattr(sampler, "__len__") and len(sampler) < needed:
            whose = f" on each of {self.args.world_size} processes" if self.args.world_size > 1 else ""
            raise TrainingDataError(
                f"training dataset: its {rows} rows make no whole batch of {batch_size}{whose}: lower "
                "per_device_train_batch_size, add rows, or take another batch_sampler"
            )

    def _mixed(
        self,
        rows: ConcatDataset[Any],
        samplers: list[BatchSampler],
        generator: torch.Generator,
        seed: int,
        processes: int,
    ) -> BatchSampler:
        """The sampler over several datasets; several processes have batches of the same one in a step."""
        if processes == 1:
            return self.get_multi_dataset_batch_sampler(rows, samplers, generator, seed)
        parts = [StepBatchSampler(sampler, processes) for sampler in samplers]
        for part, dataset in zip(parts, rows.datasets, strict=True):
            if not len(part):
                name = cast("NamedDataset", dataset).name
                logger.warning(f"{words('train', name)}: too few rows for a batch on each of {processes} processes.")
        return DealtBatchSampler(rows, self.get_multi_dataset_batch_sampler(rows, [*parts], generator, seed), parts)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches to train on. Raises ValueError without a `train_dataset`, or with weights where it is but one."""
        if self.train_dataset is None:
            raise ValueError(f"Training requires specifying a train_dataset to the {type(self).__name__}.")
        if self.args.dataset_weights and not isinstance(self.train_dataset, Mapping):
            raise ValueError(
                f"dataset_weights={self.args.dataset_weights} are shares of several datasets, but there is one without "
                "a name: give train_dataset as a dictionary of datasets, or leave dataset_weights out"
            )
        self._train_dataloader = self._build_dataloader(self.train_dataset, self._train_batch_size, "train")
        return self._train_dataloader

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches to evaluate on: of a dataset, of one of `eval_dataset` by name, or of `eval_dataset` itself."""
        if eval_dataset is None and self.eval_dataset is None:
            if self.evaluator is not None:
                return DataLoader([])  # type: ignore[arg-type]
            raise ValueError(f"Evaluation requires specifying an eval_dataset to the {type(self).__name__}.")
        name = eval_dataset if isinstance(eval_dataset, str) else self._names_of_given.get(id(eval_dataset))
        if isinstance(eval_dataset, str):
            dataset: Any = named(self.eval_dataset, None)[eval_dataset]
        else:
            dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        own = isinstance(eval_dataset, str) or dataset is self.eval_dataset
        key = eval_dataset if isinstance(eval_dataset, str) else "eval"
        if own and key in self._eval_dataloaders:
            return self._eval_dataloaders[key]
        self._check("eval", dataset, name)
        loader = self._build_dataloader(dataset, self.args.eval_batch_size, "eval", name)
        if own and self.args.dataloader_persistent_workers:
            self._eval_dataloaders[key] = loader  # else every evaluation would leave workers behind
        return loader

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Batches of `test_dataset`."""
        return self._build_dataloader(test_dataset, self.args.eval_batch_size, "test")


def checked(dataset: Any, check: Any) -> Any:
    """The dataset, with rows looked at as they are made where the user's own transform makes them."""
    return CheckedDataset(dataset, check) if check is not None and is_transformed(dataset) else dataset


def as_dictionary(dataset: Any) -> Any:
    """A dictionary of datasets in the form that `datasets` gives it; anything else as it is."""
    if not isinstance(dataset, Mapping) or isinstance(dataset, DatasetDict):
        return dataset
    return dict(dataset) if has_streams(dataset) else DatasetDict(dataset)


def words(kind: str, name: str | None) -> str:
    """How messages call a dataset."""
    role = {"train": "training", "eval": "evaluation"}.get(kind, kind)
    return f"{role} dataset" if name is None else f"{role} dataset {name!r}"
