"""What `auto` means where nothing needs to be measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.model import placement
from app.model.backends import BackendOptions
from app.model.placement import fixed_backend, installed_runtimes, readable, runtime_versions, select_weights

GRAPH, IR, WEIGHTS = "onnx/model.onnx", "openvino/openvino_model.xml", "model.safetensors"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes it look as if only these packages were installed."""

    def only(*packages: str) -> None:
        monkeypatch.setattr(placement, "find_spec", lambda name: name if name in packages else None)

    return only


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`fixed_backend` on a machine with a GPU that these runtimes can use."""

    def choose(names: list[str], usable: str = "", **options: Any) -> str:
        monkeypatch.setattr(placement, "_onnx_runtime_has_cuda", lambda: "onnx" in usable)
        monkeypatch.setattr(placement, "_torch_has_cuda", lambda: "torch" in usable)
        return fixed_backend(names, BackendOptions(**options), [tmp_path])

    return choose


def test_all_runtimes_of_this_environment_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixed-point arithmetic only where the processor has instructions for it."""
    monkeypatch.setattr(placement, "cpu_model", lambda: "Some CPU avx2 avx512_vnni avx512f")
    assert installed_runtimes() == ["onnx", "openvino", "torch", "vnni"]
    monkeypatch.setattr(placement, "cpu_model", lambda: "Some CPU avx2 avx_vnni avx512f")
    assert installed_runtimes() == ["onnx", "openvino", "torch"]
    assert set(runtime_versions(["onnx", "openvino"])) == {"onnxruntime", "openvino"}
    assert all(version[0].isdigit() for version in runtime_versions(["onnx", "openvino", "torch"]).values())


def test_without_a_runtime_there_is_nothing_to_choose(install: Callable[..., None]) -> None:
    install("torch")
    with pytest.raises(ConfigError, match=r"no runtime is installed: pip install 'crossrank\[cpu\]'"):
        fixed_backend([GRAPH], BackendOptions(), [])


@pytest.mark.parametrize(
    ("names", "options", "backend"),
    [
        ([GRAPH], {}, ""),
        ([GRAPH, WEIGHTS], {"device": "cpu"}, ""),
        ([IR], {}, ""),
        ([WEIGHTS], {}, "torch"),
        ([GRAPH], {"providers": ("XnnpackExecutionProvider",)}, "onnx"),
        ([GRAPH], {"device": "cuda"}, "onnx"),
    ],
)
def test_on_a_cpu_runtimes_compete_for_graphs(names: list[str], options: dict[str, Any], backend: str) -> None:
    assert fixed_backend(names, BackendOptions(**options), []) == backend


def test_on_a_gpu_onnx_runtime_comes_first_and_pytorch_second(gpu: Callable[..., str]) -> None:
    assert gpu([GRAPH, WEIGHTS], "onnx torch") == "onnx"
    assert gpu([GRAPH, WEIGHTS], "torch") == "torch"
    assert gpu([GRAPH], "torch") == ""
    assert gpu([GRAPH, WEIGHTS], "") == ""
    assert gpu([GRAPH, WEIGHTS], "onnx torch", device="cpu") == ""
    assert gpu([GRAPH], "", device="cuda") == "onnx", "whose error says what is missing"


def test_graphs_that_nothing_installed_can_read_are_not_there(install: Callable[..., None]) -> None:
    assert readable([GRAPH, IR, WEIGHTS], ["onnx"]) == [GRAPH, WEIGHTS]
    assert readable([GRAPH, IR, WEIGHTS], ["torch"]) == [WEIGHTS]
    install("torch", "transformers")
    assert fixed_backend([GRAPH, WEIGHTS], BackendOptions(), []) == "torch"


def test_a_download_holds_the_default_graph_or_the_weights() -> None:
    names = [GRAPH, f"{GRAPH}_data", IR, WEIGHTS]
    assert select_weights("auto", names, BackendOptions()) == [f"{GRAPH}_data", GRAPH]
    assert select_weights("auto", [IR, WEIGHTS], BackendOptions()) == [IR]
    assert select_weights("auto", [WEIGHTS], BackendOptions()) == [WEIGHTS]
    assert select_weights("torch", names, BackendOptions()) == [WEIGHTS]
    assert select_weights("auto", ["README.md"], BackendOptions()) == []
