"""The model card (README.md) of a cross-encoder: what it is, how to use it, how it was made and how good it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import CardData

from training.cross_encoder.card import evaluations, hub, logs, machine, usage
from training.cross_encoder.card.callback import CrossEncoderModelCardCallback, ModelCardCallback
from training.cross_encoder.card.datasets import DatasetFacts, facts_given, facts_of
from training.cross_encoder.card.losses import citations_of, losses_of
from training.cross_encoder.card.markdown import one_line
from training.cross_encoder.card.render import front_matter, render
from training.cross_encoder.card.run import Run

__all__ = [
    "CrossEncoderModelCardCallback",
    "CrossEncoderModelCardData",
    "ModelCardCallback",
    "generate_model_card",
    "write_model_card",
]

logger = logging.getLogger(__name__)
TRAINED = "generated_from_trainer"


@dataclass(eq=False, repr=False)
class CrossEncoderModelCardData(CardData):
    """What a card needs beyond the model: the user's own words, and what training and evaluators add.

    `train_datasets` and `eval_datasets` are dicts with "name" and, of datasets on the Hub, "id". Making one asks
    nothing of the Hub; writing the card does, for datasets that have an id, unless `local_files_only` is set or the
    process is offline. `generate_widget_examples=False` leaves the scores out of the usage example.
    """

    language: str | list[str] | None = field(default_factory=list)
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    train_datasets: list[dict[str, Any]] = field(default_factory=list)
    eval_datasets: list[dict[str, Any]] = field(default_factory=list)
    task_name: str | None = None
    tags: list[str] | None = field(default_factory=lambda: ["sentence-transformers", "cross-encoder", "reranker"])
    local_files_only: bool = False
    generate_widget_examples: bool = True

    base_model: str | None = field(default=None, init=False)
    base_model_revision: str | None = field(default=None, init=False)
    best_model_step: int | None = field(default=None, init=False)
    pipeline_tag: str | None = field(default=None, init=False)
    library_name: str = field(default="sentence-transformers", init=False)
    model: Any = field(default=None, init=False)
    run: Run = field(default_factory=Run, init=False)
    evaluations: list[evaluations.Evaluation] = field(default_factory=list, init=False)
    _next_run: Run | None = field(default=None, init=False)
    _callbacks: list[Any] = field(default_factory=list, init=False)
    _emissions: dict[str, Any] | None = field(default=None, init=False)
    _known_ids: dict[str, bool] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.set_language(self.language or [])
        self.tags = list(self.tags or [])
        self.set_model_id(self.model_id)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and worker processes get the facts; callbacks hold threads and files."""
        return self.__dict__ | {"_callbacks": [], "_emissions": self.emissions()}

    # What the user says.

    def set_language(self, language: str | list[str]) -> None:
        self.language = [language] if isinstance(language, str) else list(language)

    def set_license(self, license: str) -> None:  # noqa: A002  # the established name
        self.license = license

    def set_model_id(self, model_id: str | None) -> None:
        """Takes "owner/name"; anything else is left out with a warning."""
        if model_id and model_id.count("/") != 1:
            logger.warning("Model card: the model id %r names no owner; write it as 'owner/name'", model_id)
            model_id = None
        self.model_id = model_id

    def set_base_model(self, model_id: str, revision: str | None = None) -> bool:
        """Names the Hub model that this one was made from; False, and nothing changed, for a local directory."""
        found, commit = hub.base_model_of(str(model_id), revision)
        if found:
            self.base_model, self.base_model_revision = found, commit
        return found is not None

    def set_best_model_step(self, step: int) -> None:
        self.best_model_step = step

    def add_tags(self, tags: str | list[str]) -> None:
        known = self.tags = self.tags if self.tags is not None else []
        known.extend(tag for tag in ([tags] if isinstance(tags, str) else tags) if tag not in known)

    # What the model, the trainer and the evaluators say.

    def register_model(self, model: Any) -> None:
        """Takes the task and the base model from `model`, where the user named none."""
        self.model = model
        ranks = int(model.num_labels) == 1
        default_task = "text reranking and semantic search" if ranks else "text pair classification"
        self.task_name = self.task_name or default_task
        self.pipeline_tag = self.pipeline_tag or ("text-ranking" if ranks else "text-classification")
        config = getattr(model, "config", None)
        if self.base_model is None and (source := getattr(config, "_name_or_path", None)):
            self.set_base_model(source, getattr(config, "_commit_hash", None))

    def register_trainer(self, trainer: Any) -> None:
        """Reads datasets, loss and evaluators of a trainer, of which nothing is held but its list of callbacks.

        A dataset that cannot be described is logged, never raised: a card is not worth a training run.
        """
        try:
            self._register_trainer(trainer)
        except Exception:
            logger.exception("Model card: the trainer's data cannot be described; the card does without")

    def _register_trainer(self, trainer: Any) -> None:
        loss = getattr(trainer, "loss", None)
        losses = losses_of(loss)
        run = Run(
            loss_names=list(dict.fromkeys(type(one).__name__ for one in losses)),
            citations=citations_of(losses),
            primaries=evaluations.primaries_of(getattr(trainer, "evaluator", None)),
        )
        if (dataset := getattr(trainer, "train_dataset", None)) is not None:
            run.train = facts_of(dataset, loss, self.train_datasets)
        if (dataset := getattr(trainer, "eval_dataset", None)) is not None:
            run.evaluation = facts_of(dataset, loss, self.eval_datasets)
        self._callbacks = getattr(getattr(trainer, "callback_handler", None), "callbacks", [])
        if self.is_trained():
            self._next_run = run  # of a trainer that perhaps only evaluates: the last run's story stays until it trains
        else:
            run.logs, self.run = self.run.logs, run

    def begin_run(self) -> None:
        """Training starts: what was logged in earlier runs and measured on the earlier weights is dropped.

        Evaluations since the last run stay in the log, as the figures before training.
        """
        earlier = self.run.logs
        self.run = self._next_run or self.run
        self.run.logs = logs.before_training(earlier)
        self._next_run, self.best_model_step = None, None
        self.evaluations.clear()
        self.add_tags(TRAINED)

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, Any], epoch: float = 0, step: int = 0
    ) -> None:
        """Takes the metrics of an evaluator; its primary metric also goes into the training log."""
        evaluations.record(self.evaluations, evaluator, metrics, step)
        primaries = evaluations.primaries_of(evaluator)
        self.add_log(epoch, step, {key: value for key, value in metrics.items() if key in primaries})

    def add_log(self, epoch: float | None, step: int, values: Mapping[str, Any]) -> None:
        logs.add(self.run.logs, epoch, step, values)

    # What the card shows.

    def is_trained(self) -> bool:
        return TRAINED in (self.tags or [])

    def training_facts(self) -> list[DatasetFacts]:
        return self._with_known_ids(self.run.train or facts_given(self.train_datasets))

    def evaluation_facts(self) -> list[DatasetFacts]:
        return self._with_known_ids(self.run.evaluation or facts_given(self.eval_datasets))

    def emissions(self) -> dict[str, Any] | None:
        """What CodeCarbon measured, if it runs; kept, since its callback ends with the trainer."""
        try:
            self._emissions = machine.emissions_of(self._callbacks) or self._emissions
        except Exception as error:  # another version of CodeCarbon: the card does without
            logger.warning("Model card: no emissions: %s", error)
        return self._emissions

    def example_pairs(self) -> list[usage.Pair]:
        """Pairs for the usage example: of the evaluation data, else the training data, else made up."""
        for facts in (*self.run.evaluation, *self.run.train):
            if pairs := usage.example_pairs(facts.rows):
                return pairs
        return usage.DEFAULT_PAIRS

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text alone, with special tokens, as the model would cut it."""
        encoded = self.model.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
        limit = getattr(self.model, "max_seq_length", None) or len(max(encoded["input_ids"], key=len))
        return [min(len(ids), limit) for ids in encoded["input_ids"]]

    def to_dict(self) -> dict[str, Any]:
        """The fields of the front matter; datasets with an id are looked up on the Hub, where that is allowed."""
        self._look_up_datasets()
        self.model_name = one_line(self.model_name or self._default_name())
        facts = [*self.training_facts(), *self.evaluation_facts()]
        tags = list(self.tags or [])
        tags += [f"dataset_size:{self.run.size()}"] if self.run.size() else []
        tags += [f"loss:{name}" for name in self.run.loss_names]
        return {
            "language": self.language,
            "license": self.license,
            "library_name": self.library_name,
            "tags": list(dict.fromkeys(tags)),
            "datasets": list(dict.fromkeys(one.id for one in facts if one.id)),
            "metrics": evaluations.metric_names(self.evaluations, self.best_model_step),
            "pipeline_tag": self.pipeline_tag,
            "model-index": evaluations.model_index(self.model_name, self.evaluations, self.best_model_step),
            "co2_eq_emissions": self.emissions(),
            "base_model": self.base_model,
            "model_name": self.model_name,
        }

    def to_yaml(self, line_break: str | None = None, original_order: list[str] | None = None) -> str:
        return front_matter(self.to_dict())

    def _default_name(self) -> str:
        return f"CrossEncoder based on {self.base_model}" if self.base_model else "CrossEncoder"

    def _with_known_ids(self, found: list[DatasetFacts]) -> list[DatasetFacts]:
        """The facts, without the ids that the Hub did not know."""
        return [one if self._known_ids.get(one.id or "", True) else replace(one, id=None) for one in found]

    def _look_up_datasets(self) -> None:
        """Asks for each id once; takes the datasets' languages where the user named none."""
        if self.local_files_only or hub.offline():
            return
        languages: list[str] = []
        for facts in (*self.training_facts(), *self.evaluation_facts()):
            if facts.id and facts.id not in self._known_ids:
                self._known_ids[facts.id], found = hub.look_up_dataset(facts.id)
                languages.extend(found)
        if languages and not self.language:
            self.language = list(dict.fromkeys(languages))


def generate_model_card(model: Any) -> str:
    """The text of the card: the one that came with the model if it was not trained since, else a new one."""
    card: CrossEncoderModelCardData = model.model_card_data
    if card.model is not model:
        card.register_model(model)
    loaded = getattr(model, "loaded_card", None)
    if loaded and not card.is_trained():
        return str(loaded).replace(usage.PLACEHOLDER, card.model_id or usage.PLACEHOLDER)
    return render(card)


def write_model_card(model: Any, directory: str | Path, model_name: str | None = None) -> None:
    """Writes README.md; a card that cannot be made is logged, never raised, since the model matters more."""
    try:
        card: CrossEncoderModelCardData = model.model_card_data
        if model_name and not card.model_id and not Path(model_name).exists():
            card.set_model_id(model_name)
        (Path(directory) / "README.md").write_text(generate_model_card(model), encoding="utf-8")
    except Exception:
        logger.exception("Model card: README.md could not be made; the model is saved without")
