"""`SentenceTransformer`: texts to embeddings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder.devices import Placed, default_device
from training.cross_encoder.legacy_arguments import warn_once
from training.cross_encoder.pool import Pool, start_pool, stop_pool
from training.cross_encoder.prediction import wants_progress
from training.cross_encoder.prompts import checked_prompts, resolve_prompt
from training.cross_encoder.sources import Source
from training.sentence_transformer import saving
from training.sentence_transformer.arguments import check_options, converted, named_modules, require_source
from training.sentence_transformer.embedding import Request, Shape, embed, embed_in_pool, pool_work, token_outputs
from training.sentence_transformer.fingerprint import digest_of
from training.sentence_transformer.loading import Loaded, load_modules
from training.sentence_transformer.modules.pooling import Pooling
from training.sentence_transformer.pretrained import locate_embedder
from training.sentence_transformer.texts import as_texts
from training.util.similarity import SimilarityFunction
from training.util.tensor import Embeddings

Device = str | torch.device | Sequence[str | torch.device] | None


class SentenceTransformer(Placed, nn.Sequential):
    """Embeds texts by a chain of modules, the first of which is a `Transformer` or a `StaticEmbedding`.

    Loads what sentence-transformers has saved and saves what it can load. `encode` may be called from several threads
    at once. The constructor raises FileNotFoundError and NotADirectoryError for a path that is no directory,
    ValueError for contradictory arguments and for a module that is not supported.
    """

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        modules: Sequence[nn.Module] | Mapping[str, nn.Module] | None = None,
        device: str | torch.device | None = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: bool | str | None = None,
        use_auth_token: bool | str | None = None,
        model_kwargs: dict[str, Any] | None = None,
        processor_kwargs: dict[str, Any] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        config_kwargs: dict[str, Any] | None = None,
        model_card_data: Any = None,
        backend: str = "torch",
        similarity_fn_name: str | SimilarityFunction | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        """As in sentence-transformers 6.2; `tokenizer_kwargs` and `use_auth_token` are older names.

        Weights keep the precision of the checkpoint unless `model_kwargs` names a `dtype`. For speed with less loss
        than weights in bfloat16 have, call `encode` of a float32 model under `torch.autocast`.
        """
        require_source(model_name_or_path, modules, backend)
        if model_name_or_path:
            cache = cache_folder or os.getenv("SENTENCE_TRANSFORMERS_HOME")
            source = Source(
                locate_embedder(model_name_or_path),
                None if cache is None else os.fspath(cache),
                revision,
                use_auth_token if token is None else token,
                local_files_only,
                trust_remote_code,
            )
            wishes = {
                "model_kwargs": model_kwargs,
                "processor_kwargs": processor_kwargs or tokenizer_kwargs,
                "config_kwargs": config_kwargs,
            }
            loaded = load_modules(source, wishes)
        else:
            loaded = Loaded(named_modules(modules or ()))
        super().__init__(loaded.modules)
        self.backend = backend
        self.trust_remote_code = trust_remote_code
        self.model_card_data = model_card_data
        self.loaded_card = loaded.card
        self._take_settings(loaded.settings, prompts, default_prompt_name, similarity_fn_name, truncate_dim)
        self._place(device, model_kwargs or {})

    def _take_settings(
        self,
        saved: Mapping[str, Any],
        prompts: Mapping[str, str | None] | None,
        default_prompt_name: str | None,
        similarity_fn_name: str | SimilarityFunction | None,
        truncate_dim: int | None,
    ) -> None:
        given = {name: text for name, text in (prompts or {}).items() if text is not None}
        known = {"query": None, "document": None, **(saved.get("prompts") or {}), **given}
        self.default_prompt_name = default_prompt_name or saved.get("default_prompt_name")
        self.prompts = checked_prompts(known, self.default_prompt_name)
        self.truncate_dim: int | None = saved.get("truncate_dim") if truncate_dim is None else truncate_dim
        self.similarity_fn_name = similarity_fn_name or saved.get("similarity_fn_name")

    def _place(self, device: str | torch.device | None, model_kwargs: Mapping[str, Any]) -> None:
        """All modules in the precision of the first, on one device unless a device_map places the model."""
        first = next(self[0].parameters(), None)
        if first is not None:
            for module in list(self)[1:]:
                module.to(first.dtype)
        self._device_map = model_kwargs.get("device_map")
        if self._device_map is None:
            self.to(device or default_device())
        elif first is not None:
            for module in list(self)[1:]:
                module.to(first.device)
            if device is not None:
                warn_once(f"SentenceTransformer: device={device} is ignored, device_map places the model")
        self.eval()

    # What it is.

    def _first_module(self) -> Any:
        return self[0]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the first module."""
        return self._first_module().tokenizer

    @tokenizer.setter
    def tokenizer(self, value: Any) -> None:
        self._first_module().tokenizer = value

    @property
    def max_seq_length(self) -> Any:
        """Most tokens of a text, special tokens included; longer texts are cut. Infinite for static embeddings."""
        return self._first_module().max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self._first_module().max_seq_length = value

    def get_max_seq_length(self) -> Any:
        """`max_seq_length`."""
        return self.max_seq_length

    @property
    def transformers_model(self) -> Any:
        """The transformers model, None for static embeddings."""
        return getattr(self._first_module(), "model", None)

    def get_backend(self) -> str:
        """ "torch"."""
        return self.backend

    def get_embedding_dimension(self) -> int | None:
        """Numbers per embedding that `encode` returns; None where no module says so."""
        found: int | None = None
        for module in self:
            dimension: Any = getattr(module, "get_embedding_dimension", None)
            if dimension is not None:
                found = int(dimension())
        limits = [one for one in (found, self.truncate_dim) if one is not None]
        return min(limits) if limits else None

    def get_sentence_embedding_dimension(self) -> int | None:
        """`get_embedding_dimension`, by the name that it had before release 5.4."""
        return self.get_embedding_dimension()

    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer and all settings: equal only for models with the same embeddings."""
        settings = {key: value for key, value in saving.model_settings(self).items() if key != "__version__"}
        return digest_of(dict(self.named_children()), settings)

    def set_pooling_include_prompt(self, include_prompt: bool) -> None:
        """Whether the tokens of a prompt count when tokens are pooled."""
        for module in self:
            if isinstance(module, Pooling):
                module.include_prompt = include_prompt
                return

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Inside, `encode` gives the first `truncate_dim` numbers of each embedding. For one thread at a time."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    # Encoding.

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None) -> dict[str, Any]:
        """Tensors of the texts as `forward` takes them."""
        found: dict[str, Any] = self._first_module().preprocess(inputs, prompt)
        return found

    def tokenize(self, texts: Sequence[str]) -> dict[str, Any]:
        """`preprocess`, by the name that it had before release 5.4."""
        return self.preprocess(texts)

    def encode(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Device = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Pool | None = None,
        chunk_size: int | None = None,
        *,
        sentences: Any = None,
    ) -> Any:
        """Embeddings of the texts in input order, shape (texts, dimension); of one text its embedding.

        A NumPy array, or a tensor with `convert_to_tensor`, or a list of tensors with neither. With `output_value`
        "token_embeddings" a list of tensors of shape (tokens, hidden), with None a list of dictionaries. The prompt
        stands before each text. A list of devices, or a pool, spreads the work over processes. `sentences` is the
        older name of `inputs`. Raises ValueError for a batch or chunk size below 1, an unknown prompt name, precision
        or output, and for inputs that are no texts.
        """
        texts, single = as_texts(sentences if inputs is None else inputs)
        check_options(batch_size, chunk_size, precision, output_value)
        found_prompt = resolve_prompt(self.prompts, self.default_prompt_name, prompt, prompt_name)
        dimension = self.truncate_dim if truncate_dim is None else truncate_dim
        shape = Shape(batch_size, normalize_embeddings, dimension)
        target = torch.device("cpu") if convert_to_numpy and not convert_to_tensor else None
        request = Request(texts, found_prompt, shape, wants_progress(show_progress_bar), target)
        several = pool is not None or (isinstance(device, list | tuple) and len(device) > 0)
        if output_value != "sentence_embedding":
            if several:
                raise ValueError(f"several processes give sentence embeddings only, not output_value={output_value!r}")
            self._move(device)
            outputs = token_outputs(self, request, output_value)
            return outputs[0] if single else outputs
        if several:
            found = self._in_processes(request, pool, device, chunk_size)
        else:
            self._move(device)
            found = embed(self, request)
        return converted(found, single, precision, convert_to_numpy, convert_to_tensor)

    def _move(self, device: Any) -> None:
        if device is not None and self._device_map is None and not isinstance(device, list | tuple):
            self.to(device)

    def _in_processes(self, request: Request, pool: Pool | None, device: Any, chunk_size: int | None) -> Tensor:
        if pool is not None:
            return embed_in_pool(self, request, pool, chunk_size)
        own = self.start_multi_process_pool(list(device))
        try:
            return embed_in_pool(self, request, own, chunk_size)
        finally:
            self.stop_multi_process_pool(own)

    def encode_query(
        self, inputs: Any = None, prompt_name: str | None = None, prompt: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`encode` with the prompt "query", unless another is given."""
        return self._encode_as("query", inputs, prompt_name, prompt, *args, **kwargs)

    def encode_document(
        self, inputs: Any = None, prompt_name: str | None = None, prompt: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`encode` with the prompt "document", unless another is given."""
        return self._encode_as("document", inputs, prompt_name, prompt, *args, **kwargs)

    def _encode_as(
        self, kind: str, inputs: Any, prompt_name: str | None, prompt: str | None, *args: Any, **kwargs: Any
    ) -> Any:
        if prompt_name is None and prompt is None and kind in self.prompts:
            prompt_name = kind
        return self.encode(inputs, prompt_name, prompt, *args, **kwargs)

    def encode_multi_process(self, sentences: Any, pool: Pool, **options: Any) -> Any:
        """`encode(pool=pool)`, by its older name."""
        return self.encode(sentences, pool=pool, **options)

    def start_multi_process_pool(self, target_devices: Sequence[str | torch.device] | None = None) -> Pool:
        """Processes for `encode(pool=...)`, one per device; by default all accelerators, else four on the CPU."""
        if self._device_map is not None:
            raise ValueError("a pool places the model itself: load it without a device_map")
        return start_pool(self, target_devices, pool_work)

    @staticmethod
    def stop_multi_process_pool(pool: Pool) -> None:
        """Ends the processes of a pool."""
        stop_pool(pool)

    def evaluate(self, evaluator: Callable[..., Any], output_path: str | os.PathLike[str] | None = None) -> Any:
        """What `evaluator` returns for this model; its files go into `output_path`, which is made if need be."""
        if output_path is not None:
            Path(output_path).mkdir(parents=True, exist_ok=True)
        return evaluator(self, output_path)

    # Similarity.

    @property
    def similarity_fn_name(self) -> str:
        """ "cosine" (the default), "dot", "euclidean" or "manhattan"."""
        return self._similarity_fn.value

    @similarity_fn_name.setter
    def similarity_fn_name(self, value: str | SimilarityFunction | None) -> None:
        self._similarity_fn = SimilarityFunction("cosine" if value is None else value)

    def similarity(self, embeddings1: Embeddings, embeddings2: Embeddings) -> Tensor:
        """Similarity of each of the first with each of the second embeddings: shape (first, second)."""
        return SimilarityFunction.to_similarity_fn(self._similarity_fn)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Embeddings, embeddings2: Embeddings) -> Tensor:
        """Similarity of row i of both: shape (rows,)."""
        return SimilarityFunction.to_similarity_pairwise_fn(self._similarity_fn)(embeddings1, embeddings2)

    # Saving.

    def save(
        self,
        path: str | os.PathLike[str] | None,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Writes a directory that this class and sentence-transformers 6 load.

        Weights are safetensors in any case; `train_datasets` is accepted and has no effect.
        """
        if path is None:
            return
        folder = Path(path).expanduser()
        saving.save(self, folder)
        if create_model_card:
            (folder / "README.md").write_text(saving.card(self, model_name), encoding="utf-8")

    save_pretrained = save
