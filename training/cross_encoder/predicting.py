"""`predict` and `rank`: from texts to scores, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from training.cross_encoder.inputs import as_batch, encode
from training.cross_encoder.legacy_arguments import (
    PREDICT_IGNORED,
    PREDICT_POSITIONS,
    PREDICT_RENAMES,
    RANK_IGNORED,
    legacy_call,
)
from training.cross_encoder.pool import Pool, logits_in_pool, start_pool, stop_pool
from training.cross_encoder.prediction import activated, converted, logits_of, ranked, wants_progress
from training.cross_encoder.prompts import resolve_prompt

if TYPE_CHECKING:
    from training.cross_encoder.model import CrossEncoder

Device = str | torch.device | Sequence[str | torch.device] | None


class Predictor:
    """The methods of a cross-encoder that score. They may be called from several threads at once."""

    @legacy_call(PREDICT_RENAMES, PREDICT_IGNORED, PREDICT_POSITIONS)
    def predict(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[..., Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device = None,
        pool: Pool | None = None,
        chunk_size: int | None = None,
        processing_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Scores of pairs in input order: shape (pairs,) for one label, else (pairs, labels); of one pair its score.

        A float32 NumPy array, or a tensor with `convert_to_tensor`, or a list of tensors with neither. The prompt
        stands before the first text of each pair. A list of devices, or a pool, spreads the work over processes.
        Raises ValueError for a batch size or chunk size below 1, an unknown prompt name, or inputs that are no texts.
        """
        items, single = as_batch(inputs)
        model = cast("CrossEncoder", self)
        logits = self._logits(
            items,
            resolve_prompt(model.prompts, model.default_prompt_name, prompt, prompt_name),
            batch_size,
            show_progress_bar,
            device,
            pool,
            chunk_size,
            processing_kwargs,
        )
        with torch.inference_mode():
            scores = activated(logits, activation_fn or model.activation_fn, model.num_labels, apply_softmax)
            return converted(scores, single, convert_to_numpy, convert_to_tensor)

    def _logits(
        self,
        items: list[Any],
        prompt: str | None,
        batch_size: int,
        show_progress_bar: bool | None,
        device: Device,
        pool: Pool | None,
        chunk_size: int | None,
        processing_kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        """Logits (items, labels), float32, in input order."""
        model = cast("CrossEncoder", self)
        require_positive(batch_size=batch_size, chunk_size=chunk_size)
        rows = encode(model.encoder(processing_kwargs), items, prompt)
        progress = wants_progress(show_progress_bar)
        if model.graph is not None:
            return model.graph.logits(rows, batch_size)
        if pool is not None:
            return logits_in_pool(pool, rows, model.num_labels, batch_size, chunk_size, progress)
        if isinstance(device, list | tuple) and device:
            pool = self.start_multi_process_pool(list(device))
            try:
                return logits_in_pool(pool, rows, model.num_labels, batch_size, chunk_size, progress)
            finally:
                self.stop_multi_process_pool(pool)
        if device is not None and not isinstance(device, list | tuple) and not model.is_placed:
            model.to(device)
        return logits_of(model, rows, batch_size, progress)

    @legacy_call({"activation_fct": "activation_fn"}, RANK_IGNORED)
    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[..., Any] | None = None,
        device: Device = None,
        pool: Pool | None = None,
        chunk_size: int | None = None,
    ) -> list[dict[str, Any]]:
        """Documents by descending score: `{"corpus_id", "score", ["text"]}`; needs num_labels 1, else ValueError."""
        return self.rank_batch(
            [query],
            [documents],
            top_k=top_k,
            return_documents=return_documents,
            prompt_name=prompt_name,
            prompt=prompt,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
            device=device,
            pool=pool,
            chunk_size=chunk_size,
        )[0]

    def rank_batch(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[str]],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[..., Any] | None = None,
        device: Device = None,
        pool: Pool | None = None,
        chunk_size: int | None = None,
    ) -> list[list[dict[str, Any]]]:
        """`rank` for many queries in one pass: `documents[i]` belong to `queries[i]`, and so does answer `i`.

        All pairs are sorted by length together, so short lists fill whole batches. Raises ValueError unless num_labels
        is 1 and there are as many lists of documents as queries.
        """
        model = cast("CrossEncoder", self)
        if model.num_labels != 1:
            raise ValueError(
                f"rank needs a model with num_labels=1, this one has {model.num_labels}; use predict with pairs"
            )
        queries, lists = list(queries), [list(texts) for texts in documents]
        if len(queries) != len(lists):
            raise ValueError(f"{len(queries)} queries but {len(lists)} lists of documents")
        pairs = [(query, text) for query, texts in zip(queries, lists, strict=True) for text in texts]
        options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        options |= {"device": device, "pool": pool, "chunk_size": chunk_size}
        scores, raw = self._rankable(pairs, prompt_name, prompt, activation_fn, options)
        answers, start = [], 0
        for texts in lists:
            end = start + len(texts)
            answers.append(ranked(scores[start:end], raw[start:end], texts if return_documents else None, top_k))
            start = end
        return answers

    def _rankable(
        self,
        pairs: list[tuple[str, str]],
        prompt_name: str | None,
        prompt: str | None,
        activation_fn: Callable[..., Any] | None,
        options: dict[str, Any],
    ) -> tuple[list[float], list[float]]:
        """Scores of the pairs, and what they are ranked by: logits, unless a subclass has a `predict` of its own."""
        model = cast("CrossEncoder", self)
        if type(self).predict is not Predictor.predict or "predict" in vars(self):
            found = self.predict(pairs, prompt_name=prompt_name, prompt=prompt, activation_fn=activation_fn, **options)
            scores = [float(score) for score in found]
            return scores, scores
        items, _ = as_batch(pairs)
        logits = self._logits(
            items, resolve_prompt(model.prompts, model.default_prompt_name, prompt, prompt_name), **options
        )
        with torch.inference_mode():
            scores = activated(logits, activation_fn or model.activation_fn, 1, False).tolist()
        return scores, logits[:, 0].tolist()

    def start_multi_process_pool(self, target_devices: list[str | torch.device] | None = None) -> Pool:
        """Processes for `predict(pool=...)`, one per device; by default all accelerators, else four on the CPU."""
        model = cast("CrossEncoder", self)
        if model.graph is not None or model.is_placed:
            raise ValueError("a pool places the model itself: load it with backend='torch' and without a device_map")
        return start_pool(model, target_devices)

    @staticmethod
    def stop_multi_process_pool(pool: Pool) -> None:
        """Ends the processes of a pool."""
        stop_pool(pool)


def require_positive(**values: int | None) -> None:
    """Raises ValueError for a count below 1; None stands for a default."""
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be a positive integer, got {value}.")
