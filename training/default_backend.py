"""The runtime for a command that was given none."""

from __future__ import annotations

from pathlib import Path

ONNX, TORCH = "onnx", "torch"


def backend_for(model: str | Path, backend: str | None) -> str:
    """`backend`, else torch for a directory without graphs, as training writes it, and onnx for all others."""
    if backend is not None:
        return backend
    directory = Path(model)
    return TORCH if directory.is_dir() and not any(directory.rglob("*.onnx")) else ONNX
