"""Weights back from a checkpoint, into the model that is being trained."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import logging

from training.cross_encoder.modules.files import restore_tail
from training.cross_encoder.peft_adapters import carries_adapter

logger = logging.get_logger(__name__)
LOSS_FILE = "loss.safetensors"
"""Parameters of the losses themselves."""
STATE_FILE = "trainer_state.json"
"""The last file of a checkpoint that the trainer writes."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def load_weights(model: Any, directory: str | os.PathLike[str]) -> None:
    """Puts the weights in `directory` into `model`, without a second model in memory where that is possible.

    Raises FileNotFoundError if there are none.
    """
    folder = Path(directory)
    inner = model.model
    restore_tail(model.tail, folder)
    if carries_adapter(inner):
        loaded = load_adapter(inner, folder)
    else:
        loaded = fits(inner, inner.load_state_dict(read_state(folder), strict=False))
    if not loaded:  # saved under other names than the modules have
        logger.info("%s is loaded as a model of its own, its names differ from the model's", folder)
        other = type(model)(str(folder), device="cpu")
        model.load_state_dict(other.state_dict())


def read_state(folder: Path) -> dict[str, Tensor]:
    """All tensors of a saved model, of all its files. Raises FileNotFoundError if there are none."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return {name: tensor for file in names for name, tensor in load_file(folder / file).items()}
    if (folder / "model.safetensors").is_file():
        return dict(load_file(folder / "model.safetensors"))
    if (folder / "pytorch_model.bin").is_file():
        return dict(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))
    raise FileNotFoundError(f"{folder}: no model.safetensors; is this a checkpoint?")


def fits(module: nn.Module, result: Any) -> bool:
    """Whether nothing was missing or left over; tied weights are saved once."""
    if result.unexpected_keys:
        return False
    state = module.state_dict(keep_vars=True)
    missing = set(result.missing_keys)
    present = {state[name].data_ptr() for name in state if name not in missing}
    return all(state[name].data_ptr() in present for name in missing)


def load_adapter(inner: Any, folder: Path) -> bool:
    """Puts the adapter saved in `folder` into the active one; whether all of it found a place."""
    from peft import set_peft_model_state_dict

    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no adapter_model.safetensors; is this a checkpoint of an adapter?")
    state = {name.removeprefix("base_model.model."): tensor for name, tensor in load_file(file).items()}
    result: Any = set_peft_model_state_dict(inner, state, adapter_name=inner.active_adapters()[0])
    return not result.unexpected_keys


def save_loss(state: dict[str, Tensor], directory: str | os.PathLike[str]) -> None:
    """Keeps what the losses learn and hold, if there is any."""
    if state:
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
        save_file(tensors, Path(directory) / LOSS_FILE)


def load_loss(state: dict[str, Tensor], directory: str | os.PathLike[str]) -> None:
    """Puts back what `save_loss` kept; checkpoints without it leave the losses as they are."""
    file = Path(directory) / LOSS_FILE
    if not state or not file.is_file():
        return
    saved = load_file(file)
    with torch.no_grad():
        for name, tensor in state.items():
            if name in saved:
                tensor.copy_(saved[name])


def last_complete(output_dir: str | os.PathLike[str], processes: int) -> str | None:
    """The newest checkpoint that was written to its end: a killed process leaves half of one behind.

    One that was written by one process, or is gone on from by one, may have had another number of them then.
    """
    folder = Path(output_dir)
    found = [
        (int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _CHECKPOINT.fullmatch(path.name))
    ]
    return next((str(path) for _, path in sorted(found, reverse=True) if is_complete(path, processes)), None)


def is_complete(checkpoint: Path, processes: int) -> bool:
    """Whether every process wrote all that a resumed run needs."""
    try:
        json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    names = [f"rng_state_{rank}.pth" for rank in range(processes if processes > 1 else 1)]
    written = all((checkpoint / name).is_file() for name in names) or (checkpoint / "rng_state.pth").is_file()
    return written or not (checkpoint / "optimizer.pt").is_file()  # save_only_model keeps no state
