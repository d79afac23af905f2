"""Every switch of a training run, on top of `transformers.TrainingArguments`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.training_args import ParallelMode
from transformers.utils import logging

from training.cross_encoder.precision import fits_machine
from training.cross_encoder.worker_start import workers_are_spawned
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers

logger = logging.get_logger(__name__)

DEFAULTS_ONLY = "unused"
"""`output_dir` of an instance that is made to read defaults from: it warns of nothing."""


@dataclass
class CrossEncoderTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` and what cross-encoders need beyond them.

    Dictionaries may be given as JSON text, so that `HfArgumentParser` reads them from a command line. `bf16=True` on a
    machine without accelerator trains in bf16 on the CPU; `fp16=True` there trains in float32 and says so.
    `data_seed`, where it is given, orders the rows of datasets in place of `seed`, which orders them in any case in
    sentence-transformers 6.2; streams are ordered by `seed`.
    Raises ValueError for values that make no sense.
    """

    _VALID_DICT_FIELDS = [  # noqa: RUF012 - as in the base class, no field
        *TrainingArguments._VALID_DICT_FIELDS,
        "learning_rate_mapping",
        "router_mapping",
        "dataset_weights",
    ]

    prompts: str | None | dict[str, str] = field(  # noqa: RUF036 - the parser takes the first type
        default=None,
        metadata={"help": "Text put before each pair: one for all data, or a dictionary from dataset name to text."},
    )
    batch_sampler: BatchSamplers | str | Callable[..., Any] = field(
        default=BatchSamplers.BATCH_SAMPLER,
        metadata={"help": "How rows become batches: a name, or a sampler class or function of your own."},
    )
    multi_dataset_batch_sampler: MultiDatasetBatchSamplers | str | Callable[..., Any] = field(
        default=MultiDatasetBatchSamplers.PROPORTIONAL,
        metadata={"help": "In which order batches of several datasets follow: a name, a sampler class or a function."},
    )
    router_mapping: str | None | dict[str, str] = field(  # noqa: RUF036
        default_factory=dict, metadata={"help": "Dictionary from dataset name to the task that its pairs are."}
    )
    learning_rate_mapping: str | None | dict[str, float] = field(  # noqa: RUF036
        default_factory=dict,
        metadata={"help": "Dictionary from a regular expression on parameter names to their learning rate."},
    )
    warmup_ratio: float | None = field(
        default=None, metadata={"help": "Share of the steps in which the learning rate rises; sets warmup_steps."}
    )
    length_bucketing: bool | None = field(
        default=None,
        metadata={
            "help": "Draw batches of rows of similar length, in random order. Unset: only where the model pads its "
            "batches and the loss compares no rows with each other; the packed forward gains nothing from it."
        },
    )
    batch_tokens: int | None = field(
        default=None,
        metadata={"help": "Fill training batches up to this many tokens instead of per_device_train_batch_size rows."},
    )
    mini_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Run larger batches through the model in parts of this many tokens: the same gradients in bounded "
            "memory, for one more forward pass."
        },
    )
    dataset_weights: str | None | dict[str, float] = field(  # noqa: RUF036
        default=None, metadata={"help": "Dictionary from dataset name to its share of the batches."}
    )
    dataset_temperature: float | None = field(
        default=None,
        metadata={"help": "Draw datasets in proportion to size ** (1 / temperature): 1 is by size, larger is flatter."},
    )

    def __post_init__(self) -> None:
        self.bf16, self.fp16, self.bf16_full_eval, self.fp16_full_eval, self.use_cpu = fits_machine(
            self.bf16, self.fp16, self.bf16_full_eval, self.fp16_full_eval, self.use_cpu
        )
        self._take_warmup_ratio()
        self.prompts = _dictionary_or_text(self.prompts)
        super().__post_init__()  # type: ignore[no-untyped-call]
        if "codecarbon" in (self.report_to or ()):  # it tells all it measures, unless it is told not to
            os.environ.setdefault("CODECARBON_LOG_LEVEL", "error")
        if isinstance(self.batch_sampler, str):
            self.batch_sampler = BatchSamplers(self.batch_sampler)
        if isinstance(self.multi_dataset_batch_sampler, str):
            self.multi_dataset_batch_sampler = MultiDatasetBatchSamplers(self.multi_dataset_batch_sampler)
        self.learning_rate_mapping = _dictionary("learning_rate_mapping", self.learning_rate_mapping)
        self.router_mapping = _dictionary("router_mapping", self.router_mapping)
        self.dataset_weights = _dictionary("dataset_weights", self.dataset_weights) or None
        self._check_own_values()
        self._take_sampling_strategy()
        self.prediction_loss_only = True  # losses give no logits to gather
        # DDP's broadcast would change buffers in place between two forwards of one backward.
        self.ddp_broadcast_buffers = False
        self._settle_distribution()

    def to_dict(self) -> dict[str, Any]:
        """All values, ready for JSON; samplers of the user's own have no such form and are left out."""
        values: dict[str, Any] = super().to_dict()  # type: ignore[no-untyped-call]
        for name in ("batch_sampler", "multi_dataset_batch_sampler"):
            if callable(values[name]):
                del values[name]
        return values

    @staticmethod
    def _workers_are_spawned() -> bool:
        return workers_are_spawned()

    def _take_warmup_ratio(self) -> None:
        """Moves `warmup_ratio` to where transformers reads it: a float `warmup_steps` below 1."""
        if self.warmup_ratio is None or self.warmup_steps != 0:
            return
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio={self.warmup_ratio} is not between 0 and 1")
        # 1.0 would be read as one step, the largest float below it as all of them.
        self.warmup_steps = min(float(self.warmup_ratio), math.nextafter(1.0, 0.0))
        self.warmup_ratio = None

    def _take_sampling_strategy(self) -> None:
        """transformers' switch, which its own sampler would read, does what it can here."""
        if self.train_sampling_strategy == "group_by_length":
            self.length_bucketing = True if self.length_bucketing is None else self.length_bucketing
        elif self.train_sampling_strategy != "random":
            raise ValueError(
                f"train_sampling_strategy={self.train_sampling_strategy!r} is for rows that are drawn one by one; "
                "leave it out and choose a batch_sampler"
            )

    def _check_own_values(self) -> None:
        for name in ("batch_tokens", "mini_batch_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value} is not a positive number of tokens")
        if self.dataset_temperature is not None and self.dataset_temperature <= 0:
            raise ValueError(f"dataset_temperature={self.dataset_temperature} is not positive")
        if self.dataset_weights is not None and self.dataset_temperature is not None:
            raise ValueError("dataset_weights and dataset_temperature both say how often datasets are drawn; give one")

    def _settle_distribution(self) -> None:
        silent = self.output_dir == DEFAULTS_ONLY
        if self.parallel_mode == ParallelMode.NOT_DISTRIBUTED:
            # DataParallel would cut batches by their tensors; texts are none.
            self._n_gpu = 1
            if not silent:
                logger.warning("One process trains on one GPU: to use all of them, start it with torchrun.")
        elif self.parallel_mode == ParallelMode.DISTRIBUTED and not self.dataloader_drop_last:
            if not silent:
                logger.warning(
                    "Several processes train: dataloader_drop_last=True is set, since each step needs a full batch "
                    "on every process."
                )
            self.dataloader_drop_last = True
        if (
            self.dataloader_num_workers > 0
            and not self.dataloader_persistent_workers
            and not silent
            and workers_are_spawned()
        ):
            logger.warning(
                "Data loading workers are spawned anew for every epoch and evaluation, and each imports torch first: "
                "set dataloader_persistent_workers=True."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Picklable state: a checkpoint keeps the arguments, but not a sampler that has no importable name."""
        return {name: value for name, value in self.__dict__.items() if not _local(value)}


def _local(value: Any) -> bool:
    """Whether pickle could not find `value` again: a lambda, or a function or class defined inside a function."""
    name = getattr(value, "__qualname__", "")
    return callable(value) and ("<lambda>" in name or "<locals>" in name)


def _dictionary_or_text(value: str | dict[str, str] | None) -> str | dict[str, str] | None:
    """A prompt may be any text, also one that happens to start with a brace."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            parsed = json.loads(value)
        except json.JSONDecodeError:
            return value
        return parsed if isinstance(parsed, dict) else value
    return value


def _dictionary(name: str, value: str | dict[str, Any] | None) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a dictionary, or one written as JSON; got {value!r}") from error
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} must be a dictionary, or one written as JSON; got {value!r}")
    return value or {}
