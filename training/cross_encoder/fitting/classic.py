"""`old_fit`: the training loop as it was before there was a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm, trange  # not tqdm.auto: its bar begins a second pass over the loader, which draws an order

from training.cross_encoder.checks import row_checks
from training.cross_encoder.fitting.best import primary_score
from training.cross_encoder.fitting.data import (
    NOTHING,
    WORDS,
    as_list,
    check_examples,
    check_loader,
    collated,
    examples_of,
)
from training.cross_encoder.fitting.loss import fit_loss, is_library_loss
from training.cross_encoder.fitting.modern import FitOptions, save_last
from training.cross_encoder.fitting.optimization import check_scheduler, make_schedule
from training.cross_encoder.scoring import score_pairs
from training.input_example import InputExample

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

Batch = tuple[list[tuple[str, ...]], Tensor]


class OldFit:
    """One run of `old_fit`: one optimizer step per batch, evaluation by steps and after every epoch."""

    def __init__(self, model: CrossEncoder, dataloader: Any, options: FitOptions) -> None:
        check_scheduler(options.scheduler)
        check_loader(dataloader)
        self.model, self.dataloader, self.options = model, dataloader, options
        self.best = options.best_model()
        self.steps = 0
        self.loss_fct = options.loss_fct
        if self.loss_fct is None:
            self.loss_fct = nn.BCEWithLogitsLoss() if model.num_labels == 1 else nn.CrossEntropyLoss()
        if is_library_loss(self.loss_fct):
            raise TypeError("old_fit takes losses of logits and labels; pass losses of texts to fit or the trainer")
        # Those that `fit` makes, with the same loss.
        self.checks = row_checks(fit_loss(model, options.loss_fct, options.activation_fct), WORDS, model.num_labels)
        self.device_type = model.device.type
        self.modules = nn.ModuleList([model])
        if isinstance(self.loss_fct, nn.Module):
            self.modules.append(self.loss_fct.to(model.device))
        # float16 gradients underflow without scaling; the bfloat16 of autocast on a CPU does not need it
        self.scaler = torch.amp.GradScaler(
            self.device_type, enabled=options.use_amp and self.device_type in ("cuda", "npu", "xpu")
        )
        self.optimizer = options.optimizer(self.modules)
        self.schedule = make_schedule(
            options.scheduler, self.optimizer, options.warmup_steps, len(dataloader) * options.epochs
        )

    def run(self) -> None:
        """Trains; what is saved, also when training is stopped, is as `fit` says."""
        options = self.options
        if options.output_path is not None:
            Path(options.output_path).mkdir(parents=True, exist_ok=True)
        try:
            with collated(self.dataloader, as_list):
                for epoch in trange(options.epochs, desc="Epoch", disable=not options.show_progress_bar):
                    self.epoch(epoch)
        except KeyboardInterrupt:
            if self.steps > 0:
                save_last(self.model, options, self.best)
            raise
        finally:
            self.model.best_score = -9999999 if self.best.score is None else self.best.score
        save_last(self.model, options, self.best)

    def epoch(self, epoch: int) -> None:
        """One pass over the data and an evaluation."""
        options = self.options
        self.modules.train()
        self.optimizer.zero_grad()
        batches = tqdm(self.dataloader, desc="Iteration", smoothing=0.05, disable=not options.show_progress_bar)
        rows = 0
        for step, batch in enumerate(batches, start=1):
            examples = examples_of(batch)
            check_examples(self.checks, examples, rows, rounded=True)
            rows += len(examples)
            self.step(self.collate(examples))
            if options.evaluation_steps > 0 and step % options.evaluation_steps == 0:
                self.evaluate(epoch, step)
                self.modules.train()
        if not rows:
            raise ValueError(NOTHING)
        self.evaluate(epoch, -1)

    def step(self, batch: Batch) -> None:
        """One optimizer step."""
        with torch.autocast(self.device_type, enabled=self.options.use_amp):
            loss = self.loss(batch)
        scale = self.scaler.get_scale()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.steps += 1
        if self.scaler.get_scale() >= scale:  # a lower scale means that the step overflowed and was left out
            self.schedule.step()

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch of pairs."""
        pairs, labels = batch
        logits = self.options.activation_fct(score_pairs(self.model, pairs))  # type: ignore[arg-type]
        if self.model.num_labels == 1:
            logits = logits.view(-1)
        loss: Tensor = self.loss_fct(logits, labels.to(logits.device))
        return loss

    def collate(self, examples: list[InputExample]) -> Batch:
        """Stripped texts and labels; tokenising is left to the scoring, which does each text once."""
        texts = [tuple(text.strip() for text in example.texts or ()) for example in examples]
        return texts, label_tensor(self.model, examples)

    def evaluate(self, epoch: int, step: int) -> None:
        """Evaluates, tells the user's callback and keeps the best model."""
        options = self.options
        if options.evaluator is None:
            return
        folder = None if options.output_path is None else str(options.output_path)
        self.model.eval()
        score = primary_score(
            options.evaluator, options.evaluator(self.model, output_path=folder, epoch=epoch, steps=step)
        )
        if score is None:
            return
        if options.callback is not None:
            options.callback(score, epoch, step)
        self.best.offer(self.model, score)


def label_tensor(model: CrossEncoder, examples: list[InputExample]) -> Tensor:
    """Labels as the default loss wants them: float for one output, class ids for several, float for rows of labels."""
    several = model.num_labels > 1 and not isinstance(examples[0].label, (list, tuple))
    return torch.tensor([example.label for example in examples], dtype=torch.long if several else torch.float)
