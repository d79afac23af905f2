"""`CrossEncoder`: a sequence classifier that scores pairs of texts, with everything that belongs to it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder import fp32, hub, saving
from training.cross_encoder.activation import default_activation, load_activation, saved_activation
from training.cross_encoder.devices import default_device
from training.cross_encoder.encoders import Encoders
from training.cross_encoder.encoding import PairEncoder
from training.cross_encoder.fit import FitMixin
from training.cross_encoder.forward import score_rows
from training.cross_encoder.graph import Graph
from training.cross_encoder.inputs import as_batch, encode, is_single
from training.cross_encoder.legacy_arguments import (
    PREDICT_IGNORED,
    PREDICT_RENAMES,
    RANK_IGNORED,
    legacy_call,
    legacy_init,
    warn_once,
)
from training.cross_encoder.loading import Library, Wishes, load, read_library
from training.cross_encoder.merging import merge_models
from training.cross_encoder.model_card import CrossEncoderModelCardData, write_model_card
from training.cross_encoder.older_names import OlderNames
from training.cross_encoder.padded import PaddedScorer, pad_rows
from training.cross_encoder.peft_adapters import PeftAdapters
from training.cross_encoder.pool import Pool, logits_in_pool, start_pool, stop_pool
from training.cross_encoder.prediction import activated, converted, logits_of, ranked, wants_progress
from training.cross_encoder.prompts import checked_prompts, resolve_prompt
from training.cross_encoder.sources import Source, locate

Device = str | torch.device | Sequence[str | torch.device] | None
BACKENDS = ("torch", "onnx", "openvino")


class CrossEncoder(FitMixin, PeftAdapters, OlderNames, nn.Module):
    """Scores pairs of texts; trained by `CrossEncoderTrainer`, saved as a plain transformers directory.

    `predict` and `rank` may be called from several threads at once. The constructor raises FileNotFoundError and
    NotADirectoryError for a path that is no directory, ValueError for contradictory arguments.
    """

    model: Any
    """The transformers model; None where a graph scores (`backend` "onnx" or "openvino")."""
    model_type = "CrossEncoder"
    _no_split_modules: Sequence[str] = ()
    _keys_to_ignore_on_save = None

    @legacy_init
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        modules: Any = None,
        device: str | torch.device | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        model_card_data: CrossEncoderModelCardData | None = None,
        backend: str = "torch",
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Callable[..., Any] | None = None,
        keep_in_fp32_modules: list[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """As in sentence-transformers 6.2, and one argument more: `seed` for a head that no checkpoint holds.

        Without it fresh weights come from torch's global generator, so they depend on what was drawn before.
        Weights are float32 whatever the checkpoint's type, unless `model_kwargs` names a `dtype`.
        """
        super().__init__()
        require_source(model_name_or_path, modules, backend)
        cache = cache_folder or os.getenv("SENTENCE_TRANSFORMERS_HOME")
        source = Source(
            locate(model_name_or_path),  # type: ignore[arg-type]  # checked above
            None if cache is None else os.fspath(cache),
            revision,
            token,
            local_files_only,
            trust_remote_code,
        )
        wishes = Wishes(dict(model_kwargs or {}), dict(processor_kwargs or {}), dict(config_kwargs or {}), seed)
        if num_labels is not None:
            wishes.config["num_labels"] = num_labels
        if max_length is not None:
            wishes.processor["model_max_length"] = max_length
        self.backend = backend
        self.trust_remote_code = trust_remote_code
        library = read_library(source)
        self._take_weights(source, library, wishes, device)
        self._take_settings(library, prompts, default_prompt_name, activation_fn)
        self.keep_in_fp32_modules: list[str] = []
        saved = library.settings.get("keep_in_fp32_modules")
        self.set_keep_in_fp32_modules(keep_in_fp32_modules if keep_in_fp32_modules is not None else saved or [])
        self.model_card_data = model_card_data or CrossEncoderModelCardData(
            local_files_only=local_files_only or source.is_local
        )
        self.model_card_data.register_model(self)

    def _take_weights(self, source: Source, library: Library, wishes: Wishes, device: Any) -> None:
        loaded = load(source, library, wishes, with_weights=self.backend == "torch")
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.fresh_parameters = loaded.fresh
        self._config = loaded.config
        self._device_map = wishes.model.get("device_map")
        self._compiled = False
        self._encoders = Encoders()
        self.graph: Graph | None = None
        if self.backend != "torch":
            self.graph = Graph(source, self.backend, None if device is None else str(device), wishes.model)
        elif self._device_map is None:
            self.to(device or default_device())
        elif device is not None:
            warn_once(f"CrossEncoder: device={device} is ignored, model_kwargs['device_map'] places the model")

    def _take_settings(
        self,
        library: Library,
        prompts: dict[str, str] | None,
        default_prompt_name: str | None,
        activation: Callable[..., Any] | None,
    ) -> None:
        settings = library.settings
        self.default_prompt_name = default_prompt_name or settings.get("default_prompt_name")
        self.prompts = checked_prompts({**settings.get("prompts", {}), **(prompts or {})}, self.default_prompt_name)
        self.processing_kwargs: dict[str, Any] = library.transformer.get("processing_kwargs") or {}
        self.loaded_card = library.card
        path = settings.get("activation_fn")
        if activation is None and path is not None:
            activation = load_activation(path, self.trust_remote_code)
        self.activation_fn = activation or self.get_default_activation_fn()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "activation_fn":  # an attribute, no part of the network: it has no place among the weights
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # What it is.

    @property
    def config(self) -> Any:
        """The transformers configuration."""
        return self._config if self.model is None else self.model.config

    @config.setter
    def config(self, value: Any) -> None:
        self._config = value
        if self.model is not None:
            self.model.config = value

    @property
    def transformers_model(self) -> Any:
        """The transformers model, None where a graph scores."""
        return self.model

    @property
    def processor(self) -> Any:
        """The tokenizer, under the name it has where models take more than text."""
        return self.tokenizer

    @property
    def num_labels(self) -> int:
        """Number of scores per pair."""
        return int(self.config.num_labels)

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a pair, special tokens included; longer pairs are cut."""
        return int(self.tokenizer.model_max_length)

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.tokenizer.model_max_length = value

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        parameter = next(self.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def dtype(self) -> torch.dtype | None:
        """Type of the weights."""
        parameter = next(self.parameters(), None)
        return None if parameter is None else parameter.dtype

    @property
    def modalities(self) -> list[str]:
        """Kinds of input: text alone."""
        return ["text"]

    def supports(self, modality: str | tuple[str, ...]) -> bool:
        """Whether inputs of this kind are understood."""
        return modality in self.modalities

    def get_backend(self) -> str:
        """ "torch", "onnx" or "openvino"."""
        return self.backend

    def get_model_kwargs(self) -> list[str]:
        """Extra keywords that `predict` hands to the model: none."""
        return []

    def get_default_activation_fn(self) -> Callable[..., Any]:
        """The activation that the configuration names, else Sigmoid for one label, else Identity."""
        path = saved_activation(self.config)
        found = None if path is None else load_activation(path, self.trust_remote_code)
        return found or default_activation(self.num_labels)

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether `inputs` is one pair rather than a batch."""
        return is_single(inputs)

    def set_keep_in_fp32_modules(self, module_names: list[str]) -> None:
        """Makes exactly these linear layers compute in float32, under autocast too. Raises ValueError for others."""
        if module_names and self.backend != "torch":
            raise ValueError("keep_in_fp32_modules needs backend='torch'")
        self.keep_in_fp32_modules = fp32.select(self, self.keep_in_fp32_modules, module_names)

    # From texts to logits.

    @property
    def pair_encoder(self) -> PairEncoder:
        """Encodes texts for this model; made when first used, and anew when tokenizer or length change."""
        return self._encoders.get(self.tokenizer)

    def preprocess(self, inputs: Any, prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Padded tensors of a list of pairs (or texts), as `forward` takes them: shape (inputs, longest)."""
        if not inputs:
            return {}
        items, _ = as_batch([inputs] if is_single(inputs) else inputs)
        limit = max_length_of(kwargs.get("processing_kwargs"))
        rows = encode(self._encoders.get(self.tokenizer, limit), items, prompt)
        return {**pad_rows(rows, self.pair_encoder.padding), "modality": "text"}

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """`features` with "scores" added: logits of shape (rows, labels).

        "rows" (encoded, not padded) take the fast path, in chunks of "chunk_tokens", with at most
        "mini_batch_tokens" tokens of activations in memory, and give float32; padded tensors go through the
        transformers model as they are.
        """
        if self.graph is not None:
            raise RuntimeError(f"a model with backend={self.backend!r} only predicts; load it with backend='torch'")
        if "rows" in features:
            features["scores"] = self._score(features)
            return features
        known = inspect.signature(self.model.forward).parameters
        arguments = {name: value for name, value in {**features, **kwargs}.items() if name in known}
        features["scores"] = self.model(**{**arguments, "return_dict": True}).logits
        return features

    def _score(self, features: dict[str, Any]) -> Tensor:
        rows, pad = features["rows"], self.pair_encoder.padding
        if self._compiled and rows:  # the packed pass does not go through the module that was compiled
            return PaddedScorer(self.model)([rows], pad)
        limits = {name: features.get(name) for name in ("chunk_tokens", "mini_batch_tokens")}
        return score_rows(self.model, rows, pad=pad, **limits)

    # Predicting.

    @legacy_call(PREDICT_RENAMES, PREDICT_IGNORED)
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
        logits = self._logits(
            items,
            resolve_prompt(self.prompts, self.default_prompt_name, prompt, prompt_name),
            batch_size,
            show_progress_bar,
            device,
            pool,
            chunk_size,
            processing_kwargs,
        )
        with torch.inference_mode():
            scores = activated(logits, activation_fn or self.activation_fn, self.num_labels, apply_softmax)
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
        require_positive(batch_size=batch_size, chunk_size=chunk_size)
        limit = max_length_of({**self.processing_kwargs, **(processing_kwargs or {})})
        rows = encode(self._encoders.get(self.tokenizer, limit), items, prompt)
        progress = wants_progress(show_progress_bar)
        if self.graph is not None:
            return self.graph.logits(rows, batch_size)
        if pool is not None:
            return logits_in_pool(pool, rows, self.num_labels, batch_size, chunk_size, progress)
        if isinstance(device, list | tuple) and device:
            pool = self.start_multi_process_pool(list(device))
            try:
                return logits_in_pool(pool, rows, self.num_labels, batch_size, chunk_size, progress)
            finally:
                self.stop_multi_process_pool(pool)
        if device is not None and not isinstance(device, list | tuple) and self._device_map is None:
            self.to(device)
        return logits_of(self, rows, batch_size, progress)

    @legacy_call({"activation_fct": "activation_fn"}, RANK_IGNORED)
    def rank(
        self,
        query: str,
        documents: Sequence[str],
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
        queries: Sequence[str],
        documents: Sequence[Sequence[str]],
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
        if self.num_labels != 1:
            raise ValueError(
                f"rank needs a model with num_labels=1, this one has {self.num_labels}; use predict with pairs"
            )
        if len(queries) != len(documents):
            raise ValueError(f"{len(queries)} queries but {len(documents)} lists of documents")
        items, _ = as_batch([(query, text) for query, texts in zip(queries, documents, strict=True) for text in texts])
        resolved = resolve_prompt(self.prompts, self.default_prompt_name, prompt, prompt_name)
        logits = self._logits(items, resolved, batch_size, show_progress_bar, device, pool, chunk_size)
        with torch.inference_mode():
            scores = activated(logits, activation_fn or self.activation_fn, 1, False).tolist()
        raw = logits[:, 0].tolist()
        answers, start = [], 0
        for texts in documents:
            end = start + len(texts)
            answers.append(ranked(scores[start:end], raw[start:end], texts if return_documents else None, top_k))
            start = end
        return answers

    def start_multi_process_pool(self, target_devices: list[str | torch.device] | None = None) -> Pool:
        """Processes for `predict(pool=...)`, one per device; by default all accelerators, else four on the CPU."""
        if self.graph is not None or self._device_map is not None:
            raise ValueError("a pool places the model itself: load it with backend='torch' and without a device_map")
        return start_pool(self, target_devices)

    @staticmethod
    def stop_multi_process_pool(pool: Pool) -> None:
        """Ends the processes of a pool."""
        stop_pool(pool)

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | os.PathLike[str] | None = None) -> Any:
        """What `evaluator` returns for this model; its files go into `output_path`, which is made if need be."""
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
        return evaluator(self, output_path)

    # Housekeeping.

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """`torch.compile` of the transformers model, which `predict` then calls with padded batches."""
        self.model.compile(*args, **kwargs)
        self._compiled = True

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Recomputes activations in the backward pass instead of keeping them."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)

    def gradient_checkpointing_disable(self) -> None:
        """Keeps activations again."""
        self.activation_checkpointing_disable()

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """`gradient_checkpointing_enable`, by the name that it has since transformers 5.23."""
        if hasattr(self.model, "activation_checkpointing_enable"):
            self.model.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)
        else:
            self.model.gradient_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def activation_checkpointing_disable(self) -> None:
        """`gradient_checkpointing_disable`, by the name that it has since transformers 5.23."""
        if hasattr(self.model, "activation_checkpointing_disable"):
            self.model.activation_checkpointing_disable()
        else:
            self.model.gradient_checkpointing_disable()

    @classmethod
    def merge(cls, models: Sequence[Any], method: str = "linear", **kwargs: Any) -> CrossEncoder:
        """A new model from several fine-tunes of one ancestor: arguments as in `merging.merge_models`."""
        return merge_models(cls, models, method, **kwargs)

    def save(
        self,
        path: str | os.PathLike[str] | None,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Writes a directory that this class, sentence-transformers 6 and plain transformers load.

        With an adapter it holds the adapter, its head included, and names the base model. Weights are safetensors in
        any case; `train_datasets` is accepted and has no effect.
        """
        if path is None:
            return
        if not safe_serialization:
            warn_once("CrossEncoder.save: safe_serialization=False has no effect, weights are safetensors")
        folder = Path(path).expanduser()
        saving.save(self, folder)
        if create_model_card:
            write_model_card(self, folder, model_name)

    def save_pretrained(
        self,
        path: str | os.PathLike[str] | None,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """`save`."""
        self.save(path, model_name, create_model_card, train_datasets, safe_serialization)

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str | None = None,
        local_model_path: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Uploads the model, creating the repository; returns the address of the commit or pull request."""
        return hub.push(
            self,
            repo_id,
            token=token,
            private=private,
            safe_serialization=safe_serialization,
            commit_message=commit_message,
            local_model_path=local_model_path,
            exist_ok=exist_ok,
            replace_model_card=replace_model_card,
            train_datasets=train_datasets,
            revision=revision,
            create_pr=create_pr,
        )


def require_source(name: Any, modules: Any, backend: str) -> None:
    """Raises ValueError unless the arguments say where the model comes from."""
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    if name:
        if modules is not None:
            warn_once("CrossEncoder: modules are ignored, the model is loaded by its name")
        return
    if modules is not None and not len(modules):
        raise ValueError("an empty list of modules was given to CrossEncoder; give at least one")
    if modules is not None:
        raise ValueError("CrossEncoder(modules=...): not supported; give the name of a model")
    raise ValueError("CrossEncoder needs model_name_or_path: a directory, or an id on the Hugging Face Hub")


def require_positive(**values: int | None) -> None:
    """Raises ValueError for a count below 1; None stands for a default."""
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be a positive integer, got {value}.")


def max_length_of(processing_kwargs: dict[str, Any] | None) -> int | None:
    """The limit on tokens in `{"text": {"max_length": ...}}`. Raises ValueError for settings that have no effect."""
    given = {**(processing_kwargs or {}).get("common", {}), **(processing_kwargs or {}).get("text", {})}
    limit = given.pop("max_length", None)
    given.pop("padding", None)  # rows are padded as little as possible, or not at all
    if given.pop("truncation", True) not in (True, "longest_first") or given:
        raise ValueError("processing_kwargs: only max_length can be set for text; pairs are cut longest_first")
    return None if limit is None else int(limit)
