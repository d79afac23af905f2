"""The command line: `rerank-server`, also `python -m app`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from types import FrameType

import uvicorn

from app import logs
from app.config import Settings, load_settings
from app.errors import ConfigError, StartupError
from app.lifecycle import Lifecycle, Phase
from app.main import create_app
from app.registry import Registry

EXIT_FORCED, EXIT_USAGE, EXIT_DEAD = 1, 2, 3
KEEP_ALIVE_S = 75
"""Longer than clients (5 s) and load balancers (60 s) keep an idle connection: who closes first must be the one that
sends, or a request meets a connection that is being closed."""


class Server(uvicorn.Server):
    """uvicorn, with a drain that stays reachable: probes see 503 while admitted requests are still answered."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, registry: Registry, settings: Settings) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._registry = registry
        self._settings = settings
        self._drain: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.forced = False
        lifecycle.on_failure = self.stop

    def stop(self) -> None:
        """Ends the process now: what waits is told so. Callable from any thread."""
        self._registry.abort("the service is going down; send the request to another instance")
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remembers the loop for the signal handler, then listens. Raises ConfigError if it cannot."""
        self._loop = asyncio.get_running_loop()
        try:
            await super().startup(sockets)
        except SystemExit as error:  # uvicorn has logged the reason
            host, port = self._settings.host, self._settings.port
            raise ConfigError(
                f"cannot listen on {host}:{port}; is another service there? choose another --port"
            ) from error

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second one: stop at once."""
        if self._loop is None or self._lifecycle.phase is Phase.DRAINING:
            self.forced = self.should_exit = self.force_exit = True
        else:
            # Without a delay both at once: whoever has seen that this process is not ready is refused.
            self._lifecycle.refusing = self._settings.drain_delay_s == 0
            self._lifecycle.phase = Phase.DRAINING
            self._loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        self._drain = asyncio.get_running_loop().create_task(self._drain_then_stop())

    async def _drain_then_stop(self) -> None:
        await asyncio.sleep(self._settings.drain_delay_s)
        self._lifecycle.refusing = True
        now = asyncio.get_running_loop().time
        deadline = now() + self._settings.shutdown_grace_s
        while self._lifecycle.in_flight and now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a poll is enough here, and keeps every request free of a wake-up
        # What is left of the grace is for answers that are still on their way to a slow reader.
        self.config.timeout_graceful_shutdown = max(1, round(deadline - now()))
        self.stop()


def main() -> None:
    """Serves until SIGTERM. Exit codes: 0 after a drain, 1 if a second signal cut it short, 2 for a wrong setting
    or model, 3 if the worker died."""
    code = run(sys.argv[1:])
    # Not `sys.exit`: a model that is being loaded or run is in C++ code, and Python would abort when it comes back.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = Server(config, lifecycle, app.state.registry, settings)
    try:
        server.run()
    except ConfigError as error:
        return _report(error, EXIT_USAGE)
    if server.forced:
        return EXIT_FORCED
    if lifecycle.failure is not None:
        is_startup = isinstance(lifecycle.failure, StartupError)
        return _report(lifecycle.failure, EXIT_USAGE if is_startup else EXIT_DEAD)
    return 0


def _report(error: BaseException, code: int) -> int:
    sys.stderr.write(f"rerank-server: error: {error}\n")
    return code


if __name__ == "__main__":
    main()
