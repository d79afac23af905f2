"""Exact search equals brute force whatever the tiles, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.training.retrieval.vectors import brute_force, same, unit
from training.errors import DataError
from training.retrieval import exact
from training.retrieval.exact import exact_top_k
from training.retrieval.shortlist import Shortlist


def matrices(seed: int, queries: int, documents: int, width: int, kind: str) -> tuple[NDArray[np.float32], ...]:
    """`tied` has few distinct scores, `copied` has documents several times, `uneven` has lengths from 0 to 1e4."""
    rng = np.random.default_rng(seed)
    if kind == "tied":
        first, second = rng.integers(-1, 2, (queries, width)), rng.integers(-1, 2, (documents, width))
        return first.astype(np.float32), second.astype(np.float32)
    first = rng.standard_normal((queries, width)).astype(np.float32)
    second = rng.standard_normal((documents, width)).astype(np.float32)
    if kind == "copied":
        second = second[rng.integers(0, max(1, documents // 3), documents)]
    if kind == "uneven":
        second *= rng.choice([0.0, 1e-4, 1.0, 1e4], (documents, 1)).astype(np.float32)
        first *= rng.choice([0.0, 1.0], (queries, 1)).astype(np.float32)
    return first, second


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 300), st.integers(1, 24)),
    kind=st.sampled_from(["plain", "tied", "copied", "uneven"]),
    k=st.integers(1, 80),
    tile=st.none() | st.tuples(st.integers(1, 16), st.integers(1, 64)),
    cosine=st.booleans(),
)
@example(seed=0, shape=(3, 300, 1), kind="tied", k=2, tile=(2, 7), cosine=True)  # hundreds of ties at the cut
def test_hits_and_scores_are_those_of_brute_force(
    seed: int, shape: tuple[int, int, int], kind: str, k: int, tile: tuple[int, int] | None, cosine: bool
) -> None:
    queries, corpus = matrices(seed, *shape, kind)
    found = exact_top_k(queries, corpus, k, tile=tile, cosine=cosine)
    assert same(found, brute_force(queries, corpus, k, cosine))
    assert found.indices.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_tiles_do_not_change_a_bit_of_real_sized_embeddings() -> None:
    queries, corpus = unit(70, 384), np.concatenate([unit(3000, 384, 1), unit(3000, 384, 1)])
    expected = brute_force(queries, corpus, 50)
    for tile in (None, (1, 6000), (64, 1000), (7, 129)):
        assert same(exact_top_k(queries, corpus, 50, tile=tile), expected), tile


def test_near_ties_are_not_decided_by_the_rounding_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that is wrong by almost the bound, differently in each tile, gives the same hits."""
    rng = np.random.default_rng(0)
    base = unit(1, 64)
    corpus = (base + rng.standard_normal((4000, 64)) * 3e-7).astype(np.float32)
    plain, noise = exact._Scratch.products, torch.Generator().manual_seed(0)

    def noisy(self: exact._Scratch, queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        scores = plain(self, queries, documents)
        sign = torch.randint(0, 2, scores.shape, generator=noise) * 2 - 1
        return scores.add_(sign * 0.95 * (2 * 64 + 16) * 2.0**-24)

    monkeypatch.setattr(exact._Scratch, "products", noisy)
    for tile in ((1, 100), (1, 1000)):
        assert same(exact_top_k(base, corpus, 20, tile=tile), brute_force(base, corpus, 20))


def test_coarser_products_keep_the_hits() -> None:
    """With TensorFloat-32 or bfloat16 allowed, the margin grows: on a GPU that computes so, and harmless elsewhere."""
    queries, corpus = unit(10, 64), unit(2000, 64, 1)
    search = exact._Search(
        exact.Rows(queries, "q"), exact.Rows(corpus, "c"), 5, torch.device("cpu"), False, exact.DEFAULT
    )
    fine = search._relative_error()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        assert search._relative_error() > 2.0**-10 > fine
        assert same(exact_top_k(queries, corpus, 5, tile=(4, 100)), brute_force(queries, corpus, 5))
    finally:
        torch.set_float32_matmul_precision(before)  # type: ignore[arg-type]


def test_queries_are_taken_in_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, corpus = unit(53, 8), unit(400, 8, 1)
    monkeypatch.setattr(exact, "STATE_BYTES", 12 * exact.capacity_for(5) * 10)
    assert same(exact_top_k(queries, corpus, 5, tile=(4, 64)), brute_force(queries, corpus, 5))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_matrices_come_from_files_arrays_and_tensors(tmp_path: Path, dtype: str) -> None:
    queries, corpus = unit(5, 16), unit(200, 16, 1).astype(dtype)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    expected = brute_force(queries, corpus.astype(np.float32), 7)
    for form in (corpus, mapped, torch.from_numpy(corpus), np.asfortranarray(corpus), corpus[::-1][::-1]):
        assert same(exact_top_k(queries, form, 7, tile=(2, 30)), expected)
    assert same(exact_top_k(torch.from_numpy(queries).requires_grad_(), corpus, 7), expected)


def test_rows_of_an_array_are_read_where_they_lie_and_never_written_to() -> None:
    corpus = unit(50, 8)
    before = corpus.copy()
    for form in (corpus, torch.from_numpy(corpus)):
        assert np.shares_memory(exact.Rows(form, "corpus").block(3, 9).numpy(), corpus)
        exact_top_k(unit(5, 8, 1), form, 3, cosine=True, tile=(2, 7))
    assert np.array_equal(corpus, before)


def test_pairs_have_the_same_score_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, corpus = exact.Rows(unit(40, 48), "query"), exact.Rows(unit(70, 48, 1), "corpus")
    rows, columns = (part.ravel() for part in np.indices((40, 70)))
    expected = exact.pair_products(queries, corpus, rows, columns)
    monkeypatch.setattr("training.retrieval.matrix.PAIR_NUMBERS", 48 * 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert np.array_equal(exact.pair_products(queries, corpus, rows, columns), expected)


def test_nothing_to_search_gives_no_hits() -> None:
    for queries, documents in ((0, 5), (3, 0), (0, 0)):
        hits = exact_top_k(unit(queries, 4), unit(documents, 4), 2)
        assert hits.indices.tolist() == [[-1, -1]] * queries
        assert np.isneginf(hits.scores).all()


def test_what_cannot_be_searched_is_refused_with_its_place() -> None:
    queries, corpus = unit(3, 4), unit(9, 4)
    corpus[7, 2] = np.nan
    with pytest.raises(DataError, match="corpus embedding 7 holds NaN or infinity"):
        exact_top_k(queries, corpus, 2, tile=(1, 2))
    queries[1] = np.inf
    with pytest.raises(DataError, match="query embedding 1 holds"):
        exact_top_k(queries, unit(9, 4), 2)
    with pytest.raises(DataError, match="4 dimensions, those of the corpus 5"):
        exact_top_k(unit(3, 4), unit(9, 5), 2)
    with pytest.raises(DataError, match="k is 0"):
        exact_top_k(unit(3, 4), unit(9, 4), 0)
    with pytest.raises(DataError, match=r"corpus embeddings have the shape \(4,\)"):
        exact_top_k(unit(3, 4), unit(9, 4)[0], 1)


def test_very_long_and_very_short_embeddings_are_searched() -> None:
    """Their squares overflow or vanish in float32."""
    for scale in (1e25, 1e-25):
        corpus = unit(300, 8, 1) * np.float32(scale)
        assert same(exact_top_k(unit(4, 8), corpus, 5, tile=(2, 50)), brute_force(unit(4, 8), corpus, 5))


def test_memory_is_bounded_by_the_tile_and_not_by_the_corpus(tmp_path: Path) -> None:
    """NumPy's share, which tracemalloc sees; the benchmark watches the whole process."""
    corpus = np.lib.format.open_memmap(tmp_path / "corpus.npy", "w+", np.float32, (60_000, 32))
    corpus[:] = unit(60_000, 32)
    corpus.flush()
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    peaks = []
    for documents in (15_000, 60_000):
        tracemalloc.start()
        exact_top_k(unit(64, 32, 1), mapped[:documents], 10, tile=(64, 1024))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * 2**20 < 60_000 * 32 * 4
    assert peaks[1] < 1.3 * peaks[0]


def test_positions_beyond_two_to_the_31() -> None:
    first, rows = 2**33, 3
    shortlist = Shortlist(rows, 2, lambda row, index: (index - first - 10 * row).astype(np.float32))
    for start in range(0, 4000, 400):
        row, column = (part.ravel() for part in np.indices((rows, 400)))
        shortlist.add(row, column + first + start, (column + start - 10 * row).astype(np.float32))
    hits = shortlist.finish(0, rows)
    assert hits.indices.tolist() == [[first + 3999, first + 3998]] * rows
    assert hits.scores.tolist() == [[3999, 3998], [3989, 3988], [3979, 3978]]


def test_offsets_beyond_two_billion_numbers(tmp_path: Path) -> None:
    """A sparse file of 8.6 GB: row times width does not fit in 32 bits."""
    width, rows = 1024, 2**21 + 100
    path = tmp_path / "corpus.f32"
    with path.open("wb") as file:
        file.truncate(rows * width * 4)  # a hole: it takes no place on the disk
    corpus = np.memmap(path, dtype=np.float32, mode="r+", shape=(rows, width))
    corpus[rows - 3, 5], corpus[rows - 2, 5] = 2.0, 3.0
    far = corpus[rows - 1000 :]
    assert exact_top_k(np.eye(8, width, dtype=np.float32)[5:6], far, 2).indices.tolist() == [[998, 997]]
    pairs = exact.pair_products(
        exact.Rows(np.eye(8, width, dtype=np.float32), "query"),
        exact.Rows(corpus, "corpus"),
        np.array([5, 5]),
        np.array([rows - 2, rows - 3]),
    )
    assert pairs.tolist() == [3.0, 2.0]
