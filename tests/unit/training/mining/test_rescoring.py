"""Pairs scored in one pass, and their scores kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.training.mining.fakes import HashScorer, score
from training.mining import rescoring
from training.mining.pair_store import RECORD, PairStore
from training.mining.positives import Problem, problem_from_pairs
from training.mining.rescoring import CrossEncoderScorer

QUERIES = ["q" * (i + 1) for i in range(4)]
DOCUMENTS = ["d" * (3 * i + 1) for i in range(5)]
ALL = np.array([(q, d) for q in range(4) for d in range(5)], dtype=np.int64).T


def problem() -> Problem:
    return problem_from_pairs(pa.array(QUERIES), pa.array(DOCUMENTS[:4]), pa.array(DOCUMENTS))


def expected() -> list[float]:
    return [pytest.approx(score(QUERIES[q], DOCUMENTS[d])) for q, d in ALL.T]


def scorer(model: HashScorer, store: PairStore | None = None) -> CrossEncoderScorer:
    return CrossEncoderScorer(model, store=store, progress=False)


def test_scores_come_back_in_the_order_of_the_pairs_and_go_in_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "PAIRS_PER_CHUNK", 6)
    model = HashScorer()
    assert scorer(model).pair_scores(problem(), *ALL).tolist() == expected()
    lengths = [len(query) + len(document) for call in model.calls for query, document in call]
    assert [len(call) for call in model.calls] == [6, 6, 6, 2]
    assert lengths == sorted(lengths, reverse=True)


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(HashScorer):
        def predict(self, pairs: list[tuple[str, str]], **options: object) -> object:  # type: ignore[override]
            if len(self.calls) == 2:
                raise Interrupted
            return super().predict(pairs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(rescoring, "PAIRS_PER_CHUNK", 6)
    with pytest.raises(Interrupted):
        scorer(Stopping(), PairStore(tmp_path / "scores", "model")).pair_scores(problem(), *ALL)
    model, store = HashScorer(), PairStore(tmp_path / "scores", "model")
    assert len(store) == 12
    assert scorer(model, store).pair_scores(problem(), *ALL).tolist() == expected()
    assert sum(map(len, model.calls)) == 8


def test_models_do_not_share_scores(tmp_path: Path) -> None:
    store = PairStore(tmp_path / "scores", "one")
    store.add(store.keys([("a", "bc")]), np.array([0.5], dtype=np.float32))
    again, other = PairStore(tmp_path / "scores", "one"), PairStore(tmp_path / "scores", "other")
    assert again.known(again.keys([("a", "bc"), ("ab", "c")])).tolist() == [0.5, pytest.approx(np.nan, nan_ok=True)]
    assert np.isnan(other.known(other.keys([("a", "bc")]))).all()


@pytest.mark.parametrize("torn", [1, RECORD.itemsize - 1, RECORD.itemsize])
def test_a_torn_tail_is_cut_off(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "folder" / "scores"
    store, pairs = PairStore(path, "model"), [(f"q{i}", "d") for i in range(5)]
    scores = np.arange(5, dtype=np.float32)
    store.add(store.keys(pairs), scores)
    path.write_bytes(path.read_bytes()[:-torn] + (b"\0" * (torn // 2)))
    again = PairStore(path, "model")
    assert again.known(again.keys(pairs))[:4].tolist() == [0, 1, 2, 3]
    assert len(again) == 4
    again.add(again.keys(pairs[4:]), scores[4:])
    assert PairStore(path, "model").known(again.keys(pairs)).tolist() == [0, 1, 2, 3, 4]


def test_a_record_with_a_wrong_checksum_ends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    store = PairStore(path, "model")
    store.add(store.keys([(f"q{i}", "d") for i in range(3)]), np.ones(3, dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[RECORD.itemsize + 17] ^= 1
    path.write_bytes(bytes(content))
    assert len(PairStore(path, "model")) == 1
    assert path.stat().st_size == RECORD.itemsize
