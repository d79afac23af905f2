"""What a real training run puts into the model card: logs, hyperparameters, time, hardware, emissions."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import CodeCarbonCallback

from tests.unit.training.cross_encoder.card_fakes import FakeModel, FakeRankingEvaluator, fake_trainer, pairs
from tests.unit.training.cross_encoder.test_model_card import section
from training.cross_encoder.card import hyperparameters, logs
from training.cross_encoder.model_card import ModelCardCallback, generate_model_card

EMISSIONS = SimpleNamespace(
    emissions=0.0125,
    energy_consumed=0.05,
    on_cloud="N",
    cpu_model="A | CPU",
    gpu_model="1 x GPU",
    ram_total_size=15.5,
)


class FakeTracker:
    """Like CodeCarbon's: after `stop` there is no running figure any more, only the final one."""

    _start_time: float | None = None

    def start(self) -> None:
        self._start_time = 1.0

    def stop(self) -> None:
        self.final_emissions_data = EMISSIONS
        self._start_time = None

    def _prepare_emissions_data(self) -> SimpleNamespace:
        assert self._start_time is not None
        return EMISSIONS


class FakeCodeCarbon(CodeCarbonCallback):
    def __init__(self) -> None:
        self.tracker: Any = FakeTracker()


class Trained(FakeModel):
    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.head(x)[:, 0] - labels).square().mean(), "logits": self.head(x)}


def train(folder: Path, model: FakeModel, callbacks: list[Any], **arguments: Any) -> Trainer:
    args = TrainingArguments(
        str(folder),
        per_device_train_batch_size=2,
        max_steps=4,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **{"save_strategy": "no", **arguments},
    )
    rows = [{"x": torch.ones(2) * i, "labels": torch.tensor(float(i))} for i in range(8)]
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=[*callbacks, ModelCardCallback()])
    described = fake_trainer(pairs(8), pairs(4), callbacks=())
    described.callback_handler = trainer.callback_handler
    model.model_card_data.register_trainer(described)
    return trainer


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The card after a run that measured at steps -1 (before), 2, 4 and -1 (after)."""
    model, evaluator = Trained(), FakeRankingEvaluator("dev")
    model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.1), -1, -1)
    trainer = train(tmp_path_factory.mktemp("run"), model, [FakeCodeCarbon()], learning_rate=0.01)

    def measure(step: int) -> None:
        model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.1 + step / 10), 0.5, step)

    evaluate = trainer.evaluate

    def evaluate_too(*args: Any, **kwargs: Any) -> dict[str, float]:
        measure(trainer.state.global_step)
        found: dict[str, float] = evaluate(*args, **kwargs)
        return found

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(trainer, "evaluate", evaluate_too)
    trainer.train()
    model.model_card_data.set_evaluation_metrics(evaluator, evaluator.metrics(0.8), -1, -1)
    return generate_model_card(model)


def test_the_training_log_has_losses_and_primary_metrics_by_step(card: str) -> None:
    lines = [line for line in section(card, "### Training Logs").splitlines() if "|" in line]
    rows = [re.split(r" *\| *", line.strip("| ")) for line in lines]
    assert rows[0] == ["Epoch", "Step", "Training Loss", "Validation Loss", "dev_ndcg@10"]
    steps = [row[1] for row in rows[2:]]
    assert steps == ["before", "1", "2", "3", "4", "after"]
    by_step = {row[1]: row for row in rows[2:]}
    assert by_step["before"][-1] == "0.1000"
    assert by_step["2"][-1] == "0.3000"
    assert by_step["4"][-1] == "0.5000"
    assert by_step["after"][2:] == ["-", "-", "0.8000"]
    assert float(by_step["1"][2]) > 0
    assert by_step["1"][3] == "-"
    assert float(by_step["4"][3]) > 0


def test_the_tables_show_the_metrics_after_training(card: str) -> None:
    assert "| **ndcg@10** | **0.8000** |" in section(card, "### Metrics")


def test_hyperparameters_all_and_those_changed(card: str) -> None:
    changed = section(card, "#### Non-Default Hyperparameters")
    assert set(re.findall(r"- `(\w+)`", changed)) == {
        "per_device_train_batch_size",
        "max_steps",
        "learning_rate",
        "use_cpu",
        "dataloader_pin_memory",
    }
    everything = section(card, "#### All Hyperparameters")
    assert "<details>" in everything
    assert "- `weight_decay`: 0.0" in everything
    assert "- `seed`: 42" in everything
    assert "hub_token" not in card
    assert "output_dir" not in card


def test_emissions_and_hardware_measured_by_codecarbon(card: str) -> None:
    assert yaml.safe_load(card.split("---\n")[1])["co2_eq_emissions"] == {
        "emissions": 12.5,
        "energy_consumed": 0.05,
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "on_cloud": False,
        "cpu_model": "A | CPU",
        "ram_total_size": 15.5,
        "hardware_used": "1 x GPU",
    }
    impact = section(card, "### Environmental Impact")
    assert "- **Energy Consumed**: 0.050 kWh" in impact
    assert "- **Carbon Emitted**: 0.013 kg of CO2" in impact or "0.012 kg" in impact
    hardware = section(card, "### Training Hardware")
    assert "- **On Cloud**: No" in hardware
    assert "- **GPU Model**: 1 x GPU" in hardware
    assert r"- **CPU Model**: A \| CPU" in hardware
    assert "- **RAM Size**: 15.50 GB" in hardware


def test_training_and_evaluation_time(card: str) -> None:
    time = section(card, "### Training Time")
    assert re.search(r"- \*\*Training\*\*: \d+\.\d seconds", time)
    assert re.search(r"- \*\*Evaluation\*\*: \d+\.\d seconds", time)
    assert re.search(r"- \*\*Total\*\*: \d+\.\d seconds", time)


def test_emissions_are_asked_for_while_training_goes_on_and_kept_afterwards() -> None:
    model, callback = FakeModel(), FakeCodeCarbon()
    card = model.model_card_data
    card.register_trainer(fake_trainer(pairs(4), callbacks=[callback]))
    assert card.emissions() is None, "CodeCarbon has not been started"
    callback.tracker.start()
    assert card.emissions() is not None
    card._callbacks = []
    assert card.emissions() is not None
    assert card.emissions()["emissions"] == 12.5  # type: ignore[index]


def test_hardware_is_shown_without_codecarbon() -> None:
    model = FakeModel()
    model.model_card_data.register_trainer(fake_trainer(pairs(4)))
    model.model_card_data.begin_run()
    text = generate_model_card(model)
    assert "Environmental Impact" not in text
    hardware = section(text, "### Training Hardware")
    assert "- **GPU Model**: " in hardware
    assert "- **CPU Model**: " in hardware


def test_the_best_checkpoint_is_bold_and_gives_the_metrics() -> None:
    model, evaluator = FakeModel(), FakeRankingEvaluator()
    card, callback = model.model_card_data, ModelCardCallback()
    card.register_trainer(fake_trainer(pairs(4)))
    card.begin_run()
    for step, ndcg in ((10, 0.9), (20, 0.2)):
        card.set_evaluation_metrics(evaluator, evaluator.metrics(ndcg), 1.0, step)
    state = TrainerState(best_model_checkpoint="out/checkpoint-10")
    callback.on_train_end(SimpleNamespace(load_best_model_at_end=True), state, TrainerControl(), model=model)
    text = generate_model_card(model)
    assert "| **1.0000** | **10** | **0.9000** |" in text
    assert "| 1.0000 | 20 | 0.2000 |" in text
    assert "The bold row denotes the saved checkpoint." in text
    assert "| **ndcg@10** | **0.9000** |" in section(text, "### Metrics")


def test_a_long_log_is_folded() -> None:
    rows: list[dict[str, Any]] = []
    for step in range(1, 101):
        logs.add(rows, 1.0, step, {logs.TRAINING_LOSS: 0.5})
    assert "<details>" not in logs.section(rows, None)
    logs.add(rows, 1.0, 101, {logs.TRAINING_LOSS: 0.5})
    assert logs.section(rows, None).startswith("<details><summary>Click to expand</summary>\n\n| Epoch")


def test_a_resumed_run_shows_the_rows_from_before_the_interruption() -> None:
    model, callback = FakeModel(), ModelCardCallback()
    card = model.model_card_data
    trainer = fake_trainer(pairs(4))
    trainer.evaluator = FakeRankingEvaluator("dev")
    card.register_trainer(trainer)
    history = [
        {"loss": 0.5, "epoch": 0.1, "step": 1},
        {"eval_loss": 0.4, "eval_dev_ndcg@10": 0.7, "eval_runtime": 1.0, "epoch": 0.1, "step": 1},
    ]
    state = TrainerState(global_step=1, log_history=history)
    callback.on_train_begin(TrainingArguments("x", use_cpu=True), state, TrainerControl(), model=model)
    assert card.run.logs == [
        {"Epoch": 0.1, "Step": 1, "Training Loss": 0.5, "Validation Loss": 0.4, "dev_ndcg@10": 0.7}
    ]


def test_a_second_run_tells_its_own_story() -> None:
    model, evaluator = FakeModel(), FakeRankingEvaluator()
    card = model.model_card_data
    card.register_trainer(fake_trainer(pairs(4)))
    card.begin_run()
    card.add_log(1.0, 1, {logs.TRAINING_LOSS: 0.5})
    card.set_evaluation_metrics(evaluator, evaluator.metrics(0.3), -1, -1)
    card.register_trainer(fake_trainer(pairs(7)))
    assert "* Size: 4 training samples" in generate_model_card(model), "a trainer that has not trained changes nothing"
    card.begin_run()
    assert [row["Step"] for row in card.run.logs] == [-1]
    assert "* Size: 7 training samples" in generate_model_card(model)
    assert "## Evaluation\n" not in generate_model_card(model), "figures of the old weights are not the new model's"


def test_evaluations_at_the_end_of_an_epoch_show_the_epoch() -> None:
    """The older `fit` gives its evaluators an epoch, but no step."""
    rows: list[dict[str, Any]] = []
    logs.add(rows, -1, -1, {"accuracy": 0.1})
    logs.add(rows, 0, -1, {"accuracy": 0.2})
    logs.add(rows, 0, -1, {"f1": 0.3})
    logs.add(rows, 1, -1, {"accuracy": 0.4})
    assert [row.strip("| ").split(" | ") for row in logs.section(rows, None).splitlines()[2:]] == [
        ["-", "before", "0.1000", "-"],
        ["0", "-", "0.2000", "0.3000"],
        ["1", "-", "0.4000", "-"],
    ]
    assert logs.before_training(rows) == []


def test_several_evaluation_sets_have_a_loss_each() -> None:
    metrics = {"eval_a_loss": 0.1, "eval_b_loss": 0.2, "eval_runtime": 1.0, "eval_a_ndcg": 0.3}
    assert logs.losses_in(metrics) == {"a loss": 0.1, "b loss": 0.2}
    assert logs.losses_in({"eval_loss": 0.1}) == {"Validation Loss": 0.1}


def test_defaults_of_plain_arguments_are_no_changes(tmp_path: Path) -> None:
    args = TrainingArguments(str(tmp_path), use_cpu=False)
    values = hyperparameters.all_hyperparameters(args)
    assert hyperparameters.non_default(values, args) == {}
    assert hyperparameters.non_default(values, args, {**values, "seed": 7}) == {"seed": 42}


def test_classes_and_functions_among_the_arguments_are_named() -> None:
    """Their own text would hold an address in memory, another one in every run."""
    shown = hyperparameters.listing({"batch_sampler": Trained, "function": train, "betas": [0.9, 0.99]})
    assert shown == "- `batch_sampler`: {}\n- `function`: {}\n- `betas`: {}".format(
        f"{__name__}.Trained", f"{__name__}.train", r"\[0.9, 0.99\]"
    )
