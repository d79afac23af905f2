"""What a user may ask of mining, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Strategy = Literal["top", "random", "weighted"]
STRATEGIES: tuple[Strategy, ...] = ("top", "random", "weighted")


@dataclass(frozen=True, kw_only=True)
class MiningOptions:
    """Which candidates become negatives.

    Ranks `range_min` to `range_max` count among the candidates that pass all filters. A candidate is dropped where its
    score s, against the lowest score p of the query's positives, fulfils

    - `absolute_margin` m: s + m > p; `relative_margin` r: s > p - |p| r;
    - `max_score`: s is above it; `min_score`: s is below it;
    - `percentile` q: s is above the q-th percentile of the scores of all positives, so that q = 100 drops only what
      is nearer to its query than any positive is;
    - `teacher_margin` m and `teacher_max_score`: as the two above, by the scores of the teacher.

    `sampling_strategy`: the best ones ("top"), any with equal chance ("random") or with chances proportional to
    exp(score / temperature) ("weighted"). A share of `random_share` of the negatives comes from the whole corpus
    instead, past every filter but never a positive. `seed` None draws from Python's global `random`.
    ValueError for values that leave nothing to mine.
    """

    num_negatives: int = 3
    range_min: int = 0
    range_max: int | None = None
    max_score: float | None = None
    min_score: float | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    percentile: float | None = None
    teacher_margin: float | None = None
    teacher_max_score: float | None = None
    sampling_strategy: Strategy = "top"
    temperature: float = 0.05
    random_share: float = 0.0
    include_positives: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ValueError(f"num_negatives must be at least 1, got num_negatives={self.num_negatives}.")
        if self.range_min < 0:
            raise ValueError(f"range_min must be non-negative, got range_min={self.range_min}.")
        if self.sampling_strategy not in STRATEGIES:
            known = ", ".join(repr(name) for name in STRATEGIES)
            raise ValueError(f"sampling_strategy must be one of {known}, got {self.sampling_strategy!r}.")
        _within("random_share", self.random_share, 0, 1)
        if self.percentile is not None:
            _within("percentile", self.percentile, 0, 100)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got temperature={self.temperature}.")

    @property
    def random_count(self) -> int:
        """How many of a query's negatives come from the whole corpus."""
        return round(self.num_negatives * self.random_share)

    @property
    def mined_count(self) -> int:
        """How many of a query's negatives come from the candidates."""
        return self.num_negatives - self.random_count

    @property
    def uses_teacher(self) -> bool:
        """Whether candidates need a teacher's scores."""
        return self.teacher_margin is not None or self.teacher_max_score is not None

    def resolved(self, max_positives: int, *, rescored: bool = False) -> MiningOptions:
        """With `range_max` set: wide enough for the negatives and the positives among them, ten times as many negatives
        where filters may drop some.

        ValueError if the ranks asked for are fewer than the negatives.
        """
        if self.range_max is None:
            wide = 10 if self._drops(rescored) else 1
            return replace(self, range_max=self.range_min + wide * self.num_negatives + max_positives)
        if self.range_min >= self.range_max:
            raise ValueError(
                "range_min must be smaller than range_max,"
                f" got range_min={self.range_min} and range_max={self.range_max}."
            )
        window = self.range_max - self.range_min
        if self.mined_count > window:
            raise ValueError(
                f"Cannot mine {self.mined_count} negatives per query: ranks {self.range_min} to {self.range_max} hold"
                f" only {window}. Lower num_negatives or range_min, or raise range_max."
            )
        return self

    def _drops(self, rescored: bool) -> bool:
        """Whether filters may drop candidates among the best; a minimum does so only after rescoring."""
        above = (
            self.absolute_margin,
            self.relative_margin,
            self.max_score,
            self.percentile,
            self.teacher_margin,
            self.teacher_max_score,
        )
        return any(value is not None for value in above) or (rescored and self.min_score is not None)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, got {name}={value}.")
