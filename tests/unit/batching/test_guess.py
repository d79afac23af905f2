"""The guess of tokens before tokenising."""

from __future__ import annotations

from app.batching.guess import LOWEST, TokenGuess


def test_the_first_guess_is_low() -> None:
    assert TokenGuess().tokens(1000) == LOWEST * 1000


def test_the_guess_rises_slowly_to_what_texts_have_and_falls_at_once() -> None:
    """Near a full queue, a request with few tokens is not refused for those with many."""
    guess = TokenGuess()
    guess.add(1000, 600)
    assert LOWEST * 1000 < guess.tokens(1000) < 180
    for _ in range(200):
        guess.add(1000, 600)
    assert 590 <= guess.tokens(1000) <= 600
    guess.add(1000, 200)
    assert guess.tokens(1000) == 200


def test_the_guess_stays_where_it_began_whatever_the_texts() -> None:
    """A long word of no language is one token; empty texts say nothing."""
    guess = TokenGuess()
    guess.add(1000, 3)
    guess.add(0, 3)
    assert guess.tokens(1000) == LOWEST * 1000
