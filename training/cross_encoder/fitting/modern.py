"""`fit`: the older interface on `CrossEncoderTrainer`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from training.cross_encoder.fitting import data
from training.cross_encoder.fitting.best import BestModel
from training.cross_encoder.fitting.evaluation import FitEvaluation
from training.cross_encoder.fitting.loss import fit_loss, is_library_loss
from training.cross_encoder.fitting.optimization import check_scheduler, make_optimizer, make_schedule
from training.datasets.no_duplicates_dataloader import NoDuplicatesDataLoader
from training.datasets.sentence_label import SentenceLabelDataset

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder
    from training.cross_encoder.trainer import CrossEncoderTrainer


@dataclass(frozen=True, slots=True)
class FitOptions:
    """The arguments that `fit` and `old_fit` share, all but the data."""

    evaluator: Callable[..., Any] | None
    epochs: int
    loss_fct: Any
    activation_fct: Callable[[Any], Any]
    scheduler: Any
    warmup_steps: int
    optimizer_class: Callable[..., Optimizer]
    optimizer_params: Mapping[str, Any]
    weight_decay: float
    evaluation_steps: int
    output_path: str | Path | None
    save_best_model: bool
    max_grad_norm: float
    use_amp: bool
    callback: Callable[[float, float, int], None] | None
    show_progress_bar: bool

    def best_model(self) -> BestModel:
        """The keeper of the best model, if it is to be kept."""
        keep = self.save_best_model and self.evaluator is not None
        return BestModel(self.output_path if keep else None, getattr(self.evaluator, "greater_is_better", True))

    def optimizer(self, module: nn.Module) -> Optimizer:
        """The optimizer of the module's parameters."""
        return make_optimizer(module, self.scheduler, self.optimizer_class, self.optimizer_params, self.weight_decay)


def fit(model: CrossEncoder, dataloader: Any, options: FitOptions) -> None:
    """Trains with `CrossEncoderTrainer` into `checkpoints/model[_n]`.

    The best model stands at `output_path` afterwards, or the last one where no best one is known or wanted. When
    training is stopped (Ctrl-C) before a model was saved, the one of that moment is saved, and the exception goes on.
    """
    check_scheduler(options.scheduler)
    best = options.best_model()
    trainer = make_trainer(model, dataloader, options, best)
    try:
        trainer.train()
    except KeyboardInterrupt:
        if trainer.state.global_step > 0:
            save_last(model, options, best, trainer.is_world_process_zero())
        raise
    save_last(model, options, best, trainer.is_world_process_zero())


def save_last(model: CrossEncoder, options: FitOptions, best: BestModel, is_main_process: bool = True) -> None:
    """Saves the model as it is now, unless the best one stands at `output_path`."""
    if is_main_process and not best.saved:
        BestModel(options.output_path).save(model)


def make_trainer(model: CrossEncoder, dataloader: Any, options: FitOptions, best: BestModel) -> CrossEncoderTrainer:
    """A trainer whose optimizer, schedule, data and evaluation are those of `options`."""
    from training.cross_encoder.trainer import CrossEncoderTrainer  # imports the model, which imports this module

    batches = data.read_batches(dataloader)
    examples = [example for batch in batches for example in batch]
    loss = fit_loss(model, options.loss_fct, options.activation_fct)
    optimizer = options.optimizer(loss)
    trainer = CrossEncoderTrainer(
        model=model,
        args=training_args(dataloader, data.batch_size(dataloader, batches), options),
        train_dataset=data.as_dataset(examples, not is_library_loss(options.loss_fct), loss, model.num_labels),
        loss=loss,
        optimizers=(optimizer, None),
    )
    # The loader knows how many batches there are: the last, smaller one counts, and a sampler may make fewer.
    steps = len(trainer.get_train_dataloader()) * options.epochs
    trainer.lr_scheduler = make_schedule(options.scheduler, optimizer, options.warmup_steps, steps)
    if options.evaluator is not None:
        add_evaluation(trainer, options, best)
    return trainer


def add_evaluation(trainer: CrossEncoderTrainer, options: FitOptions, best: BestModel) -> None:
    """Lets the trainer evaluate as the options say."""
    assert options.evaluator is not None
    evaluation = FitEvaluation(
        options.evaluator, best, options.output_path, options.evaluation_steps or 0, options.callback
    )
    evaluation.trainer = trainer
    trainer.add_callback(evaluation)


def training_args(dataloader: Any, batch_size: int, options: FitOptions) -> Any:
    """The trainer's arguments: nothing is saved by itself, and batches are made as the loader made them."""
    from training.cross_encoder.precision import accelerator_available
    from training.cross_encoder.training_args import CrossEncoderTrainingArguments

    accelerated = accelerator_available()
    return CrossEncoderTrainingArguments(
        output_dir=str(data.checkpoint_dir()),
        batch_sampler=batch_sampler(dataloader),
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        num_train_epochs=options.epochs,
        max_grad_norm=options.max_grad_norm,
        fp16=options.use_amp and accelerated,
        bf16=options.use_amp and not accelerated,  # autocast on a CPU is bfloat16
        dataloader_pin_memory=accelerated,
        disable_tqdm=not options.show_progress_bar,
        eval_strategy="no",
        save_strategy="no",
    )


def batch_sampler(dataloader: Any) -> str:
    """The trainer's batch sampler that keeps the promise of an older loader or dataset."""
    if isinstance(dataloader, NoDuplicatesDataLoader):
        return "no_duplicates"
    if isinstance(getattr(dataloader, "dataset", None), SentenceLabelDataset):
        return "group_by_label"
    return "batch_sampler"
