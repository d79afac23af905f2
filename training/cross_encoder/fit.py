"""The older way to train: `CrossEncoder.fit` with a DataLoader of `InputExample`s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader
from transformers import BatchEncoding

from training.cross_encoder.fitting.classic import OldFit, label_tensor
from training.cross_encoder.fitting.modern import FitOptions, fit
from training.input_example import InputExample

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

IDENTITY = nn.Identity()
OPTIMIZER_PARAMS: Mapping[str, Any] = MappingProxyType({"lr": 2e-5})
Callback = Callable[[float, float, int], None]


class FitMixin:
    """`fit` and `old_fit` for the cross-encoder."""

    def fit(
        self,
        train_dataloader: DataLoader[Any],
        evaluator: Callable[..., Any] | None = None,
        epochs: int = 1,
        loss_fct: Any = None,
        activation_fct: Callable[[Any], Any] = IDENTITY,
        scheduler: Any = "WarmupLinear",
        warmup_steps: int = 10000,
        optimizer_class: type[Optimizer] = AdamW,
        optimizer_params: Mapping[str, Any] = OPTIMIZER_PARAMS,
        weight_decay: float = 0.01,
        evaluation_steps: int = 0,
        output_path: str | Path | None = None,
        save_best_model: bool = True,
        max_grad_norm: float = 1,
        use_amp: bool = False,
        callback: Callback | None = None,
        show_progress_bar: bool = True,
    ) -> None:
        """Trains on a loader of `InputExample`s with `CrossEncoderTrainer`, which is the way with more control.

        After every epoch, and every `evaluation_steps` steps, `evaluator` is run and `callback(score, epoch, steps)`
        called; the best model is at `output_path` afterwards, without an evaluator or with `save_best_model=False` the
        last one, where sentence-transformers 6.2 writes none. `loss_fct` is any loss of torch or of
        `training.cross_encoder.losses`; without it, binary cross entropy for one label and cross entropy for several.
        `scheduler` is constantlr, warmupconstant, warmuplinear, warmupcosine, warmupcosinewithhardrestarts, a
        scheduler object (whose optimizer then trains), or a function of the optimizer. Biases and norms have no weight
        decay. Raises TrainingDataError, naming column and row, for examples that cannot be trained on.
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "train_dataloader")}
        fit(cast("CrossEncoder", self), train_dataloader, FitOptions(**options))

    def old_fit(
        self,
        train_dataloader: DataLoader[Any],
        evaluator: Callable[..., Any] | None = None,
        epochs: int = 1,
        loss_fct: Any = None,
        activation_fct: Callable[[Any], Any] = IDENTITY,
        scheduler: Any = "WarmupLinear",
        warmup_steps: int = 10000,
        optimizer_class: type[Optimizer] = AdamW,
        optimizer_params: Mapping[str, Any] = OPTIMIZER_PARAMS,
        weight_decay: float = 0.01,
        evaluation_steps: int = 0,
        output_path: str | Path | None = None,
        save_best_model: bool = True,
        max_grad_norm: float = 1,
        use_amp: bool = False,
        callback: Callback | None = None,
        show_progress_bar: bool = True,
    ) -> None:
        """`fit` as it was before there was a trainer: a plain loop over the loader, in the loader's own batches.

        Steps are counted within an epoch; at its end the evaluator and the callback are given -1. What stands at
        `output_path` afterwards is as `fit` says: with `save_best_model=False` the last model, where
        sentence-transformers 6.2 writes none.
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "train_dataloader")}
        OldFit(cast("CrossEncoder", self), train_dataloader, FitOptions(**options)).run()

    def smart_batching_collate(self, batch: list[InputExample]) -> tuple[BatchEncoding, Tensor]:
        """A batch of examples as padded token ids and labels, on the model's device."""
        model = cast("CrossEncoder", self)
        features = self.smart_batching_collate_text_only([list(example.texts or ()) for example in batch])
        return features, label_tensor(model, batch).to(model.device)

    def smart_batching_collate_text_only(self, batch: list[list[str]]) -> BatchEncoding:
        """A batch of texts or pairs as token ids, padded to the longest, cut to the model's length, on its device."""
        model = cast("CrossEncoder", self)
        columns = [[text.strip() for text in column] for column in zip(*batch, strict=True)]
        encoding = model.tokenizer(
            *columns, padding=True, truncation="longest_first", max_length=model.max_seq_length, return_tensors="pt"
        )
        return cast("BatchEncoding", encoding.to(torch.device(model.device)))
