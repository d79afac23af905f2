"""Whether the evaluation sets of a recipe fit each other and the model."""

from __future__ import annotations

from collections.abc import Sequence

from training.recipe_sections import EvaluationSet


def check_evaluations(sets: Sequence[EvaluationSet], num_labels: int) -> None:
    """Raises ValueError for a name that is used twice, and for a kind that the model's outputs do not allow."""
    names = [one.name for one in sets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two [[evaluations]] have the name {twice!r}; give each one of its own")
    for one in sets:
        if one.during and one.kind != "classification" and num_labels > 1:
            raise ValueError(
                f"evaluation {one.name!r}: {one.kind} needs a model with one output, but num_labels is {num_labels}; "
                "remove the set, or make it one of kind 'classification'"
            )


def check_best(watched: Sequence[EvaluationSet], num_labels: int, keep_best: bool, metric: str | None) -> None:
    """Raises ValueError unless there is one figure to choose the best model by."""
    known = [name for one in watched for name in one.figures(num_labels)]
    if metric is not None and not keep_best:
        raise ValueError("key 'best_metric' goes with keep_best = true; set that too, or remove it")
    if metric is not None and metric not in known:
        raise ValueError(f"key 'best_metric': {metric!r} is not measured; it must be one of {', '.join(known)}")
    if keep_best and metric is None and len({one.kind for one in watched}) > 1:
        main = ", ".join(one.figures(num_labels)[0] for one in watched)
        raise ValueError(
            f"keep_best with evaluations of several kinds: a mean of unlike figures says nothing; set best_metric to "
            f"one of them, for example {main}"
        )
