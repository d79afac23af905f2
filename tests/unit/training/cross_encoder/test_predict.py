"""`predict` and `rank` against sentence-transformers 6.2 on the same directory, and where ours does better."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder as Oracle

from app.model.backends import MOST_STREAMS
from app.model.cpus import available_cpus
from tests.models import TEXT
from training.cross_encoder import CrossEncoder
from training.cross_encoder.prediction import windows

WORDS = TEXT.split()
CLOSE = {"rtol": 0, "atol": 1e-5}


def make_pairs(count: int, seed: int = 0, longest: int = 120) -> list[tuple[str, str]]:
    """Pairs of very different lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, count)
    return [(" ".join(rng.choice(WORDS, 1 + n % 9)), " ".join(rng.choice(WORDS, n))) for n in lengths]


PAIRS = make_pairs(40)


@pytest.fixture(scope="module")
def reranker(reranker_dir: Path) -> CrossEncoder:
    return CrossEncoder(reranker_dir, device="cpu")


@pytest.fixture(scope="module")
def classifier(classifier_dir: Path) -> CrossEncoder:
    return CrossEncoder(classifier_dir, device="cpu")


@pytest.fixture(scope="module")
def oracle(reranker_dir: Path) -> Oracle:
    return Oracle(str(reranker_dir), device="cpu")


@pytest.fixture(scope="module")
def classifier_oracle(classifier_dir: Path) -> Oracle:
    return Oracle(str(classifier_dir), device="cpu")


@pytest.fixture(params=["reranker", "classifier"])
def both(request: pytest.FixtureRequest) -> tuple[CrossEncoder, Oracle]:
    """Our model and the oracle, once with one label and once with three."""
    theirs = "oracle" if request.param == "reranker" else "classifier_oracle"
    return request.getfixturevalue(request.param), request.getfixturevalue(theirs)


INPUTS: dict[str, Any] = {
    "tuples": PAIRS,
    "lists": [list(pair) for pair in PAIRS],
    "tuple of pairs": tuple(PAIRS[:5]),
    "one tuple": PAIRS[0],
    "one list": list(PAIRS[0]),
    "one text": PAIRS[0][1],
    "list of one pair": PAIRS[:1],
    "array of pairs": np.array(PAIRS[:7]),
    "array of objects": np.array(PAIRS[:7], dtype=object),
    "array that is one pair": np.array(PAIRS[0]),
    "column": Dataset.from_dict({"pairs": [list(pair) for pair in PAIRS[:6]]})["pairs"],
    "empty texts": [("", ""), ("a", ""), ("", "b")],
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("form", [{}, {"convert_to_tensor": True}, {"convert_to_numpy": False}])
def test_every_input_and_output_form_is_that_of_6_2(
    both: tuple[CrossEncoder, Oracle], name: str, form: dict[str, bool]
) -> None:
    ours, theirs = (model.predict(INPUTS[name], **form) for model in both)
    assert type(ours) is type(theirs)
    if isinstance(theirs, list):
        assert all(torch.is_tensor(one) for one in ours)
        ours, theirs = torch.stack(ours), torch.stack(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), **CLOSE)


@pytest.mark.parametrize("options", [{"apply_softmax": True}, {"activation_fn": torch.nn.Tanh()}, {"batch_size": 1}])
def test_options_change_scores_as_in_6_2(both: tuple[CrossEncoder, Oracle], options: dict[str, Any]) -> None:
    ours, theirs = (model.predict(PAIRS, **options) for model in both)
    np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_positions_of_the_releases_before_5(classifier: CrossEncoder) -> None:
    """A number behind the inputs is a batch size: prompts, which stand there now, are texts."""
    pairs = [["what is the capital of france", TEXT], ["who ranks documents", TEXT]]
    found = classifier.predict(pairs, 1, False, 0, None, True, False, True)
    expected = classifier.predict(pairs, apply_softmax=True, convert_to_tensor=True)
    torch.testing.assert_close(found, expected)


def test_empty_input_gives_an_empty_answer_of_the_asked_type(reranker: CrossEncoder, classifier: CrossEncoder) -> None:
    assert reranker.predict([]).shape == (0,)
    assert reranker.predict([]).dtype == np.float32
    assert classifier.predict([]).shape == (0, 3)
    assert torch.is_tensor(reranker.predict([], convert_to_tensor=True))
    assert reranker.predict([], convert_to_numpy=False) == []
    assert reranker.predict(np.array([], dtype=str)).shape == (0,)
    assert reranker.rank("a", []) == []


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([("a", "b"), ("a", None)], "position 1: NoneType"),
        ([("a", 3)], "position 0: int"),
        ([("a", "b", "c")], "position 0: 3 elements"),
        ([("a",)], "1 elements"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_inputs_that_are_no_pairs_of_texts_are_named(reranker: CrossEncoder, inputs: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reranker.predict(inputs)


@pytest.mark.parametrize("size", [0, -3])
def test_batch_and_chunk_sizes_below_one_are_refused(reranker: CrossEncoder, size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        reranker.predict(PAIRS, batch_size=size)
    with pytest.raises(ValueError, match="chunk_size must be a positive integer"):
        reranker.predict(PAIRS, chunk_size=size)


def test_prompts_stand_before_the_first_text_as_in_6_2(reranker_dir: Path) -> None:
    settings = {"prompts": {"query": "what is ", "none": None}, "default_prompt_name": "query", "device": "cpu"}
    ours, theirs = CrossEncoder(str(reranker_dir), **settings), Oracle(str(reranker_dir), **settings)
    plain = CrossEncoder(str(reranker_dir)).predict(PAIRS)
    for options in ({}, {"prompt_name": "none"}, {"prompt": "who "}, {"prompt": "", "prompt_name": "query"}):
        np.testing.assert_allclose(ours.predict(PAIRS, **options), theirs.predict(PAIRS, **options), **CLOSE)
    assert not np.allclose(ours.predict(PAIRS), plain)
    np.testing.assert_allclose(ours.predict(PAIRS, prompt_name="none"), plain, **CLOSE)
    assert ours.rank("a", ["b c"]) == ours.rank("a", ["b c"], prompt_name="query")
    with pytest.raises(ValueError, match="'passage' not found"):
        ours.predict(PAIRS, prompt_name="passage")
    with pytest.raises(ValueError, match="'absent' is not among"):
        CrossEncoder(str(reranker_dir), default_prompt_name="absent")


def test_older_names_of_arguments_work_with_one_line_in_the_log(
    reranker: CrossEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    expected = reranker.predict(PAIRS, activation_fn=torch.nn.Identity())
    with caplog.at_level(logging.WARNING):
        found = reranker.predict(sentences=PAIRS, activation_fct=torch.nn.Identity(), num_workers=2)
        reranker.predict(sentences=PAIRS, activation_fct=torch.nn.Identity(), num_workers=2)
    np.testing.assert_array_equal(found, expected)
    assert len(caplog.records) == 1
    assert "sentences -> inputs" in caplog.text
    both_names = reranker.predict(inputs=PAIRS, sentences=PAIRS[:3])
    assert len(both_names) == len(PAIRS)


def test_the_length_limit_can_be_set_for_one_call_as_in_6_2(reranker: CrossEncoder, oracle: Oracle) -> None:
    options = {"processing_kwargs": {"text": {"max_length": 12, "truncation": True}}}
    short = reranker.predict(PAIRS, **options)
    np.testing.assert_allclose(short, oracle.predict(PAIRS, **options), **CLOSE)
    assert not np.allclose(short, reranker.predict(PAIRS))
    with pytest.raises(ValueError, match="only max_length"):
        reranker.predict(PAIRS, processing_kwargs={"text": {"stride": 3}})


def test_settings_of_the_tokenizer_are_by_kind_of_input(reranker: CrossEncoder) -> None:
    """It was "'int' object is not a mapping"."""
    said = re.escape("processing_kwargs: give {'text': {'max_length': 5}} instead of {'max_length': 5}")
    with pytest.raises(ValueError, match=said):
        reranker.predict(PAIRS, processing_kwargs={"max_length": 5})


def test_a_lower_max_length_takes_effect_at_once(reranker_dir: Path) -> None:
    ours, theirs = CrossEncoder(str(reranker_dir), device="cpu"), Oracle(str(reranker_dir), device="cpu")
    ours.predict(PAIRS)
    ours.max_length = 16
    theirs.max_seq_length = 16
    np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), **CLOSE)
    assert ours.max_seq_length == ours.get_max_seq_length() == 16


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 3}, {"return_documents": True}, {"activation_fn": torch.nn.Identity()}]
)
def test_rank_is_that_of_6_2(reranker: CrossEncoder, oracle: Oracle, options: dict[str, Any]) -> None:
    documents = [text for _, text in PAIRS]
    ours, theirs = (model.rank(PAIRS[0][0], documents, **options) for model in (reranker, oracle))
    assert [one["corpus_id"] for one in ours] == [one["corpus_id"] for one in theirs]
    assert [one.keys() for one in ours] == [one.keys() for one in theirs]
    assert all(type(one["score"]) is float for one in ours)
    np.testing.assert_allclose([one["score"] for one in ours], [one["score"] for one in theirs], **CLOSE)


def test_rank_needs_one_label(classifier: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="num_labels=1"):
        classifier.rank("a", ["b"])


def test_rank_accepts_arguments_that_mean_nothing_any_more(reranker: CrossEncoder) -> None:
    found = reranker.rank(
        "a", ["b", "c"], apply_softmax=True, convert_to_numpy=False, convert_to_tensor=True, num_workers=1
    )
    assert found == reranker.rank("a", ["b", "c"])


def test_saturated_scores_are_ranked_by_logit_and_equal_logits_by_position(reranker: CrossEncoder) -> None:
    """6.2 loses the order of the best documents where the activation saturates."""
    documents = ["fox", "dog", "dog", "city", "river"]

    def flat(logits: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(logits)

    by_logit = reranker.rank("what", documents, activation_fn=torch.nn.Identity())
    found = reranker.rank("what", documents, activation_fn=flat)
    assert [one["corpus_id"] for one in found] == [one["corpus_id"] for one in by_logit]
    twins = [one["corpus_id"] for one in found if one["corpus_id"] in (1, 2)]
    assert twins == [1, 2]


def test_rank_batch_gives_each_query_its_own_ranking(reranker: CrossEncoder) -> None:
    queries = ["the fox", "what is the capital", "nothing"]
    documents = [[text for _, text in PAIRS[:9]], [text for _, text in PAIRS[9:12]], []]
    found = reranker.rank_batch(queries, documents, top_k=4, return_documents=True)
    assert [len(one) for one in found] == [4, 3, 0]
    for query, texts, ranking in zip(queries, documents, found, strict=True):
        alone = reranker.rank(query, texts, top_k=4, return_documents=True)
        assert [one["text"] for one in ranking] == [one["text"] for one in alone]
        np.testing.assert_allclose([one["score"] for one in ranking], [one["score"] for one in alone], **CLOSE)
    with pytest.raises(ValueError, match="3 queries but 2 lists"):
        reranker.rank_batch(queries, documents[:2])


def test_documents_and_queries_may_come_from_generators(reranker: CrossEncoder) -> None:
    """They failed with "object of type 'generator' has no len()"."""
    documents = [text for _, text in PAIRS[:5]]
    expected = reranker.rank("the fox", documents, return_documents=True)
    assert reranker.rank("the fox", (text for text in documents), return_documents=True) == expected
    found = reranker.rank_batch(
        (text for text in ["the fox"]), ((text for text in some) for some in [documents]), return_documents=True
    )
    assert found == [expected]


def test_concurrent_calls_do_not_disturb_each_other(reranker: CrossEncoder) -> None:
    """6.2 raises "Already borrowed" here: truncation is set on the one tokenizer that all threads share."""
    batches = [make_pairs(30, seed) for seed in range(8)]
    expected = [reranker.predict(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(3):
            for found, wanted in zip(threads.map(reranker.predict, batches), expected, strict=True):
                np.testing.assert_allclose(found, wanted, **CLOSE)


def test_predict_after_training_mode_has_no_dropout(reranker: CrossEncoder) -> None:
    expected = reranker.predict(PAIRS)
    reranker.train()
    np.testing.assert_array_equal(reranker.predict(PAIRS), expected)


def test_a_text_that_recurs_is_tokenised_once_and_scores_follow_the_input_order(reranker: CrossEncoder) -> None:
    mixed = [PAIRS[0], "a single text", PAIRS[1], PAIRS[0]]
    found = reranker.predict(mixed)
    alone = [float(reranker.predict(item)) for item in mixed]
    np.testing.assert_allclose(found, alone, **CLOSE)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 40_000), max_size=60))
def test_windows_hold_every_row_once_longest_first(lengths: list[int]) -> None:
    pieces = windows(lengths)
    flat = [index for piece in pieces for index in piece]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)


@settings(max_examples=15)
@given(order=st.permutations(range(12)), batch_size=st.integers(1, 40))
def test_scores_do_not_depend_on_order_or_batch_size(order: list[int], batch_size: int, reranker_dir: Path) -> None:
    model = _cached_model(reranker_dir)
    expected = model.predict(PAIRS[:12])
    found = model.predict([PAIRS[i] for i in order], batch_size=batch_size)
    np.testing.assert_allclose(found, expected[list(order)], **CLOSE)


_MODELS: dict[Path, CrossEncoder] = {}


def _cached_model(directory: Path) -> CrossEncoder:
    if directory not in _MODELS:
        _MODELS[directory] = CrossEncoder(directory, device="cpu")
    return _MODELS[directory]


def test_a_progress_bar_is_shown_on_request_alone(reranker: CrossEncoder, capfd: pytest.CaptureFixture[str]) -> None:
    reranker.predict(PAIRS)
    assert capfd.readouterr().err == ""
    reranker.predict(PAIRS, show_progress_bar=True)
    assert "Pairs" in capfd.readouterr().err


def test_half_precision_scores_come_out_as_float32(reranker_dir: Path) -> None:
    model = CrossEncoder(reranker_dir, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    assert model.dtype == torch.bfloat16
    found = model.predict(PAIRS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, CrossEncoder(reranker_dir, device="cpu").predict(PAIRS), atol=0.1)


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_exported_graphs_score_like_the_weights(backend: str, reranker_dir: Path, tmp_path: Path) -> None:
    graph = CrossEncoder(reranker_dir, backend=backend, device="cpu")
    expected = CrossEncoder(reranker_dir, device="cpu").predict(PAIRS)
    np.testing.assert_allclose(graph.predict(PAIRS), expected, atol=1e-4)
    assert graph.get_backend() == backend
    assert graph.rank("fox", ["dog", "cat"])[0]["score"] > 0
    graph.save_pretrained(tmp_path, create_model_card=False)
    np.testing.assert_array_equal(CrossEncoder(tmp_path, backend=backend).predict(PAIRS), graph.predict(PAIRS))
    with pytest.raises(RuntimeError, match="only predicts"):
        graph({"rows": []})
    if backend == "openvino":  # the service answers each batch as fast as it can; here there are many
        assert graph.graph is not None
        streams: Any = graph.graph._runner.backend
        assert streams.streams == min(available_cpus(), MOST_STREAMS)


class Negated(CrossEncoder):
    """Scores the other way round."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return -super().predict(*args, **kwargs)


def test_rank_goes_by_the_predict_of_a_subclass(reranker_dir: Path) -> None:
    query, documents = "what is the capital", ["paris is the capital", "a dog", "the fox", "rome"]
    plain = CrossEncoder(str(reranker_dir), device="cpu").rank(query, documents)
    negated = Negated(str(reranker_dir), device="cpu").rank(query, documents, return_documents=True)
    assert [one["corpus_id"] for one in negated] == [one["corpus_id"] for one in plain][::-1]
    assert [one["score"] for one in negated] == pytest.approx([-one["score"] for one in plain][::-1])
