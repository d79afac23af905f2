"""Models in fixed point against the PyTorch models that they were made of."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy.linalg import hadamard

from app.errors import ArtifactError, ConfigError
from app.model.artifact import read_artifact
from app.model.backends import BackendOptions
from app.model.backends.graphs import VNNI_GRAPHS
from app.model.backends.vnni import VnniBackend
from app.model.bucketing import Budget
from app.model.compiled import _mark
from app.model.cross_encoder import CrossEncoder
from app.model.types import Encoded, FloatArray
from app.model.vnni import first_layer, kernels
from app.model.vnni.network import CHUNK_TOKENS, busiest, shares
from app.model.vnni.weights import read
from tests.unit.training.export_models import PAIRS, write_tiny
from training.graphs.fixed_point import write_fixed_point
from training.parity import kendall_tau

INT16, FP32, INT8 = VNNI_GRAPHS
FAMILIES = {"bert": 48, "roberta": 80, "xlm-roberta": 128}
"""With widths that make heads of 24, 40 and 64 columns; the last is spread in 8 bits."""


@dataclass(frozen=True)
class Pair:
    """A model in PyTorch and where its forms in fixed point are, with the logits of rows of all lengths."""

    directory: Path
    reference: CrossEncoder
    rows: list[Encoded]
    expected: FloatArray

    def load(self, graph: str = INT16, threads: int = 1, streams: int = 1) -> CrossEncoder:
        return CrossEncoder.load(self.directory, "vnni", BackendOptions(graph=graph, threads=threads, streams=streams))


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Three layers whose widths are no multiples of 32: everything is padded."""
    directory = tmp_path_factory.mktemp("fixed") / request.param
    width = FAMILIES[request.param]
    sizes = {"num_hidden_layers": 3, "intermediate_size": 72, "initializer_range": 0.15 * min(1, (48 / width) ** 0.5)}
    write_tiny(request.param, directory, labels=3, hidden_size=width, **sizes)
    (directory / "vnni").mkdir()
    for graph, bits in ((INT16, 16), (FP32, 32), (INT8, 8)):
        write_fixed_point(read_artifact(directory), directory / graph, bits)
    reference = CrossEncoder.load(directory, backend="torch", max_length=128)
    rows = reference.tokenizer.encode_pairs(PAIRS, reference.options)
    size = reference.tokenizer.encode_pairs([("a", "b")], reference.options)[0].ids.max() + 1
    rng = np.random.default_rng(0)
    for length in (1, 2, 31, 32, 33, 97, 128):
        rows.append(Encoded(rng.integers(2, size, length).astype(np.int32), length // 2, length))
    return Pair(directory, reference, rows, reference.logits(rows))


def test_16_bits_are_close_to_float32(pair: Pair) -> None:
    """A thousandth of the range of these random weights; trained ones are in the LOG."""
    found = pair.load().logits(pair.rows)
    assert np.abs(found - pair.expected).max() < 1e-3 * np.ptp(pair.expected)
    assert np.ptp(pair.expected, axis=0).min() > 0.1
    for label in range(3):
        assert kendall_tau(pair.expected[:, label], found[:, label]) > 0.998


def test_tables_of_the_first_layer_give_what_its_product_does(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not made where they would be large."""
    found = pair.load().logits(pair.rows)
    monkeypatch.setattr(first_layer, "LARGEST_BYTES", 0)
    without = pair.load().logits(pair.rows)
    assert (found != without).any()
    assert np.abs(without - pair.expected).max() < 1e-3 * np.ptp(pair.expected)


@pytest.mark.parametrize("graph", [INT16, INT8])
def test_tables_of_the_first_layer_are_those_of_a_normalised_sum(pair: Pair, graph: str) -> None:
    """As normalised in 64 bits and multiplied by what the integers stand for."""
    shape, tensors = read(pair.directory / graph)
    assert shape.spread == (graph == INT8 and len(tensors["embeddings.norm.bias"]) == 128)
    tables = first_layer.first_tables(tensors, shape)
    integers, scales = tensors["layers.0.inputs.weight"].astype(float), tensors["layers.0.inputs.scales"]
    weights = integers * np.repeat(scales, integers.shape[1] // scales.shape[1], axis=1)
    if shape.spread:
        weights = weights @ np.kron(np.eye(weights.shape[1] // 128), hadamard(128))
    gain, bias = tensors["embeddings.norm.weight"], tensors["embeddings.norm.bias"]
    for word, place, segment in ((2, 3, 0), (11, 9, 0), (40, 0, 0)):
        total = tensors["embeddings.words"][word] * tensors["embeddings.scales"][word].astype(float)
        total = (total + tensors["embeddings.positions"][place] + tensors["embeddings.types"][segment])[: len(gain)]
        mean, factor = total.mean(), 1 / np.sqrt(total.var() + shape.epsilon)
        expected = weights[:, : len(gain)] @ ((total - mean) * factor * gain + bias) + tensors["layers.0.inputs.bias"]
        words = tables.words[word] * np.repeat(tables.scales[word], len(weights) // shape.heads)
        found = factor * (words + tables.places[place] + tables.segments[segment] - mean * tables.sums) + tables.bias
        np.testing.assert_allclose(found, expected, atol=5e-5 * np.abs(expected).max())


def test_machine_code_is_made_beside_a_start(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what is said of it holds for this processor and this code alone."""
    artifact = read_artifact(pair.directory)
    monkeypatch.setattr("app.model.compiled.cpu_model", lambda: f"Another CPU {pair.directory}")
    assert not VnniBackend.is_compiled(artifact, INT8)
    pair.load(INT8).logits(pair.rows[:1])
    assert VnniBackend.is_compiled(artifact, INT8)
    monkeypatch.undo()
    mark = _mark(kernels.rest, f"vnni-{read(pair.directory / INT8)[0].bits}")
    assert mark is not None
    mark.unlink(missing_ok=True)
    with caplog.at_level(logging.INFO):
        VnniBackend.compile_aside(artifact, [INT8])
        (watch,) = (thread for thread in threading.enumerate() if thread.name == "vnni-compiling")
        watch.join(timeout=240)
    assert VnniBackend.is_compiled(artifact, INT8)
    assert f"compiled for {INT8}" in caplog.text


def test_machine_code_that_cannot_be_made_is_a_warning(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    VnniBackend.compile_aside(read_artifact(pair.directory), ["vnni/none.vnni"])
    (watch,) = (thread for thread in threading.enumerate() if thread.name == "vnni-compiling")
    watch.join(timeout=60)
    assert "compiling for vnni/none.vnni failed (app.errors.ArtifactError" in caplog.text
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("graph", VNNI_GRAPHS)
def test_a_model_of_one_layer_has_no_tables(graph: str, tmp_path: Path) -> None:
    """It computes no keys and values."""
    directory = write_tiny("bert", tmp_path / "model", num_hidden_layers=1)
    (directory / "vnni").mkdir()
    write_fixed_point(read_artifact(directory), directory / graph, {FP32: 32, INT16: 16, INT8: 8}[graph])
    options = BackendOptions(graph=graph)
    model, reference = CrossEncoder.load(directory, "vnni", options), CrossEncoder.load(directory, "torch")
    found, expected = (each.logits(each.tokenizer.encode_pairs(PAIRS, each.options)) for each in (model, reference))
    np.testing.assert_allclose(found, expected, atol=(0.05 if graph == INT8 else 1e-3) * np.ptp(expected))


def test_texts_to_round_for_bring_8_bits_closer(pair: Pair, tmp_path: Path) -> None:
    """Whatever pads the layers, and whether they are spread."""
    directory = Path(shutil.copytree(pair.directory, tmp_path / "model"))
    batches = [pair.reference.pad([row]) for row in pair.rows]
    write_fixed_point(read_artifact(directory), directory / INT8, 8, batches)
    options = BackendOptions(graph=INT8, threads=1)
    plain, rounded = (
        np.abs(model.logits(pair.rows) - pair.expected).mean()
        for model in (pair.load(INT8), CrossEncoder.load(directory, "vnni", options))
    )
    assert rounded < 0.95 * plain


def test_32_bits_are_float32(pair: Pair) -> None:
    found = pair.load(FP32).logits(pair.rows)
    assert np.abs(found - pair.expected).max() < 5e-6 * np.ptp(pair.expected)


def test_8_bits_rank_alike_and_16_bits_fifty_times_closer(pair: Pair) -> None:
    errors = {graph: np.abs(pair.load(graph).logits(pair.rows) - pair.expected).mean() for graph in VNNI_GRAPHS}
    found = pair.load(INT8).logits(pair.rows)
    assert kendall_tau(pair.expected[:, 0], found[:, 0]) > 0.9
    assert errors[INT16] * 50 < errors[INT8]


@pytest.mark.parametrize("graph", VNNI_GRAPHS)
def test_a_row_s_logits_do_not_depend_on_its_company(pair: Pair, graph: str) -> None:
    """Not in a single bit: neither on the batch, nor on how many threads share it out."""
    alone = np.concatenate([pair.load(graph).logits([row]) for row in pair.rows])
    options = st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(1, 4000))

    @settings(max_examples=10, deadline=None)
    @given(st.lists(st.integers(0, len(pair.rows) - 1), min_size=1, max_size=40), options)
    def check(chosen: list[int], how: tuple[int, int, int]) -> None:
        threads, streams, tokens = how
        model = pair.load(graph, threads, streams)
        found = model.logits([pair.rows[i] for i in chosen], Budget(max_tokens=tokens))
        np.testing.assert_array_equal(found, alone[chosen])

    check()


def test_threads_that_share_a_model_get_their_own_answers(pair: Pair) -> None:
    model = pair.load(threads=2)
    expected = model.logits(pair.rows)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: model.logits([row])[0], pair.rows))
    np.testing.assert_array_equal(found, expected)


def test_padding_tokens_that_a_user_wrote_out(pair: Pair) -> None:
    """RoBERTa gives them no position; BERT does."""
    padding = pair.reference.artifact.pad_id
    row = Encoded(np.array([2, 5, padding, padding, 6, 7, padding, 3], np.int32), 8, 8)
    expected, found = (model.logits([row]) for model in (pair.reference, pair.load()))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(pair.expected))


def test_a_row_without_tokens_is_refused(pair: Pair) -> None:
    """The kernels would write behind a buffer."""
    model = pair.load()
    batch = model.pad(pair.rows[:3])
    batch["attention_mask"][1] = 0
    with pytest.raises(IndexError, match="a row without tokens"):
        model.forward(batch)


def test_padding_on_the_left_is_no_token(pair: Pair) -> None:
    model = pair.load()
    batch = {name: values[:, ::-1].copy() for name, values in model.pad(pair.rows[:9]).items()}
    lengths = batch["attention_mask"].sum(axis=1)
    for row, length in enumerate(lengths):
        for values in batch.values():
            values[row, len(values[row]) - length :] = values[row, len(values[row]) - length :][::-1].copy()
    np.testing.assert_array_equal(model.forward(batch), model.logits(pair.rows[:9]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("input_ids", 10_000, "token id 10000"), ("token_type_ids", 9, "type id 9"), ("", 0, "length 200")],
)
def test_what_the_tables_lack_is_refused(name: str, value: int, message: str, tmp_path: Path) -> None:
    """The kernels would read whatever lies behind a table."""
    directory = write_tiny("bert", tmp_path / "model")
    (directory / "vnni").mkdir()
    write_fixed_point(read_artifact(directory), directory / INT16, 16)
    backend = CrossEncoder.load(directory, "vnni").backend
    width = 200 if not name else 8
    batch = {key: np.ones((2, width), np.int64) for key in ("input_ids", "attention_mask", "token_type_ids")}
    if name:
        batch[name][1, 3] = value
    with pytest.raises(IndexError, match=message):
        backend.forward(batch)
    batch = {key: np.ones((2, 8), np.int64) for key in batch}
    assert np.isfinite(backend.forward(batch)).all(), "and goes on"


@pytest.mark.parametrize("model_type", ["electra", "distilbert", "deberta-v2", "modernbert"])
def test_other_families_are_refused(model_type: str, tmp_path: Path) -> None:
    directory = write_tiny(model_type, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"vnni-int16 takes BERT, RoBERTa and XLM-RoBERTa .* choose another target"):
        write_fixed_point(read_artifact(directory), tmp_path / "model.vnni", 16)


def test_another_activation_is_refused(tmp_path: Path) -> None:
    directory = write_tiny("bert", tmp_path / "model", hidden_act="relu")
    with pytest.raises(ConfigError, match=r"with GELU, not BertForSequenceClassification with relu"):
        write_fixed_point(read_artifact(directory), tmp_path / "model.vnni", 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("embeddings.LayerNorm.bias", value) for value in (np.nan, np.inf, -np.inf)),
        *((f"encoder.layer.0.attention.self.{name}.bias", np.nan) for name in ("query", "key", "value")),
        *((f"encoder.layer.0.{name}.dense.bias", -np.inf) for name in ("attention.output", "intermediate", "output")),
    ],
)
def test_weights_that_are_no_numbers_are_not_exported(name: str, value: float, tmp_path: Path) -> None:
    """The first of them is named, as it is called in the model."""
    directory = write_tiny("bert", tmp_path / "model")
    change(directory / "model.safetensors", f"bert.{name}", value)
    with pytest.raises(ArtifactError, match=rf"model: bert\.{re.escape(name)} holds numbers that are not finite"):
        write_fixed_point(read_artifact(directory), tmp_path / "model.vnni", 16)
    assert not (tmp_path / "model.vnni").exists()


@pytest.fixture(scope="module")
def one_of_each(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT in all three forms."""
    directory = write_tiny("bert", tmp_path_factory.mktemp("each") / "model")
    (directory / "vnni").mkdir()
    for graph, bits in ((INT16, 16), (FP32, 32), (INT8, 8)):
        write_fixed_point(read_artifact(directory), directory / graph, bits)
    return directory


@pytest.mark.parametrize(
    ("graph", "name", "value"),
    [
        *((graph, "layers.0.wide.bias", value) for graph in VNNI_GRAPHS for value in (np.nan, np.inf, -np.inf)),
        *((INT16, f"layers.0.{name}", -np.inf) for name in ("inputs.bias", "mixed.scales", "output_norm.weight")),
        *((INT16, name, np.nan) for name in ("embeddings.positions", "layers.1.value.bias", "head.out.bias")),
    ],
)
def test_weights_that_are_no_numbers_are_found_at_load(
    one_of_each: Path, graph: str, name: str, value: float, tmp_path: Path
) -> None:
    """By the name of the tensor. Integers would hide them: the GELU of minus infinity was a finite number."""
    directory = Path(shutil.copytree(one_of_each, tmp_path / "model"))
    change(directory / graph, name, value)
    with pytest.raises(ArtifactError, match=rf"{re.escape(graph)}: {re.escape(name)} holds numbers that are not"):
        CrossEncoder.load(directory, "vnni", BackendOptions(graph=graph))


def test_numbers_too_large_to_square_are_found_at_load(tmp_path: Path) -> None:
    """They are finite, and no score is."""
    directory = write_tiny("bert", tmp_path / "model")
    change(directory / "model.safetensors", "bert.embeddings.LayerNorm.bias", 1e30)
    (directory / "vnni").mkdir()
    write_fixed_point(read_artifact(directory), directory / INT16, 16)
    with pytest.raises(ArtifactError, match="logits that are not finite"):
        CrossEncoder.load(directory, "vnni")


def change(path: Path, name: str, value: float) -> None:
    """Sets a number of a tensor in a file of tensors."""
    with safe_open(path, framework="numpy") as file:
        notes = file.metadata()
    weights = load_file(path)
    weights[name].flat[3 % weights[name].size] = value
    save_file(weights, path, notes)


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    directory = write_tiny("bert", tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"model_int16\.vnni: missing .*--target vnni-int16"):
        CrossEncoder.load(directory, "vnni")
    with pytest.raises(ConfigError, match="runs on the CPU, not on cuda"):
        CrossEncoder.load(directory, "vnni", BackendOptions(device="cuda"))


@pytest.mark.parametrize(("name", "bits"), [(INT16, 16), (FP32, 32)])
def test_a_processor_without_the_instructions_is_warned_of(
    name: str, bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For integers: float32 does without them."""
    directory = write_tiny("bert", tmp_path / "model")
    (directory / "vnni").mkdir()
    write_fixed_point(read_artifact(directory), directory / name, bits)
    monkeypatch.setattr("app.model.backends.vnni.has_vnni", lambda: False)
    with caplog.at_level(logging.WARNING):
        CrossEncoder.load(directory, "vnni")
    assert ("no AVX-512 VNNI" in caplog.text) == (bits < 32)


def test_rows_are_shared_out_in_parts_that_become_smaller() -> None:
    """All rows once, in order; no part over a chunk but for a longer row, none empty."""
    lengths = np.array([500, *[100] * 30, *[30] * 20])
    parts = shares(lengths, 2)
    assert [row for own in parts for row in own] == list(range(len(lengths)))
    tokens = [int(lengths[own.start : own.stop].sum()) for own in parts]
    assert tokens[0] == 500
    assert max(tokens[1:]) <= CHUNK_TOKENS + 50
    assert tokens[1:] == sorted(tokens[1:], reverse=True)
    assert tokens[-2] < 200
    assert shares(np.array([CHUNK_TOKENS]), 4) == [range(1)]
    assert [len(own) for own in shares(np.ones(5, int), 9)] == [1, 1, 1, 1, 1]
    assert [len(own) for own in shares(np.full(10, 20), 2)] == [5, 5], "a small batch is one part for each thread"


def test_the_busiest_thread_is_found_part_by_part() -> None:
    lengths = np.array([300, 200, 100, 90])
    parts = [range(0, 1), range(1, 2), range(2, 4)]
    assert busiest(lengths, parts, 2) == 390, "the one with 200 takes what comes next"
    assert busiest(lengths, parts, 3) == 300
    assert busiest(lengths, parts, 1) == 690
