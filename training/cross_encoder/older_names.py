"""Members of a cross-encoder under the names of earlier releases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from training.cross_encoder.hub import organisation_merged
from training.cross_encoder.legacy_arguments import warn_once


class OlderNames:
    """What scripts of earlier releases call; each leads to the present member."""

    activation_fn: Callable[..., Any]
    max_seq_length: int
    preprocess: Callable[..., dict[str, Any]]
    push_to_hub: Callable[..., str]
    to: Callable[..., Any]

    @property
    def max_length(self) -> int:
        """Most tokens of a pair: `max_seq_length`."""
        return self.max_seq_length

    @max_length.setter
    def max_length(self, value: int) -> None:
        self.max_seq_length = value

    def get_max_seq_length(self) -> int:
        """`max_seq_length`."""
        return self.max_seq_length

    @property
    def default_activation_function(self) -> Callable[..., Any]:
        """Deprecated: `activation_fn`."""
        warn_once("CrossEncoder.default_activation_function is deprecated, use activation_fn")
        return self.activation_fn

    @default_activation_function.setter
    def default_activation_function(self, value: Callable[..., Any]) -> None:
        warn_once("CrossEncoder.default_activation_function is deprecated, use activation_fn")
        self.activation_fn = value

    @property
    def _target_device(self) -> torch.device:
        warn_once("CrossEncoder._target_device is deprecated, use device, and to(device) to change it")
        return cast(torch.device, cast(Any, self).device)

    @_target_device.setter
    def _target_device(self, device: str | torch.device) -> None:
        warn_once("CrossEncoder._target_device is deprecated, use device, and to(device) to change it")
        self.to(device)

    def tokenize(self, texts: Any, **kwargs: Any) -> dict[str, Any]:
        """Deprecated: `preprocess`."""
        warn_once("CrossEncoder.tokenize is deprecated, use preprocess")
        return self.preprocess(texts, **kwargs)

    def save_to_hub(
        self,
        repo_id: str | None = None,
        organization: str | None = None,
        private: bool | None = None,
        safe_serialization: bool = True,
        commit_message: str = "Add new model.",
        local_model_path: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        train_datasets: list[str] | None = None,
        *,
        token: str | None = None,
        repo_name: str | None = None,
    ) -> str:
        """Deprecated: `push_to_hub`. The positions are those of the time when it had no token."""
        warn_once("CrossEncoder.save_to_hub is deprecated, use push_to_hub")
        name = repo_id or repo_name
        if name is None:
            raise TypeError("save_to_hub needs a repo_id")
        return self.push_to_hub(
            organisation_merged(name, organization),
            token,
            private,
            safe_serialization,
            commit_message,
            local_model_path,
            exist_ok,
            replace_model_card,
            train_datasets,
        )
