"""Loading: every kind of directory, every older form of the arguments, and no step onto the network."""

from __future__ import annotations

import json
import logging
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from tests.models import write_json
from tests.unit.training.cross_encoder.test_predict import PAIRS
from training.cross_encoder import CrossEncoder
from training.cross_encoder.loading import _positions
from training.cross_encoder.sources import locate

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def copied(reranker_dir: Path, tmp_path: Path) -> Path:
    """A copy of the reranker's directory, to be changed."""
    return Path(shutil.copytree(reranker_dir, tmp_path / "copy"))


@pytest.fixture(scope="module")
def headless_dir(reranker_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model without classification head and pooler."""
    folder = Path(shutil.copytree(reranker_dir, tmp_path_factory.mktemp("headless") / "model"))
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig.from_pretrained(reranker_dir)).save_pretrained(folder)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file, made if it is not there."""
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**known, **changes})


def test_a_posix_path_works_as_model_name(reranker_dir: Path) -> None:
    """6.2 dies of an AttributeError."""
    model = CrossEncoder(reranker_dir)
    np.testing.assert_allclose(model.predict(PAIRS), CrossEncoder(str(reranker_dir)).predict(PAIRS), **CLOSE)


def test_a_directory_is_loaded_without_the_network(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a connection was tried: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    CrossEncoder(reranker_dir).predict(PAIRS[:1])


def test_a_hub_id_is_found_in_the_cache_alone_with_local_files_only(
    reranker_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a connection was tried: {args}")

    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in ("owner--tiny", "cross-encoder--tiny"):
        repository = tmp_path / f"models--{name}"
        shutil.copytree(reranker_dir, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    expected = CrossEncoder(reranker_dir).predict(PAIRS)
    for name in ("owner/tiny", "tiny"):
        model = CrossEncoder(name, cache_dir=str(tmp_path), local_files_only=True)
        np.testing.assert_allclose(model.predict(PAIRS), expected, **CLOSE)
    with pytest.raises(OSError, match="owner/absent"):
        CrossEncoder("owner/absent", cache_folder=tmp_path, local_files_only=True)


def test_names_become_directories_or_hub_ids(tmp_path: Path) -> None:
    assert locate(tmp_path) == str(tmp_path)
    assert locate("ms-marco-MiniLM-L6-v2") == "cross-encoder/ms-marco-MiniLM-L6-v2"
    assert locate("owner/name") == "owner/name"
    for name in ("bert-base-uncased", "distilroberta-base", "xlm-roberta-large", "albert-base-v2"):
        assert locate(name) == name
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        locate(tmp_path / "file")
    for missing in (tmp_path / "absent", str(tmp_path / "absent"), "./absent", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such model directory"):
            locate(missing)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "needs model_name_or_path"),
        ({"modules": []}, "empty list"),
        ({"modules": [torch.nn.Identity()]}, "modules"),
    ],
)
def test_a_model_must_come_from_somewhere(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CrossEncoder(**arguments)


def test_an_unknown_backend_is_named(reranker_dir: Path) -> None:
    with pytest.raises(ValueError, match="'tensorflow' is unknown"):
        CrossEncoder(reranker_dir, backend="tensorflow")


def test_a_missing_graph_names_the_remedy(copied: Path) -> None:
    shutil.rmtree(copied / "onnx")
    with pytest.raises(Exception, match="rerank-training export"):
        CrossEncoder(copied, backend="onnx")
    with pytest.raises(ValueError, match="rerank-training export"):
        CrossEncoder(copied, backend="onnx", model_kwargs={"export": True})


def test_older_positions_and_names_work_with_one_line_in_the_log(
    headless_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "training"):
        model = CrossEncoder(str(headless_dir), 2, 64, torch.nn.Tanh(), "cpu")
    assert (model.num_labels, model.max_length, str(model.device)) == (2, 64, "cpu")
    assert isinstance(model.activation_fn, torch.nn.Tanh)
    assert len([one for one in caplog.records if one.name.endswith("legacy_arguments")]) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, "training"):
        model = CrossEncoder(
            model_name=str(headless_dir),
            automodel_args={"dtype": torch.bfloat16},
            tokenizer_args={"model_max_length": 48},
            config_args={"num_labels": 4},
            default_activation_function=torch.nn.ReLU(),
            classifier_dropout=0.25,
        )
    assert (model.num_labels, model.max_seq_length, model.dtype) == (4, 48, torch.bfloat16)
    assert model.config.classifier_dropout == 0.25
    assert isinstance(model.default_activation_function, torch.nn.ReLU)
    renames = [one.message for one in caplog.records if "please write instead" in one.message]
    assert len(renames) == 1
    assert "automodel_args -> model_kwargs" in renames[0]


def test_the_oldest_order_with_a_device_in_third_place_is_understood(headless_dir: Path) -> None:
    model = CrossEncoder(str(headless_dir), 2, 64, "cpu", {}, {"dtype": torch.bfloat16}, torch.nn.Tanh())
    assert (model.num_labels, model.max_length, str(model.device)) == (2, 64, "cpu")
    assert model.dtype == torch.bfloat16
    assert isinstance(model.activation_fn, torch.nn.Tanh)


def test_the_oldest_order_without_a_device_is_understood(headless_dir: Path) -> None:
    """Its dictionaries tell."""
    model = CrossEncoder(str(headless_dir), 2, 64, None, {}, {"dtype": torch.bfloat16}, torch.nn.Tanh())
    assert (model.num_labels, model.max_length, model.dtype) == (2, 64, torch.bfloat16)
    assert isinstance(model.activation_fn, torch.nn.Tanh)


def test_the_new_name_of_an_argument_wins(reranker_dir: Path) -> None:
    model = CrossEncoder(reranker_dir, 99, max_length=32, num_labels=1, tokenizer_args={"model_max_length": 7})
    assert (model.num_labels, model.max_length) == (1, 32)
    with pytest.raises(TypeError, match="at most 5 positional"):
        CrossEncoder(reranker_dir, 1, 2, None, "cpu", 3)


def test_a_fresh_head_has_one_label_and_is_that_of_6_2_for_the_same_global_seed(headless_dir: Path) -> None:
    torch.manual_seed(5)
    ours = CrossEncoder(headless_dir, device="cpu")
    torch.manual_seed(5)
    theirs = Oracle(str(headless_dir), device="cpu")
    assert ours.num_labels == theirs.num_labels == 1
    np.testing.assert_allclose(ours.predict(PAIRS), theirs.predict(PAIRS), **CLOSE)
    assert ours.fresh_parameters == (
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "classifier.bias",
        "classifier.weight",
    )


def test_a_seed_makes_a_fresh_head_the_same_each_time_and_leaves_the_global_generator(headless_dir: Path) -> None:
    """The head of 6.2 is drawn before any script can set a seed."""
    heads = []
    for global_seed, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(global_seed)
        expected = torch.rand(3, generator=torch.Generator().manual_seed(global_seed))
        model = CrossEncoder(headless_dir, seed=seed, num_labels=3)
        torch.testing.assert_close(torch.rand(3), expected)
        heads.append(model.model.classifier.weight.detach())
    torch.testing.assert_close(heads[0], heads[1], rtol=0, atol=0)
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_load_in_float32_unless_asked_otherwise(copied: Path, dtype: torch.dtype) -> None:
    """Under transformers 5 and 6.2 they are trained in half precision without a word."""
    BertForSequenceClassification.from_pretrained(copied, dtype=dtype).save_pretrained(copied)
    assert Oracle(str(copied), device="cpu").dtype == dtype
    assert CrossEncoder(copied).dtype == torch.float32
    assert CrossEncoder(copied, model_kwargs={"dtype": "auto"}).dtype == dtype
    assert CrossEncoder(copied, model_kwargs={"torch_dtype": torch.float16}).dtype == torch.float16


@pytest.mark.parametrize(
    "place",
    [
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}),
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
    ],
)
def test_activations_in_older_configurations_are_read(copied: Path, place: tuple[str, dict[str, Any]]) -> None:
    change_json(copied / place[0], **place[1])
    model = CrossEncoder(copied)
    assert isinstance(model.activation_fn, torch.nn.Identity)
    np.testing.assert_allclose(model.predict(PAIRS), Oracle(str(copied), device="cpu").predict(PAIRS), **CLOSE)


@pytest.mark.parametrize("path", ["os.getcwd", "torch.hub.list", "torch.nn.functional.relu", "nonsense"])
def test_an_activation_of_a_downloaded_file_is_never_just_imported(
    copied: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    change_json(copied / "config.json", sentence_transformers={"activation_fn": path})
    with caplog.at_level(logging.WARNING):
        assert isinstance(CrossEncoder(copied).activation_fn, torch.nn.Sigmoid)
    assert "is not of torch.nn" in caplog.text


def test_code_of_a_trusted_model_is_imported(copied: Path) -> None:
    change_json(copied / "config.json", sentence_transformers={"activation_fn": "torch.tanh"})
    model = CrossEncoder(copied, trust_remote_code=True)
    assert model.activation_fn is torch.tanh


def test_softmax_of_a_configuration_goes_over_the_labels(classifier_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(classifier_dir, tmp_path / "copy")
    change_json(folder / "config.json", sentence_transformers={"activation_fn": "torch.nn.modules.activation.Softmax"})
    np.testing.assert_allclose(CrossEncoder(folder).predict(PAIRS).sum(axis=1), 1.0, atol=1e-5)


def test_settings_of_an_older_library_directory_are_honoured(copied: Path) -> None:
    write_json(copied / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "a.Transformer"}])
    change_json(copied / "config_sentence_transformers.json", model_type="CrossEncoder", prompts={"query": "find "})
    change_json(copied / "sentence_bert_config.json", max_seq_length=24, do_lower_case=True, tokenizer_args={})
    model = CrossEncoder(copied)
    assert model.max_seq_length == 24
    assert model.prompts == {"query": "find "}
    assert CrossEncoder(copied, max_length=30).max_seq_length == 30


def test_a_bi_encoder_gives_its_transformer_and_not_its_prompts(
    headless_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(headless_dir, tmp_path / "copy"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"a.{path}"} for i, path in enumerate(["", "1_Pooling"])
    ]
    write_json(folder / "modules.json", modules)
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "find "}, default_prompt_name="query")
    with caplog.at_level(logging.WARNING):
        model = CrossEncoder(folder)
    assert "is a SentenceTransformer" in caplog.text
    assert (model.prompts, model.num_labels) == ({}, 1)


def test_positions_bound_the_length_also_where_they_start_after_the_padding() -> None:
    """6.2 takes all 514 positions of a RoBERTa whose tokenizer names no limit, and the model dies at the last two."""
    assert _positions(SimpleNamespace(model_type="roberta", max_position_embeddings=514, pad_token_id=1)) == [512]
    assert _positions(SimpleNamespace(model_type="bert", max_position_embeddings=512, pad_token_id=0)) == [512]
    assert _positions(SimpleNamespace(model_type="xlnet", max_position_embeddings=-1)) == []
