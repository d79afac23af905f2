"""The one place where samplers get their randomness: a function of seed and epoch, the same on every process."""

from __future__ import annotations

from typing import Any

import torch


class SetEpochMixin:
    """Remembers the epoch that the trainer announces before each pass."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def seeded(generator: torch.Generator | None, seed: int | None, epoch: int) -> torch.Generator:
    """The generator to draw an epoch from: `generator` itself where there is one, set to `seed + epoch`.

    Without a generator it is a private one, so that the order never depends on what else drew random numbers.
    Without a seed the generator (or the global one) goes on from where it is.
    """
    if seed is None:
        return torch.default_generator if generator is None else generator
    return (torch.Generator() if generator is None else generator).manual_seed(seed + epoch)


def copy_of(generator: torch.Generator) -> torch.Generator:
    """A generator that will draw the same numbers, without moving `generator`."""
    copy = torch.Generator()
    copy.set_state(generator.get_state())
    return copy
