"""The torch backend's own refusals and options; its scores are compared in test_parity."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from app.errors import ArtifactError, BackendOutOfMemory, ConfigError
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.torch import TorchBackend
from app.model.cpus import available_cpus
from app.model.cross_encoder import CrossEncoder

NAMES = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture
def model(reranker_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny reranker whose weights a test may damage."""
    return Path(shutil.copytree(reranker_dir, tmp_path / "model"))


def load(model: Path, options: BackendOptions | None = None) -> TorchBackend:
    return TorchBackend(read_artifact(model), options or BackendOptions())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin"], ["pytorch_model.bin"]),
        (["model.safetensors", "model.fp16.safetensors", "adapter_model.safetensors"], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json"], []),
        (["model.safetensors.index.json", "pytorch_model.bin"], ["pytorch_model.bin"]),
        (["onnx/model.onnx", "tf_model.h5"], []),
    ],
)
def test_weights_are_safetensors_else_pytorch_s_and_whole(names: list[str], expected: list[str]) -> None:
    """Variants of other precisions stay where they are, and a missing shard makes the set useless."""
    assert TorchBackend.select_weights(names, BackendOptions()) == expected


def test_missing_weights_are_named(model: Path) -> None:
    """With the remedy."""
    (model / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors: missing, .*; save the model again"):
        load(model)


def test_a_truncated_checkpoint_is_refused_on_one_line(model: Path) -> None:
    """Also without a manifest."""
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"model: transformers cannot load it .*; save the model again") as refusal:
        load(model)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_checkpoint_without_a_trained_head_is_refused(model: Path) -> None:
    """transformers would put random numbers there and serve them."""
    weights = load_file(model / "model.safetensors")
    bare = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(bare, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"the weights lack classifier\.bias, .* not a trained .*; train it first"):
        load(model)


def test_the_head_of_another_number_of_labels_is_refused(model: Path, classifier_dir: Path) -> None:
    """Three labels' weights under a config of one."""
    shutil.copy(classifier_dir / "model.safetensors", model / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model: transformers cannot load it|the weights lack"):
        load(model)


def test_an_unknown_device_is_refused(model: Path) -> None:
    """With the ones there are."""
    with pytest.raises(ConfigError, match=r"device 'quantum' is unknown; choose auto, cpu, cuda or cuda:N"):
        load(model, BackendOptions(device="quantum"))


def test_a_gpu_that_is_not_there_is_refused(model: Path) -> None:
    """Also the hundredth of a machine that has some."""
    with pytest.raises(ConfigError, match="device cuda:99 is not available to PyTorch here"):
        load(model, BackendOptions(device="cuda:99"))


def test_threads_follow_the_option_and_else_the_cgroup(model: Path) -> None:
    """PyTorch by itself counts the host's cores."""
    load(model, BackendOptions(device="cpu", threads=1))
    assert torch.get_num_threads() == 1
    load(model, BackendOptions(device="cpu"))
    assert torch.get_num_threads() == available_cpus()


def test_a_batch_beyond_all_memory_is_reported_as_such(model: Path) -> None:
    """Half a petabyte of hidden states; the backend answers the next batch as before."""
    loaded = load(model, BackendOptions(device="cpu"))
    small = {name: np.ones((1, 5), dtype=np.int64) for name in NAMES}
    before = loaded.forward(small)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, dtype=np.int64), (2**33, 512), (0, 0))
    with pytest.raises(BackendOutOfMemory, match=r"PyTorch ran out of memory: ."):
        loaded.forward(dict.fromkeys(NAMES, huge))
    assert np.array_equal(loaded.forward(small), before)


def test_other_failures_of_a_forward_keep_their_class(model: Path) -> None:
    """A token id outside the table is a fault of the artifact, not of the memory."""
    loaded = load(model, BackendOptions(device="cpu"))
    with pytest.raises(IndexError):
        loaded.forward(
            {**{name: np.ones((1, 5), dtype=np.int64) for name in NAMES}, "input_ids": np.full((1, 5), 10**6)}
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_models_score_alike(reranker_dir: Path) -> None:
    """`compile` changes the speed only."""
    pairs = [("cat", "dog"), ("what is the capital", "paris " * 30), ("", "")]
    plain = CrossEncoder.load(reranker_dir, "torch", BackendOptions(device="cpu"))
    compiled = CrossEncoder.load(reranker_dir, "torch", BackendOptions(device="cpu", compile=True))
    np.testing.assert_allclose(compiled.predict(pairs), plain.predict(pairs), atol=1e-5)
