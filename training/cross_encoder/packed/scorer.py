"""Scores and hidden states of rows by a packed network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from app.model.types import Encoded
from training.cross_encoder.encoding import Padding
from training.cross_encoder.packed.layout import Layout, Multiples, cut_chunks, lay_out
from training.cross_encoder.packed.network import Attention, Network
from training.cross_encoder.packed.select import ENCODERS, FAMILIES, attention_for, network_of

ROUNDED = Multiples(tokens=128, rows=16)
"""In half precision oneDNN compiles a kernel for every new shape."""


class PackedPass:
    """Runs `network` over chunks of rows on the weights of `model`, in `dtype`."""

    families: Mapping[str, type[Network]]
    """The architectures that run packed, by the names of their classes."""

    def __init__(self, model: nn.Module, network: type[Network], attention: Attention, dtype: torch.dtype) -> None:
        self._model, self._network, self._attention, self._dtype = model, network, attention, dtype
        self._device = next(model.parameters()).device

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """A pass of `model` in the precision of autocast, or its own without; None where it cannot run packed."""
        network = network_of(model, cls.families)
        if network is None:
            return None
        parameter = next(model.parameters())
        kind = parameter.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else parameter.dtype
        attention = attention_for(model, dtype)
        return None if attention is None else cls(model, network, attention, dtype)

    def cut(self, lengths: Sequence[int], budget: int) -> list[range]:
        """Chunks of at most `budget` tokens."""
        return cut_chunks(lengths, budget)

    def _layouts(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Iterator[Layout]:
        multiples = Multiples() if self._dtype == torch.float32 else ROUNDED
        return (lay_out(rows, segments=pad.segments, multiples=multiples, device=self._device) for rows in chunks)

    def _embedded(self, network: Network, layouts: Iterable[Layout]) -> Iterator[tuple[Tensor, Layout]]:
        """Each chunk with its embeddings: looked up all at once where the tables get a gradient, else one by one."""
        if not torch.is_grad_enabled():
            for layout in layouts:
                yield network.embed(layout.ids, layout.types, network.positions(layout)), layout
            return
        layouts = list(layouts)
        ids, types = torch.cat([one.ids for one in layouts]), torch.cat([one.types for one in layouts])
        embedded = network.embed(ids, types, torch.cat([network.positions(one) for one in layouts]))
        yield from zip(torch.split(embedded, [one.width for one in layouts]), layouts, strict=True)


class PackedScorer(PackedPass):
    """Scores chunks of rows by a sequence classifier."""

    families = FAMILIES

    def __call__(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Tensor:
        """Logits in order, shape (rows, labels), float32."""
        with torch.autocast(self._device.type, enabled=False):
            network = self._network(self._model, self._dtype, self._attention)
            scores = [
                network.score(embedded, layout)[: len(layout.lengths)].float()
                for embedded, layout in self._embedded(network, self._layouts(chunks, pad))
            ]
        return torch.cat(scores)


class PackedEncoder(PackedPass):
    """Hidden states of the tokens of chunks of rows, by an encoder without a head."""

    families = ENCODERS

    def states(self, chunks: Sequence[Sequence[Encoded]], pad: Padding, *, every_token: bool) -> Iterator[Tensor]:
        """Of each chunk the last hidden states of its rows' tokens, end to end: shape (tokens, hidden).

        Without `every_token` those of the rows' first tokens alone, which is faster: shape (rows, hidden).
        """
        with torch.autocast(self._device.type, enabled=False):
            network = self._network(self._model, self._dtype, self._attention, every_token=every_token)
        passes = self._embedded(network, self._layouts(chunks, pad))
        while True:
            # Around each chunk alone: what the caller does with it between two of them is none of ours.
            with torch.autocast(self._device.type, enabled=False):
                found = next(passes, None)
                if found is None:
                    return
                embedded, layout = found
                states = network.encode(embedded, layout)
            yield states[: layout.tokens if every_token else len(layout.lengths)]
