"""Virtual time of processor sharing: in which order would requests finish if they shared the machine evenly?

Serving requests in that order (Friedman and Henderson, "Fairness and efficiency in web server protocols",
SIGMETRICS 2003) finishes none of them later than even sharing would, while the short ones do not wait for the
long ones and equal ones leave in order of arrival. Pure: time is counted in tokens served.
"""

from __future__ import annotations

from bisect import bisect_left, insort


class VirtualClock:
    """Simulates processor sharing of the served tokens among the requests that it would still be serving."""

    def __init__(self) -> None:
        self._now = 0.0
        self._finishes: list[float] = []

    def enter(self, tokens: int) -> float:
        """A request of `tokens` arrives: its virtual finish time, the key to serve requests by."""
        finish = self._now + tokens
        insort(self._finishes, finish)
        return finish

    def finish_of(self, tokens: int) -> float:
        """The key that `enter` would return now."""
        return self._now + tokens

    def serve(self, tokens: float) -> None:
        """`tokens` of work were done; the clock advances by each sharer's part of it."""
        while tokens > 0 and self._finishes:
            sharers = len(self._finishes)
            until_next = (self._finishes[0] - self._now) * sharers
            if tokens < until_next:
                self._now += tokens / sharers
                return
            tokens -= until_next
            self._now = self._finishes.pop(0)

    def leave(self, finish: float) -> None:
        """A request was abandoned: it takes no further share."""
        at = bisect_left(self._finishes, finish)
        if at < len(self._finishes) and self._finishes[at] == finish:
            del self._finishes[at]

    def reset(self) -> None:
        """Nobody waits: start from zero, so that rounding never accumulates."""
        self._now = 0.0
        self._finishes.clear()
