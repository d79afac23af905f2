"""What the trainer writes and reads: checkpoints, the best model, the card, uploads."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from training.cross_encoder import checkpoints, saving
from training.cross_encoder.model_card import ModelCardCallback, write_model_card
from training.cross_encoder.sharded import is_sharded

logger = logging.get_logger(__name__)
Args = TypeVar("Args")


class SavingTrainer(Trainer):
    """The part of `CrossEncoderTrainer` that has to do with files."""

    model: Any
    model_card_callback_class: type[ModelCardCallback]
    loss_state: Callable[[], dict[str, Tensor]]

    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Writes model, tokenizer, arguments and what losses learned; `state_dict` is gathered from all processes."""
        if not self.args.should_save:  # all processes come here with a model that they share out
            return
        folder = Path(output_dir or self._folder())
        folder.mkdir(parents=True, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        if state_dict is not None and is_sharded(model):
            saving.save(model, folder, state_dict)
            write_model_card(model, folder)
        else:
            model.save_pretrained(folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        checkpoints.save_loss(self.loss_state(), folder)
        torch.save(without_tokens(self.args), folder / TRAINING_ARGS_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights of a checkpoint into the model that is trained."""
        if model is not None and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            checkpoints.load_weights(self.accelerator.unwrap_model(self.model), resume_from_checkpoint)
        checkpoints.load_loss(self.loss_state(), resume_from_checkpoint)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        logger.info(f"Loading best model from {best} (score: {self.state.best_metric}).")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
            return
        try:
            self._load_from_checkpoint(str(best))
        except Exception as error:  # the trained model in memory must not be lost over this
            logger.error(f"Could not load the best model from {best}, the last one is kept: {error}")

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Uploads a checkpoint as `Trainer` does, with the files that it does not know of (card, settings)."""
        if self.is_world_process_zero() and self.args.hub_strategy != HubStrategy.END:
            # While an upload goes on, `Trainer` starts none, and the files must stay as they are.
            busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
            if self.args.hub_always_push or not busy:
                for path in Path(checkpoint_folder).iterdir():
                    if path.is_dir() and any(path.glob("*.json")):  # a module of its own, with its weights
                        shutil.copytree(path, self._folder() / path.name, dirs_exist_ok=True)
                    elif path.suffix in {".json", ".md", ".txt", ".model"} and path.name != TRAINER_STATE_NAME:
                        shutil.copy(path, self._folder())
        super()._push_from_checkpoint(checkpoint_folder)

    def add_model_card_callback(self, default_args_dict: dict[str, Any] | None = None) -> None:
        """Lets the card follow the training; override it to go without."""
        self.model.model_card_data.register_trainer(self)
        self.add_callback(self.model_card_callback_class(default_args_dict))

    def create_model_card(  # type: ignore[override]  # the rest of the superclass's arguments has no meaning here
        self,
        language: str | None = None,
        license: str | None = None,  # noqa: A002 - the established name
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes the card into `output_dir`."""
        if not self.is_world_process_zero():
            return
        card = self.model.model_card_data
        setters: list[tuple[Any, Callable[[Any], None]]]
        setters = [(language, card.set_language), (license, card.set_license), (tags, card.add_tags)]
        for value, take in setters:
            if value:
                take(value)
        write_model_card(self.model, self._folder(), model_name)


def without_tokens(args: Args) -> Args:
    """A copy of training arguments without what opens the Hub: a checkpoint is often handed on."""
    clean = copy.copy(args)
    for name in list(vars(clean)):
        if name.endswith("_token") and isinstance(getattr(clean, name), str):
            setattr(clean, name, None)
    return clean
