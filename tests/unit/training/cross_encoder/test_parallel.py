"""Parts of a packed pass side by side, a core each: the same scores and gradients, in the same bits every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from app.model.bucketing import LEAST
from app.model.packed.cores import balance, core_threads, share_out
from app.model.types import Encoded
from tests.unit.training.cross_encoder.forward_models import (
    FAMILIES,
    build,
    distance,
    gradients,
    padding_of,
    rows_of,
    without_dropout,
)
from training.cross_encoder.forward import score_rows
from training.cross_encoder.packed.parallel import each_on_a_core, side_by_side
from training.cross_encoder.packed.scorer import PackedScorer

LENGTHS = [60, 90, 33, 120, 24, 90, 61, 90, 17, 110, 75, 48]
THREADS = 3


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def score(model: PreTrainedModel, rows: list[Encoded], threads: int = THREADS, tokens: int | None = None) -> Tensor:
    """Scores with a graph, by so many threads."""
    torch.set_num_threads(threads)
    return score_rows(model, rows, pad=padding_of(model), chunk_tokens=200, mini_batch_tokens=tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_are_those_of_one_thread(family: str) -> None:
    """Every parameter's, embeddings included; in mini-batches too. All rows take part in as many parts as threads."""
    model, rows = build(family).train(), rows_of(LENGTHS)
    without_dropout(model)
    assert sum(LENGTHS) > THREADS * LEAST
    expected, whole = gradients(model, lambda: score(model, rows, threads=1))
    for tokens in (None, 500):
        ours, own = gradients(model, lambda tokens=tokens: score(model, rows, tokens=tokens))
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
        assert distance(own, whole) < 1e-5


def test_dropout_gives_the_same_bits_every_time() -> None:
    """Whichever part is first; and its masks belong to the chunks, however these are dealt out."""
    model, rows = build("bert").train(), rows_of(LENGTHS)
    found = []
    for tokens in (None, None, None, 500, 500):
        torch.manual_seed(7)
        found.append(gradients(model, lambda tokens=tokens: score(model, rows, tokens=tokens)))
    for ours, same in ((1, 0), (2, 0), (4, 3)):
        assert torch.equal(found[ours][0], found[same][0])
        assert torch.equal(found[ours][1], found[same][1])
    torch.testing.assert_close(found[3][0], found[0][0], rtol=1e-5, atol=1e-5)
    assert distance(found[3][1], found[0][1]) < 1e-5


def test_a_frozen_part_gets_no_gradient() -> None:
    """Embeddings or the encoder may be frozen; the rest is trained as before."""
    rows = rows_of(LENGTHS)
    for frozen in ("bert.embeddings", "bert.encoder"):
        model = build("bert").train()
        without_dropout(model)
        model.get_submodule(frozen).requires_grad_(False)
        _, expected = gradients(model, lambda model=model: score(model, rows, threads=1))
        _, ours = gradients(model, lambda model=model: score(model, rows))
        assert distance(ours, expected) < 1e-5


def test_the_parts_of_a_pass() -> None:
    """As many as there are threads, of about equal cost; few tokens, or no gradient, stay one part."""
    model = build("bert")
    scorer = PackedScorer.of(model)
    assert scorer is not None
    lengths = sorted(LENGTHS, reverse=True)
    assert len(scorer.cut(lengths, 10_000)) == THREADS
    assert len(scorer.cut([60, 40], 10_000)) == 1
    with torch.no_grad():
        assert len(scorer.cut(lengths, 10_000)) == 1


@given(costs=st.lists(st.floats(0.1, 50), max_size=30), count=st.integers(1, 8))
def test_shares_cover_everything_in_order(costs: list[float], count: int) -> None:
    """No more of them than wanted, none empty, and none dearer than the mean by more than one element."""
    shares = share_out(costs, count)
    assert [i for share in shares for i in share] == list(range(len(costs)))
    assert len(shares) <= count
    for share in shares:
        own = [costs[i] for i in share]
        assert own
        assert sum(own) <= sum(costs) / count + max(costs) + 1e-6


@given(costs=st.lists(st.floats(0.1, 50), max_size=30), count=st.integers(1, 8))
def test_balanced_parts_have_every_place_once(costs: list[float], count: int) -> None:
    """In order, no more parts than wanted, none empty, and none dearer than another by more than one element."""
    parts = balance(costs, count)
    assert sorted(i for part in parts for i in part) == list(range(len(costs)))
    assert all(part and part == sorted(part) for part in parts)
    assert len(parts) <= count
    sums = [sum(costs[i] for i in part) for part in parts]
    assert not sums or max(sums) - min(sums) <= max(costs) + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_without_gradients(family: str) -> None:
    """Chunks are scored side by side, too, and in order; nothing of them can be differentiated."""
    model, rows = build(family).eval(), rows_of(LENGTHS)
    with torch.inference_mode():
        expected = score(model, rows, threads=1)
        ours = score(model, rows)
    assert not ours.requires_grad
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_threads_have_one_core_each_whatever_the_default_becomes() -> None:
    """All start at once: a thread that started later would change the default, or take over a changed one."""
    pool = core_threads(os.getpid(), 5)
    torch.set_num_threads(THREADS)
    together = Barrier(5)

    def cores() -> int:
        together.wait()
        return torch.get_num_threads()

    assert [one.result() for one in [pool.submit(cores) for _ in range(5)]] == [1] * 5
    with ThreadPoolExecutor(1) as late:
        assert late.submit(torch.get_num_threads).result() == THREADS


def test_items_on_a_core_each() -> None:
    """In order; only a few ahead of what was taken, and none after the caller has had enough."""
    started = []

    def work(item: int) -> Tensor:
        started.append(item)
        assert torch.get_num_threads() == 1
        assert not torch.is_grad_enabled()
        return torch.tensor(item)

    assert [int(one) for one in each_on_a_core(work, range(50))] == list(range(50))
    started.clear()
    some = each_on_a_core(work, iter(range(50)))
    assert [int(next(some)), int(next(some))] == [0, 1]
    some.close()
    assert len(started) < 20
    assert torch.get_num_threads() == THREADS


def test_an_error_of_one_part_reaches_the_caller() -> None:
    """And only after the others have ended."""
    ended = []

    def good(value: Tensor) -> Tensor:
        ended.append(1)
        return value

    def bad(value: Tensor) -> Tensor:
        raise ValueError("no such row")

    with pytest.raises(ValueError, match="no such row"):
        side_by_side([bad, good, good], [torch.zeros(1)] * 3, [])
    assert len(ended) == 2


def test_a_second_differentiation_is_refused() -> None:
    """As PyTorch refuses it for what was freed."""
    weight = torch.ones(2, requires_grad=True)
    result = side_by_side([lambda value: value * weight] * 2, [torch.ones(2)] * 2, [weight]).sum()
    result.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match=r"second time.*specify retain_graph=True"):
        result.backward()


def test_a_graph_that_is_retained_may_be_differentiated_again() -> None:
    """As methods do that ask for the gradient of each part of a loss."""
    weight = torch.ones(2, requires_grad=True)
    result = side_by_side([lambda value: (value * weight).square()] * 2, [torch.ones(2)] * 2, [weight]).sum()
    for _ in range(2):
        (alone,) = torch.autograd.grad(result, weight, retain_graph=True)
        assert alone.tolist() == [4, 4]
    result.backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [4, 4]


def test_gradients_that_share_memory_are_added_up_apart() -> None:
    """The gradient of a sum is one tensor for both of its terms."""
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    side_by_side([lambda value: value * (a + b)] * 3, [torch.full((3,), 2.0)] * 3, [a, b]).sum().backward()
    for one in (a, b):
        assert one.grad is not None
        assert one.grad.tolist() == [6, 6, 6]


def test_a_process_that_computed_side_by_side_ends_and_may_fork() -> None:
    """Its threads neither keep it alive nor are missed by children, in which PyTorch makes its engine anew."""
    program = """
import os, torch
from training.cross_encoder.packed.parallel import each_on_a_core, side_by_side
torch.set_num_threads(2)
def run():
    weight = torch.ones(2, requires_grad=True)
    side_by_side([lambda value: value * weight] * 2, [torch.ones(2)] * 2, [weight]).sum().backward()
    return weight.grad.sum().item()
assert run() == 4
for _ in range(100):
    child = os.fork()
    if child == 0:
        os._exit(0 if run() == 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.get_num_threads() == 2
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=100, env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert done.returncode == 0
