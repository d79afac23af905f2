"""Where the process is in its life; what readiness, drain and failure are decided by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from app.errors import Unavailable


class Phase(Enum):
    """Where the process is in its life; work is taken while READY, and still while DRAINING begins."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DEAD = "dead"


@dataclass(slots=True)
class Lifecycle:
    """The one mutable state of the process, set on the event loop and by the death of a worker."""

    phase: Phase = Phase.STARTING
    refusing: bool = False
    in_flight: int = 0
    failure: BaseException | None = None
    on_failure: Callable[[], None] = field(default=lambda: None)

    def fail(self, error: BaseException) -> None:
        """Nothing can be scored any more: not ready from now on, and the process is to end."""
        self.phase, self.failure = Phase.DEAD, error
        self.on_failure()

    def require_ready(self) -> None:
        """Raises Unavailable unless new work is accepted."""
        if self.phase is Phase.STARTING:
            raise Unavailable("the model is still loading; try again shortly")
        if self.phase is Phase.DEAD:
            raise Unavailable("the scoring worker has died; the service is restarting")
        if self.refusing:
            raise Unavailable("the service is shutting down; send the request to another instance")
