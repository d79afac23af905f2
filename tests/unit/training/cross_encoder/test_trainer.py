"""What the trainer does beside training: losses, evaluators, data of every kind, checkpoints, errors."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, IterableDataset
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import BatchSampler
from transformers import TrainerCallback

from tests.unit.training.cross_encoder.trainer_data import (
    arguments,
    exact_model_dir,
    identical,
    largest_difference,
    lists,
    pairs,
    weights,
)
from training.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from training.cross_encoder.best_metric import metrics_of
from training.cross_encoder.dataloaders import loader_settings
from training.cross_encoder.evaluation import (
    CEBinaryAccuracyEvaluator,
    CERerankingEvaluator,
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from training.cross_encoder.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    ListNetLoss,
    MSELoss,
    MultipleNegativesRankingLoss,
)
from training.cross_encoder.row_errors import TrainingDataError
from training.cross_encoder.texts import TokenizedText
from training.evaluation import BaseEvaluator, SequentialEvaluator
from training.sampler import DefaultBatchSampler


@pytest.fixture(scope="module")
def exact_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exact_model_dir(tmp_path_factory.mktemp("models") / "exact")


@pytest.fixture
def model(exact_dir: Path) -> CrossEncoder:
    return CrossEncoder(str(exact_dir), device="cpu")


class Fixed(BaseEvaluator):
    """Gives prepared figures, one after the other."""

    def __init__(self, name: str, values: list[float]) -> None:
        super().__init__()
        self.name = name
        self.values = list(values)
        self.calls: list[tuple[Any, float, int]] = []
        self.primary_metric = f"{name}_score"

    def __call__(self, model: Any, output_path: Any = None, epoch: float = -1, steps: int = -1) -> dict[str, float]:
        self.calls.append((output_path, epoch, steps))
        return {f"{self.name}_score": self.values.pop(0)}


class Recording(nn.Module):
    """A loss of a user's own: keeps what it is given."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model
        self.seen: list[tuple[list[Any], Any]] = []

    def forward(self, inputs: list[Any], labels: Any) -> Tensor:
        self.seen.append((inputs, labels))
        features = self.model.preprocess(list(zip(*inputs, strict=True)))
        return self.model(features)["scores"].mean()


class Parts(nn.Module):
    """A loss of two parts, and with a parameter of its own."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model
        self.inner = MSELoss(model)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: list[Any], labels: Tensor, prompt: str | None = None) -> dict[str, Tensor]:
        error = self.inner(inputs, labels, prompt=prompt)
        return {"error": error * self.scale.squeeze(), "constant": self.scale.square().sum()}


# Arguments.


def test_wrong_arguments_raise_what_the_library_raises(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(tmp_path, eval_strategy="steps", eval_steps=1)
    with pytest.raises(RuntimeError, match="requires either a `model` or `model_init` argument"):
        CrossEncoderTrainer(args=args)
    with pytest.raises(ValueError, match="didn't provide an `eval_dataset` or an `evaluator`"):
        CrossEncoderTrainer(model, args, train_dataset=pairs(4))
    with pytest.raises(ValueError, match="pass an instance of `CrossEncoderTrainingArguments`"):
        CrossEncoderTrainer(model, args="x")  # type: ignore[arg-type]
    loss = {"a": BinaryCrossEntropyLoss(model)}
    args = arguments(tmp_path)
    with pytest.raises(ValueError, match="If the provided `loss` is a dict, then the `train_dataset` must be a"):
        CrossEncoderTrainer(model, args, train_dataset=pairs(4), loss=loss)
    with pytest.raises(ValueError, match=r"Currently, \['b'\] occurs in `eval_dataset` but not in `loss`"):
        CrossEncoderTrainer(model, args, DatasetDict(a=pairs(4)), DatasetDict(b=pairs(4)), loss=loss)
    with pytest.raises(ValueError, match="reserved for internal use"):
        CrossEncoderTrainer(model, args, train_dataset=pairs(4).rename_column("query", "return_loss"))
    with pytest.raises(ValueError, match="requires specifying a train_dataset"):
        CrossEncoderTrainer(model, args).train()
    with pytest.raises(ValueError, match="No valid checkpoint found in output directory"):
        CrossEncoderTrainer(model, args, train_dataset=pairs(4)).train(resume_from_checkpoint=True)


def test_the_default_loss_follows_the_number_of_labels(
    model: CrossEncoder, classifier_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = CrossEncoderTrainer(model, train_dataset=pairs(4), tokenizer=model.tokenizer)
    assert isinstance(trainer.loss, BinaryCrossEntropyLoss)
    assert trainer.args.output_dir == "tmp_trainer"
    assert trainer.processing_class is model.tokenizer
    classifier = CrossEncoder(str(classifier_dir), device="cpu")
    assert isinstance(CrossEncoderTrainer(classifier, arguments(tmp_path)).loss, CrossEntropyLoss)


def test_model_init_makes_the_model_anew_for_each_training(exact_dir: Path, tmp_path: Path) -> None:
    made: list[CrossEncoder] = []

    def model_init() -> CrossEncoder:
        made.append(CrossEncoder(str(exact_dir), device="cpu"))
        return made[-1]

    trainer = CrossEncoderTrainer(
        model_init=model_init,
        args=arguments(tmp_path, max_steps=2),
        train_dataset=pairs(8),
        loss=lambda model: BinaryCrossEntropyLoss(model),
    )
    trainer.train()
    first = weights(trainer.model)
    trainer.train()
    assert trainer.model is made[-1]
    assert trainer.loss.model is trainer.model
    assert identical(first, weights(trainer.model))


# Losses.


def test_a_loss_of_the_librarys_protocol_gets_plain_columns(model: CrossEncoder, tmp_path: Path) -> None:
    loss = Recording(model)
    before = weights(model)
    CrossEncoderTrainer(model, arguments(tmp_path, max_steps=2), pairs(8), loss=loss).train()
    inputs, labels = loss.seen[0]
    assert [len(column) for column in inputs] == [4, 4]
    assert not isinstance(inputs[0][0], TokenizedText)
    assert labels.shape == (4,)
    assert largest_difference(before, weights(model)) > 0


def test_a_type_error_in_a_loss_is_raised_and_the_loss_called_once(model: CrossEncoder, tmp_path: Path) -> None:
    """A3: 6.2 takes it for a loss without prompt and task, and calls it again."""
    calls = []

    class Broken(BinaryCrossEntropyLoss):
        def forward(self, inputs: Any, labels: Any, prompt: Any = None, task: Any = None) -> Tensor:
            calls.append(1)
            raise TypeError("in the loss itself")

    trainer = CrossEncoderTrainer(model, arguments(tmp_path, max_steps=1), pairs(8), loss=Broken(model))
    with pytest.raises(TypeError, match="in the loss itself"):
        trainer.train()
    assert len(calls) == 1


def test_parts_of_a_loss_are_summed_and_logged_and_its_parameters_trained(model: CrossEncoder, tmp_path: Path) -> None:
    loss = Parts(model)
    args = arguments(tmp_path, max_steps=2, eval_strategy="steps", eval_steps=2, learning_rate=0.1)
    trainer = CrossEncoderTrainer(model, args, pairs(8), {"x": pairs(4), "y": pairs(4)}, loss=loss)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["constant"] == 1.0
    assert first["loss"] == pytest.approx(first["error"] + first["constant"], abs=1e-3)
    evaluated = [entry for entry in trainer.state.log_history if "eval_y_constant" in entry]
    assert evaluated[0]["eval_y_loss"] == pytest.approx(
        evaluated[0]["eval_y_error"] + evaluated[0]["eval_y_constant"], abs=1e-3
    )
    assert loss.scale.item() < 0.95
    assert loss.scale.grad is None or not loss.scale.grad.any()


def test_each_dataset_has_its_loss_and_prompt(model: CrossEncoder, tmp_path: Path) -> None:
    prompts = []

    class Noting(BinaryCrossEntropyLoss):
        def forward(self, inputs: Any, labels: Any, prompt: Any = None, task: Any = None) -> Tensor:
            prompts.append((prompt, task))
            return super().forward(inputs, labels, prompt, task)

    args = arguments(
        tmp_path,
        num_train_epochs=1,
        prompts={"a": "query: "},
        router_mapping={"b": "rank"},
        multi_dataset_batch_sampler="round_robin",
    )
    data = {"a": pairs(8), "b": pairs(8, seed=1)}
    losses = {"a": Noting(model), "b": lambda model: Noting(model)}
    trainer = CrossEncoderTrainer(model, args, data, {"a": pairs(4)}, loss=losses)
    trainer.train()
    assert prompts == [("query: ", None), (None, "rank")] * 2
    prompts.clear()
    assert set(trainer.evaluate({"b": pairs(4)})) >= {"eval_b_loss"}
    assert prompts == [(None, "rank")]
    assert "dataset_name" not in data["a"].column_names
    with pytest.raises(ValueError, match=r"losses for the datasets \['a', 'b'\]"):
        trainer.evaluate(pairs(4))


def test_a_column_may_be_called_prompt(model: CrossEncoder, tmp_path: Path) -> None:
    data = pairs(8).rename_column("query", "prompt").rename_column("document", "task")
    loss = Recording(model)
    CrossEncoderTrainer(model, arguments(tmp_path, max_steps=1), data, loss=loss).train()
    assert len(loss.seen[0][0]) == 2


def test_learning_rates_can_be_set_by_parameter_name(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=1, learning_rate_mapping={"classifier": 0.0}, weight_decay=0.1)
    trainer = CrossEncoderTrainer(model, args, pairs(8))
    before = weights(model)
    trainer.train()
    after = weights(model)
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert "classifier.weight" in still
    assert "bert.pooler.dense.weight" not in still
    groups = trainer.optimizer.param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    args = arguments(tmp_path, learning_rate_mapping={"nothing": 1.0})
    with pytest.raises(ValueError, match="'nothing'"):
        CrossEncoderTrainer(model, args, pairs(8)).create_optimizer()


# Evaluation.


def test_evaluators_are_run_with_every_evaluation_and_their_metrics_prefixed(
    model: CrossEncoder, tmp_path: Path
) -> None:
    first, second = Fixed("one", [0.1, 0.2, 0.3]), Fixed("two", [0.4, 0.5, 0.6])
    args = arguments(tmp_path, max_steps=2, eval_strategy="steps", eval_steps=1)
    trainer = CrossEncoderTrainer(model, args, pairs(8), evaluator=[first, second])
    trainer.train()
    evaluations = [entry for entry in trainer.state.log_history if "eval_one_score" in entry]
    assert [entry["eval_two_score"] for entry in evaluations] == [0.4, 0.5]
    assert evaluations[1]["eval_sequential_score"] == 0.5
    assert [steps for _, _, steps in first.calls] == [1, 2]
    assert first.calls[0][0] == str(tmp_path / "eval")
    assert "eval_loss" not in evaluations[0]
    assert trainer.evaluate()["eval_one_score"] == 0.3


def test_csv_files_of_evaluators_are_under_the_output_directory(model: CrossEncoder, tmp_path: Path) -> None:
    from training.cross_encoder.evaluation import CrossEncoderCorrelationEvaluator

    data = pairs(8)
    evaluator = CrossEncoderCorrelationEvaluator(
        list(zip(data["query"], data["document"], strict=True)), list(data["label"]), name="dev"
    )
    args = arguments(tmp_path, max_steps=2, eval_strategy="steps", eval_steps=1)
    CrossEncoderTrainer(model, args, data, evaluator=evaluator).train()
    (file,) = (tmp_path / "eval").glob("*.csv")
    with file.open() as rows:
        assert [row["steps"] for row in csv.DictReader(rows)] == ["1", "2"]


def test_of_several_evaluation_sets_each_has_a_loss_and_the_evaluator_runs_once(
    model: CrossEncoder, tmp_path: Path
) -> None:
    evaluator = Fixed("dev", [0.5])
    args = arguments(tmp_path)
    trainer = CrossEncoderTrainer(model, args, eval_dataset={"a": pairs(4), "b": pairs(6)}, evaluator=evaluator)
    metrics = trainer.evaluate()
    assert {"eval_a_loss", "eval_b_loss", "eval_dev_score"} <= set(metrics)


def test_issue_2749_a_best_metric_that_no_evaluation_gives_is_refused_before_training(
    model: CrossEncoder, tmp_path: Path
) -> None:
    """With several evaluation sets there is no "eval_loss"; it came up as a KeyError after the first evaluation."""
    strategy = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    args = arguments(tmp_path, max_steps=1, load_best_model_at_end=True, **strategy)
    data = {"a": pairs(4), "b": pairs(4)}
    before = weights(model)
    with pytest.raises(KeyError, match=r"asks for 'eval_loss'.* eval_a_loss, eval_b_loss"):
        CrossEncoderTrainer(model, args, pairs(8), data).train()
    with pytest.raises(KeyError, match="eval_dev_score"):
        CrossEncoderTrainer(model, args, pairs(8), evaluator=Fixed("dev", [0.5])).train()
    assert identical(before, weights(model))
    args.metric_for_best_model = "eval_b_loss"
    CrossEncoderTrainer(model, args, pairs(8), data).train()


CHOOSES = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
SAMPLES = [{"query": "who", "positive": "paris is a city", "documents": ["a dog", "paris is a city"]}]
OWN_METRICS = {
    "epoch",
    "eval_runtime",
    "eval_samples_per_second",
    "eval_steps_per_second",
    "eval_model_preparation_time",
}
EVALUATORS: dict[str, Any] = {
    "ranking": lambda: CrossEncoderRerankingEvaluator(SAMPLES, name="dev"),
    "classes": lambda: CrossEncoderClassificationEvaluator([("a", "b"), ("b", "a")], [0, 1], name="dev"),
    "correlation": lambda: CrossEncoderCorrelationEvaluator([("a", "b"), ("b", "a dog")], [0.0, 1.0], name="dev"),
    "one number": lambda: CEBinaryAccuracyEvaluator([("a", "b"), ("b", "a")], [0, 1], name="dev"),
    "mean reciprocal rank": lambda: CERerankingEvaluator([{"query": "a", "positive": ["b"], "negative": ["c"]}]),
    "several": lambda: SequentialEvaluator([EVALUATORS["ranking"](), EVALUATORS["one number"]()]),
}


@pytest.mark.parametrize("kind", EVALUATORS)
def test_a_misspelt_metric_of_an_evaluator_is_refused_before_the_first_step(
    kind: str, model: CrossEncoder, tmp_path: Path
) -> None:
    """6.2 finds out at the first evaluation, which may be hours later."""
    evaluator = EVALUATORS[kind]()
    args = arguments(tmp_path, max_steps=1, load_best_model_at_end=True, metric_for_best_model="ndgc@10", **CHOOSES)
    before = weights(model)
    with pytest.raises(KeyError, match=r"asks for 'eval_ndgc@10', which no evaluation gives; set it to one of: eval_"):
        CrossEncoderTrainer(model, args, pairs(8), evaluator=evaluator).train()
    assert identical(before, weights(model))
    measured = metrics_of(evaluator, model) or []
    args.metric_for_best_model = measured[-1]
    trainer = CrossEncoderTrainer(model, args, pairs(8), evaluator=evaluator)
    assert set(measured) == {name for name in trainer.evaluate() if name not in OWN_METRICS}
    trainer.train()
    assert trainer.state.best_model_checkpoint is not None


def test_an_evaluator_of_the_users_own_may_measure_what_it_likes(model: CrossEncoder, tmp_path: Path) -> None:
    class Renamed(CrossEncoderRerankingEvaluator):
        def __call__(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            return {"mine": 1.0}

    args = arguments(tmp_path, max_steps=1, load_best_model_at_end=True, metric_for_best_model="mine", **CHOOSES)
    CrossEncoderTrainer(model, args, pairs(8), evaluator=Renamed(SAMPLES)).train()


class Adds(TrainerCallback):
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        metrics["eval_mine"] = 1.0


class AddsItself(CrossEncoderTrainer):
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        metrics = super().evaluate(*args, **kwargs)
        metrics["eval_mine"] = 1.0
        return metrics


@pytest.mark.parametrize(("kind", "callbacks"), [(CrossEncoderTrainer, [Adds()]), (AddsItself, None)])
def test_callbacks_and_subclasses_may_measure_what_they_like(
    kind: type[CrossEncoderTrainer], callbacks: Any, model: CrossEncoder, tmp_path: Path
) -> None:
    args = arguments(tmp_path, max_steps=1, load_best_model_at_end=True, metric_for_best_model="mine", **CHOOSES)
    trainer = kind(model, args, pairs(8), pairs(4), callbacks=callbacks)
    trainer.train()
    assert trainer.state.best_metric == 1.0


class Running(BinaryCrossEntropyLoss):
    """Divides by a mean of its own past."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.register_buffer("past", torch.ones(()))
        self.register_buffer("scratch", torch.ones(()), persistent=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().forward(*args, **kwargs)
        if self.training:
            self.past = 0.5 * self.past + 0.5 * loss.detach()
        return loss / self.past


def test_what_a_loss_keeps_in_buffers_is_in_checkpoints(exact_dir: Path, tmp_path: Path) -> None:
    """So that a resumed run equals the uninterrupted one."""

    def run(folder: str, resume: bool = False, **kwargs: Any) -> dict[str, Any]:
        model = CrossEncoder(str(exact_dir), device="cpu")
        args = arguments(tmp_path / folder, save_strategy="steps", save_steps=3, **kwargs)
        CrossEncoderTrainer(model, args, pairs(24), loss=Running(model)).train(resume_from_checkpoint=resume)
        return weights(model)

    whole = run("whole", max_steps=6)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "parts" / "checkpoint-3")
    assert set(load_file(tmp_path / "parts" / "checkpoint-3" / "loss.safetensors")) == {"past"}
    assert identical(run("parts", resume=True, max_steps=6), whole)


def test_data_that_makes_no_batch_is_refused(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=1, per_device_train_batch_size=8, dataloader_drop_last=True)
    with pytest.raises(
        TrainingDataError, match="its 3 rows make no whole batch of 8: lower per_device_train_batch_size"
    ):
        CrossEncoderTrainer(model, args, pairs(3)).train()


def test_the_best_model_is_loaded_at_the_end_into_the_same_object(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(
        tmp_path,
        max_steps=3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_dev_score",
    )
    parameters = {name: id(one) for name, one in model.named_parameters()}
    trainer = CrossEncoderTrainer(model, args, pairs(16), evaluator=Fixed("dev", [0.2, 0.9, 0.1]))
    trainer.train()
    best = tmp_path / "checkpoint-2"
    assert trainer.state.best_model_checkpoint == str(best)
    assert identical(weights(model), weights(CrossEncoder(str(best), device="cpu")))
    assert parameters == {name: id(one) for name, one in model.named_parameters()}
    assert not identical(weights(model), weights(CrossEncoder(str(tmp_path / "checkpoint-3"), device="cpu")))


# Data.


def test_wrong_data_stops_the_training_before_its_first_step(model: CrossEncoder, tmp_path: Path) -> None:
    data = Dataset.from_dict({"a": ["x", "y"], "b": ["x", ""], "label": [1, 0]})
    before = weights(model)
    with pytest.raises(TrainingDataError, match="training dataset 'web', column 'b', row 1: is empty"):
        CrossEncoderTrainer(model, arguments(tmp_path, max_steps=1), {"nq": pairs(8), "web": data}).train()
    with pytest.raises(TrainingDataError, match="evaluation dataset, column 'b', row 1: is empty"):
        CrossEncoderTrainer(model, arguments(tmp_path, max_steps=1), pairs(8), data).train()
    assert identical(before, weights(model))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_trained_on_from_its_first_row_to_max_steps(
    model: CrossEncoder, tmp_path: Path, workers: int
) -> None:
    """#3674: 6.2 refuses them. It starts again when it ends."""
    rows = pairs(10)
    stream = rows.to_iterable_dataset(num_shards=2)
    args = arguments(tmp_path, max_steps=6, dataloader_num_workers=workers)
    trainer = CrossEncoderTrainer(model, args, stream, eval_dataset=stream)
    trainer.train()
    assert trainer.state.global_step == 6
    assert trainer.evaluate()["eval_loss"] > 0


def test_streams_and_datasets_are_mixed_by_weight(model: CrossEncoder, tmp_path: Path) -> None:
    losses = {"a": Recording(model), "b": Recording(model)}
    data = {"a": pairs(8).to_iterable_dataset(), "b": pairs(8, seed=1)}
    args = arguments(tmp_path, max_steps=12, dataset_weights={"a": 5.0, "b": 1.0})
    CrossEncoderTrainer(model, args, data, loss=losses).train()
    assert len(losses["a"].seen) + len(losses["b"].seen) == 12
    assert len(losses["a"].seen) > len(losses["b"].seen)


def test_a_stream_refuses_what_needs_all_rows(model: CrossEncoder, tmp_path: Path) -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"a": "x", "b": "y", "label": 1}]))
    args = arguments(tmp_path, max_steps=1, batch_sampler="no_duplicates")
    with pytest.raises(ValueError, match="batch_sampler cannot be used with a streamed dataset"):
        CrossEncoderTrainer(model, args, stream).train()


def test_dataset_weights_decide_how_often_each_is_drawn(model: CrossEncoder, tmp_path: Path) -> None:
    losses = {"a": Recording(model), "b": Recording(model)}
    args = arguments(tmp_path, max_steps=8, dataset_weights={"a": 3.0, "b": 1.0})
    CrossEncoderTrainer(model, args, {"a": pairs(4), "b": pairs(40, seed=1)}, loss=losses).train()
    assert len(losses["a"].seen) > len(losses["b"].seen)


def test_batches_by_tokens_hold_as_many_rows_as_fit(model: CrossEncoder, tmp_path: Path) -> None:
    trainer = CrossEncoderTrainer(model, arguments(tmp_path, batch_tokens=90, num_train_epochs=1), pairs(40))
    sizes = []
    for batch in trainer.get_train_dataloader():
        texts = zip(batch["query"], batch["document"], strict=True)
        tokens = [len(row) for row in model.pair_encoder.pairs(list(texts))]
        assert sum(tokens) <= 90
        sizes.append(len(tokens))
    assert sum(sizes) == 40
    assert len(set(sizes)) > 1
    args = arguments(tmp_path, batch_tokens=90, batch_sampler="no_duplicates")
    with pytest.raises(ValueError, match="batch_tokens makes the batches itself"):
        CrossEncoderTrainer(model, args, pairs(8)).get_train_dataloader()


def test_length_bucketing_groups_rows_of_like_length_and_is_off_for_packed_models(
    model: CrossEncoder, tmp_path: Path
) -> None:
    def spread(**kwargs: Any) -> float:
        trainer = CrossEncoderTrainer(model, arguments(tmp_path, **kwargs), pairs(80))
        found = [[len(text) for text in batch["document"]] for batch in trainer.get_train_dataloader()]
        return sum(max(sizes) - min(sizes) for sizes in found)

    assert spread(length_bucketing=True) < 0.5 * spread()
    assert spread() == spread(length_bucketing=False)


def test_a_users_sampler_and_hooks_are_used(model: CrossEncoder, tmp_path: Path) -> None:
    class InOrder(DefaultBatchSampler):
        def __init__(self, dataset: Any, **kwargs: Any) -> None:
            super().__init__(range(len(dataset)), **kwargs)

    trainer = CrossEncoderTrainer(model, arguments(tmp_path, batch_sampler=InOrder), pairs(8))
    assert next(iter(trainer.get_train_dataloader()))["document"] == list(pairs(8)["document"])[:4]

    class Own(CrossEncoderTrainer):
        def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **kwargs: Any) -> BatchSampler:
            return BatchSampler(range(2), batch_size=1, drop_last=False)

    assert len(Own(model, arguments(tmp_path), pairs(8)).get_train_dataloader()) == 2


def test_mini_batch_tokens_reach_the_losses_and_change_nothing(exact_dir: Path, tmp_path: Path) -> None:
    states = []
    for tokens in (None, 40):
        model = CrossEncoder(str(exact_dir), device="cpu")
        args = arguments(tmp_path, max_steps=2, mini_batch_tokens=tokens)
        trainer = CrossEncoderTrainer(model, args, lists(12), loss=ListNetLoss(model))
        assert trainer.loss.mini_batch_tokens == tokens
        trainer.train()
        states.append(weights(model))
    assert largest_difference(*states) < 1e-6


def test_workers_tokenise_and_change_nothing(exact_dir: Path, tmp_path: Path) -> None:
    states = []
    for workers in (0, 2):
        model = CrossEncoder(str(exact_dir), device="cpu")
        args = arguments(tmp_path, max_steps=3, dataloader_num_workers=workers)
        CrossEncoderTrainer(model, args, pairs(12)).train()
        states.append(weights(model))
    assert identical(*states)


def test_bf16_trains_on_the_cpu_and_leaves_an_exact_model(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=2, bf16=True)
    before = weights(model)
    trainer = CrossEncoderTrainer(model, args, pairs(8), eval_dataset=pairs(8))
    trainer.train()
    trainer.evaluate()
    assert largest_difference(before, weights(model)) > 0
    assert {tensor.dtype for tensor in weights(model).values()} <= {torch.float32, torch.int64}
    model.save_pretrained(str(tmp_path / "saved"))
    data = list(zip(pairs(8)["query"], pairs(8)["document"], strict=True))
    again = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    assert model.predict(data) == pytest.approx(again.predict(data), abs=1e-6)


# Saving.


def test_a_checkpoint_is_a_model_with_the_trainers_state(model: CrossEncoder, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=2, save_strategy="steps", save_steps=2, batch_sampler="no_duplicates")
    loss = Parts(model)
    CrossEncoderTrainer(model, args, pairs(8), loss=loss).train()
    folder = tmp_path / "checkpoint-2"
    assert identical(weights(CrossEncoder(str(folder), device="cpu")), weights(model))
    names = {file.name for file in folder.iterdir()}
    assert {"trainer_state.json", "optimizer.pt", "training_args.bin", "tokenizer.json", "README.md"} <= names
    assert "loss.safetensors" in names
    saved = torch.load(folder / "training_args.bin", weights_only=False)
    assert isinstance(saved, CrossEncoderTrainingArguments)
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 2


def test_a_checkpoint_holds_no_token_of_the_hub(model: CrossEncoder, tmp_path: Path) -> None:
    """training_args.bin holds all arguments, and checkpoints are handed on."""
    tokens = {"hub_token": "hf_ThisOpensTheHub"}
    args = arguments(tmp_path, max_steps=1, save_strategy="steps", save_steps=1, **tokens)
    CrossEncoderTrainer(model, args, pairs(8)).train()
    assert args.hub_token == "hf_ThisOpensTheHub"  # no real one
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert "training_args.bin" in {file.name for file in written}
    assert not [file for file in written if b"hf_ThisOpensTheHub" in file.read_bytes()]
    saved = torch.load(tmp_path / "checkpoint-1" / "training_args.bin", weights_only=False)
    assert (saved.hub_token, saved.learning_rate) == (None, args.learning_rate)


@pytest.mark.parametrize(("kind", "pinned"), [("cpu", False), ("mps", False), ("cuda", True)])
def test_memory_is_pinned_only_for_an_accelerator(kind: str, pinned: bool, tmp_path: Path) -> None:
    """PyTorch warns of it on a machine that has none, and it is the default of the arguments."""
    given = {**vars(arguments(tmp_path, max_steps=1)), "dataloader_pin_memory": True}
    args: Any = SimpleNamespace(**given, device=torch.device(kind), process_index=0)
    assert loader_settings(args, None, training=False)["pin_memory"] is pinned


def test_an_adapter_is_trained_saved_and_resumed(exact_dir: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    states = []
    for resume in (None, str(tmp_path / "checkpoint-2")):
        torch.manual_seed(0)
        model = CrossEncoder(str(exact_dir), device="cpu")
        model.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"]))
        frozen = model.model.bert.embeddings.word_embeddings.weight.detach().clone()
        args = arguments(tmp_path, max_steps=4, save_strategy="steps", save_steps=2)
        CrossEncoderTrainer(model, args, pairs(16)).train(resume_from_checkpoint=resume)
        assert torch.equal(frozen, model.model.bert.embeddings.word_embeddings.weight)
        states.append(weights(model))
    assert identical(*states)


def test_training_is_the_same_with_the_same_seed(exact_dir: Path, tmp_path: Path) -> None:
    """Whatever drew random numbers before."""
    states = []
    for draws in (0, 3):
        model = CrossEncoder(str(exact_dir), device="cpu")
        args = arguments(tmp_path, max_steps=3, seed=11)
        data = pairs(16).remove_columns("label")
        trainer = CrossEncoderTrainer(model, args, data, loss=MultipleNegativesRankingLoss(model))
        random.seed(draws)
        torch.manual_seed(11)
        trainer.train()
        states.append(weights(model))
    assert identical(*states)
