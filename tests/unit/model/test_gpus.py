"""What NVIDIA's driver says of the machine's GPUs."""

from __future__ import annotations

from pathlib import Path

from app.model.gpus import gpu_models


def test_names_in_order(tmp_path: Path) -> None:
    for place, name in (("0000:41:00.0", "NVIDIA L4"), ("0000:01:00.0", "NVIDIA A100-SXM4-80GB")):
        (tmp_path / place).mkdir()
        text = f"Model: \t\t {name}\nIRQ:   \t\t 99\nGPU UUID: \t GPU-1\n"
        (tmp_path / place / "information").write_text(text)
    assert gpu_models(tmp_path) == ["NVIDIA A100-SXM4-80GB", "NVIDIA L4"]


def test_a_machine_without_the_driver_has_none(tmp_path: Path) -> None:
    assert gpu_models(tmp_path / "gpus") == []
