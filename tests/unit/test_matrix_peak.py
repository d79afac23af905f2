"""The benchmark's own loops, where no library has any."""

from __future__ import annotations

from tests.benchmarks.matrix_peak import int16_rate


def test_products_of_int16_are_timed() -> None:
    """The tile's arguments have changed under it before."""
    assert int16_rate(threads=1, times=10) > 0
