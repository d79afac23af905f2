"""Models of which every process holds a part of the weights: FSDP, DeepSpeed ZeRO-3."""

from __future__ import annotations

from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)


def is_sharded(model: Any) -> bool:
    """Whether FSDP or DeepSpeed hold only a part of the weights in this process.

    A forward pass of such a model is a joint work: all processes must make the same number of passes.
    """
    parameters = getattr(model, "parameters", None)
    if parameters is None:
        return False
    if any(hasattr(one, "device_mesh") or hasattr(one, "ds_id") for one in parameters()):
        return True
    return any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules())


def warn_of_memory() -> None:
    """Says once that gradient caching is off: its second forward pass belongs to no pass of the wrapped model."""
    logger.warning_once(
        "mini_batch_tokens has no effect where FSDP or DeepSpeed ZeRO-3 share out the weights: the batch is scored in "
        "one pass. Take smaller batches or gradient_checkpointing=True to save memory."
    )
