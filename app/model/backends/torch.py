"""PyTorch: any `AutoModelForSequenceClassification`, on CPU or GPU, in fp32, bf16 or fp16.

Without padding where `app.model.packed` has a network for the architecture, unless the model is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from app.errors import ArtifactError, BackendOutOfMemory, ConfigError
from app.model.artifact import Artifact
from app.model.backends import BackendOptions
from app.model.backends.failures import translated
from app.model.backends.torch_devices import CpuDevice, CudaDevice, Device, Upload
from app.model.backends.torch_passes import PaddedPass, Pass, Work, best_pass
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
        self._runner: Device = CpuDevice() if device.type == "cpu" else CudaDevice(device)
        with self._errors(), torch.inference_mode():
            self._pass: Pass = (
                PaddedPass(torch.compile(model, dynamic=True), artifact.segments)
                if options.compile
                else best_pass(model, artifact.segments, self._logits)
            )

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
    def prepare(self, batch: Batch) -> Batch:
        """The same batch with its copy to the device under way: what can be done while another one computes.

        Raises as `forward`, which takes both.
        """
        with self._errors():
            work = self._pass.stage(batch)
            return Prepared(batch, self, work, self._runner.upload(work.inputs))

    @torch.inference_mode()
    def forward(self, batch: Batch) -> FloatArray:
        """Logits (rows, labels) in float32. Raises DeviceError, BackendOutOfMemory."""
        with self._errors():
            if isinstance(batch, Prepared) and batch.by is self:
                return batch.work.in_order(self._runner.run(batch.upload, batch.work.score))
            work = self._pass.stage(batch)
            return work.in_order(self._logits(work))

    def free_memory_bytes(self) -> int:
        """What nobody holds of the GPU's memory."""
        return int(torch.cuda.mem_get_info(torch.device(self.device))[0])

    def release_memory(self) -> None:
        """Gives back what PyTorch keeps of the GPU's memory for its next batches."""
        torch.cuda.empty_cache()

    def _logits(self, work: Work) -> FloatArray:
        return self._runner.run(self._runner.upload(work.inputs), work.score)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Failures of memory and device as our errors."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            ours = translated(error, "PyTorch")
            if ours is None:
                raise
            if isinstance(ours, BackendOutOfMemory) and self.device != "cpu":
                torch.cuda.empty_cache()
            raise ours from error


class Prepared(dict[str, NDArray[np.int64]]):
    """A padded batch, and what the backend `by` has made of it."""

    def __init__(self, batch: Batch, by: TorchBackend, work: Work, upload: Upload) -> None:
        super().__init__(batch)
        self.by, self.work, self.upload = by, work, upload


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
