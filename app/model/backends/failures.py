"""The one place that knows how runtimes say that memory or the device failed."""

from __future__ import annotations

from app.errors import BackendError, BackendOutOfMemory, DeviceError
from app.model.messages import first_line

OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory",
    "Failed to allocate",
    "STATUS_ALLOC_FAILED",
    "bad_alloc",
    "bad allocation",
)
DEVICE = ("CUDA error", "CUDA failure", "CUBLAS", "cuBLAS", "CUDNN", "cuDNN")


def translated(error: Exception, runtime: str) -> BackendError | None:
    """Our error for a runtime's, by its text since most have no class of their own; None for all other failures.

    Memory comes first: a GPU out of memory is reported as a CUDA error, too.
    """
    text = str(error)
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        return BackendOutOfMemory(f"{runtime} ran out of memory: {first_line(error)}")
    if any(words in text for words in DEVICE):
        return DeviceError(f"the device failed under {runtime}: {first_line(error)}")
    return None
