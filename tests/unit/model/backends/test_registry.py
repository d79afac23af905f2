"""The registry of backends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.errors import ConfigError
from app.model.backends import BACKENDS, EXTRAS, BackendOptions, backend_class


@pytest.mark.parametrize("name", BACKENDS)
def test_every_registered_backend_can_choose_weights(name: str) -> None:
    """A registry line leads to a class that answers for a repository without loading anything."""
    assert backend_class(name).select_weights(["README.md"], BackendOptions()) == []
    assert name in EXTRAS


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    """A typing error in a setting is told at start."""
    with pytest.raises(ConfigError, match="backend 'tensorflow' is unknown; choose one of onnx, openvino, torch"):
        backend_class("tensorflow")


def test_a_runtime_that_is_not_installed_names_its_extra() -> None:
    """In a process that cannot import onnxruntime."""
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from app.errors import ConfigError\n"
        "from app.model.backends import backend_class\n"
        "try: backend_class('onnx')\n"
        "except ConfigError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == ("backend 'onnx' needs onnxruntime, which is not installed: pip install 'crossrank[cpu]'\n")


def test_the_library_imports_no_runtime_by_itself() -> None:
    """A serving install stays small and starts fast."""
    script = (
        "import sys, app.model.cross_encoder\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'openvino', 'huggingface_hub', 'fastapi'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
