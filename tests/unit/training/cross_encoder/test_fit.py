"""`CrossEncoder.fit` and `old_fit`, with the known defects of sentence-transformers 6.2 as regression tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentence_transformers
import torch
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from tests.models import TEXT
from training import CrossEncoder, InputExample
from training.cross_encoder.evaluation import CEBinaryAccuracyEvaluator, CERerankingEvaluator
from training.cross_encoder.fitting import data
from training.cross_encoder.losses import MultipleNegativesRankingLoss
from training.datasets import NoDuplicatesDataLoader, SentenceLabelDataset

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LIBRARY_WARNINGS = pytest.mark.filterwarnings(  # what sentence-transformers itself triggers here
    "ignore:'pin_memory' argument is set as true:UserWarning",
    "ignore:The `max_length` property was renamed:DeprecationWarning",
)
BOTH = pytest.mark.parametrize("method", ["fit", "old_fit"])
WORDS = TEXT.split()[:16]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fit` writes checkpoints/ where the script runs."""
    monkeypatch.chdir(tmp_path)


def examples(cls: Any = InputExample, count: int = 12, labels: int = 2) -> list[Any]:
    """Pairs of different length with labels 0, 1, ..."""
    return [
        cls(texts=[WORDS[i % 16], " ".join(WORDS[(i + j) % 16] for j in range(i % 5 + 1))], label=i % labels)
        for i in range(count)
    ]


def loader(count: int = 12, batch_size: int = 4, **options: Any) -> DataLoader[Any]:
    return DataLoader(examples(count=count), batch_size=batch_size, **options)  # type: ignore[arg-type]


def load(folder: Path, cls: Any = CrossEncoder, **options: Any) -> Any:
    """A model without dropout on the CPU."""
    return cls(str(folder), config_kwargs=dict(NO_DROPOUT), device="cpu", **options)


def weights(model: Any) -> torch.Tensor:
    """All weights in one row."""
    return torch.cat([value.detach().flatten().clone() for value in model.model.parameters()])


def train(model: Any, method: str = "fit", **options: Any) -> None:
    """One epoch without a progress bar at a learning rate that shows, unless `options` say otherwise."""
    defaults = {"train_dataloader": loader(), "warmup_steps": 0, "optimizer_params": {"lr": 1e-3}}
    getattr(model, method)(**{**defaults, "show_progress_bar": False, **options})


class Scripted:
    """An evaluator that gives prepared results and remembers the weights it saw."""

    def __init__(self, results: list[Any], primary_metric: str | None = None, greater_is_better: bool = True) -> None:
        self.results = iter(results)
        self.seen: list[torch.Tensor] = []
        self.calls: list[tuple[Any, Any]] = []
        self.greater_is_better = greater_is_better
        if primary_metric is not None:
            self.primary_metric = primary_metric

    def __call__(self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1) -> Any:
        assert not model.training
        self.seen.append(weights(model))
        self.calls.append((epoch, steps))
        return next(self.results)


class Recording(SGD):
    """An optimizer that remembers the learning rate of each step."""

    rates: list[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        type(self).rates = []

    def step(self, *args: Any, **kwargs: Any) -> Any:
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(*args, **kwargs)


@BOTH
def test_the_arguments_and_their_defaults_are_the_library_s(method: str) -> None:
    ours, theirs = (
        inspect.signature(getattr(cls, method)).parameters for cls in (CrossEncoder, sentence_transformers.CrossEncoder)
    )
    assert list(ours) == list(theirs)
    for name in ours:
        if name != "activation_fct":
            assert ours[name].default == theirs[name].default, name
    assert isinstance(ours["activation_fct"].default, nn.Identity)


@BOTH
@LIBRARY_WARNINGS
def test_the_trained_weights_are_the_library_s(method: str, reranker_dir: Path) -> None:
    results = []
    for cls, example in (
        (CrossEncoder, InputExample),
        (sentence_transformers.CrossEncoder, sentence_transformers.InputExample),
    ):
        model = load(reranker_dir, cls)
        order = torch.Generator().manual_seed(7)
        shuffled: Any = DataLoader(examples(example), batch_size=4, shuffle=True, generator=order)
        # Adam makes whole steps of gradients that are zero but for rounding; SGD shows how near they are
        options: dict[str, Any] = {"optimizer_class": SGD, "optimizer_params": {"lr": 0.1}, "warmup_steps": 2}
        train(model, method, train_dataloader=shuffled, epochs=2, **options)
        results.append(weights(model.cpu()))
    assert (results[0] - weights(load(reranker_dir))).abs().max() > 1e-3
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)


# Defect 1


@BOTH
def test_defect_1_the_best_epoch_is_at_output_path_without_evaluation_steps(
    method: str, reranker_dir: Path, tmp_path: Path
) -> None:
    evaluator = Scripted([0.1, 0.9, 0.5])
    model = load(reranker_dir)
    train(model, method, evaluator=evaluator, epochs=3, output_path=str(tmp_path / "out"))
    assert torch.equal(weights(load(tmp_path / "out")), evaluator.seen[1])
    assert not torch.equal(weights(model), evaluator.seen[1])


@BOTH
def test_defect_1_the_evaluator_of_the_document_saves_the_model_and_its_csv_file(
    method: str, reranker_dir: Path, tmp_path: Path
) -> None:
    pairs = [list(example.texts) for example in examples()]
    evaluator = CEBinaryAccuracyEvaluator(pairs, [example.label for example in examples()], name="dev")
    train(load(reranker_dir), method, evaluator=evaluator, output_path=str(tmp_path / "out"))
    assert load(tmp_path / "out").predict([["fox", "dog"]]).shape == (1,)
    assert list((tmp_path / "out").rglob("*.csv"))


@BOTH
def test_defect_1_without_an_evaluator_the_last_model_is_saved(method: str, reranker_dir: Path, tmp_path: Path) -> None:
    model = load(reranker_dir)
    train(model, method, output_path=str(tmp_path / "out"))
    assert torch.equal(weights(load(tmp_path / "out")), weights(model))


@BOTH
def test_the_last_model_is_saved_where_the_best_is_not_wanted_or_not_known(
    method: str, reranker_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(reranker_dir)
    train(model, method, evaluator=Scripted([0.9, 0.1]), epochs=2, output_path=tmp_path / "a", save_best_model=False)
    assert torch.equal(weights(load(tmp_path / "a")), weights(model))
    train(model, method, evaluator=Scripted([{"f1": 1.0, "accuracy": 0.5}]), output_path=tmp_path / "b")
    assert torch.equal(weights(load(tmp_path / "b")), weights(model))
    assert "primary_metric" in caplog.text


# Defect 2


@BOTH
@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.functional.binary_cross_entropy_with_logits])
def test_defect_2_a_loss_of_torch_trains_as_the_default_does(
    method: str, loss: Callable[..., Any], reranker_dir: Path
) -> None:
    default, given = load(reranker_dir), load(reranker_dir)
    train(default, method)
    train(given, method, loss_fct=loss)
    torch.testing.assert_close(weights(given), weights(default), rtol=0, atol=1e-6)


@BOTH
def test_defect_2_a_loss_over_classes_is_given_class_ids_and_one_over_labels_rows(
    method: str, classifier_dir: Path
) -> None:
    for loss, labels in ((nn.CrossEntropyLoss(label_smoothing=0.1), [0, 2]), (nn.BCEWithLogitsLoss(), [[0, 1, 1]] * 2)):
        model = load(classifier_dir)
        before = weights(model)
        batch = [InputExample(texts=["fox", "dog"], label=label) for label in labels]
        train(model, method, train_dataloader=DataLoader(batch, batch_size=2), loss_fct=loss)  # type: ignore[arg-type]
        assert not torch.equal(weights(model), before)


def test_defect_2_parameters_of_the_loss_train_too(reranker_dir: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.0))

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return nn.functional.binary_cross_entropy_with_logits(self.scale * logits, labels)

    for method in ("fit", "old_fit"):
        loss = Scaled()
        train(load(reranker_dir), method, loss_fct=loss)
        assert loss.scale.item() != 1.0


def test_a_loss_of_this_library_scores_its_texts_itself(reranker_dir: Path) -> None:
    model = load(reranker_dir)
    before = weights(model)
    unlabelled = [InputExample(texts=list(example.texts)) for example in examples()]
    batches: Any = DataLoader(unlabelled, batch_size=4)  # type: ignore[arg-type]
    train(model, train_dataloader=batches, loss_fct=MultipleNegativesRankingLoss(model))
    assert not torch.equal(weights(model), before)
    with pytest.raises(TypeError, match="fit or the trainer"):
        model.old_fit(batches, loss_fct=MultipleNegativesRankingLoss(model))


def test_the_activation_is_applied_before_the_loss(reranker_dir: Path) -> None:
    plain, squashed = load(reranker_dir), load(reranker_dir)
    for method in ("fit", "old_fit"):
        train(plain, method, loss_fct=nn.MSELoss())
        train(squashed, method, loss_fct=nn.MSELoss(), activation_fct=nn.Sigmoid())
        assert not torch.allclose(weights(plain), weights(squashed), atol=1e-5)


# Defect 3


@BOTH
def test_defect_3_a_scheduler_object_steers_the_optimizer_that_trains(method: str, reranker_dir: Path) -> None:
    model = load(reranker_dir)
    before = weights(model)
    optimizer = Recording(model.parameters(), lr=0.1)
    train(model, method, scheduler=LambdaLR(optimizer, lambda step: 0.5**step))
    assert Recording.rates == pytest.approx([0.1, 0.05, 0.025])
    assert not torch.equal(weights(model), before)


@BOTH
def test_a_scheduler_may_be_made_by_a_function_of_the_optimizer(method: str, reranker_dir: Path) -> None:
    def halving(optimizer: Any) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: 0.5**step)

    options: dict[str, Any] = {"optimizer_class": Recording, "optimizer_params": {"lr": 0.1}}
    train(load(reranker_dir), method, scheduler=halving, **options)
    assert Recording.rates == pytest.approx([0.1, 0.05, 0.025])


@BOTH
def test_a_scheduler_that_cannot_work_is_refused_before_training(method: str, reranker_dir: Path) -> None:
    model = load(reranker_dir)
    with pytest.raises(ValueError, match="warmuplinear"):
        train(model, method, scheduler="linear")
    foreign = LambdaLR(AdamW(nn.Linear(1, 1).parameters()), lambda _: 1.0)
    with pytest.raises(ValueError, match=r"model.parameters\(\)"):
        train(model, method, scheduler=foreign)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("constantlr", [1.0, 1.0, 1.0, 1.0]),
        ("WarmupConstant", [0.0, 0.5, 1.0, 1.0]),
        ("warmuplinear", [0.0, 0.5, 1.0, 0.5]),
        ("warmupcosine", [0.0, 0.5, 1.0, 0.5]),
        ("warmupcosinewithhardrestarts", [0.0, 0.5, 1.0, 0.5]),
    ],
)
def test_each_schedule_has_the_documented_shape(name: str, rates: list[float], reranker_dir: Path) -> None:
    options: dict[str, Any] = {"optimizer_class": Recording, "optimizer_params": {"lr": 1.0}, "warmup_steps": 2}
    train(load(reranker_dir), scheduler=name, train_dataloader=loader(8, 2), **options)
    assert Recording.rates == pytest.approx(rates)


# Defect 4


def test_defect_4_the_batch_may_be_larger_than_the_maximum_length(reranker_dir: Path) -> None:
    model = load(reranker_dir, max_length=8)
    train(model, "old_fit", train_dataloader=loader(16, 16))
    features, labels = model.smart_batching_collate(examples(count=16))
    assert features["input_ids"].shape == (16, 8)
    assert labels.tolist() == [0.0, 1.0] * 8
    assert labels.dtype == torch.float32


@LIBRARY_WARNINGS
def test_the_collate_functions_give_what_the_tokenizer_gives(classifier_dir: Path) -> None:
    model = load(classifier_dir)
    batch = examples(count=3, labels=3)
    features, labels = model.smart_batching_collate(batch)
    oracle = load(classifier_dir, sentence_transformers.CrossEncoder)
    expected, expected_labels = oracle.smart_batching_collate(batch)
    assert {name: value.tolist() for name, value in features.items()} == {
        name: value.tolist() for name, value in expected.items()
    }
    assert torch.equal(labels, expected_labels.cpu())
    only = model.smart_batching_collate_text_only([list(example.texts) for example in batch])
    assert only["input_ids"].tolist() == features["input_ids"].tolist()


# Defect 5


@BOTH
def test_defect_5_only_the_primary_metric_itself_chooses_the_best_model(
    method: str, reranker_dir: Path, tmp_path: Path
) -> None:
    results = [{"base_ndcg@10": 0.9, "ndcg@10": 0.2}, {"base_ndcg@10": 0.9, "ndcg@10": 0.4}]
    evaluator = Scripted(results, primary_metric="ndcg@10")
    scores: list[float] = []
    options: dict[str, Any] = {"epochs": 2, "callback": lambda score, epoch, steps: scores.append(score)}
    train(load(reranker_dir), method, evaluator=evaluator, output_path=tmp_path / "out", **options)
    assert torch.equal(weights(load(tmp_path / "out")), evaluator.seen[1])
    assert scores == [0.2, 0.4]


@BOTH
def test_a_smaller_score_is_better_where_the_evaluator_says_so(method: str, reranker_dir: Path, tmp_path: Path) -> None:
    evaluator = Scripted([0.5, 0.2, 0.9], greater_is_better=False)
    train(load(reranker_dir), method, evaluator=evaluator, epochs=3, output_path=tmp_path / "out")
    assert torch.equal(weights(load(tmp_path / "out")), evaluator.seen[1])


# Defect 6


@BOTH
def test_defect_6_the_schedule_counts_the_last_partial_batch(method: str, reranker_dir: Path) -> None:
    options: dict[str, Any] = {"optimizer_class": Recording, "optimizer_params": {"lr": 1.0}, "epochs": 2}
    train(load(reranker_dir), method, train_dataloader=loader(10, 4), **options)
    assert Recording.rates == pytest.approx([(6 - step) / 6 for step in range(6)])


# Evaluation and callbacks


def test_fit_evaluates_every_so_many_steps_and_after_each_epoch(reranker_dir: Path, tmp_path: Path) -> None:
    calls: list[tuple[float, float, int]] = []
    evaluator = Scripted([0.1, 0.2, 0.3, 0.4, 0.5])
    options: dict[str, Any] = {"epochs": 2, "evaluation_steps": 2, "output_path": tmp_path / "out"}
    train(load(reranker_dir), evaluator=evaluator, callback=lambda *call: calls.append(call), **options)
    # three steps an epoch; the last step of the second is evaluated once
    assert [steps for _, steps in evaluator.calls] == [2, 3, 4, 6]
    assert calls == [(0.1, pytest.approx(2 / 3), 2), (0.2, 1.0, 3), (0.3, pytest.approx(4 / 3), 4), (0.4, 2.0, 6)]
    assert torch.equal(weights(load(tmp_path / "out")), evaluator.seen[3])


def test_old_fit_counts_steps_within_the_epoch_and_says_minus_one_at_its_end(reranker_dir: Path) -> None:
    calls: list[tuple[float, int, int]] = []
    evaluator = Scripted([0.1, 0.2, 0.3, 0.4])
    model = load(reranker_dir)
    options: dict[str, Any] = {"epochs": 2, "evaluation_steps": 2}
    train(model, "old_fit", evaluator=evaluator, callback=lambda *call: calls.append(call), **options)
    assert calls == [(0.1, 0, 2), (0.2, 0, -1), (0.3, 1, 2), (0.4, 1, -1)]
    assert model.best_score == 0.4


def test_the_float_of_an_older_evaluator_reaches_the_callback(reranker_dir: Path) -> None:
    samples = [{"query": "fox", "positive": ["brown fox"], "negative": ["city", "river"]}]
    scores: list[Any] = []
    for method in ("fit", "old_fit"):
        evaluator = CERerankingEvaluator(samples, name="dev")
        train(load(reranker_dir), method, evaluator=evaluator, callback=lambda score, *_: scores.append(score))
    assert [type(score) for score in scores] == [float, float]


# Ctrl-C


@BOTH
def test_ctrl_c_keeps_the_best_model_and_gives_the_loader_back(method: str, reranker_dir: Path, tmp_path: Path) -> None:
    evaluator = Scripted([0.5, 0.4])
    batches = loader()
    collate = batches.collate_fn

    def stop(score: float, *_: Any) -> None:
        if score == 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            load(reranker_dir),
            method,
            **{"train_dataloader": batches, "evaluator": evaluator, "epochs": 3},
            **{"callback": stop, "output_path": tmp_path / "out"},
        )
    assert torch.equal(weights(load(tmp_path / "out")), evaluator.seen[0])
    assert batches.collate_fn is collate


@BOTH
@pytest.mark.parametrize("steps", [0, 2])
def test_ctrl_c_before_anything_was_saved_saves_what_was_learned(
    method: str, steps: int, reranker_dir: Path, tmp_path: Path
) -> None:
    done: list[float] = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(done) == steps:
            raise KeyboardInterrupt
        value = (logits - labels).square().mean()
        done.append(value.item())
        return value

    model = load(reranker_dir)
    with pytest.raises(KeyboardInterrupt):
        train(model, method, loss_fct=loss, output_path=tmp_path / "out")
    if steps == 0:
        assert not (tmp_path / "out" / "config.json").exists()
    else:
        assert torch.equal(weights(load(tmp_path / "out")), weights(model))


# Precision, loaders, data


@BOTH
def test_mixed_precision_trains_on_a_cpu(method: str, reranker_dir: Path) -> None:
    exact, mixed = load(reranker_dir), load(reranker_dir)
    train(exact, method)
    train(mixed, method, use_amp=True)
    difference = (weights(exact) - weights(mixed)).abs().max()
    assert 0 < difference < 0.05


def test_an_older_loader_or_dataset_chooses_the_sampler(reranker_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.cross_encoder.fitting import modern

    chosen: list[str] = []
    choose = modern.batch_sampler

    def recorded(dataloader: Any) -> str:
        chosen.append(choose(dataloader))
        return chosen[-1]

    monkeypatch.setattr(modern, "batch_sampler", recorded)
    train(load(reranker_dir), train_dataloader=NoDuplicatesDataLoader(examples(), 4))
    train(load(reranker_dir), train_dataloader=DataLoader(SentenceLabelDataset(examples()), batch_size=4))
    train(load(reranker_dir))
    assert chosen == ["no_duplicates", "group_by_label", "batch_sampler"]


def test_each_run_has_a_checkpoint_folder_of_its_own(tmp_path: Path) -> None:
    assert data.checkpoint_dir() == Path("checkpoints/model")
    (tmp_path / "checkpoints" / "model").mkdir(parents=True)
    assert data.checkpoint_dir() == Path("checkpoints/model")
    for name in ("model", "model_1"):
        (tmp_path / "checkpoints" / name / "full").mkdir(parents=True)
    assert data.checkpoint_dir() == Path("checkpoints/model_2")


def test_a_loader_is_read_with_its_workers_and_given_back() -> None:
    batches = loader(10, 4, num_workers=1)
    collate = batches.collate_fn
    assert [len(batch) for batch in data.read_batches(batches)] == [4, 4, 2]
    assert batches.collate_fn is collate
    assert data.batch_size(batches, []) == 4


def test_a_loader_with_a_batch_sampler_of_its_own_has_the_size_of_its_largest_batch() -> None:
    batches: Any = DataLoader(examples(), batch_sampler=[[0, 1, 2], [3, 4]])  # type: ignore[arg-type]
    read = data.read_batches(batches)
    assert data.batch_size(batches, read) == 3


def test_examples_become_columns_and_labels_that_are_all_zero_mean_none() -> None:
    batch = [InputExample(texts=["a", "b"]), InputExample(texts=["c", "d"])]
    assert data.columns(batch, labelled=False) == {"sentence_0": ["a", "c"], "sentence_1": ["b", "d"]}
    assert data.columns(batch, labelled=True)["label"] == [0, 0]
    batch[1].label = torch.tensor(0.5)
    assert data.columns(batch, labelled=False)["label"] == [0, 0.5]


def test_examples_of_different_width_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match="example 1 of train_dataloader has 1 texts, the first one 2"):
        data.columns([InputExample(texts=["a", "b"]), InputExample(texts=["c"])], labelled=True)
    with pytest.raises(ValueError, match="no examples"):
        data.columns([], labelled=True)
