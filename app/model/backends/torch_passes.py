"""The two ways in which PyTorch scores a padded batch: as it is, or with the padding taken out."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.model.backends.cuda_graphs import Capture, CudaCapture, Graphs
from app.model.bucketing import LEAST
from app.model.messages import first_line
from app.model.packed.buckets import Bucket, bucket_of
from app.model.packed.cores import cost_of, on_cores, share_out
from app.model.packed.dropout import NoDropout
from app.model.packed.flat import Flat, flatten, one_array, slices
from app.model.packed.layout import Group, Layout, groups_of, places
from app.model.packed.network import Network
from app.model.packed.select import inference_attention, network_of
from app.model.types import Batch, FloatArray

log = logging.getLogger(__name__)

TOLERANCES = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}
"""How far the packed pass may be from the padded one. Sound ones stay far below, broken ones give something else."""


class Work(NamedTuple):
    """A batch made ready for its copy to the device."""

    inputs: NDArray[np.int64]
    """All that the device is given, in one array."""
    score: Callable[[Tensor], Tensor]
    """Logits from the inputs there: float32, shape (rows or more, labels)."""
    order: NDArray[np.int64] | None = None
    """Which row of the batch each row of the logits is; None: in order, and no more rows than the batch has."""

    def in_order(self, logits: FloatArray) -> FloatArray:
        """Logits (rows, labels) as the batch has them."""
        if self.order is None:
            return logits
        result = np.empty((len(self.order), logits.shape[1]), dtype=np.float32)
        result[self.order] = logits[: len(self.order)]
        return result


class Pass(Protocol):
    """A way of scoring batches."""

    def stage(self, batch: Batch) -> Work:
        """The host's part of the work. Touches no device."""
        ...


class PaddedPass:
    """The model's own forward pass over the padding."""

    def __init__(self, model: Any, segments: bool) -> None:
        accepted = inspect.signature(getattr(model, "_orig_mod", model).forward).parameters
        types = ["token_type_ids"] if segments and "token_type_ids" in accepted else []
        self._model, self._inputs = model, ["input_ids", "attention_mask", *types]

    def stage(self, batch: Batch) -> Work:
        return Work(np.stack([batch[name] for name in self._inputs]), self._score)

    def _score(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self._model(**dict(zip(self._inputs, inputs.unbind(0), strict=True))).logits
        return logits.float()


class Shape(NamedTuple):
    """What the host knows of a part of a packed batch."""

    bucket: Bucket
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, flat: Flat) -> Shape:
        """Without filling."""
        bucket = Bucket(len(flat.ids), len(flat.lengths), int(flat.lengths[0]))
        return cls(bucket, groups_of(flat.lengths.tolist()))

    @property
    def size(self) -> int:
        """Length of the part's array."""
        return 2 * self.bucket.tokens + self.bucket.rows + 1


class PackedPass:
    """A packed network. With a `capture`, small batches fill a bucket and replay what was captured of it.

    On several `cores` of a CPU the rows of a batch are shared out, and each part is computed on one.
    """

    def __init__(self, network: Network, segments: bool, capture: Capture | None = None, cores: int = 1) -> None:
        self._network, self._segments, self._cores = network, segments, cores
        self._graphs = Graphs(self._score, capture) if capture else None

    def stage(self, batch: Batch) -> Work:
        flat, order = flatten(batch, segments=self._segments)
        tokens = len(flat.ids)
        if self._graphs is not None and self._graphs.on:
            bucket = bucket_of(tokens, len(flat.lengths), int(flat.lengths[0]))
            if bucket is not None:
                return Work(one_array(flat, bucket), partial(self._graphs, bucket=bucket), order)
        count = max(1, min(self._cores, tokens // LEAST))
        parts = slices(flat, share_out([cost_of(length) for length in flat.lengths.tolist()], count))
        shapes = [Shape.of(part) for part in parts]
        inputs = [one_array(part, shape.bucket) for part, shape in zip(parts, shapes, strict=True)]
        return Work(np.concatenate(inputs), partial(self._score_parts, shapes=shapes), order)

    def _score_parts(self, inputs: Tensor, shapes: Sequence[Shape]) -> Tensor:
        if len(shapes) == 1:
            return self._score(inputs, *shapes[0])
        return torch.cat(on_cores(self._score_part, torch.split(inputs, [shape.size for shape in shapes]), shapes))

    def _score_part(self, inputs: Tensor, shape: Shape) -> Tensor:
        with torch.inference_mode():  # the mode is each thread's own
            return self._score(inputs, *shape)

    def _score(self, inputs: Tensor, bucket: Bucket, groups: tuple[Group, ...] = ()) -> Tensor:
        ids, types, ends = torch.split(inputs, [bucket.tokens, bucket.tokens, bucket.rows + 1])
        ends = ends.int()
        layout = Layout(
            *(ids, types, *places(ends, bucket.tokens), ends),
            tokens=bucket.tokens,
            longest=bucket.longest,
            groups=groups,
        )
        embedded = self._network.embed(ids, types, self._network.positions(layout))
        dropout = NoDropout()
        states = self._network.last_states(embedded, layout, dropout)
        return self._network.head(states, layout, dropout).float()


def best_pass(model: nn.Module, segments: bool, logits_of: Callable[[Work], FloatArray]) -> Pass:
    """The packed pass where there is one for `model`, else the padded one.

    The packed one must first show that it gives what the padded one gives: its kernels differ from device to device,
    and the layers that it looks into from one version of transformers to another.
    """
    padded = PaddedPass(model, segments)
    kind = network_of(model)
    if kind is None:
        return padded
    try:
        packed = packed_pass(model, kind, segments)
        far = difference(packed, padded, logits_of, _trial_length(model))
    except Exception as error:  # whatever other versions and devices raise; the padded pass does without
        log.warning("scoring with padding: the pass without failed (%s)", first_line(error))
        return padded
    if not far <= TOLERANCES[next(model.parameters()).dtype]:  # also if it is no number
        log.warning("scoring with padding: without, a logit differs by %.3g of the largest", far)
        return padded
    return packed


def packed_pass(model: nn.Module, kind: type[Network], segments: bool) -> PackedPass:
    """The packed pass that suits the device and the precision of `model`."""
    parameter = next(model.parameters())
    with torch.no_grad():
        network = kind(model, parameter.dtype, inference_attention(model))
    if not parameter.is_cuda:
        return PackedPass(network, segments, cores=torch.get_num_threads())
    # The matrices that the network has just joined will be read on another stream.
    torch.cuda.current_stream(parameter.device).synchronize()
    return PackedPass(network, segments, CudaCapture())


def difference(one: Pass, other: Pass, logits_of: Callable[[Work], FloatArray], longest: int) -> float:
    """How far their logits of a small batch lie apart at most, in units of the largest logit or of 1."""
    mask = (np.arange(longest) < np.array([[longest], [longest // 2], [4]])).astype(np.int64)
    ids = np.arange(3 * longest, dtype=np.int64).reshape(3, longest) % 50 * mask
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    found, expected = (work.in_order(logits_of(work)) for work in (one.stage(batch), other.stage(batch)))
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def _trial_length(model: nn.Module) -> int:
    """Tokens of the longest row to try: on a GPU beyond ModernBERT's window, whose kernels are others."""
    config: Any = model.config
    wanted = 160 if next(model.parameters()).is_cuda else 24
    return int(min(wanted, getattr(config, "max_position_embeddings", wanted) - 2))  # RoBERTa counts from 2
