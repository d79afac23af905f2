"""The command line: `rerank-server`, also `python -m app`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType

import uvicorn

from app import logs
from app.config import load_settings
from app.errors import StartupError
from app.lifecycle import Lifecycle, Phase
from app.main import create_app

EXIT_USAGE, EXIT_DEAD = 2, 3


class Server(uvicorn.Server):
    """uvicorn, with a drain that stays reachable: probes see 503 while admitted requests are still answered."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_delay_s: float, grace_s: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_delay_s = drain_delay_s
        self._grace_s = grace_s
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        lifecycle.on_failure = self.stop

    def stop(self) -> None:
        """Ends the process soon; what is in flight is answered with what it has. Callable from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Remembers the loop for the signal handler, then listens."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second one: stop at once."""
        if self._lifecycle.refusing or self._loop is None or (sig == signal.SIGINT and self._drain is not None):
            self.should_exit = self.force_exit = True
        elif self._drain is None:
            self._lifecycle.phase = Phase.DRAINING
            self._loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        self._drain = asyncio.get_running_loop().create_task(self._drain_then_stop())

    async def _drain_then_stop(self) -> None:
        await asyncio.sleep(self._drain_delay_s)
        self._lifecycle.refusing = True
        deadline = asyncio.get_running_loop().time() + self._grace_s
        while self._lifecycle.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a poll is enough here, and keeps every request free of a wake-up
        self.should_exit = True


def main() -> None:
    """Serves until SIGTERM. Exit codes: 0 after a drain, 2 for wrong settings or model, 3 if the worker died."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """`main` as a function: the exit code."""
    lifecycle = Lifecycle()
    try:
        settings = load_settings(arguments, os.environ)
        logs.configure(settings.log_level, settings.log_requests)
        app = create_app(settings, lifecycle)
    except StartupError as error:
        return _report(error, EXIT_USAGE)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,  # the drain has waited already; what is left is to flush
        server_header=False,
    )
    Server(config, lifecycle, settings.drain_delay_s, settings.shutdown_grace_s).run()
    if lifecycle.failure is not None:
        is_startup = isinstance(lifecycle.failure, StartupError)
        return _report(lifecycle.failure, EXIT_USAGE if is_startup else EXIT_DEAD)
    return 0


def _report(error: BaseException, code: int) -> int:
    sys.stderr.write(f"rerank-server: error: {error}\n")
    return code


if __name__ == "__main__":
    main()
