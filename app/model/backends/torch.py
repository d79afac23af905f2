"""PyTorch: any `AutoModelForSequenceClassification`, on CPU or GPU, in fp32, bf16 or fp16."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from app.errors import ArtifactError, BackendOutOfMemory, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.backends.failures import translated
from app.model.cpus import available_cpus
from app.model.messages import first_line
from app.model.types import Batch, FloatArray

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WEIGHTS = (
    re.compile(r"model(-\d+-of-(?P<shards>\d+))?\.safetensors(\.index\.json)?"),
    re.compile(r"pytorch_model(-\d+-of-(?P<shards>\d+))?\.bin(\.index\.json)?"),
)


class TorchBackend:
    """Runs the model's own weights; the reference that exported graphs are compared with."""

    name = "torch"

    def __init__(self, artifact: Artifact, options: BackendOptions) -> None:
        if options.precision not in DTYPES:
            raise ConfigError(f"the torch backend computes in {', '.join(DTYPES)}, not in {options.precision}")
        device = _device(options.device)
        self.device = str(device)
        weights = self.select_weights([path.name for path in artifact.directory.iterdir()], options)
        if not weights:
            raise ArtifactError(
                f"{artifact.directory / 'model.safetensors'}: missing, or one of its parts; save the model again"
            )
        for name in weights:
            artifact.require(name)
        self.source = weights[0]
        if device.type == "cpu":
            torch.set_num_threads(options.threads or available_cpus())
        model = _load(artifact, DTYPES[options.precision]).to(device).eval()
        accepted = set(inspect.signature(model.forward).parameters)
        self._inputs = {"input_ids", "attention_mask"} | ({"token_type_ids"} & accepted if artifact.segments else set())
        self._model = torch.compile(model, dynamic=True) if options.compile else model

    @classmethod
    def select_weights(cls, names: list[str], options: BackendOptions) -> list[str]:
        """Safetensors (sharded or not) if present, else PyTorch's own format; empty if a shard is missing."""
        for pattern in WEIGHTS:
            found = {name: match for name in names if (match := pattern.fullmatch(name))}
            shards = [int(match["shards"]) for match in found.values() if match["shards"]]
            whole = any(not match["shards"] and not name.endswith(".json") for name, match in found.items())
            if whole or (shards and len(shards) == shards[0]):
                return sorted(found)
        return []

    @torch.inference_mode()
    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels) in float32. Raises DeviceError, BackendOutOfMemory."""
        try:
            inputs = {name: torch.from_numpy(batch[name]).to(self.device) for name in self._inputs}
            logits = self._model(**inputs).logits
            return np.asarray(logits.float().cpu().numpy())
        except (RuntimeError, MemoryError) as error:
            ours = translated(error, "PyTorch")
            if ours is None:
                raise
            if isinstance(ours, BackendOutOfMemory) and self.device != "cpu":
                torch.cuda.empty_cache()
            raise ours from error


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"device {wanted!r} is unknown; choose auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {wanted} is not available to PyTorch here; use cpu, or install a CUDA build of torch"
        )
    return device


def _load(artifact: Artifact, dtype: torch.dtype) -> Any:
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            artifact.directory, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers lets many kinds through
        raise ArtifactError(
            f"{artifact.directory}: transformers cannot load it as a sequence classifier ({first_line(error)}); "
            "save the model again"
        ) from error
    if report["missing_keys"]:
        raise ArtifactError(
            f"{artifact.directory}: the weights lack {sorted(report['missing_keys'])[0]}, so this is not a trained "
            "sequence classifier; train it first"
        )
    return model
