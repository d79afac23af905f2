"""A cross-encoder as the chain of modules that it is in sentence-transformers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder as Oracle
from sentence_transformers.cross_encoder import modules as oracle_modules
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss as OracleLoss
from sentence_transformers.sentence_transformer.modules import Pooling as OraclePooling

from training.cross_encoder import CrossEncoder, modules
from training.cross_encoder.losses import BinaryCrossEntropyLoss
from training.cross_encoder.optimizer_groups import parameter_groups

PAIRS = [("what is the capital of france", "paris"), ("who jumps", "the quick brown fox jumps over a lazy dog")]


def headed(library: Any, pooling: Any, encoder: Any, directory: Path) -> Any:
    """A transformer, a pooling and a layer that scores."""
    torch.manual_seed(1)
    first = library.Transformer(str(directory))
    dense = library.Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    return encoder(modules=[first, pooling(32, "mean"), dense], device="cpu")


def both(directory: Path, kind: str) -> tuple[CrossEncoder, Any]:
    """The same model in both libraries."""
    if kind == "plain":
        return CrossEncoder(directory, device="cpu"), Oracle(str(directory), device="cpu")
    ours = headed(modules, modules.Pooling, CrossEncoder, directory)
    return ours, headed(oracle_modules, OraclePooling, Oracle, directory)


@pytest.mark.parametrize("kind", ["plain", "modules"])
def test_length_order_and_kinds_of_modules_are_those_of_the_library(kind: str, parent_dir: Path) -> None:
    ours, theirs = both(parent_dir, kind)
    assert len(ours) == len(theirs) == (1 if kind == "plain" else 3)
    for mine, other in zip(ours, theirs, strict=True):
        assert isinstance(mine, getattr(modules, type(other).__name__))
    assert [type(one) for one in ours] == [type(ours[i]) for i in range(len(ours))]
    assert type(ours[-1]) is type(ours._last_module())
    assert isinstance(ours[0], modules.InputModule)
    with pytest.raises(IndexError):
        ours[len(ours)]


@pytest.mark.parametrize("kind", ["plain", "modules"])
def test_the_modules_called_one_after_the_other_give_the_scores(kind: str, parent_dir: Path) -> None:
    ours, theirs = both(parent_dir, kind)
    for model in (ours, theirs):
        model.eval()
        features = model[0].preprocess(PAIRS)
        for module in model:
            features = module(features)
        scored = model(model.preprocess(PAIRS))["scores"]
        torch.testing.assert_close(features["scores"], scored, rtol=0, atol=1e-6)


def test_the_first_module_tells_what_it_tells_in_the_library(parent_dir: Path) -> None:
    ours, theirs = both(parent_dir, "plain")
    for name in ("transformer_task", "max_seq_length", "modalities", "processing_kwargs"):
        assert getattr(ours[0], name) == getattr(theirs[0], name), name
    assert ours[0].get_embedding_dimension() == theirs[0].get_embedding_dimension()
    mine, other = ours[0].preprocess(PAIRS), theirs[0].preprocess(PAIRS)
    assert set(mine) == set(other)
    assert torch.equal(mine["input_ids"], other["input_ids"])
    assert ours[0].auto_model is ours[0].model is ours.model
    assert ours[0].processor is ours[0].tokenizer is ours.tokenizer
    config = theirs[0].get_config_dict()
    assert ours[0].get_config_dict() == {name: config[name] for name in ours[0].get_config_dict()}


def test_what_is_set_on_the_first_module_is_set_on_the_model(parent_dir: Path) -> None:
    model, other = CrossEncoder(parent_dir, device="cpu"), CrossEncoder(parent_dir, device="cpu")
    model[0].max_seq_length = 12
    assert model.max_seq_length == 12
    model[0].model = other.model
    assert model.model is other.model
    model[0].tokenizer = other.tokenizer
    assert model.tokenizer is other.tokenizer
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_made_of_the_modules_of_another_scores_like_it(parent_dir: Path) -> None:
    for kind in ("plain", "modules"):
        model = both(parent_dir, kind)[0]
        again = CrossEncoder(modules=list(model), device="cpu")
        assert (again.predict(PAIRS) == model.predict(PAIRS)).all()
        assert again.model is model.model


def test_a_first_module_is_saved_as_the_library_saves_it(parent_dir: Path, tmp_path: Path) -> None:
    ours, theirs = both(parent_dir, "plain")
    ours[0].save(tmp_path)
    loaded = oracle_modules.Transformer.load(str(tmp_path), model_kwargs={}, processor_kwargs={}, config_kwargs={})
    assert loaded.transformer_task == theirs[0].transformer_task
    features = loaded.eval()(loaded.preprocess(PAIRS))
    torch.testing.assert_close(features["scores"], ours(ours.preprocess(PAIRS))["scores"])


def test_looking_at_the_modules_changes_neither_weights_nor_copies(parent_dir: Path) -> None:
    model = CrossEncoder(parent_dir, device="cpu")
    names = list(model.state_dict())
    first = model[0]
    assert list(model.state_dict()) == names
    copied = copy.deepcopy(model)
    assert copied[0].model is copied.model is not first.model


def test_learning_rates_by_the_library_s_parameter_names_reach_the_same_parameters(parent_dir: Path) -> None:
    rates = {r"0\.model\.classifier": 1e-3, r"^model\.0\.model\.bert\.pooler": 1e-4, r"encoder\.layer\.0\.": 1e-5}
    found = []
    for library, loss_of in ((Oracle, OracleLoss), (CrossEncoder, BinaryCrossEntropyLoss)):
        loss = loss_of(library(str(parent_dir), device="cpu"))
        groups = parameter_groups(loss, [], 0.0, rates)
        found.append([(group.get("lr"), [tuple(one.shape) for one in group["params"]]) for group in groups])
    assert found[0] == found[1]
    with pytest.raises(ValueError, match="no parameters found matching"):
        parameter_groups(loss, [], 0.0, {r"0\.model\.nothing": 1e-3})


def test_an_activation_may_be_set_by_its_older_name(parent_dir: Path) -> None:
    """It became a module of the network without effect, as it does in sentence-transformers."""
    model = CrossEncoder(parent_dir, device="cpu")
    model.default_activation_function = torch.nn.Identity()
    logits = model(model.preprocess(PAIRS))["scores"].detach().numpy()[:, 0]
    assert model.predict(PAIRS) == pytest.approx(logits, abs=1e-6)
    assert [name for name, _ in model.named_children()] == ["model"]
