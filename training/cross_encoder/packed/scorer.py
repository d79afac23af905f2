"""Scores and hidden states of rows by a packed network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from app.model.bucketing import LEAST
from app.model.cpus import has_wide_registers
from app.model.packed.cores import balance, cost_of, share_out
from app.model.packed.gpu_attention import attend_on_gpu, runs_on_gpu
from app.model.packed.layout import Layout, Multiples
from app.model.packed.network import Attention, Network
from app.model.packed.select import ENCODERS, FAMILIES, network_of
from app.model.packed.weights import Linear
from app.model.types import Encoded
from training.cross_encoder.encoding import Padding
from training.cross_encoder.packed.chunks import computed_in, cut_chunks, lay_out_rows
from training.cross_encoder.packed.cpu_attention import attend
from training.cross_encoder.packed.dropout import Dropout, has_dropout
from training.cross_encoder.packed.embedding import look_up
from training.cross_encoder.packed.parallel import each_on_a_core, side_by_side
from training.cross_encoder.packed.tiled import TiledLinear
from training.cross_encoder.packed.tiled_attention import attend_tiled

ROUNDED = Multiples(tokens=32, rows=16)
"""In half precision oneDNN compiles a kernel for every new shape, and keeps those of a thousand."""
Run = Callable[[Network, Tensor, Layout, Dropout], Tensor]
"""What is computed of a chunk: network, embeddings, layout, dropout."""


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
        dtype = computed_in(model)
        attention = _attention_for(model, dtype)
        return None if attention is None else cls(model, network, attention, dtype)

    def cut(self, lengths: Sequence[int], budget: int) -> Sequence[Sequence[int]]:
        """Chunks of at most `budget` tokens."""
        return cut_chunks(lengths, budget)

    def _network_of(self, *, every_token: bool = False) -> Network:
        linear = TiledLinear if TiledLinear.suits(self._dtype, self._device) else Linear
        options: dict[str, Any] = {"linear": linear, "look_up": look_up}
        return self._network(self._model, self._dtype, self._attention, every_token=every_token, **options)

    def _layout(self, rows: Sequence[Encoded], pad: Padding) -> Layout:
        multiples = Multiples() if self._dtype == torch.float32 else ROUNDED
        return lay_out_rows(rows, segments=pad.segments, multiples=multiples, device=self._device)

    def _embedded(self, network: Network, layouts: Sequence[Layout]) -> tuple[Tensor, ...]:
        """The embeddings of each chunk, looked up all at once: the gradient of every look-up fills a whole table."""
        ids, types = torch.cat([one.ids for one in layouts]), torch.cat([one.types for one in layouts])
        embedded = network.embed(ids, types, torch.cat([network.positions(one) for one in layouts]))
        return torch.split(embedded, [one.width for one in layouts])

    def _dropouts(self) -> Iterator[Dropout]:
        """One for each chunk. On a CPU they have their seeds at once, because chunks are computed side by side."""
        seeded = self._device.type == "cpu" and has_dropout(self._model)
        while True:
            dropout = Dropout(self._device)
            if seeded:
                dropout.seed()
            yield dropout

    def _each(self, run: Run, network: Network, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Iterator[Tensor]:
        """What `run` gives for each chunk, without gradients; on a CPU several chunks at a time, each on a core."""

        def work(item: tuple[Sequence[Encoded], Dropout]) -> Tensor:
            rows, dropout = item
            # Around each chunk alone: what the caller does between two of them is none of ours.
            with torch.autocast(self._device.type, enabled=False):
                layout = self._layout(rows, pad)
                embedded = network.embed(layout.ids, layout.types, network.positions(layout))
                return run(network, embedded, layout, dropout)

        items = zip(chunks, self._dropouts(), strict=False)
        alone = self._device.type != "cpu" or len(chunks) == 1 or torch.get_num_threads() == 1
        return map(work, items) if alone else each_on_a_core(work, items)


class PackedScorer(PackedPass):
    """Scores chunks of rows by a sequence classifier."""

    families = FAMILIES

    def cut(self, lengths: Sequence[int], budget: int) -> list[Sequence[int]]:
        """Chunks of at most `budget` tokens, which make up parts of equal cost where those run side by side."""
        parts = balance([cost_of(length) for length in lengths], self._parts(sum(lengths)))
        chunks = ((part, cut_chunks([lengths[i] for i in part], budget)) for part in parts)
        return [part[one.start : one.stop] for part, some in chunks for one in some]

    def __call__(self, chunks: Sequence[Sequence[Encoded]], pad: Padding) -> Tensor:
        """Logits in order, shape (rows, labels), float32."""
        with torch.autocast(self._device.type, enabled=False):
            network = self._network_of()
            if not torch.is_grad_enabled():
                return torch.cat(list(self._each(_logits, network, chunks, pad)))
            layouts = [self._layout(rows, pad) for rows in chunks]
            items = list(zip(self._embedded(network, layouts), layouts, self._dropouts(), strict=False))
            costs = [sum(map(cost_of, one.lengths)) for one in layouts]
            parts = share_out(costs, self._parts(sum(one.tokens for one in layouts)))
            if len(parts) > 1:
                return self._side_by_side(items, parts)
            return torch.cat([_logits(network, *item) for item in items])

    def _parts(self, tokens: int) -> int:
        """In how many parts so many tokens run side by side, where the pass is for a gradient."""
        whole = self._device.type != "cpu" or not torch.is_grad_enabled()
        return 1 if whole else max(1, min(torch.get_num_threads(), tokens // LEAST))

    def _side_by_side(self, items: Sequence[tuple[Tensor, Layout, Dropout]], parts: Sequence[range]) -> Tensor:
        def run(part: range, embedded: Tensor) -> Tensor:
            own = [items[i] for i in part]
            with torch.autocast(self._device.type, enabled=False):
                network = self._network_of()
                pieces = torch.split(embedded, [layout.width for _, layout, _ in own])
                some = zip(pieces, own, strict=True)
                return torch.cat([_logits(network, piece, *item[1:]) for piece, item in some])

        inputs = [torch.cat([items[i][0] for i in part]) for part in parts]
        return side_by_side([partial(run, part) for part in parts], inputs, list(self._model.parameters()))


def _logits(network: Network, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
    """Those of the rows of a chunk, float32."""
    return network.score(embedded, layout, dropout)[: len(layout.lengths)].float()


class PackedEncoder(PackedPass):
    """Hidden states of the tokens of chunks of rows, by an encoder without a head."""

    families = ENCODERS

    def states(self, chunks: Sequence[Sequence[Encoded]], pad: Padding, *, every_token: bool) -> Iterator[Tensor]:
        """Of each chunk the last hidden states of its rows' tokens, end to end: shape (tokens, hidden).

        Without `every_token` those of the rows' first tokens alone, which is faster: shape (rows, hidden).
        """

        def run(network: Network, embedded: Tensor, layout: Layout, dropout: Dropout) -> Tensor:
            states = network.last_states(embedded, layout, dropout)
            return states[: layout.tokens if every_token else len(layout.lengths)]

        network = self._network_of(every_token=every_token)
        if not torch.is_grad_enabled():
            yield from self._each(run, network, chunks, pad)
            return
        with torch.autocast(self._device.type, enabled=False):
            layouts = [self._layout(rows, pad) for rows in chunks]
            embedded = self._embedded(network, layouts)
        for item in zip(embedded, layouts, self._dropouts(), strict=False):
            with torch.autocast(self._device.type, enabled=False):
                states = run(network, *item)
            yield states


def _attention_for(model: nn.Module, dtype: torch.dtype) -> Attention | None:
    """Attention on the model's device in `dtype`, or None where there is none."""
    if next(model.parameters()).device.type == "cpu":
        return attend_tiled if has_wide_registers() else attend
    return attend_on_gpu if runs_on_gpu(model, dtype) else None
