"""POST /rerank, /score and /classify, against the same model used directly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.model.cross_encoder import CrossEncoder
from tests.unit.api.conftest import application

QUERY = "capital of france"
DOCUMENTS = ["paris is the capital of france", "berlin is in germany", "", "a lazy dog", "paris"]


def offline(client: TestClient, name: str, directory: Path) -> CrossEncoder:
    """The model on the runtime that the service has measured to be the fastest: another one's scores differ by 1e-6."""
    return CrossEncoder.load(directory, application(client).state.registry.find(name).model.backend.name)


@pytest.fixture(scope="module")
def reranker(client: TestClient, reranker_dir: Path) -> CrossEncoder:
    return offline(client, "rr", reranker_dir)


@pytest.fixture(scope="module")
def classifier(client: TestClient, classifier_dir: Path) -> CrossEncoder:
    return offline(client, "nli", classifier_dir)


def post(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


class TestRerank:
    """Best first, faithful to the model."""

    def test_scores_and_order_are_the_models(self, client: TestClient, reranker: CrossEncoder) -> None:
        answer = post(client, "/rerank", query=QUERY, documents=DOCUMENTS)
        expected = reranker.predict([(QUERY, document) for document in DOCUMENTS])
        assert [result["index"] for result in answer["results"]] == np.argsort(-expected, kind="stable").tolist()
        for result in answer["results"]:
            assert result["relevance_score"] == pytest.approx(expected[result["index"]], abs=1e-6)
            assert "document" not in result
        assert answer["object"] == "list"
        assert answer["model"] == "rr"
        rows = reranker.tokenizer.encode(QUERY, DOCUMENTS, reranker.options)
        assert answer["usage"] == {"prompt_tokens": sum(map(len, rows)), "total_tokens": sum(map(len, rows))}

    def test_equal_documents_keep_their_order(self, client: TestClient) -> None:
        answer = post(client, "/rerank", query=QUERY, documents=["same"] * 40)
        assert [result["index"] for result in answer["results"]] == list(range(40))

    def test_top_n_returns_the_best(self, client: TestClient) -> None:
        everything = post(client, "/rerank", query=QUERY, documents=DOCUMENTS)["results"]
        best = post(client, "/rerank", query=QUERY, documents=DOCUMENTS, top_n=2)["results"]
        assert best == everything[:2]
        assert len(post(client, "/rerank", query=QUERY, documents=DOCUMENTS, top_n=99)["results"]) == len(DOCUMENTS)

    def test_documents_are_echoed_whole_when_asked_for(self, client: TestClient) -> None:
        documents = ["paris", {"text": "berlin", "url": "x", "tags": [1, None]}]
        answer = post(client, "/rerank", query=QUERY, documents=documents, return_documents=True)
        echoed = {result["index"]: result["document"] for result in answer["results"]}
        assert echoed == {0: {"text": "paris"}, 1: documents[1]}

    def test_raw_scores_are_logits(self, client: TestClient, reranker: CrossEncoder) -> None:
        answer = post(client, "/rerank", query=QUERY, documents=DOCUMENTS, raw_scores=True)
        logits = reranker.logits(reranker.tokenizer.encode(QUERY, DOCUMENTS, reranker.options))[:, 0]
        for result in answer["results"]:
            assert result["relevance_score"] == pytest.approx(logits[result["index"]], abs=1e-5)
        assert max(abs(logits)) > 1, "logits and probabilities would not be told apart"

    def test_no_documents_give_no_results(self, client: TestClient) -> None:
        answer = post(client, "/rerank", query=QUERY, documents=[])
        assert answer["results"] == []
        assert answer["usage"]["total_tokens"] == 0

    def test_every_optional_field_accepts_null_and_unknown_fields_are_ignored(self, client: TestClient) -> None:
        optional = ("model", "top_n", "return_documents", "raw_scores", "truncate", "max_tokens_per_doc")
        plain = post(client, "/rerank", query=QUERY, documents=DOCUMENTS)
        nulls = post(client, "/rerank", query=QUERY, documents=DOCUMENTS, **dict.fromkeys(optional), priority=3)
        assert nulls["results"] == plain["results"]

    def test_max_tokens_per_doc_cuts_each_document(self, client: TestClient) -> None:
        long = "paris is the capital " * 20
        cut = post(client, "/rerank", query=QUERY, documents=[long], max_tokens_per_doc=2)
        short = post(client, "/rerank", query=QUERY, documents=["paris is"])
        assert cut["results"][0]["relevance_score"] == pytest.approx(short["results"][0]["relevance_score"], abs=1e-6)
        assert cut["usage"] == short["usage"]

    def test_an_over_long_item_is_cut_or_named(self, client: TestClient, reranker: CrossEncoder) -> None:
        long = "paris " * 600
        assert post(client, "/rerank", query=QUERY, documents=["a", long])["usage"]["total_tokens"] > 512
        response = client.post("/rerank", json={"query": QUERY, "documents": ["a", long], "truncate": False})
        assert response.status_code == 422
        assert response.json()["error_type"] == "input_too_long"
        assert "item 1 has 606 tokens" in response.json()["message"]
        fits = client.post(
            "/rerank",
            json={"query": QUERY, "documents": ["a", long], "truncate": False, "max_tokens_per_doc": 400},
        )
        assert fits.status_code == 200

    @given(st.text(), st.lists(st.text(), max_size=5))
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_valid_unicode_is_text(
        self, client: TestClient, reranker: CrossEncoder, query: str, documents: list[str]
    ) -> None:
        answer = post(client, "/rerank", query=query, documents=documents)
        expected = reranker.predict([(query, document) for document in documents]) if documents else []
        got = {result["index"]: result["relevance_score"] for result in answer["results"]}
        assert [got[i] for i in range(len(documents))] == pytest.approx(list(expected), abs=1e-6)


class TestScore:
    """Pairs in the order of the request."""

    @pytest.mark.parametrize(
        ("first", "second"), [("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2")]
    )
    def test_one_against_many_under_each_name(
        self, client: TestClient, reranker: CrossEncoder, first: str, second: str
    ) -> None:
        answer = post(client, "/score", **{first: QUERY, second: DOCUMENTS})
        expected = reranker.predict([(QUERY, document) for document in DOCUMENTS])
        assert [entry["score"] for entry in answer["data"]] == pytest.approx(expected.tolist(), abs=1e-6)
        assert [entry["index"] for entry in answer["data"]] == list(range(len(DOCUMENTS)))
        assert {entry["object"] for entry in answer["data"]} == {"score"}

    def test_lists_of_equal_length_are_paired(self, client: TestClient, reranker: CrossEncoder) -> None:
        queries = ["what is paris", "who is a dog", "where is rome"]
        answer = post(client, "/score", queries=queries, documents=DOCUMENTS[:3])
        expected = reranker.predict(list(zip(queries, DOCUMENTS, strict=False)))
        assert [entry["score"] for entry in answer["data"]] == pytest.approx(expected.tolist(), abs=1e-6)

    def test_two_strings_are_one_pair(self, client: TestClient) -> None:
        assert len(post(client, "/score", text_1=QUERY, text_2="paris", queries=None)["data"]) == 1

    def test_raw_scores_are_logits(self, client: TestClient) -> None:
        probability = post(client, "/score", text_1=QUERY, text_2="paris")["data"][0]["score"]
        logit = post(client, "/score", text_1=QUERY, text_2="paris", raw_scores=True)["data"][0]["score"]
        assert probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"queries": ["a", "b"], "documents": ["c", "d", "e"]}, "queries has 2 texts and documents 3"),
            ({"queries": ["a", "b"], "documents": "c"}, "queries has 2 texts and documents 1"),
            ({"queries": "a"}, "exactly one of documents, text_2, data_2"),
            ({"queries": "a", "text_1": "a", "documents": "b"}, "exactly one of queries, text_1, data_1"),
            ({"queries": 3, "documents": "b"}, "queries: must be a string or a list of strings"),
        ],
    )
    def test_what_does_not_fit_together_is_named(self, client: TestClient, body: dict[str, Any], message: str) -> None:
        response = client.post("/score", json=body)
        assert response.status_code == 422
        assert message in response.json()["message"]


class TestClassify:
    """Labels of texts and pairs."""

    def test_pairs_get_a_softmax_over_the_labels(self, client: TestClient, classifier: CrossEncoder) -> None:
        pairs = [["a dog", "a cat"], ["paris", "rome"]]
        answer = post(client, "/classify", model="nli", input=pairs)
        logits = classifier.logits(classifier.tokenizer.encode_pairs([(a, b) for a, b in pairs], classifier.options))
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for entry, row in zip(answer["data"], expected, strict=True):
            assert entry["probs"] == pytest.approx(row.tolist(), abs=1e-5)
            assert entry["label"] == ("contradiction", "entailment", "neutral")[int(row.argmax())]
            assert entry["num_classes"] == 3
            assert [s["score"] for s in entry["scores"]] == sorted(entry["probs"], reverse=True)

    def test_single_texts_are_no_pairs(self, client: TestClient, classifier: CrossEncoder) -> None:
        answer = post(client, "/classify", model="nli", input=["a dog", "a cat"])
        logits = classifier.logits(classifier.tokenizer.encode_texts(["a dog", "a cat"], classifier.options))
        raw = post(client, "/classify", model="nli", input=["a dog", "a cat"], raw_scores=True)
        assert [entry["probs"] for entry in raw["data"]] == [pytest.approx(row, abs=1e-5) for row in logits.tolist()]
        assert len(answer["data"]) == 2
        assert len(post(client, "/classify", model="nli", input="a dog")["data"]) == 1

    def test_independent_labels_get_a_sigmoid_each(self, client: TestClient) -> None:
        probs = post(client, "/classify", model="tags", input="a dog")["data"][0]["probs"]
        logits = post(client, "/classify", model="tags", input="a dog", raw_scores=True)["data"][0]["probs"]
        assert probs == pytest.approx([1 / (1 + np.exp(-logit)) for logit in logits], abs=1e-5)

    def test_a_single_label_gets_a_sigmoid(self, client: TestClient) -> None:
        entry = post(client, "/classify", model="rr", input=[["a", "b"]])["data"][0]
        score = post(client, "/score", text_1="a", text_2="b")["data"][0]["score"]
        assert entry["probs"] == pytest.approx([score], abs=1e-6)
        assert entry["num_classes"] == 1

    def test_top_k_limits_scores_but_not_probs(self, client: TestClient) -> None:
        entry = post(client, "/classify", model="nli", input="a dog", top_k=1)["data"][0]
        assert len(entry["scores"]) == 1
        assert entry["scores"][0]["label"] == entry["label"]
        assert len(entry["probs"]) == 3

    def test_a_malformed_element_is_named(self, client: TestClient) -> None:
        response = client.post("/classify", json={"input": ["a", ["b", "c", "d"]], "model": "nli"})
        assert response.status_code == 422
        assert "element 1 must be a string or a pair" in response.json()["message"]


def test_the_model_field_chooses_among_the_served_models(client: TestClient) -> None:
    assert post(client, "/classify", input="a", model="tags")["model"] == "tags"
    assert post(client, "/rerank", query="a", documents=["b"])["model"] == "rr"
    assert post(client, "/rerank", query="a", documents=["b"], model="default")["model"] == "rr"


def test_a_classifier_gives_no_relevance_score(client: TestClient) -> None:
    response = client.post("/rerank", json={"query": "a", "documents": ["b"], "model": "nli"})
    assert response.status_code == 422
    assert "/classify" in response.json()["message"]
