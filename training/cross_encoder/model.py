"""`CrossEncoder`: a model that scores pairs of texts, with everything that belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.cross_encoder import fp32, hub, saving
from training.cross_encoder.activation import default_activation, load_activation, saved_activation
from training.cross_encoder.chain import Chain
from training.cross_encoder.devices import Placed, default_device
from training.cross_encoder.encoders import Encoders
from training.cross_encoder.fit import FitMixin
from training.cross_encoder.forward import score_rows
from training.cross_encoder.graph import Graph
from training.cross_encoder.input_names import input_names
from training.cross_encoder.inputs import is_single
from training.cross_encoder.legacy_arguments import legacy_init, warn_once
from training.cross_encoder.loading import Library, Loaded, Wishes, load, read_library
from training.cross_encoder.merging import merge_models
from training.cross_encoder.model_card import CrossEncoderModelCardData, write_model_card
from training.cross_encoder.modules.assembly import assemble
from training.cross_encoder.modules.composite import Composite, labels_of
from training.cross_encoder.modules.setup import CLASSIFICATION
from training.cross_encoder.older_names import OlderNames
from training.cross_encoder.padded import PaddedScorer
from training.cross_encoder.peft_adapters import PeftAdapterMixin
from training.cross_encoder.predicting import Predictor
from training.cross_encoder.preprocessing import Preprocessing
from training.cross_encoder.prompts import checked_prompts
from training.cross_encoder.sources import Source, locate

BACKENDS = ("torch", "onnx", "openvino")


class CrossEncoder(Predictor, FitMixin, PeftAdapterMixin, OlderNames, Preprocessing, Chain, Placed, nn.Module):
    """Scores pairs of texts; trained by `CrossEncoderTrainer`, saved as a plain transformers directory.

    It is a sequence classifier, or a causal language model that answers "yes" or "no", or a transformer with `modules`
    behind it of which the last one gives "scores". `predict` and `rank` may be called from several threads at once.
    The constructor raises FileNotFoundError and NotADirectoryError for a path that is no directory, ValueError for
    contradictory arguments.
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
        self.backend = backend
        self.trust_remote_code = trust_remote_code
        source, library = None, Library()
        if model_name_or_path:
            cache = cache_folder or os.getenv("SENTENCE_TRANSFORMERS_HOME")
            place = None if cache is None else os.fspath(cache)
            name = locate(model_name_or_path)
            source = Source(name, place, revision, token, local_files_only, trust_remote_code)
            library = read_library(source)
        wishes = Wishes(dict(model_kwargs or {}), dict(processor_kwargs or {}), dict(config_kwargs or {}), seed)
        if num_labels is not None:
            wishes.config["num_labels"] = num_labels
        if max_length is not None:
            wishes.processor["model_max_length"] = max_length
        if source is None:
            self._take(assemble(modules, max_length))
            self.to(device or default_device())
        else:
            self._take(load(source, library, wishes, with_weights=backend == "torch"))
            self._place(source, wishes.model, device)
        self._take_settings(library, prompts, default_prompt_name, activation_fn)
        self.keep_in_fp32_modules: list[str] = []
        saved = library.settings.get("keep_in_fp32_modules")
        self.set_keep_in_fp32_modules(keep_in_fp32_modules if keep_in_fp32_modules is not None else saved or [])
        self.model_card_data = model_card_data or CrossEncoderModelCardData(
            local_files_only=local_files_only or source is None or source.is_local
        )
        self.model_card_data.register_model(self)

    def _take(self, loaded: Loaded) -> None:
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.fresh_parameters = loaded.fresh
        self.setup = loaded.setup
        self._tail_names = tuple(loaded.tail)
        for name, module in loaded.tail.items():
            self.add_module(name, module if self.dtype is None else module.to(self.dtype))
        self._config = loaded.config
        self._device_map: Any = None
        self._compiled = False
        self._encoders = Encoders(loaded.setup.chat)
        self.processing_kwargs: dict[str, Any] = loaded.processing
        self.graph: Graph | None = None

    def _place(self, source: Source, model_kwargs: dict[str, Any], device: Any) -> None:
        self._device_map = model_kwargs.get("device_map")
        if self.backend != "torch":
            self.graph = Graph(source, self.backend, None if device is None else str(device), model_kwargs)
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
        self.loaded_card = library.card
        path = settings.get("activation_fn")
        if activation is None and path is not None:
            activation = load_activation(path, self.trust_remote_code)
        self.activation_fn = activation or self.get_default_activation_fn()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("activation_fn", "default_activation_function"):
            # attributes, no part of the network, where nn.Module would put a value that is a module
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
    def tail(self) -> dict[str, nn.Module]:
        """The modules after the transformer, by name; a sequence classifier has none."""
        return {name: self.get_submodule(name) for name in self._tail_names}

    @property
    def network(self) -> nn.Module:
        """What gives logits: the transformer itself if it is a sequence classifier, else it with the modules behind."""
        if self.setup.task == CLASSIFICATION and not self._tail_names:
            classifier: nn.Module = self.model
            return classifier
        return Composite(self.model, self.setup, self.tail.values())

    @property
    def is_placed(self) -> bool:
        """Whether a `device_map` decides where the model is."""
        return self._device_map is not None

    @property
    def num_labels(self) -> int:
        """Number of scores per pair."""
        return labels_of(self.config, self.tail.values())

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a pair, special tokens included; longer pairs are cut."""
        return int(self.tokenizer.model_max_length)

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.tokenizer.model_max_length = value

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
        network = self.network
        if isinstance(network, Composite):
            return network.scored(features if not kwargs else {**features, **kwargs})
        known = input_names(network)
        arguments = {name: value for name, value in {**features, **kwargs}.items() if name in known}
        features["scores"] = network(**{**arguments, "return_dict": True}).logits
        return features

    def _score(self, features: dict[str, Any]) -> Tensor:
        rows, pad, network = features["rows"], self.pair_encoder.padding, self.network
        if self._compiled and rows:  # the packed pass does not go through the module that was compiled
            return PaddedScorer(network)([rows], pad)
        limits = {name: features.get(name) for name in ("chunk_tokens", "mini_batch_tokens")}
        return score_rows(network, rows, pad=pad, **limits)

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

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recomputes activations in the backward pass instead of keeping them."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **kwargs)

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
    elif modules is None:
        raise ValueError("CrossEncoder needs model_name_or_path: a directory, or an id on the Hugging Face Hub")
    elif backend != "torch":
        raise ValueError(f"modules are PyTorch's own: backend={backend!r} needs the name of an exported model")
