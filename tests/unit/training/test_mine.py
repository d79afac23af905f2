"""`rerank-training mine`: each key makes its difference, a report tells why, and nothing is lost or half written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.training.mining.files import Row, make_pairs, read_rows, recipe_of, write_beir, write_rows
from tests.unit.training.sentence_transformer.tiny import write_embedder
from training.__main__ import main
from training.mine import mine_recipe
from training.mining import cache, report, search

PAIRS = make_pairs()
PROMPTS = {"query": "what is ", "document": "", "other": "a lazy dog "}


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with prompts."""
    return write_embedder(tmp_path_factory.mktemp("encoder"), "bert", prompts=PROMPTS)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pairs as JSON lines, and as the BEIR directory `beir`."""
    directory = tmp_path_factory.mktemp("pairs")
    write_rows(directory / "pairs.jsonl", PAIRS)
    write_beir(directory / "beir", PAIRS)
    return directory


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ROWS_PER_SHARD", 6)


@pytest.fixture
def without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest, and is tested elsewhere."""
    monkeypatch.setattr(report, "plot_scores", lambda *_: None)


def mined(root: Path, output: Path, **keys: Any) -> list[Row]:
    """The triplets with scores that a recipe gives."""
    outputs = [{"path": "rows.parquet", "scores": True}]
    recipe = recipe_of(root, output=output, cache=output.parent / "cache", **{"outputs": outputs, **keys})
    mine_recipe(recipe, progress=False)
    return read_rows(output / "rows.parquet")


def report_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "report.json").read_text())
    return found


DENSE = {"kind": "dense", "model": "ENCODER"}
SCORER = {"model": "RERANKER"}


@pytest.mark.usefixtures("without_picture")
@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ({}, {"sampling": {"num_negatives": 5}}),
        ({}, {"sampling": {"range_min": 2}}),
        ({"sampling": {"strategy": "random"}}, {"sampling": {"strategy": "random", "range_max": 8}}),
        ({"sampling": {"range_max": 9}}, {"sampling": {"range_max": 9, "strategy": "random"}}),
        ({"sampling": {"range_max": 9}}, {"sampling": {"range_max": 9, "strategy": "weighted"}}),
        (
            {"sampling": {"range_max": 9, "strategy": "weighted"}},
            {"sampling": {"range_max": 9, "strategy": "weighted", "temperature": 100.0}},
        ),
        ({}, {"sampling": {"random_share": 0.67}}),
        (
            {"sampling": {"range_max": 9, "strategy": "random"}},
            {"sampling": {"range_max": 9, "strategy": "random"}, "seed": 7},
        ),
        ({}, {"filters": {"absolute_margin": 2.0}}),
        ({}, {"filters": {"relative_margin": 0.6}}),
        ({}, {"filters": {"max_score": 1.0}}),
        ({}, {"filters": {"min_score": 1.5}}),
        ({}, {"filters": {"percentile": 0.0}, "retrievers": [{"kind": "bm25"}]}),
        ({}, {"pairs": {"path": "pairs.jsonl", "limit": 4}}),
        ({}, {"retrievers": [DENSE]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "query_prompt": "the city "}]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "query_prompt_name": "other"}]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "corpus_prompt": "the city "}]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "corpus_prompt_name": "other"}]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "max_length": 6}]}),
        ({"retrievers": [DENSE]}, {"retrievers": [{**DENSE, "truncate_dim": 4}]}),
        ({}, {"retrievers": [{"kind": "bm25"}, DENSE]}),
        ({"retrievers": [{"kind": "bm25"}, DENSE]}, {"retrievers": [{"kind": "bm25"}, DENSE], "fusion_k": 1}),
        ({}, {"rescoring": SCORER}),
        ({"rescoring": SCORER}, {"rescoring": {**SCORER, "max_length": 10}}),
        ({"rescoring": SCORER}, {"rescoring": {**SCORER, "max_length": 10, "backend": "onnx"}}),
        ({}, {"teacher": {**SCORER, "margin": 0.0}}),
        ({}, {"teacher": {**SCORER, "max_score": 0.5}}),
    ],
)
def test_every_key_makes_a_difference(
    base: dict[str, Any], changed: dict[str, Any], root: Path, tmp_path: Path, encoder_dir: Path, reranker_dir: Path
) -> None:
    places = {"ENCODER": str(encoder_dir), "RERANKER": str(reranker_dir)}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(one) for key, one in value.items()}
        return [placed(one) for one in value] if isinstance(value, list) else places.get(str(value), value)

    assert mined(root, tmp_path / "a", **placed(base)) != mined(root, tmp_path / "b", **placed(changed))


@pytest.mark.usefixtures("without_picture")
def test_negatives_are_what_they_are_called(root: Path, tmp_path: Path) -> None:
    answers = {row["query"]: row["answer"] for row in PAIRS}
    rows = mined(root, tmp_path / "out", filters={"relative_margin": 0.1})
    for row in rows:
        assert row["negative"] in answers.values()
        assert row["negative"] != answers[row["query"]] == row["answer"]
        assert row["scores"][1] <= row["scores"][0] * 0.9 + 1e-6


@pytest.mark.usefixtures("without_picture")
@pytest.mark.parametrize("index", ["flat", "ivf", "hnsw"])
def test_faiss_finds_what_exact_search_finds_and_its_index_is_kept(
    index: str, root: Path, tmp_path: Path, encoder_dir: Path
) -> None:
    pytest.importorskip("faiss")
    expected = mined(root, tmp_path / "dense", retrievers=[{**DENSE, "model": str(encoder_dir)}])
    section = {"kind": "faiss", "model": str(encoder_dir), "index": index}
    assert mined(root, tmp_path / "faiss", retrievers=[section]) == expected
    assert list((tmp_path / "cache").rglob(f"{index}.faiss"))
    assert report_of(tmp_path / "faiss")["models"]["retrievers"][0]["index"] == index


@pytest.mark.usefixtures("without_picture")
def test_a_run_of_candidates_is_mined_from_as_the_search_that_wrote_it(root: Path, tmp_path: Path) -> None:
    pairs = {"path": "beir"}
    outputs = [{"path": "rows.parquet", "scores": True}, {"path": "c.trec", "format": "run"}]
    expected = mined(root, tmp_path / "search", pairs=pairs, outputs=outputs)
    run = [{"kind": "run", "path": tmp_path / "search" / "c.trec"}]
    found = mined(root, tmp_path / "run", pairs=pairs, retrievers=run)
    assert [row["negative"] for row in found] == [row["negative"] for row in expected]
    assert np.allclose([row["scores"] for row in found], [row["scores"] for row in expected])


@pytest.mark.usefixtures("without_picture")
def test_a_model_is_loaded_and_asked_as_the_recipe_says(
    root: Path, tmp_path: Path, encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import sentence_transformer

    seen: list[Any] = []
    original = sentence_transformer.SentenceTransformer

    class Watched(original):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            seen.append(kwargs["device"])
            super().__init__(*args, **kwargs)

        def encode(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs["batch_size"])
            return super().encode(*args, **kwargs)

    monkeypatch.setattr(sentence_transformer, "SentenceTransformer", Watched)
    section = {**DENSE, "model": str(encoder_dir), "device": "cpu", "batch_size": 5}
    mined(root, tmp_path / "out", retrievers=[section])
    assert seen[0] == "cpu"
    assert set(seen[1:]) == {5}


@pytest.mark.usefixtures("without_picture")
def test_several_processes_give_the_same_negatives(root: Path, tmp_path: Path, encoder_dir: Path) -> None:
    section = {**DENSE, "model": str(encoder_dir)}
    alone = mined(root, tmp_path / "a", retrievers=[section])
    recipe = recipe_of(
        root,
        output=tmp_path / "b",
        retrievers=[{**section, "workers": ["cpu", "cpu"]}],
        outputs=[{"path": "rows.parquet", "scores": True}],
    )
    mine_recipe(recipe, progress=False)
    together = read_rows(tmp_path / "b" / "rows.parquet")
    assert [row["negative"] for row in together] == [row["negative"] for row in alone]
    assert np.allclose([row["scores"] for row in together], [row["scores"] for row in alone], atol=1e-5)


@pytest.mark.usefixtures("without_picture")
def test_a_second_run_encodes_and_scores_nothing_again(
    root: Path, tmp_path: Path, encoder_dir: Path, reranker_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.cross_encoder import CrossEncoder
    from training.sentence_transformer import SentenceTransformer

    keys = {"retrievers": [{**DENSE, "model": str(encoder_dir)}], "rescoring": {"model": str(reranker_dir)}}
    first = mined(root, tmp_path / "a", **keys)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(SentenceTransformer, "encode", refuse)
    monkeypatch.setattr(CrossEncoder, "predict", refuse)
    assert mined(root, tmp_path / "b", **keys) == first


def test_the_report_tells_what_was_kept_and_why(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'output = "{tmp_path / "out"}"\ndata_root = "{root}"\npairs = {{ path = "pairs.jsonl" }}\n'
        'retrievers = [{ kind = "bm25" }]\nexamples = 2\n'
    )
    assert main(["mine", str(path), "filters.relative_margin=0.5", "sampling.num_negatives=2", "seed=3"]) == 0
    printed = capsys.readouterr().out
    figures = report_of(tmp_path / "out")
    (skipped,) = figures["skipped"]
    assert f"Skipped {skipped['dropped']:,} potential negatives" in printed
    assert "20 queries, 20 right answers, 20 documents" in printed
    assert f"triplets.jsonl: {figures['rows_written']['triplets.jsonl']:,} rows" in printed
    assert figures["rows_written"]["triplets.jsonl"] == len(read_rows(tmp_path / "out" / "triplets.jsonl"))
    assert figures["recipe"]["filters"] == {"relative_margin": 0.5}
    assert figures["options"]["seed"] == 3
    assert list(figures["data"]["sha256"]) == ["pairs.jsonl"]
    assert set(figures["seconds"]) == {"read", "index", "mine", "write"}
    assert figures["statistics"]["scores"]["Mean"]["positive"] > figures["statistics"]["scores"]["Mean"]["negative"]
    assert (tmp_path / "out" / "histogram.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "out" / "report.md").read_text()
    hardest, suspected = text.split("## Hardest negatives")[1].split("## Recipe")[0].split("## Suspected false")
    assert hardest.count("- right answer, ") == suspected.count("- right answer, ") == 2
    assert f"cache: {cache.readable(figures['cache_bytes'])} in {tmp_path / 'out.work'}" in printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampling.num_negatives=20"], "20 different documents cannot give 20 negatives"),
        (["filters.max_score=-1"], "no negative among the .* max_score of -1.0 dropped"),
        (["pairs.path=absent.jsonl"], "absent.jsonl: no such file"),
        (["pairs.query=question"], "line 1: no column 'question'; it has 'query', 'answer'"),
        (['retrievers=[{kind="dense", model="./nowhere"}]'], "./nowhere: cannot be loaded as a model of embeddings"),
        (['retrievers=[{kind="dense", model="ENCODER", query_prompt_name="none"}]'], "cannot encode: .*'none'"),
        (['rescoring={model="./nowhere"}'], "./nowhere: cannot be loaded as a cross-encoder"),
        (['rescoring={model="CLASSIFIER"}'], "gives 3 scores per pair; mining needs a model with one"),
        (['rescoring={model="CLASSIFIER", backend="onnx"}'], "gives 3 scores per pair"),
        (["cache_limit_gb=1e-9", 'retrievers=[{kind="dense", model="ENCODER"}]'], "above cache_limit_gb"),
        (["corpus.path=pairs.jsonl"], "no column 'text'"),
    ],
)
def test_errors_are_one_line_with_code_2_and_leave_no_output(
    overrides: list[str],
    message: str,
    root: Path,
    tmp_path: Path,
    encoder_dir: Path,
    classifier_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'output = "{tmp_path / "out"}"\ndata_root = "{root}"\npairs.path = "pairs.jsonl"\n'
        'retrievers = [{ kind = "bm25" }]\n'
    )
    placed = [one.replace("ENCODER", str(encoder_dir)).replace("CLASSIFIER", str(classifier_dir)) for one in overrides]
    assert main(["mine", str(path), *placed]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("rerank-training: ")
    assert re.search(message, last), last
    assert not (tmp_path / "out").exists()
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".out")]


def test_an_output_that_exists_is_never_overwritten(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'output = "{tmp_path / "out"}"\ndata_root = "{root}"\npairs.path = "pairs.jsonl"\n'
        'retrievers = [{ kind = "bm25" }]\n'
    )
    assert main(["mine", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "out.work").exists()


STOPPED = """
import os, sys
from training.__main__ import main
from training.cross_encoder import CrossEncoder
from training.mining import cache, rescoring
from training.sentence_transformer import SentenceTransformer

cache.ROWS_PER_SHARD, rescoring.PAIRS_PER_CHUNK = 6, 20
number, kind, after = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
owner, name = {"encode": (SentenceTransformer, "encode"), "score": (CrossEncoder, "predict")}[kind]
original, calls = getattr(owner, name), []

def stopped(*args, **kwargs):
    calls.append(1)
    if len(calls) > after:
        os.kill(os.getpid(), number)
    return original(*args, **kwargs)

setattr(owner, name, stopped)
sys.exit(main(["mine", *sys.argv[4:]]))
"""


@pytest.mark.usefixtures("without_picture")
@pytest.mark.parametrize(
    ("sent", "kind", "after"),
    [
        (signal.SIGKILL, "encode", 2),
        (signal.SIGKILL, "score", 2),
        (signal.SIGINT, "encode", 5),
        (signal.SIGTERM, "score", 1),
    ],
)
def test_a_stopped_run_goes_on_where_it_was_and_ends_as_an_undisturbed_one(
    sent: signal.Signals,
    kind: str,
    after: int,
    root: Path,
    tmp_path: Path,
    encoder_dir: Path,
    reranker_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"retrievers": [{**DENSE, "model": str(encoder_dir)}], "rescoring": {"model": str(reranker_dir)}}
    expected = mined(root, tmp_path / "undisturbed" / "out", **keys)
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'output = "{tmp_path / "out"}"\ndata_root = "{root}"\npairs.path = "pairs.jsonl"\n'
        f'retrievers = [{{ kind = "dense", model = "{encoder_dir}" }}]\nrescoring.model = "{reranker_dir}"\n'
        'outputs = [{ path = "rows.parquet", scores = true }]\n'
    )
    command = [sys.executable, "-c", STOPPED, str(int(sent)), kind, str(after), str(path)]
    stopped = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert stopped.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 130), stopped.stderr
    if sent != signal.SIGKILL:
        assert "run the same command to go on: what was computed is kept in" in stopped.stderr
    assert not (tmp_path / "out").exists()
    asked = _watched(kind, monkeypatch)
    assert main(["mine", str(path)]) == 0
    found = read_rows(tmp_path / "out" / "rows.parquet")
    assert [{**row, "scores": None} for row in found] == [{**row, "scores": None} for row in expected]
    # The last bit of a score depends on what shares its batch.
    assert np.allclose([row["scores"] for row in found], [row["scores"] for row in expected], atol=1e-6)
    total = {"encode": 2 * len(PAIRS), "score": _pairs_scored(tmp_path / "undisturbed" / "cache")}[kind]
    assert 0 < sum(asked) < total


def _watched(kind: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts or pairs each call was asked for, from now on."""
    from training.cross_encoder import CrossEncoder
    from training.sentence_transformer import SentenceTransformer

    owner: Any = SentenceTransformer if kind == "encode" else CrossEncoder
    name = "encode" if kind == "encode" else "predict"
    original, asked = getattr(owner, name), []

    def watched(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(inputs))
        return original(self, inputs, *args, **kwargs)

    monkeypatch.setattr(owner, name, watched)
    return asked


def _pairs_scored(folder: Path) -> int:
    from training.mining.pair_store import RECORD

    (store,) = (folder / "scores").iterdir()
    return store.stat().st_size // int(RECORD.itemsize)


def test_the_served_model_scores_as_in_the_service(reranker_dir: Path) -> None:
    from app.model.cross_encoder import CrossEncoder
    from training.mine_recipe import Scorer

    pairs = [(row["query"], row["answer"]) for row in PAIRS]
    served = search.ServedCrossEncoder.load(Scorer(model=str(reranker_dir), backend="onnx"))
    assert np.array_equal(served.predict(pairs), CrossEncoder.load(reranker_dir).predict(pairs))
