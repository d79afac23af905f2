"""What runtimes say, and what we make of it."""

from __future__ import annotations

import pytest

from app.errors import BackendOutOfMemory, DeviceError
from app.model.backends.failures import translated

MEMORY = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to allocate",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... Failed to allocate memory for requested buffer of size 140737488",
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0",
    "Exception from src/inference/src/cpp/infer_request.cpp:223:\nstd::bad_alloc",
]
DEVICE = [
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: device-side assert triggered",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
    "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 719: unspecified launch failure ; GPU=0",
    "[ONNXRuntimeError] : 1 : FAIL : CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
]
OTHER = [
    "index out of range in self",
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: input_ids",
    "",
]


@pytest.mark.parametrize("message", MEMORY)
def test_lack_of_memory_asks_for_a_smaller_batch(message: str) -> None:
    """On the host or the device, on one line."""
    ours = translated(RuntimeError(message), "Runtime")
    assert type(ours) is BackendOutOfMemory
    assert len(str(ours).splitlines()) == 1


def test_python_s_own_memory_error_counts() -> None:
    """It has no text."""
    assert type(translated(MemoryError(), "Runtime")) is BackendOutOfMemory


@pytest.mark.parametrize("message", DEVICE)
def test_a_failing_device_is_told_from_a_failing_item(message: str) -> None:
    """It is no fault of the request that met it."""
    ours = translated(RuntimeError(message), "Runtime")
    assert type(ours) is DeviceError
    assert len(str(ours).splitlines()) == 1


@pytest.mark.parametrize("message", OTHER)
def test_everything_else_is_the_item_s_failure(message: str) -> None:
    """And keeps its class."""
    assert translated(RuntimeError(message), "Runtime") is None
