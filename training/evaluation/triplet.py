"""How often an embedding model finds the positive nearer to the anchor than the negative."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from training.evaluation.evaluator import BaseEvaluator
from training.evaluation.results import append_row, file_name, moment, wants_progress
from training.util.similarity import SimilarityFunction

logger = logging.getLogger(__name__)
NAMES = ("cosine", "dot", "manhattan", "euclidean")


class TripletEvaluator(BaseEvaluator):
    """Accuracy of similarity(anchor, positive) > similarity(anchor, negative) + margin, per similarity function.

    Keys: `{similarity}_accuracy`, and `max_accuracy` of several. Without `similarity_fn_names` or
    `main_similarity_function` the model's own function is taken. `margin` is one number, or one per function.
    Anchors are encoded as queries, the others as documents, if the model tells them apart.
    Raises ValueError for an unknown name and for lists of different lengths.
    """

    def __init__(
        self,
        anchors: Sequence[Any],
        positives: Sequence[Any],
        negatives: Sequence[Any],
        main_similarity_function: str | SimilarityFunction | None = None,
        margin: float | Mapping[str, float] | None = None,
        name: str = "",
        batch_size: int = 16,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
        main_distance_function: str | SimilarityFunction | None = "deprecated",
    ) -> None:
        super().__init__()
        if not len(anchors) == len(positives) == len(negatives):
            raise ValueError(
                f"there are {len(anchors)} anchors, {len(positives)} positives and {len(negatives)} negatives; "
                "a triplet needs one of each"
            )
        self.anchors, self.positives, self.negatives = anchors, positives, negatives
        self.name = name
        self.batch_size = batch_size
        self.show_progress_bar = wants_progress(show_progress_bar, logger)
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        if main_similarity_function is None and main_distance_function != "deprecated":
            main_similarity_function = main_distance_function
        self.main_similarity_function = (
            SimilarityFunction(main_similarity_function) if main_similarity_function else None
        )
        self.similarity_fn_names = list(similarity_fn_names or ())
        if not self.similarity_fn_names and self.main_similarity_function:
            self.similarity_fn_names = [self.main_similarity_function.value]
        _check_names("similarity_fn_names", self.similarity_fn_names)
        self.margin = _margins(margin)
        self.csv_file = file_name("triplet_evaluation", name)
        self.csv_headers = _headers(self.similarity_fn_names)

    @classmethod
    def from_input_examples(cls, examples: Sequence[Any], **kwargs: Any) -> TripletEvaluator:
        """One triplet per example, its `texts` in the order anchor, positive, negative."""
        anchors, positives, negatives = ([example.texts[i] for example in examples] for i in range(3))
        return cls(anchors, positives, negatives, **kwargs)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Encodes all texts and returns the accuracies."""
        cut = "" if self.truncate_dim is None else f" (truncated to {self.truncate_dim})"
        logger.info(f"TripletEvaluator: Evaluating the model on the {self.name} dataset{moment(epoch, steps)}{cut}:")
        if not self.similarity_fn_names:
            self.similarity_fn_names = [SimilarityFunction(model.similarity_fn_name).value]
            self.csv_headers = _headers(self.similarity_fn_names)
        anchors = self.embed_inputs(model, self.anchors, "query")
        positives = self.embed_inputs(model, self.positives, "document")
        negatives = self.embed_inputs(model, self.negatives, "document")
        metrics = {}
        for similarity in self.similarity_fn_names:
            between = SimilarityFunction.to_similarity_pairwise_fn(similarity)
            near, far = between(anchors, positives), between(anchors, negatives)
            accuracy = _share(near > far + self.margin[similarity])
            metrics[f"{similarity}_accuracy"] = accuracy
            logger.info(f"Accuracy {similarity.capitalize()} Similarity:\t{accuracy:.2%}")
        if output_path is not None and self.write_csv:
            append_row(output_path, self.csv_file, self.csv_headers, [epoch, steps, *metrics.values()])
        return self._finish(model, metrics, epoch, steps)

    def embed_inputs(
        self, model: Any, sentences: Sequence[Any], encode_fn_name: str | None = None, **kwargs: Any
    ) -> Any:
        """Embeddings of `sentences`, by `encode_query` or `encode_document` where the model has them."""
        encode: Callable[..., Any] = model.encode
        if encode_fn_name is not None:
            encode = getattr(model, f"encode_{encode_fn_name}", encode)
        return encode(
            sentences,
            batch_size=self.batch_size,
            show_progress_bar=self.show_progress_bar,
            convert_to_numpy=True,
            truncate_dim=self.truncate_dim,
            **kwargs,
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Margins and dimension, where they are set."""
        config: dict[str, Any] = {"margin": self.margin} if any(self.margin.values()) else {}
        return config if self.truncate_dim is None else config | {"truncate_dim": self.truncate_dim}

    def _finish(self, model: Any, metrics: dict[str, float], epoch: float, steps: int) -> dict[str, float]:
        several = len(self.similarity_fn_names) > 1
        if several:
            metrics["max_accuracy"] = max(metrics.values())
        best = "max" if several else self.similarity_fn_names[0]
        main = self.main_similarity_function.value if self.main_similarity_function else best
        self.primary_metric = f"{main}_accuracy"
        metrics = self.prefix_name_to_metrics(metrics, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        return metrics


def _share(correct: Tensor) -> float:
    return correct.float().mean().item()


def _headers(names: Sequence[str]) -> list[str]:
    return ["epoch", "steps", *(f"accuracy_{name}" for name in names)]


def _check_names(argument: str, names: Sequence[str]) -> None:
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"`{argument}` names {unknown}; choose from {list(NAMES)}")


def _margins(margin: float | Mapping[str, float] | None) -> dict[str, float]:
    if isinstance(margin, Mapping):
        _check_names("margin", list(margin))
        return dict.fromkeys(NAMES, 0.0) | dict(margin)
    if margin is not None and not isinstance(margin, int | float):
        raise ValueError(f"`margin` is a number, or a dict of numbers by {list(NAMES)}; got {margin!r}")
    return dict.fromkeys(NAMES, margin or 0.0)
