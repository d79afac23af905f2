"""Which GPUs this machine has, without loading a runtime."""

from __future__ import annotations

from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")


def gpu_models(driver: Path = DRIVER) -> list[str]:
    """The names that NVIDIA's driver gives them, sorted; empty where it shows none."""
    names = []
    try:
        for path in driver.glob("*/information"):
            fields = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
            names += [value.strip() for key, _, value in fields if key.strip() == "Model"]
    except OSError:
        return []
    return sorted(names)
