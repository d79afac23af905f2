"""The measured service rate."""

from __future__ import annotations

import pytest

from app.batching.rate import ServiceRate


def test_nothing_is_expected_before_the_first_measurement() -> None:
    assert ServiceRate().seconds_for(1000) == 0.0


def test_the_rate_is_tokens_per_busy_second() -> None:
    rate = ServiceRate()
    rate.add(500, 0.1)
    rate.add(1500, 0.3)
    assert rate.tokens_per_s == pytest.approx(5000)
    assert rate.seconds_for(10_000) == pytest.approx(2.0)


def test_recent_batches_count_more_than_old_ones() -> None:
    rate = ServiceRate()
    for _ in range(100):
        rate.add(100, 0.1)
    for _ in range(100):
        rate.add(300, 0.1)
    assert 2400 < rate.tokens_per_s < 3000
