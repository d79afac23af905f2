"""Rerankers of several modules: built by hand, saved and loaded in both directions, trained through every module."""

from __future__ import annotations

import json
import logging
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle
from sentence_transformers.cross_encoder import modules as theirs_modules
from sentence_transformers.sentence_transformer import modules as their_modules
from torch import nn

from tests.models import write_json
from tests.unit.training.cross_encoder.modules.tiny_causal import write_causal
from tests.unit.training.cross_encoder.test_predict import PAIRS
from tests.unit.training.cross_encoder.test_trainer_parity import trained
from tests.unit.training.cross_encoder.trainer_data import exact_model_dir, pairs, quiet
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from training.cross_encoder.checkpoints import load_weights
from training.cross_encoder.losses import BinaryCrossEntropyLoss
from training.cross_encoder.modules import Dense, Dropout, LayerNorm, LogitScore, Normalize, Pooling, Transformer
from training.cross_encoder.saving import save

CLOSE = {"rtol": 0, "atol": 1e-5}
HIDDEN = 32


def tail(kind: Any, norms: Any, labels: int = 1, pooling: Any = "mean") -> list[nn.Module]:
    """The same modules, fresh ones, out of ours or of the library's packages."""
    torch.manual_seed(4)
    pool = norms.Pooling(HIDDEN, pooling_mode=pooling)
    size = pool.get_embedding_dimension()
    return [
        pool,
        kind.Dense(size, 24, activation_function=nn.GELU(), use_residual=True),
        norms.LayerNorm(24),
        norms.Dropout(0.3),
        norms.Normalize() if hasattr(norms, "Normalize") else kind.Normalize(),
        kind.Dense(24, labels, activation_function=None, module_output_name="scores"),
    ]


class Ours:
    """Our modules, in place of the library's package."""

    Dense, Dropout, LayerNorm, Normalize, Pooling = Dense, Dropout, LayerNorm, Normalize, Pooling


def build(directory: Path, **kwargs: Any) -> CrossEncoder:
    first = Transformer(directory, max_seq_length=64)
    return CrossEncoder(modules=[first, *tail(Ours, Ours, **kwargs)], device="cpu")


def build_theirs(directory: Path, **kwargs: Any) -> Oracle:
    first = theirs_modules.Transformer(str(directory), max_seq_length=64)
    return Oracle(modules=[first, *tail(theirs_modules, their_modules, **kwargs)], device="cpu")


MODES: list[Any] = ["cls", "mean", "max", "lasttoken", ("mean", "cls")]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_scores_are_those_of_the_library(mode: Any, reranker_dir: Path) -> None:
    ours, theirs = build(reranker_dir, pooling=mode), build_theirs(reranker_dir, pooling=mode)
    assert ours.num_labels == theirs.num_labels == 1
    found = ours.predict(PAIRS)
    assert np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, theirs.predict(PAIRS), **CLOSE)
    features = ours.eval()(ours.preprocess(PAIRS[:4]))
    assert features["sentence_embedding"].shape == (4, 24)
    np.testing.assert_allclose(features["scores"].sigmoid().detach()[:, 0], found[:4], **CLOSE)


def test_several_labels_come_from_the_last_layer(reranker_dir: Path) -> None:
    ours, theirs = build(reranker_dir, labels=3), build_theirs(reranker_dir, labels=3)
    found = ours.predict(PAIRS, apply_softmax=True)
    assert (ours.num_labels, found.shape) == (3, (len(PAIRS), 3))
    np.testing.assert_allclose(found, theirs.predict(PAIRS, apply_softmax=True), **CLOSE)
    assert ours.predict([]).shape in {(0,), (0, 3)}


def test_saved_models_go_both_ways(reranker_dir: Path, tmp_path: Path) -> None:
    ours = build(reranker_dir)
    expected = ours.predict(PAIRS)
    ours.save_pretrained(tmp_path / "ours")
    theirs = Oracle(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(theirs.predict(PAIRS), expected, **CLOSE)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    again = CrossEncoder(tmp_path / "theirs", device="cpu")
    np.testing.assert_allclose(again.predict(PAIRS), expected, **CLOSE)
    np.testing.assert_allclose(CrossEncoder(tmp_path / "ours", device="cpu").predict(PAIRS), expected, **CLOSE)
    for name in ("modules.json", "sentence_bert_config.json", "2_Dense/config.json", "1_Pooling/config.json"):
        mine, other = (json.loads((tmp_path / kind / name).read_text()) for kind in ("ours", "theirs"))
        assert mine == other
    assert "Pooling" in (tmp_path / "ours" / "README.md").read_text()


def test_modules_keep_the_names_they_were_given(reranker_dir: Path, tmp_path: Path) -> None:
    names = ["encoder", "pool", "head"]
    head = Dense(HIDDEN, 1, module_output_name="scores")
    parts = OrderedDict(zip(names, [Transformer(reranker_dir), Pooling(HIDDEN), head], strict=True))
    model = CrossEncoder(modules=parts, device="cpu", keep_in_fp32_modules=["head.linear"], max_length=48)
    assert list(model.tail) == ["pool", "head"]
    assert model.max_seq_length == 48
    model.save_pretrained(tmp_path)
    theirs = Oracle(str(tmp_path), device="cpu")
    assert theirs.keep_in_fp32_modules == ["head.linear"]
    np.testing.assert_allclose(theirs.predict(PAIRS), model.predict(PAIRS), **CLOSE)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:sentence_transformers.*")
def test_training_gives_the_weights_of_the_library_in_every_module(tmp_path: Path) -> None:
    import sentence_transformers.cross_encoder as their_library
    import sentence_transformers.cross_encoder.losses as their_losses

    import training.cross_encoder as our_library
    import training.cross_encoder.losses as our_losses

    start = build(exact_model_dir(tmp_path / "exact"))
    start.tail["4"].dropout_layer.p = start.tail["4"].dropout = 0.0
    start.save_pretrained(tmp_path / "start")
    data, loss, kwargs = pairs(16), "BinaryCrossEntropyLoss", {"max_steps": 8, "save_strategy": "no"}
    for library, losses, name in ((our_library, our_losses, "ours"), (their_library, their_losses, "theirs")):
        own = {"length_bucketing": False} if name == "ours" else {}
        rows = data.select(range(len(data)))
        made = Saved(library, tmp_path / name)
        trained(made, losses, tmp_path / "start", tmp_path / "out", rows, loss, **kwargs, **own)
    ours, theirs = (CrossEncoder(tmp_path / name, device="cpu").state_dict() for name in ("ours", "theirs"))
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 2e-5
    learned = ("model.embeddings.word_embeddings.weight", "2.linear.weight", "2.residual.weight", "3.norm.weight")
    before = start.state_dict()
    assert all(not torch.equal(ours[name], before[name]) for name in (*learned, "6.linear.bias"))


class Saved:
    """A library whose trainer leaves its model in a directory."""

    def __init__(self, library: Any, directory: Path) -> None:
        self.CrossEncoder = library.CrossEncoder
        self.CrossEncoderTrainingArguments = library.CrossEncoderTrainingArguments

        def trainer(model: Any, **kwargs: Any) -> Any:
            made = library.CrossEncoderTrainer(model=model, **kwargs)
            made.evaluate = lambda: model.save_pretrained(str(directory))
            return made

        self.CrossEncoderTrainer = trainer


def test_gradients_reach_every_module_with_caching_too(reranker_dir: Path) -> None:
    model = build(reranker_dir).eval()
    grads = []
    for budget in (None, 128):
        model.zero_grad()
        rows = model.pair_encoder.pairs(PAIRS)
        model({"rows": rows, "mini_batch_tokens": budget})["scores"].square().sum().backward()
        grads.append({name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None})
    assert {name.partition(".")[0] for name in grads[0]} == {"model", "2", "3", "6"}
    assert all(float(one.abs().max()) > 0 for name, one in grads[0].items() if not name.startswith("model"))
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_restores_every_module(reranker_dir: Path, tmp_path: Path) -> None:
    model = build(reranker_dir)
    args = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path), **quiet({"max_steps": 4, "save_strategy": "steps", "save_steps": 2})
    )
    CrossEncoderTrainer(model=model, args=args, train_dataset=pairs(16), loss=BinaryCrossEntropyLoss(model)).train()
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, tmp_path / "checkpoint-2")
    assert not torch.equal(model.state_dict()["6.linear.weight"], expected["6.linear.weight"])
    load_weights(model, tmp_path / "checkpoint-4")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_merging_averages_the_modules_behind_the_transformer(reranker_dir: Path) -> None:
    first, second = build(reranker_dir), build(reranker_dir)
    with torch.no_grad():
        second.tail["6"].linear.bias.add_(2.0)
    merged = CrossEncoder.merge([first, second])
    torch.testing.assert_close(merged.tail["6"].linear.bias, first.tail["6"].linear.bias + 1.0)


def test_one_transformer_alone_is_the_plain_reranker(reranker_dir: Path) -> None:
    parts = [Transformer(reranker_dir, transformer_task="sequence-classification")]
    model, plain = CrossEncoder(modules=parts, device="cpu"), CrossEncoder(reranker_dir, device="cpu")
    assert model.network is model.model
    np.testing.assert_allclose(model.predict(PAIRS), plain.predict(PAIRS), **CLOSE)


def test_the_transformer_of_a_bi_encoder_serves_as_well(reranker_dir: Path) -> None:
    from training.sentence_transformer.modules import Transformer as Encoder

    parts = tail(Ours, Ours)
    expected = CrossEncoder(modules=[Transformer(reranker_dir), *parts], device="cpu").predict(PAIRS)
    found = CrossEncoder(modules=[Encoder(str(reranker_dir)), *parts], device="cpu").predict(PAIRS)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_language_model_can_answer_with_other_tokens(tmp_path: Path) -> None:
    directory = write_causal(tmp_path / "causal")
    ours = [Transformer(directory, transformer_task="text-generation"), LogitScore(70, 80)]
    theirs = [
        theirs_modules.Transformer(str(directory), transformer_task="text-generation"),
        theirs_modules.LogitScore(70, 80),
    ]
    expected = Oracle(modules=theirs, device="cpu").predict(PAIRS)
    model = CrossEncoder(modules=ours, device="cpu")
    np.testing.assert_allclose(model.predict(PAIRS), expected, **CLOSE)
    model.save_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(CrossEncoder(tmp_path / "saved").predict(PAIRS), expected, **CLOSE)
    alone = [Transformer(directory, transformer_task="text-generation"), LogitScore(70)]
    assert not np.allclose(CrossEncoder(modules=alone, device="cpu").predict(PAIRS), expected)


def test_modules_are_ignored_where_a_name_is_given(reranker_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = CrossEncoder(reranker_dir, modules=[nn.Identity()], device="cpu")
    assert "modules are ignored" in caplog.text
    assert not model.tail


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        (lambda first: [], "empty list of modules"),
        (lambda first: OrderedDict(), "empty list of modules"),
        (lambda first: [nn.Identity()], "must be a Transformer, not Identity"),
        (lambda first: OrderedDict(first=first, model=Pooling(HIDDEN)), "cannot have the name 'model'"),
        (lambda first: [first, Pooling(HIDDEN, include_prompt=False)], "include_prompt=False"),
    ],
)
def test_what_is_no_reranker_is_refused(modules: Any, said: str, reranker_dir: Path) -> None:
    with pytest.raises(ValueError, match=said):
        CrossEncoder(modules=modules(Transformer(reranker_dir)))


def test_modules_without_scores_are_refused_when_they_are_asked(reranker_dir: Path) -> None:
    model = CrossEncoder(modules=[Transformer(reranker_dir), Pooling(HIDDEN)], device="cpu")
    with pytest.raises(ValueError, match="no module gives 'scores'"):
        model.predict(PAIRS)


def test_an_unknown_task_is_refused(reranker_dir: Path) -> None:
    with pytest.raises(ValueError, match="'fill-mask' is not supported"):
        Transformer(reranker_dir, transformer_task="fill-mask")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"type": "os.system"}, "'os.system' is not supported"),
        ({"type": "sentence_transformers.models.LSTM"}, "LSTM' is not supported; those that are: Transformer, Dense"),
        ({"path": "../1_Pooling"}, "leads out of the model"),
    ],
)
def test_saved_modules_that_are_not_known_are_refused(
    change: dict[str, str], said: str, reranker_dir: Path, tmp_path: Path
) -> None:
    build(reranker_dir).save_pretrained(tmp_path)
    entries = json.loads((tmp_path / "modules.json").read_text())
    entries[1].update(change)
    write_json(tmp_path / "modules.json", entries)
    with pytest.raises(ValueError, match=said):
        CrossEncoder(tmp_path)


def test_paths_of_earlier_releases_mean_the_same_modules(reranker_dir: Path, tmp_path: Path) -> None:
    model = build(reranker_dir)
    model.save_pretrained(tmp_path)
    entries = json.loads((tmp_path / "modules.json").read_text())
    for entry in entries:
        entry["type"] = "sentence_transformers.models." + entry["type"].rpartition(".")[2]
    write_json(tmp_path / "modules.json", entries)
    np.testing.assert_allclose(CrossEncoder(tmp_path).predict(PAIRS), model.predict(PAIRS), **CLOSE)


def test_a_bi_encoder_becomes_a_reranker_with_a_fresh_head(
    reranker_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    plain = Path(shutil.copytree(reranker_dir, tmp_path / "plain"))
    parts = [their_modules.Transformer(str(plain)), their_modules.Pooling(HIDDEN)]
    bi_encoder = SentenceTransformer(modules=parts, prompts={"query": "find "}, default_prompt_name="query")
    bi_encoder.save_pretrained(str(tmp_path / "bi"))
    with caplog.at_level(logging.WARNING):
        model = CrossEncoder(tmp_path / "bi", device="cpu", seed=1)
    assert "is a SentenceTransformer" in caplog.text
    assert (model.prompts, model.default_prompt_name, model.num_labels, dict(model.tail)) == ({}, None, 1, {})
    assert {name.partition(".")[0] for name in model.fresh_parameters} == {"classifier"}
    theirs = Oracle(str(tmp_path / "bi"), device="cpu")
    theirs.model.load_state_dict(model.model.state_dict())
    np.testing.assert_allclose(model.predict(PAIRS), theirs.predict(PAIRS), **CLOSE)


def test_weights_that_other_processes_hold_are_saved_in_place_of_its_own(reranker_dir: Path, tmp_path: Path) -> None:
    """As a trainer gathers them from processes that share them out, also those of the modules behind."""
    model, other = build(reranker_dir), build(reranker_dir)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    expected = other.predict(PAIRS)
    assert abs(expected - model.predict(PAIRS)).max() > 1e-3
    save(model, tmp_path, {name: tensor.clone() for name, tensor in other.state_dict().items()})
    np.testing.assert_allclose(CrossEncoder(tmp_path, device="cpu").predict(PAIRS), expected, **CLOSE)
