"""Blocks computed by processes on many machines, with Ray Data."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from app.errors import ConfigError
from app.model.cpus import available_cpus
from app.model.messages import first_line
from app.model.types import FloatArray
from training.engines import EngineOptions, Work
from training.engines.placement import Node, Placement, place
from training.engines.worker import BlockWorker, result_of
from training.errors import EngineError
from training.interruption import interrupts

WINDOW_BYTES = 1 << 30
"""Most text that is on its way at once; the models are loaded anew after so much, which is seconds in many minutes."""
RETRIES = 3
"""Of a block whose process died."""
CONNECT_S = 10.0


class RayEngine:
    """Sends blocks to a pool of actors, each with a model of its own, in windows of `window_bytes`."""

    def __init__(self, placement: Placement, window_bytes: int = WINDOW_BYTES) -> None:
        self.placement = placement
        self.window_bytes = window_bytes

    def arrays(self, work: Work, blocks: Iterable[Any]) -> Iterator[FloatArray]:
        """The result of each block, in order. Raises EngineError."""
        import ray

        try:
            for window in self._windows(blocks):
                for row in self._computed(work, window).iter_rows():
                    yield result_of(row)
        except ray.exceptions.RayError as error:
            raise EngineError(explained(error)) from error

    def _windows(self, blocks: Iterable[Any]) -> Iterator[list[Any]]:
        """References to blocks in Ray's store."""
        import ray

        references, size = [], 0
        for block in blocks:
            references.append(ray.put(block))
            size += block.nbytes
            if size >= self.window_bytes:
                yield references
                references, size = [], 0
        if references:
            yield references

    def _computed(self, work: Work, blocks: list[Any]) -> Any:
        """The dataset of results: a row for each block."""
        import ray.data

        placement = self.placement
        with warnings.catch_warnings():
            # The only way to bound retries, and deprecated; without, a block that kills its process is tried for ever.
            warnings.filterwarnings("ignore", ".*ray_remote_args_fn", DeprecationWarning)
            data = ray.data.from_arrow_refs(blocks).map_batches(
                BlockWorker,
                fn_constructor_args=(work, placement.threads),
                batch_size=None,  # blocks as they are: scores of quantised models depend on what shares a batch
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=min(placement.workers, len(blocks))),
                num_cpus=placement.threads,
                num_gpus=placement.gpus or None,
                ray_remote_args_fn=_retries,
            )
        data.context.execution_options.preserve_order = True
        data.context.execution_no_progress_timeout_s = -1  # one block may take long
        data.context.enable_progress_bars = False
        return data


@contextmanager
def ray_engine(options: EngineOptions) -> Iterator[RayEngine]:
    """An engine on a cluster, which is joined, or on this machine alone; a Ray that runs in this process is used.

    Raises ConfigError if Ray is not installed or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--engine ray needs {error.name}, which is not installed: pip install 'crossrank[ray]'"
        ) from error
    joined = ray.is_initialized()
    if not joined:
        _connect(options.address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        with interrupts(), _quiet():  # Ray took SIGTERM for itself
            nodes = ray.nodes()  # type: ignore[no-untyped-call]
            yield RayEngine(place(_offers(nodes), options.workers), _window_bytes(nodes))
    finally:
        if not joined:
            ray.shutdown()


def explained(error: BaseException) -> str:
    """One line about a failure that Ray gave up on."""
    from ray.exceptions import RayActorError, RayTaskError

    if isinstance(error, RayTaskError):
        cause = str(error).strip().partition("\n\nThe above exception")[0].rsplit("\n", 1)[-1]
        return f"a Ray worker failed: {cause}"
    if isinstance(error, RayActorError):
        return (
            f"Ray workers died more often than they are retried ({first_line(error)}); most often memory ran out: "
            "ask for fewer --workers or a smaller --chunk, and see Ray's logs"
        )
    return f"Ray failed: {first_line(error)}"


def _connect(address: str) -> None:
    import ray

    if address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: Ray Client is not supported; run the command on a machine of the cluster "
            "(as `ray job submit` does), with --address auto"
        )
    _require_answer(address)
    own: dict[str, Any] = {"num_cpus": available_cpus(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no Ray cluster can be joined ({first_line(error)}); correct the address, or leave "
            "it out for this machine alone"
        ) from error


def _require_answer(address: str) -> None:
    """Raises ConfigError within seconds where Ray itself would take minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--address {address}: nothing answers there ({error}); give HOST:PORT of the cluster's head, or auto on "
            "one of its machines"
        ) from error


def _offers(nodes: list[dict[str, Any]]) -> list[Node]:
    """What the live machines have."""
    found = [node["Resources"] for node in nodes if node["Alive"]]
    return [Node(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in found]


def _window_bytes(nodes: list[dict[str, Any]]) -> int:
    """A third of the smallest store of objects, so that blocks and results stay in memory."""
    stores = [node["Resources"].get("object_store_memory", 0) for node in nodes if node["Alive"]]
    return int(min([WINDOW_BYTES, *(store / 3 for store in stores if store)]))


def _retries() -> dict[str, int]:
    return {"max_task_retries": RETRIES}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray Data's log on the terminal; its file in Ray's log directory has it all."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
