"""Models on disk: those of every release load, and what is saved here loads in sentence-transformers 6.2."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer as Theirs
from transformers import AutoModel, BertConfig, BertForMaskedLM, Qwen2Config, Qwen2ForCausalLM

from tests.models import write_tokenizer
from tests.unit.training.sentence_transformer.conftest import assert_close, both
from tests.unit.training.sentence_transformer.tiny import SIZES, TEXTS, write_embedder, write_encoder
from training import SentenceTransformer
from training.sentence_transformer.modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    StaticEmbedding,
    Transformer,
)

DIFFERENT = ("tokenizer.json", "tokenizer_config.json", "config_sentence_transformers.json")
"""Files that name the versions of libraries, or keep traces of how a tokenizer was loaded and last called."""


def edit(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON file; those with None are taken out."""
    values = json.loads(path.read_text()) if path.exists() else {}
    values = {key: value for key, value in {**values, **changes}.items() if value is not None}
    path.write_text(json.dumps(values))


@pytest.fixture
def older_dir(bert_dir: Path, tmp_path: Path) -> Path:
    """The BERT as releases before 5.4 have written it, its length limit and lower case beside it."""
    shutil.copytree(bert_dir, tmp_path / "older")
    older = tmp_path / "older"
    paths = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"]
    entries = json.loads((older / "modules.json").read_text())
    (older / "modules.json").write_text(
        json.dumps([{**one, "type": path} for one, path in zip(entries, paths, strict=True)])
    )
    switches = {
        f"pooling_mode_{name}": name in ("cls_token", "max_tokens")
        for name in ("cls_token", "mean_tokens", "max_tokens")
    }
    (older / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **switches}))
    (older / "sentence_bert_config.json").unlink()
    (older / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": 11, "do_lower_case": True}))
    edit(older / "config_sentence_transformers.json", model_type=None, prompts={"query": "a dog "}, truncate_dim=40)
    return older


def test_older_names_of_settings(older_dir: Path) -> None:
    ours, theirs = both(older_dir)
    assert ours.max_seq_length == theirs.max_seq_length == 11
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension() == 40
    for method in ("encode", "encode_query"):
        assert_close(getattr(ours, method)(TEXTS), getattr(theirs, method)(TEXTS))


def test_wishes_go_before_saved_settings(older_dir: Path) -> None:
    edit(older_dir / "sentence_roberta_config.json", tokenizer_args={"truncation_side": "left"})
    ours, theirs = both(older_dir, processor_kwargs={"model_max_length": 7}, config_kwargs={"layer_norm_eps": 0.1})
    assert ours.max_seq_length == theirs.max_seq_length == 7
    assert ours.tokenizer.truncation_side == "left"
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    renamed = SentenceTransformer(str(older_dir), device="cpu", tokenizer_kwargs={"model_max_length": 6})
    assert renamed.max_seq_length == 6


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_plain_transformers_directory_is_pooled_by_its_mean(
    family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = both(write_encoder(tmp_path, family))
    assert "its tokens are pooled by 'mean'" in caplog.text
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_language_model_is_pooled_by_its_last_token(tmp_path: Path) -> None:
    vocab_size = write_tokenizer(tmp_path)
    torch.manual_seed(0)
    sizes = {**SIZES, "num_key_value_heads": 2, "vocab_size": vocab_size, "bos_token_id": None, "eos_token_id": None}
    Qwen2ForCausalLM(Qwen2Config(**sizes)).save_pretrained(tmp_path)
    ours, theirs = both(tmp_path)
    assert ours[1].pooling_mode == theirs[1].pooling_mode == "lasttoken"
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_model_with_another_head_gives_its_encoder(tmp_path: Path) -> None:
    vocab_size = write_tokenizer(tmp_path)
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**SIZES, vocab_size=vocab_size)).save_pretrained(tmp_path)
    ours, theirs = both(tmp_path)
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_cross_encoder_gives_its_encoder_without_prompts(bert_dir: Path, tmp_path: Path, caplog: Any) -> None:
    shutil.copytree(bert_dir, tmp_path / "model")
    edit(tmp_path / "model" / "config_sentence_transformers.json", model_type="CrossEncoder", prompts={"query": "x "})
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert "a CrossEncoder, of which only the encoder is taken" in caplog.text
    assert model.prompts == {"query": "", "document": ""}


def whole_chain(directory: Path) -> SentenceTransformer:
    """A model of all modules that can be saved, with all settings."""
    torch.manual_seed(5)
    modules = [
        Transformer(str(write_encoder(directory)), max_seq_length=17),
        Pooling(32, ("mean", "cls"), include_prompt=False),
        Dense(64, 48, activation_function=torch.nn.GELU()),
        Dropout(0.3),
        Dense(48, 24, bias=False, activation_function=None, use_residual=True),
        LayerNorm(24),
        Normalize(),
    ]
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts={"query": "what is the "},
        default_prompt_name="query",
        similarity_fn_name="euclidean",
        truncate_dim=20,
    )


def test_what_is_saved_loads_in_the_library_and_here(tmp_path: Path) -> None:
    model = whole_chain(tmp_path / "encoder")
    model.save_pretrained(tmp_path / "saved", model_name="tiny")
    ours, theirs = both(tmp_path / "saved")
    for loaded in (ours, theirs):
        assert loaded.prompts == {"query": "what is the ", "document": ""}
        assert loaded.default_prompt_name == "query"
        assert loaded.similarity_fn_name == "euclidean"
        assert loaded.max_seq_length == 17
        assert loaded.truncate_dim == 20
        assert_close(loaded.encode(TEXTS), model.encode(TEXTS))
    assert ours.fingerprint() == model.fingerprint()
    assert 'SentenceTransformer("tiny")' in (tmp_path / "saved" / "README.md").read_text()


def test_what_the_library_saves_of_a_model_saved_here_is_the_same(prompted_dir: Path, tmp_path: Path) -> None:
    ours, theirs = both(prompted_dir)
    ours.save(tmp_path / "ours", create_model_card=False)
    theirs.save(str(tmp_path / "theirs"), create_model_card=False)
    names = sorted(path.relative_to(tmp_path / "theirs") for path in (tmp_path / "theirs").rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to(tmp_path / "ours") for path in (tmp_path / "ours").rglob("*") if path.is_file()
    )
    for name in names:
        if name.suffix == ".json" and name.name not in DIFFERENT:
            first, second = (json.loads((tmp_path / who / name).read_text()) for who in ("ours", "theirs"))
            assert first == second, name


def test_static_embeddings_are_saved(static_dir: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(static_dir), device="cpu")
    model.save_pretrained(tmp_path)
    ours, theirs = both(tmp_path)
    assert_close(ours.encode(TEXTS), model.encode(TEXTS))
    assert_close(theirs.encode(TEXTS), model.encode(TEXTS))


def test_the_layout_of_model2vec(static_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(static_dir, tmp_path / "model")
    rows = load_file(static_dir / "model.safetensors")["embedding.weight"]
    mapping = torch.arange(len(rows)) // 2
    tables = {"embeddings": rows, "mapping": mapping, "weights": torch.linspace(0.5, 2, len(rows))}
    save_file(tables, tmp_path / "model" / "model.safetensors")
    ours, theirs = both(tmp_path / "model")
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_the_loaded_card_is_kept(bert_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(bert_dir, tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("# Mine")
    SentenceTransformer(str(tmp_path / "model"), device="cpu").save(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == "# Mine"


def test_weights_in_pytorch_s_own_format(prompted_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(prompted_dir, tmp_path / "model")
    dense = tmp_path / "model" / "2_Dense"
    torch.save(load_file(dense / "model.safetensors"), dense / "pytorch_model.bin")
    (dense / "model.safetensors").unlink()
    ours = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert_close(ours.encode(TEXTS), Theirs(str(prompted_dir), device="cpu").encode(TEXTS))
    (dense / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor pytorch_model.bin"):
        SentenceTransformer(str(tmp_path / "model"), device="cpu")


def test_an_activation_that_is_not_torch_s_is_not_imported(prompted_dir: Path, tmp_path: Path, caplog: Any) -> None:
    shutil.copytree(prompted_dir, tmp_path / "model")
    edit(tmp_path / "model" / "2_Dense" / "config.json", activation_function="os.getcwd", extra=1)
    with caplog.at_level(logging.WARNING):
        model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert isinstance(model[2].activation_function, torch.nn.Tanh)
    assert "os.getcwd is not torch's" in caplog.text
    assert "ignored: extra" in caplog.text
    edit(tmp_path / "model" / "2_Dense" / "config.json", activation_function="torch.load")
    with pytest.raises(ValueError, match=r"torch\.load of Dense is no module class"):
        SentenceTransformer(str(tmp_path / "model"), device="cpu")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (
            {"type": "sentence_transformers.models.CLIPModel"},
            "begins with the module sentence_transformers.models.CLIP",
        ),
        ({"type": "somebody.Transformer"}, r"begins with the module somebody\.Transformer"),
        ({"path": "../other"}, "leads out of the model"),
    ],
)
def test_modules_that_do_not_exist_here_are_named(
    module: dict[str, str], words: str, bert_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert_dir, tmp_path / "model")
    entries = json.loads((bert_dir / "modules.json").read_text())
    (tmp_path / "model" / "modules.json").write_text(json.dumps([{**entries[0], **module}, *entries[1:]]))
    with pytest.raises(ValueError, match=words):
        SentenceTransformer(str(tmp_path / "model"), device="cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transformer_task": "fill-mask"}, "for the task 'fill-mask'"),
        ({"processing_kwargs": {"text": {"max_length": 5}}}, "set max_seq_length instead"),
    ],
)
def test_transformers_that_do_something_else_are_refused(
    changes: dict[str, Any], words: str, bert_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(bert_dir, tmp_path / "model")
    edit(tmp_path / "model" / "sentence_bert_config.json", **changes)
    with pytest.raises(ValueError, match=words):
        SentenceTransformer(str(tmp_path / "model"), device="cpu")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs model_name_or_path, or modules"),
        ({"modules": []}, "an empty list of modules"),
        ({"modules": [Pooling(3)]}, "begin with a Pooling"),
        ({"model_name_or_path": "x", "backend": "onnx"}, "backend='onnx'.*use sentence-transformers itself"),
    ],
)
def test_arguments_that_make_no_model(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SentenceTransformer(**arguments)


def test_places_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        SentenceTransformer(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="no such model directory"):
        SentenceTransformer(tmp_path / "nothing")


@pytest.fixture
def hub_cache(bert_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local cache of the Hub that holds the BERT as sentence-transformers/tiny, with no way to the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--sentence-transformers--tiny"
    shutil.copytree(bert_dir, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text("0" * 40)
    return tmp_path / "hub"


def test_a_name_on_the_hub_comes_from_the_cache(hub_cache: Path, bert_dir: Path) -> None:
    expected = Theirs(str(bert_dir), device="cpu").encode(TEXTS)
    options: dict[str, Any] = {"device": "cpu", "cache_folder": hub_cache, "local_files_only": True}
    for name in ("tiny", "sentence-transformers/tiny"):
        model = SentenceTransformer(name, revision="v1", **options)
        assert_close(model.encode(TEXTS), expected)
    with pytest.raises(OSError, match="not in the local cache"):
        SentenceTransformer("tiny", revision="v2", **options)


def test_modules_put_together_equal_the_library_s(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules as theirs_modules

    encoder = str(write_encoder(tmp_path))
    ours: Any = [
        Transformer(encoder, model_args={"attn_implementation": "eager"}, do_lower_case=True),
        Pooling(32, "max"),
    ]
    theirs: Any = [theirs_modules.Transformer(encoder), theirs_modules.Pooling(32, "max")]
    found = SentenceTransformer(modules={"words": ours[0], "text": ours[1]}, device="cpu")
    assert_close(found.encode(TEXTS), Theirs(modules=theirs, device="cpu").encode(TEXTS))
    assert found[0].config._attn_implementation == "eager"
    assert found.max_seq_length == 128
    with pytest.raises(TypeError, match="Transformer has no arguments nothing"):
        Transformer(encoder, nothing=1)


def test_pooling_by_older_names() -> None:
    assert Pooling(word_embedding_dimension=3, pooling_mode_max_tokens=True).pooling_mode == "max"
    assert Pooling(3, pooling_mode_cls_token=False).pooling_mode == "mean"
    with pytest.raises(ValueError, match="pooling_mode 'sum' is unknown"):
        Pooling(3, "sum")
    with pytest.raises(TypeError, match="needs embedding_dimension"):
        Pooling()
    with pytest.raises(TypeError, match="no settings pooling"):
        Pooling(3, pooling="max")


def test_static_embeddings_need_a_fast_tokenizer_and_a_table(static_dir: Path) -> None:
    tokenizer = SentenceTransformer(str(static_dir), device="cpu").tokenizer
    assert StaticEmbedding(tokenizer, np.zeros((tokenizer.get_vocab_size(), 3))).get_embedding_dimension() == 3
    with pytest.raises(ValueError, match="embedding_weights or embedding_dim"):
        StaticEmbedding(tokenizer)
    with pytest.raises(ValueError, match="needs a fast tokenizer"):
        StaticEmbedding(object(), embedding_dim=3)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # of peft with newer transformers
def test_an_adapter_is_loaded_on_its_base(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = AutoModel.from_pretrained(write_encoder(tmp_path / "base"))
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(str(tmp_path / "adapter"))
    write_tokenizer(tmp_path / "adapter")
    ours, theirs = both(tmp_path / "adapter")
    plain = SentenceTransformer(str(tmp_path / "base"), device="cpu")
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert not np.allclose(ours.encode(TEXTS), plain.encode(TEXTS))


def test_a_model_of_several_kinds_of_weights_takes_the_first_one_s(
    family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = write_embedder(tmp_path, "bert", torch_dense())
    model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.bfloat16})
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.encode(TEXTS).shape == (len(TEXTS), 8)


def torch_dense() -> Any:
    """A layer of the library in float32."""
    from sentence_transformers.sentence_transformer import modules

    return modules.Dense(32, 8)
