"""Scores of rows by a packed network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from app.model.types import Encoded
from training.cross_encoder.encoding import Padding
from training.cross_encoder.packed.layout import Layout, Multiples, cut_chunks, lay_out
from training.cross_encoder.packed.network import Attention, Network
from training.cross_encoder.packed.select import attention_for, network_of

ROUNDED = Multiples(tokens=128, rows=16)
"""In half precision oneDNN compiles a kernel for every new shape."""


class PackedScorer:
    """Scores chunks of rows with `network` on the weights of `model`, in `dtype`."""

    def __init__(self, model: nn.Module, network: type[Network], attention: Attention, dtype: torch.dtype) -> None:
        self._model, self._network, self._attention, self._dtype = model, network, attention, dtype
        self._device = next(model.parameters()).device

    @classmethod
    def of(cls, model: nn.Module) -> PackedScorer | None:
        """A scorer for `model` in the precision of autocast, or its own without; None where it cannot run packed."""
        network = network_of(model)
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

    def __call__(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Tensor:
        """Logits in order, shape (rows, labels), float32."""
        multiples = Multiples() if self._dtype == torch.float32 else ROUNDED
        layouts = (lay_out(rows, segments=pad.segments, multiples=multiples, device=self._device) for rows in chunks)
        with torch.autocast(self._device.type, enabled=False):
            network = self._network(self._model, self._dtype, self._attention)
            scores = [
                network.score(embedded, layout)[: len(layout.lengths)].float()
                for embedded, layout in _embedded(network, layouts)
            ]
        return torch.cat(scores)


def _embedded(network: Network, layouts: Iterable[Layout]) -> Iterable[tuple[Tensor, Layout]]:
    """Each chunk with its embeddings: looked up all at once where the tables get a gradient, else one by one."""
    if not torch.is_grad_enabled():
        for layout in layouts:
            yield network.embed(layout.ids, layout.types, network.positions(layout)), layout
        return
    layouts = list(layouts)
    ids, types = torch.cat([one.ids for one in layouts]), torch.cat([one.types for one in layouts])
    embedded = network.embed(ids, types, torch.cat([network.positions(one) for one in layouts]))
    yield from zip(torch.split(embedded, [one.width for one in layouts]), layouts, strict=True)
