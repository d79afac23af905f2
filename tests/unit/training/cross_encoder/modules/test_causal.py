"""Causal language models as rerankers: the same scores, files and training as with sentence-transformers 6.2."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GPTNeoConfig, GPTNeoForCausalLM

from tests.unit.training.cross_encoder.modules.tiny_causal import (
    CHATML,
    STRUCTURED,
    USERS_ONLY,
    tokenizer,
    write_causal,
)
from tests.unit.training.cross_encoder.test_predict import make_pairs
from tests.unit.training.cross_encoder.test_trainer_parity import trained
from tests.unit.training.cross_encoder.trainer_data import pairs
from training.cross_encoder import CrossEncoder
from training.cross_encoder.modules import LogitScore

CLOSE = {"rtol": 0, "atol": 1e-5}
IDENTITY = torch.nn.Identity()
PAIRS = make_pairs(24, longest=40)
KINDS = {
    "qwen": (None, "qwen"),
    "llama": (None, "llama"),
    "flat chat": (CHATML, "qwen"),
    "structured chat": (STRUCTURED, "llama"),
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("causal")
    return {name: write_causal(root / name.replace(" ", "-"), *kind) for name, kind in KINDS.items()}


@pytest.fixture(params=KINDS)
def directory(request: pytest.FixtureRequest, directories: dict[str, Path]) -> Path:
    return directories[request.param]


def test_scores_are_those_of_the_library(directory: Path) -> None:
    ours, theirs = CrossEncoder(directory, device="cpu"), Oracle(str(directory), device="cpu")
    assert isinstance(ours.tail["1"], LogitScore)
    assert ours.num_labels == theirs.num_labels == 1
    for prompt in (None, "find the best answer"):
        found = ours.predict(PAIRS, activation_fn=IDENTITY, prompt=prompt)
        assert np.ptp(found) > 0.1
        np.testing.assert_allclose(found, theirs.predict(PAIRS, activation_fn=IDENTITY, prompt=prompt), **CLOSE)
    np.testing.assert_allclose(ours.predict(PAIRS[:3]), theirs.predict(PAIRS[:3]), **CLOSE)
    texts = [second for _, second in PAIRS[:5]]
    found, expected = ours.rank(PAIRS[0][0], texts), theirs.rank(PAIRS[0][0], texts)
    assert [one["corpus_id"] for one in found] == [one["corpus_id"] for one in expected]


def test_long_pairs_are_cut_and_the_end_of_the_template_is_put_back(directory: Path) -> None:
    ours, theirs = (cls(str(directory), device="cpu", max_length=40) for cls in (CrossEncoder, Oracle))
    long = make_pairs(8, seed=3, longest=90)
    assert max(len(row.ids) for row in ours.pair_encoder.pairs(long)) == 40
    for prompt in (None, "find it"):
        expected = theirs.predict(long, prompt=prompt, activation_fn=IDENTITY)
        np.testing.assert_allclose(ours.predict(long, prompt=prompt, activation_fn=IDENTITY), expected, **CLOSE)


def test_the_cut_end_stays_as_it_is_on_request(directories: dict[str, Path]) -> None:
    ours = CrossEncoder(directories["flat chat"], device="cpu", max_length=40)
    theirs = Oracle(str(directories["flat chat"]), device="cpu", max_length=40)
    long = make_pairs(4, seed=3, longest=90)
    kwargs: dict[str, Any] = {"processing_kwargs": {"chat_template": {"restore_suffix": False}}}
    found = ours.predict(long, **kwargs)
    np.testing.assert_allclose(found, theirs.predict(long, **kwargs), **CLOSE)
    assert not np.allclose(found, ours.predict(long))


def test_single_texts_are_what_a_user_says(directories: dict[str, Path]) -> None:
    ours, theirs = (cls(str(directories["flat chat"]), device="cpu") for cls in (CrossEncoder, Oracle))
    features, expected = ours.preprocess(["paris", "the river"]), theirs.preprocess(["paris", "the river"])
    torch.testing.assert_close(features["input_ids"], expected["input_ids"])
    assert features["modality"] == expected["modality"] == "message"


def test_padded_tensors_give_the_same_scores(directory: Path) -> None:
    model = CrossEncoder(directory, device="cpu").eval()
    with torch.no_grad():
        features = model.preprocess(PAIRS[:6])
        assert bool(features["attention_mask"][:, -1].all())  # padded on the left
        found = model(features)["scores"][:, 0]
    np.testing.assert_allclose(found, model.predict(PAIRS[:6], activation_fn=IDENTITY), **CLOSE)


def test_saved_models_go_both_ways(directory: Path, tmp_path: Path) -> None:
    ours = CrossEncoder(directory, device="cpu", prompts={"find": "find it"}, default_prompt_name="find")
    expected = ours.predict(PAIRS)
    ours.save_pretrained(tmp_path / "ours")
    theirs = Oracle(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), expected, **CLOSE)
    np.testing.assert_allclose(CrossEncoder(tmp_path / "ours").predict(PAIRS), expected, **CLOSE)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    np.testing.assert_allclose(CrossEncoder(tmp_path / "theirs").predict(PAIRS), expected, **CLOSE)
    for name in ("modules.json", "sentence_bert_config.json", "1_LogitScore/config.json"):
        mine, other = (json.loads((tmp_path / kind / name).read_text()) for kind in ("ours", "theirs"))
        assert mine == other
    AutoModelForCausalLM.from_pretrained(tmp_path / "ours")  # a plain directory of transformers all the same


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:sentence_transformers.*")
@pytest.mark.parametrize("kind", ["qwen", "flat chat"])
def test_training_gives_the_weights_of_the_library(kind: str, directories: dict[str, Path], tmp_path: Path) -> None:
    import sentence_transformers.cross_encoder as their_library
    import sentence_transformers.cross_encoder.losses as their_losses

    import training.cross_encoder as our_library
    import training.cross_encoder.losses as our_losses

    loss, data = "BinaryCrossEntropyLoss", pairs(16)
    kwargs: dict[str, Any] = {"max_steps": 6, "prompts": "find it"}
    in_order = {**kwargs, "length_bucketing": False}
    ours, _ = trained(our_library, our_losses, directories[kind], tmp_path / "o", data, loss, **in_order)
    copied = data.select(range(len(data)))
    theirs, _ = trained(their_library, their_losses, directories[kind], tmp_path / "t", copied, loss, **kwargs)
    start = AutoModelForCausalLM.from_pretrained(directories[kind], dtype=torch.float32).state_dict()
    assert any(not torch.equal(ours[name], start[name]) for name in ours)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 2e-5


def test_gradient_caching_gives_the_same_gradient(directories: dict[str, Path]) -> None:
    model = CrossEncoder(directories["qwen"], device="cpu")
    rows = model.pair_encoder.pairs(PAIRS)
    grads = []
    for budget in (None, 64):
        model.zero_grad()
        model({"rows": rows, "mini_batch_tokens": budget})["scores"].square().sum().backward()
        grads.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


def test_a_tokenizer_without_yes_and_no_is_refused(directories: dict[str, Path], tmp_path: Path) -> None:
    """6.2 takes the id of the unknown word for both where there is one: every score is 0."""
    model = AutoModelForCausalLM.from_pretrained(directories["qwen"])
    for unknown in (None, "<s>"):
        words = tokenizer()
        raw = json.loads(words.backend_tokenizer.to_str())
        raw["model"]["vocab"]["yeah"] = raw["model"]["vocab"].pop("yes")
        raw["model"]["merges"] = [pair for pair in raw["model"]["merges"] if "".join(pair) != "yes"]
        words._tokenizer = type(words._tokenizer).from_str(json.dumps(raw))
        words.unk_token = unknown
        model.save_pretrained(tmp_path)
        words.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="no token 'yes'"):
            CrossEncoder(tmp_path)


def test_a_template_that_drops_the_pair_is_refused(tmp_path: Path) -> None:
    """A template that knows only users renders a pair to nothing, and every pair would have one score."""
    model = CrossEncoder(write_causal(tmp_path, USERS_ONLY), device="cpu")
    with pytest.raises(ValueError, match="leaves out the text of query and document"):
        model.predict(PAIRS)
    model.tokenizer.chat_template = "{{ raise_exception('only users') }}"
    with pytest.raises(ValueError, match="it raised TemplateError: only users"):
        model.predict(PAIRS)
    model.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="the model has no chat template"):
        model.predict(PAIRS)
    model.tokenizer.chat_template = CHATML
    assert len(model.predict(PAIRS)) == len(PAIRS)


def test_padding_on_the_right_is_refused(directories: dict[str, Path]) -> None:
    model = CrossEncoder(directories["qwen"], device="cpu")
    model.tokenizer.padding_side = "right"
    with pytest.raises(ValueError, match="left padding"):
        model.predict(PAIRS)


def test_learned_positions_count_from_the_first_real_token(tmp_path: Path) -> None:
    """6.2 counts the padding too, so that a score depends on the other pairs of its batch."""
    words = tokenizer()
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPTNeoForCausalLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    ours, theirs = CrossEncoder(tmp_path, device="cpu"), Oracle(str(tmp_path), device="cpu")
    alone = np.array([theirs.predict([pair], activation_fn=IDENTITY)[0] for pair in PAIRS])
    np.testing.assert_allclose(ours.predict(PAIRS, activation_fn=IDENTITY), alone, **CLOSE)
    assert not np.allclose(theirs.predict(PAIRS, activation_fn=IDENTITY), alone, **CLOSE)


def test_threads_may_predict_at_once(directories: dict[str, Path]) -> None:
    model = CrossEncoder(directories["flat chat"], device="cpu")
    expected = model.predict(PAIRS)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: model.predict(PAIRS), range(8)):
            np.testing.assert_allclose(found, expected, **CLOSE)


def test_an_adapter_is_trained_and_saved_without_the_rest(directories: dict[str, Path], tmp_path: Path) -> None:
    from peft import LoraConfig

    model = CrossEncoder(directories["qwen"], device="cpu")
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    assert all("lora" in name for name, one in model.named_parameters() if one.requires_grad)
    expected = model.predict(PAIRS)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    np.testing.assert_allclose(CrossEncoder(tmp_path, device="cpu").predict(PAIRS), expected, **CLOSE)


def test_a_classifier_with_a_chat_template_reads_messages_too(tmp_path: Path) -> None:
    directory = write_causal(tmp_path / "causal", CHATML)
    torch.manual_seed(1)
    body = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1)
    body.save_pretrained(tmp_path / "classifier")
    tokenizer(CHATML).save_pretrained(tmp_path / "classifier")
    ours, theirs = (cls(str(tmp_path / "classifier"), device="cpu") for cls in (CrossEncoder, Oracle))
    expected = theirs.predict(PAIRS, prompt="find it")
    np.testing.assert_allclose(ours.predict(PAIRS, prompt="find it"), expected, **CLOSE)
    ours.save_pretrained(tmp_path / "saved")
    for again in (CrossEncoder(tmp_path / "saved"), Oracle(str(tmp_path / "saved"), device="cpu")):
        np.testing.assert_allclose(again.predict(PAIRS, prompt="find it"), expected, **CLOSE)


def test_a_graph_cannot_take_its_place(directories: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="only sequence classifiers score by a graph"):
        CrossEncoder(directories["qwen"], backend="onnx")
