"""Which mixed precision the machine at hand can do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)


class Precision(NamedTuple):
    """The precision arguments of a run, in the order of `fits_machine`."""

    bf16: bool
    fp16: bool
    bf16_full_eval: bool
    fp16_full_eval: bool
    use_cpu: bool


def fits_machine(bf16: bool, fp16: bool, bf16_full_eval: bool, fp16_full_eval: bool, use_cpu: bool) -> Precision:
    """The same wishes on a machine with an accelerator; what a CPU can do of them on one without.

    A CPU has bf16, for which transformers wants `use_cpu` to be said, and no fp16: float32 takes its place, with one
    warning.
    """
    if not use_cpu and accelerator_available():
        return Precision(bf16, fp16, bf16_full_eval, fp16_full_eval, use_cpu)
    if fp16 and not bf16:
        logger.warning("fp16=True needs a GPU: this run computes in float32 on the CPU. bf16=True is faster here.")
        fp16 = False
    if fp16_full_eval and not bf16_full_eval:
        logger.warning("fp16_full_eval=True needs a GPU: evaluation computes in float32 on the CPU.")
        fp16_full_eval = False
    return Precision(bf16, fp16, bf16_full_eval, fp16_full_eval, use_cpu or bf16 or bf16_full_eval)


def accelerator_available() -> bool:
    """Whether torch sees a device beside the CPU."""
    if hasattr(torch, "accelerator"):  # since torch 2.6
        return bool(torch.accelerator.is_available())
    return bool(torch.cuda.is_available() or torch.backends.mps.is_available())
