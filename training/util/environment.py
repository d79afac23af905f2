"""What is installed and which device there is."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec

import torch


def is_dist_initialized() -> bool:
    """Whether this process belongs to a group; some builds of torch know no groups at all."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def get_device_name() -> str:
    """The device to work on: `cuda:N` with the process's own N, `mps`, `npu`, `xpu`, `hpu` or `cpu`."""
    if torch.cuda.is_available():
        return f"cuda:{_local_rank()}"
    if torch.backends.mps.is_available():
        return "mps"
    for name in ("npu", "xpu", "hpu"):
        if find_spec("habana_frameworks" if name == "hpu" else "torch") and _has(name):
            return name
    return "cpu"


def _local_rank() -> int:
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    rank = torch.distributed.get_rank() if is_dist_initialized() else 0
    return rank if rank < torch.cuda.device_count() else 0


def _has(backend: str) -> bool:
    module = getattr(torch, backend, None)
    return module is not None and bool(module.is_available())


def check_package_availability(package_name: str, owner: str) -> bool:
    """Whether a package is installed whose home page, or another of its links, belongs to `owner`."""
    try:
        found = metadata(package_name)
    except PackageNotFoundError:
        return False
    links = [found["Home-page"] or "", *(found.get_all("Project-URL") or [])]
    return any(owner in link for link in links)


def is_accelerate_available() -> bool:
    """Whether accelerate is installed."""
    return find_spec("accelerate") is not None


def is_datasets_available() -> bool:
    """Whether datasets is installed."""
    return find_spec("datasets") is not None


def is_training_available() -> bool:
    """Whether what training needs beside torch and transformers is installed."""
    return is_accelerate_available() and is_datasets_available()
