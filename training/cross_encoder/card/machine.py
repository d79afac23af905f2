"""Emissions, hardware, time and versions: what the run cost and what it ran on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.cross_encoder.card.markdown import escape

PACKAGES = {
    "crossrank": "crossrank",
    "Transformers": "transformers",
    "PyTorch": "torch",
    "Accelerate": "accelerate",
    "Datasets": "datasets",
    "Tokenizers": "tokenizers",
}


def emissions_of(callbacks: Iterable[Any]) -> dict[str, Any] | None:
    """What CodeCarbon measured, in the fields of the Hub's `co2_eq_emissions` (grams, kWh, GB); None without it.

    After its `stop()` the tracker keeps the final figures, while the running ones cannot be asked for any more.
    """
    for callback in callbacks:
        if any(kind.__name__ == "CodeCarbonCallback" for kind in type(callback).__mro__):
            return _measured(getattr(callback, "tracker", None))
    return None


def _measured(tracker: Any) -> dict[str, Any] | None:
    data = getattr(tracker, "final_emissions_data", None)
    if data is None and getattr(tracker, "_start_time", None) is not None:
        data = tracker._prepare_emissions_data()
    if data is None:
        return None
    found = {
        "emissions": float(data.emissions) * 1000,  # CodeCarbon measures kilograms, the Hub shows grams
        "energy_consumed": float(data.energy_consumed),
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "on_cloud": data.on_cloud == "Y",
        "cpu_model": data.cpu_model,
        "ram_total_size": float(data.ram_total_size),
    }
    return found | ({"hardware_used": data.gpu_model} if data.gpu_model else {})


def impact(emissions: dict[str, Any]) -> str:
    return "\n".join(
        [
            "Carbon emissions were measured using [CodeCarbon](https://github.com/mlco2/codecarbon).",
            f"- **Energy Consumed**: {emissions['energy_consumed']:.3f} kWh",
            f"- **Carbon Emitted**: {emissions['emissions'] / 1000:.3f} kg of CO2",
        ]
    )


def hardware(emissions: dict[str, Any] | None) -> str:
    """As CodeCarbon found it, else as this process sees it."""
    found = emissions or {"hardware_used": _gpus(), "cpu_model": _cpu(), "ram_total_size": _ram_gb()}
    lines = [f"- **On Cloud**: {'Yes' if found['on_cloud'] else 'No'}"] if "on_cloud" in found else []
    lines.append(f"- **GPU Model**: {escape(found.get('hardware_used') or 'No GPU used')}")
    lines.append(f"- **CPU Model**: {escape(found['cpu_model'] or 'unknown')}")
    if found["ram_total_size"]:
        lines.append(f"- **RAM Size**: {found['ram_total_size']:.2f} GB")
    return "\n".join(lines)


def _gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file() and (match := re.search(r"model name\s*: (.+)", info.read_text(errors="replace"))):
        return match[1]
    return platform.processor() or platform.machine()


def _ram_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return 0.0


def versions() -> dict[str, str]:
    """Python and the installed ones of the packages that made the model."""
    found = {"Python": platform.python_version()}
    for title, package in PACKAGES.items():
        try:
            found[title] = version(package)
        except PackageNotFoundError:  # run from a checkout, or an extra that is not installed
            continue
    return found
