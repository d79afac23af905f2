"""All runtimes give the logits of plain transformers, whatever shares a batch with a row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder as Reference
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.model.backends import BACKENDS, BackendOptions
from app.model.backends.openvino import CORE, SHAPES, SHAPES_KEPT, cpu_capabilities, padded_length
from app.model.bucketing import Budget
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, FloatArray
from tests.unit.model.families import write_family
from tests.unit.model.tokenizer_styles import CORPUS, STYLES

TOLERANCE = 1e-5
FLOAT32 = sorted(set(BACKENDS) - {"vnni"})
"""The backends without those that round; what these lose is tested beside their export."""
QUERIES = ["what is the capital of france", ""]
DOCUMENTS = ["", CORPUS[0], CORPUS[3], CORPUS[7], "paris", " ".join(CORPUS[:4])]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
BF16 = "BF16" in cpu_capabilities()
BUDGETS = st.builds(Budget, st.integers(1, 4000), st.integers(1, 40), st.sampled_from([0.0, 0.5, 1.0]))


@pytest.fixture(scope="module")
def reference(minilm_dir: Path) -> Reference:
    """sentence-transformers on the same directory; one thread, for two wait for each other on a busy machine."""
    torch.set_num_threads(1)
    return Reference(str(minilm_dir), device="cpu")


@pytest.fixture(scope="module")
def reference_logits(reference: Reference) -> FloatArray:
    """Its raw scores of all pairs."""
    return np.asarray(reference.predict(PAIRS, activation_fn=torch.nn.Identity()))


@pytest.fixture(scope="module")
def reference_scores(reference: Reference) -> FloatArray:
    """Its scores of all pairs with the default activation."""
    return np.asarray(reference.predict(PAIRS))


@pytest.fixture(scope="module", params=FLOAT32)
def model(request: pytest.FixtureRequest, minilm_dir: Path) -> CrossEncoder:
    """MiniLM in each runtime, in fp32."""
    return CrossEncoder.load(minilm_dir, request.param, BackendOptions(threads=1))


def logits(model: CrossEncoder, pairs: list[tuple[str, str]], budget: Budget | None = None) -> FloatArray:
    return model.logits(model.tokenizer.encode_pairs(pairs, model.options), budget)


def test_minilm_logits_equal_sentence_transformers(model: CrossEncoder, reference_logits: FloatArray) -> None:
    """Real weights, texts of all lengths and scripts, to 1e-5."""
    np.testing.assert_allclose(logits(model, PAIRS)[:, 0], reference_logits, atol=TOLERANCE, rtol=0)
    assert np.ptp(reference_logits) > 1000 * TOLERANCE


def test_minilm_scores_equal_sentence_transformers_predict(model: CrossEncoder, reference_scores: FloatArray) -> None:
    """Through the default activation as well."""
    np.testing.assert_allclose(model.predict(PAIRS), reference_scores, atol=TOLERANCE, rtol=0)


@settings(max_examples=12)
@given(chosen=st.lists(st.integers(0, len(PAIRS) - 1), min_size=1, max_size=8), budget=BUDGETS)
def test_a_row_s_logit_does_not_depend_on_its_batch(
    model: CrossEncoder, reference_logits: FloatArray, chosen: list[int], budget: Budget
) -> None:
    """Any subset in any order, with repetitions, under any budget: padding and company change nothing."""
    got = logits(model, [PAIRS[index] for index in chosen], budget)[:, 0]
    np.testing.assert_allclose(got, reference_logits[chosen], atol=TOLERANCE, rtol=0)


def test_threads_that_share_a_model_get_their_own_answers(model: CrossEncoder, reference_logits: FloatArray) -> None:
    """Concurrent forwards of unequal shapes neither fail nor mix."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pair: logits(model, [pair])[0, 0], PAIRS))
    np.testing.assert_allclose(answers, reference_logits, atol=TOLERANCE, rtol=0)


@pytest.fixture(scope="module", params=STYLES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier of each of the five families, with three labels."""
    return write_family(request.param, tmp_path_factory.mktemp("families") / request.param)


@pytest.fixture(scope="module")
def family_logits(family: Path) -> FloatArray:
    """Plain transformers: its tokenizer, its padding, its forward."""
    tokenizer = AutoTokenizer.from_pretrained(family)
    model = AutoModelForSequenceClassification.from_pretrained(family, dtype=torch.float32).eval()
    queries, documents = zip(*PAIRS, strict=True)
    batch = tokenizer(
        list(queries), list(documents), padding=True, truncation=True, max_length=128, return_tensors="pt"
    )
    with torch.inference_mode():
        return np.asarray(model(**batch).logits.numpy())


@pytest.mark.parametrize("backend", FLOAT32)
def test_every_family_equals_plain_transformers(family: Path, family_logits: FloatArray, backend: str) -> None:
    """BERT, RoBERTa, XLM-R, DeBERTa-v2 and ModernBERT, in every runtime."""
    model = CrossEncoder.load(family, backend, BackendOptions(threads=1), max_length=128)
    assert model.max_length == 128
    np.testing.assert_allclose(logits(model, PAIRS), family_logits, atol=TOLERANCE, rtol=1e-5)
    assert np.ptp(family_logits, axis=0).min() > 1000 * TOLERANCE


@pytest.mark.parametrize("longest", [15, 31, 45, 47, 48, 90, 127, 128])
def test_openvino_pads_a_batch_further_than_its_longest_row(family: Path, longest: int) -> None:
    """Up to the last position that the model has; nothing changes in the logits."""
    rows = [[2 + (7 * place + row) % 60 for place in range(longest - row)] for row in range(3)]
    models = [CrossEncoder.load(family, backend) for backend in ("onnx", "openvino")]
    batch = models[0].tokenizer.pad([Encoded(np.array(ids), longest, len(ids)) for ids in rows])
    expected, found = (model.forward(batch) for model in models)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=1e-5)
    assert batch["input_ids"].shape == (3, longest)


def test_openvino_sees_few_shapes() -> None:
    """Whatever the lengths of the rows; the padding stays below a fifth of a long batch and within the positions."""
    padded = {longest: padded_length(longest, 510) for longest in range(1, 511)}
    assert all(0 <= more - longest < 16 for longest, more in padded.items())
    assert max(more / longest for longest, more in padded.items() if longest > 16) < 1.24
    assert len(set(padded.values())) == 8 + 4 + 28
    assert (padded[20], padded[30], padded[64], padded[65], padded[510]) == (20, 32, 64, 80, 510)


def test_openvino_takes_the_limit_on_kept_shapes() -> None:
    """The setting's name is known to the tested release: in the service it bounds memory."""
    CORE.set_property("CPU", {SHAPES: SHAPES_KEPT})


@pytest.mark.parametrize(
    ("backend", "precision", "tolerance"),
    [
        ("torch", "bf16", 0.1),
        ("torch", "fp16", 0.02),
        pytest.param("openvino", "bf16", 0.1, marks=pytest.mark.skipif(not BF16, reason="the CPU has no bf16")),
    ],
)
def test_lower_precision_stays_finite_and_close(
    reranker_dir: Path, backend: str, precision: Any, tolerance: float
) -> None:
    """The tolerance is that of the number format, relative to the spread of the scores."""
    exact = logits(CrossEncoder.load(reranker_dir, backend), PAIRS)
    lower = logits(CrossEncoder.load(reranker_dir, backend, BackendOptions(precision=precision)), PAIRS)
    assert lower.dtype == np.float32
    assert np.isfinite(lower).all()
    assert np.abs(lower - exact).max() < tolerance * np.ptp(exact)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_torch_really_computes_in_the_lower_precision(reranker_dir: Path, precision: Any) -> None:
    """The option makes a difference."""
    exact = logits(CrossEncoder.load(reranker_dir, "torch"), PAIRS)
    lower = logits(CrossEncoder.load(reranker_dir, "torch", BackendOptions(precision=precision)), PAIRS)
    assert np.abs(lower - exact).max() > 10 * TOLERANCE


@pytest.mark.parametrize("activation", [torch.nn.Identity(), torch.nn.Sigmoid()], ids=["identity", "sigmoid"])
def test_a_directory_saved_by_sentence_transformers_scores_as_there(
    reference: Reference, tmp_path: Path, activation: torch.nn.Module
) -> None:
    """With the activation that it was saved with, and its length limit."""
    saved = Reference(str(reference.model.name_or_path), device="cpu", activation_fn=activation, max_length=48)
    saved.save_pretrained(str(tmp_path))
    model = CrossEncoder.load(tmp_path, "torch", BackendOptions(threads=1))
    assert model.max_length == 48
    few = PAIRS[:6]
    np.testing.assert_allclose(model.predict(few), saved.predict(few), atol=TOLERANCE, rtol=0)
