"""Reading model directories: what is derived, and every refusal with its file and its remedy."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ArtifactError
from app.model.artifact import check_logits, read_artifact
from app.model.manifest import Manifest, write_manifest
from tests.models import MAX_LENGTH, write_json
from tests.unit.model.tokenizer_styles import STYLES, save_style


@pytest.fixture
def model(reranker_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny reranker that a test may damage."""
    return Path(shutil.copytree(reranker_dir, tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file; None removes one."""
    data = {**json.loads(path.read_text()), **changes} if path.is_file() else changes
    write_json(path, {key: value for key, value in data.items() if value is not None})


def sign(model: Path, **fields: Any) -> None:
    """Writes a manifest over all files."""
    names = [path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()]
    write_manifest(model, Manifest(**fields), [name for name in names if name != "reranker.json"])


def flip_last_byte(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no directory": (shutil.rmtree, r"model: no such model directory; check the path"),
    "no config": (lambda m: (m / "config.json").unlink(), r"config\.json: missing; it is needed"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), r"tokenizer\.json: missing; it is needed"),
    "config not JSON": (
        lambda m: (m / "config.json").write_text('{"model_type": '),
        r"config\.json: not readable as JSON \(.*\); save the model again",
    ),
    "config not UTF-8": (
        lambda m: (m / "config.json").write_bytes(b'{"a": "\xff"}'),
        r"config\.json: not readable as JSON \(.*\); save the model again",
    ),
    "config not an object": (
        lambda m: (m / "config.json").write_text("[]"),
        r"config\.json: holds list, not an object; save the model again",
    ),
    "tokenizer cut off": (
        lambda m: (m / "tokenizer.json").write_text((m / "tokenizer.json").read_text()[:500]),
        r"tokenizer\.json: not readable as JSON \(.*\); save the model again",
    ),
    "pad id contradiction": (
        lambda m: edit(m / "config.json", pad_token_id=5),
        r"config\.json: pad_token_id is 5 but the tokenizer pads with 0 \('\[PAD\]'\); correct the file",
    ),
    "gap in id2label": (
        lambda m: edit(m / "config.json", id2label={"0": "a", "2": "b"}),
        r'config\.json: id2label must map "0", "1", \.\.\. to names; correct it',
    ),
    "no labels": (
        lambda m: edit(m / "config.json", id2label={}),
        r"config\.json: id2label is empty; name at least one",
    ),
    "labels of another model": (
        lambda m: sign(m, labels=["yes", "no"]),
        r"reranker\.json: its 2 labels are not the 1 of config\.json; export the model again",
    ),
    "newer format": (
        lambda m: write_json(m / "reranker.json", {"format_version": 2}),
        r"reranker\.json: format_version 2 is not 1; upgrade crossrank",
    ),
    "no format": (
        lambda m: write_json(m / "reranker.json", {}),
        r"reranker\.json: format_version None is not 1; upgrade crossrank",
    ),
    "unknown manifest key": (
        lambda m: write_json(m / "reranker.json", {"format_version": 1, "colour": "red"}),
        r"reranker\.json: .*colour.*; export the model again",
    ),
    "config changed after signing": (
        lambda m: (sign(m), edit(m / "config.json", hidden_size=64)),
        r"config\.json: differs from its digest in reranker\.json, .*; copy or export the model again",
    ),
    "manifest max_length over positions": (
        lambda m: sign(m, max_length=MAX_LENGTH + 1),
        rf"reranker\.json: max_length {MAX_LENGTH + 1} is over the model's {MAX_LENGTH} positions",
    ),
    "unknown activation": (
        lambda m: sign(m, activation="swish"),
        r"model: unknown activation 'swish'; set one of identity, sigmoid, softmax in reranker\.json",
    ),
    "value of the wrong type": (
        lambda m: edit(m / "config.json", max_position_embeddings="many"),
        r"model: a value in its JSON files has the wrong type .*; save the model again",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_the_file_and_the_remedy_on_one_line(model: Path, case: str) -> None:
    """One line on stderr is all that an operator gets."""
    damage, message = REFUSALS[case]
    damage(model)
    with pytest.raises(ArtifactError, match=message) as refusal:
        read_artifact(model)
    assert len(str(refusal.value).splitlines()) == 1


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_value_is_read_or_refused(model: Path, reranker_dir: Path, data: st.DataObject) -> None:
    """No value of any key in any file leads to anything but an artifact or an ArtifactError."""
    name = data.draw(st.sampled_from(["config.json", "tokenizer_config.json", "reranker.json"]))
    keys = {
        "config.json": [*json.loads((reranker_dir / "config.json").read_text()), "sentence_transformers", "num_labels"],
        "tokenizer_config.json": ["pad_token", "model_max_length", "model_input_names", "tokenizer_class"],
        "reranker.json": ["max_length", "activation", "labels", "files", "graphs"],
    }[name]
    leaf = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=4))
    value = data.draw(
        st.one_of(leaf, st.lists(leaf, max_size=2), st.dictionaries(st.text(max_size=2), leaf, max_size=2))
    )
    original = reranker_dir / name
    content = json.loads(original.read_text()) if original.is_file() else {"format_version": 1}
    write_json(model / name, {**content, data.draw(st.sampled_from(keys)): value})
    refusal: str | None = None
    try:
        artifact = read_artifact(model)
    except ArtifactError as error:
        refusal = str(error)
    finally:
        (model / name).unlink()
        if original.is_file():
            shutil.copy(original, model / name)
    if refusal is None:
        assert artifact.max_length > 0
        assert artifact.num_labels > 0
    else:
        assert len(refusal.splitlines()) == 1


def test_a_truncated_file_is_found_by_its_digest(model: Path) -> None:
    """An interrupted copy is caught before a runtime reads it."""
    sign(model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    artifact = read_artifact(model)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: differs from its digest in reranker\.json"):
        artifact.require("model.safetensors")
    assert artifact.require("onnx/model.onnx") == model / "onnx/model.onnx"


def test_one_changed_byte_is_found_by_its_digest(model: Path) -> None:
    """The size alone would not tell."""
    sign(model)
    flip_last_byte(model / "onnx/model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx: differs from its digest"):
        read_artifact(model).require("onnx/model.onnx")


def test_a_missing_file_is_named_when_it_is_required(model: Path) -> None:
    """Weights are looked for only by the backend that needs them."""
    with pytest.raises(ArtifactError, match=r"onnx/other\.onnx: missing; copy or export the model again"):
        read_artifact(model).require("onnx/other.onnx")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"sentence_transformers": {"activation_fn": "evil_module.Payload"}}),
        ("config.json", {"sbert_ce_default_activation_function": "evil_module.Payload"}),
        ("config_sentence_transformers.json", {"activation_fn": "evil_module.Payload"}),
        ("reranker.json", {"format_version": 1, "activation": "evil_module.Payload"}),
    ],
)
def test_an_activation_path_from_a_file_is_never_imported(
    model: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: dict[str, Any]
) -> None:
    """A downloaded file must not choose what code runs."""
    (model / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(model))
    edit(model / file, **content)
    with pytest.raises(ArtifactError, match=r"unknown activation 'evil_module\.Payload'; set one of identity"):
        read_artifact(model)
    assert "evil_module" not in sys.modules


IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "sigmoid"),
        ({"config.json": {"sentence_transformers": {"activation_fn": IDENTITY}}}, "identity"),
        ({"config.json": {"sbert_ce_default_activation_function": IDENTITY}}, "identity"),
        ({"config_sentence_transformers.json": {"activation_fn": IDENTITY}}, "identity"),
        ({"config_sentence_transformers.json": {"activation_fn": SIGMOID}}, "sigmoid"),
        ({"config_sentence_transformers.json": {"prompts": {}}}, "sigmoid"),
        ({"reranker.json": {"format_version": 1, "activation": "softmax"}}, "softmax"),
        ({"reranker.json": {"format_version": 1, "activation": None}}, "sigmoid"),
        (
            {
                "reranker.json": {"format_version": 1, "activation": "sigmoid"},
                "config.json": {"sentence_transformers": {"activation_fn": IDENTITY}},
            },
            "sigmoid",
        ),
    ],
)
def test_the_activation_comes_from_where_it_is_written(
    model: Path, files: dict[str, dict[str, Any]], expected: str
) -> None:
    """The manifest wins, then the places of sentence-transformers, else sigmoid for one label."""
    for name, content in files.items():
        edit(model / name, **content)
    assert read_artifact(model).activation == expected


def test_several_labels_default_to_raw_logits(classifier_dir: Path) -> None:
    """As sentence-transformers does."""
    assert read_artifact(classifier_dir).activation == "identity"


def test_labels_are_in_logit_order(classifier_dir: Path, model: Path) -> None:
    """Also with ten or more, which sort differently as text."""
    assert read_artifact(classifier_dir).labels == ("contradiction", "entailment", "neutral")
    edit(model / "config.json", id2label={str(i): f"L{i}" for i in reversed(range(12))})
    assert read_artifact(model).labels == tuple(f"L{i}" for i in range(12))


@pytest.mark.parametrize(("num_labels", "expected"), [(None, ("LABEL_0", "LABEL_1")), (1, ("LABEL_0",))])
def test_labels_have_default_names_where_none_are_written(
    model: Path, num_labels: int | None, expected: tuple[str, ...]
) -> None:
    """transformers leaves out its default of two labels."""
    edit(model / "config.json", id2label=None, num_labels=num_labels)
    assert read_artifact(model).labels == expected


def test_problem_type_tells_independent_labels(multilabel_dir: Path, classifier_dir: Path) -> None:
    """Only then may several labels be true at once."""
    assert read_artifact(multilabel_dir).multi_label
    assert not read_artifact(classifier_dir).multi_label


@pytest.mark.parametrize(
    ("manifest", "tokenizer", "positions", "expected"),
    [
        (None, 128, 512, 128),
        (None, 512, 256, 256),
        (None, 10**30, 256, 256),
        (None, None, 256, 256),
        (None, None, None, 512),
        (64, 128, 512, 64),
        (200, 128, 512, 200),
    ],
)
def test_max_length_is_the_manifest_or_the_tightest_limit(
    model: Path, manifest: int | None, tokenizer: int | None, positions: int | None, expected: int
) -> None:
    """Tokenizers without a limit write a huge number, which is none."""
    edit(model / "tokenizer_config.json", model_max_length=tokenizer)
    edit(model / "config.json", max_position_embeddings=positions)
    if manifest is not None:
        sign(model, max_length=manifest)
    assert read_artifact(model).max_length == expected


@pytest.mark.parametrize(("model_type", "expected"), [("roberta", 512), ("xlm-roberta", 512), ("bert", 514)])
def test_positions_behind_the_pad_id_are_not_counted(tmp_path: Path, model_type: str, expected: int) -> None:
    """RoBERTa numbers positions from pad id + 1, so 514 of them hold 512 tokens."""
    directory = save_style(model_type, tmp_path)
    edit(directory / "config.json", max_position_embeddings=514)
    assert read_artifact(directory).max_length == expected


@pytest.mark.parametrize(("model_type", "expected"), [(name, name == "bert") for name in STYLES])
def test_segments_only_where_the_model_distinguishes_them(tmp_path: Path, model_type: str, expected: bool) -> None:
    """Read from what transformers saves for each of the five styles."""
    assert read_artifact(save_style(model_type, tmp_path)).segments is expected


@pytest.mark.parametrize(
    ("inputs", "types", "expected"),
    [
        (["input_ids", "attention_mask", "token_type_ids"], 2, True),
        (["input_ids", "attention_mask"], 2, False),
        (["input_ids", "attention_mask", "token_type_ids"], 1, False),
        (None, 2, True),
        (None, 0, False),
        (None, None, True),
    ],
)
def test_segments_need_a_tokenizer_that_makes_them_and_a_model_that_has_them(
    model: Path, inputs: list[str] | None, types: int | None, expected: bool
) -> None:
    """One type id in the model's table would be overrun by a second."""
    edit(model / "tokenizer_config.json", model_input_names=inputs)
    edit(model / "config.json", type_vocab_size=types)
    assert read_artifact(model).segments is expected


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_truncation_side_is_the_tokenizer_s(model: Path, side: str) -> None:
    """A model trained on the ends of texts says so there."""
    edit(model / "tokenizer_config.json", truncation_side=side)
    assert read_artifact(model).truncation_side == side


def test_the_pad_id_is_found_wherever_it_is_written(model: Path) -> None:
    """By the token's name, by the padding section, by the config, else 0."""
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    assert read_artifact(model).pad_id == 0
    edit(model / "tokenizer_config.json", pad_token={"content": "[MASK]"})
    edit(model / "config.json", pad_token_id=None)
    assert read_artifact(model).pad_id == 4
    edit(model / "tokenizer_config.json", pad_token=None)
    write_json(model / "tokenizer.json", {**tokenizer, "padding": {"pad_id": 3}})
    assert read_artifact(model).pad_id == 3
    write_json(model / "tokenizer.json", {**tokenizer, "padding": None})
    edit(model / "config.json", pad_token_id=2)
    assert read_artifact(model).pad_id == 2
    edit(model / "config.json", pad_token_id=None)
    assert read_artifact(model).pad_id == 0


def test_a_manifest_can_be_read_back(model: Path) -> None:
    """What is written is what is read, with a digest per file."""
    sign(model, max_length=64, labels=["LABEL_0"], provenance={"recipe": "none"})
    manifest = read_artifact(model).manifest
    assert manifest is not None
    assert (manifest.max_length, manifest.labels, manifest.provenance) == (64, ["LABEL_0"], {"recipe": "none"})
    assert manifest.files["onnx/model.onnx"]["bytes"] == (model / "onnx/model.onnx").stat().st_size


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2,), (2, 1, 1)])
def test_logits_of_another_shape_are_refused(classifier_dir: Path, shape: tuple[int, ...]) -> None:
    """A graph of another model is found at start."""
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx: gives logits of shape .* names 3 label\(s\); export"):
        check_logits(read_artifact(classifier_dir), np.zeros(shape, dtype=np.float32), 1, "onnx/model.onnx")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(reranker_dir: Path, value: float) -> None:
    """NaN must not be served."""
    with pytest.raises(ArtifactError, match="not finite; use a higher precision"):
        check_logits(read_artifact(reranker_dir), np.full((1, 1), value, dtype=np.float32), 1, "onnx/model.onnx")
