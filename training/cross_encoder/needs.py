"""Which columns and labels a loss needs, and what is wrong with rows that it cannot take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from training.cross_encoder import arrow_checks as arrow
from training.cross_encoder.columns import LABEL_COLUMNS, input_columns, label_column
from training.cross_encoder.data_blocks import Numbers
from training.cross_encoder.row_errors import TrainingDataError, remedy, shortened

COLUMN_COUNTS = {"pair": (2, 2), "list": (2, 2), "tuple": (3, None), "anchor_positive": (2, None)}
COLUMN_WORDS = {
    "pair": "exactly 2 input columns (two texts)",
    "list": "exactly 2 input columns (a text and a list of texts)",
    "tuple": "at least 3 input columns (query, positive, negatives)",
    "anchor_positive": "at least 2 input columns (anchor, positive, and negatives if any)",
}
LABEL_WORDS = {
    "scalar": "one number per row",
    "class": "a class id per row, or a list of probabilities",
    "list": "a list with one number per listed text",
    "margin": "one number per row, or a list of them",
}
CHANGE = "change the column with dataset.map, or name another one with dataset.rename_column"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a loss declares of its data; see `CrossEncoderLoss`."""

    loss: str
    columns: str
    labels: str
    outputs: Any
    unit_range: bool = False
    """Whether labels must lie between 0 and 1."""
    ignored_class: int | None = None

    @classmethod
    def of(cls, loss: Any) -> Needs | None:
        """None for a loss of the user's own, which may take what it likes."""
        declared = [getattr(loss, name, None) for name in ("columns", "labels", "outputs")]
        if declared[0] not in COLUMN_COUNTS or declared[2] is None:
            return None
        name = type(loss).__name__
        ignored = getattr(getattr(loss, "ce_loss", None), "ignore_index", None)
        return cls(name, declared[0], str(declared[1]), declared[2], hasattr(loss, "bce_with_logits_loss"), ignored)


@dataclass(frozen=True, slots=True)
class Data:
    """The words for a dataset in messages, and its columns by role."""

    words: str
    inputs: tuple[str, ...]
    label: str | None

    @classmethod
    def of(cls, words: str, names: Sequence[str], valid: tuple[str, ...]) -> Data:
        """`names` are the columns, `valid` the names that a label column may have."""
        return cls(words, tuple(input_columns(names, valid)), label_column(names, valid))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that matter."""
        return self.inputs if self.label is None else (*self.inputs, self.label)

    def error(self, column: str, problem: str, row: int | None = None, content: str = "") -> TrainingDataError:
        """An error at a column, or at one of its rows."""
        place = f"column {column!r}" + ("" if row is None else f", row {row}")
        return TrainingDataError(f"{self.words}, {place}: {problem}{remedy(problem)}{content}")


def check_columns(needs: Needs, data: Data) -> None:
    """Raises TrainingDataError if there are too few or many columns, or no labels where some are needed."""
    fewest, most = COLUMN_COUNTS[needs.columns]
    if len(data.inputs) < fewest or (most is not None and len(data.inputs) > most):
        raise TrainingDataError(
            f"{data.words}: {needs.loss} needs {COLUMN_WORDS[needs.columns]}, but the columns that are no labels are "
            f"{list(data.inputs)}: choose and order them with dataset.select_columns"
        )
    if needs.labels != "none" and data.label is None:
        raise TrainingDataError(
            f"{data.words}: {needs.loss} needs labels, but there is no column named {' or '.join(LABEL_COLUMNS)} among "
            f"{list(data.inputs)}: name it with dataset.rename_column"
        )


def check_block(
    needs: Needs,
    data: Data,
    block: pa.Table,
    numbers: Numbers,
    num_labels: int,
    rows: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Raises TrainingDataError for the first wrong row of `block`; `numbers` are those of its rows.

    Where `rows` are given, as Python values, the message shows the wrong one.
    """
    columns = {name: arrow.one_array(block[name]) for name in data.columns}
    for name, problem in problems(needs, data, columns, num_labels):
        if problem is None:
            continue
        row = 0 if problem.row is None and rows is not None else problem.row
        content = "" if rows is None or row is None else f". The row is {shown(rows[row])}"
        raise data.error(name, problem.text, None if row is None else int(numbers[row]), content)


def problems(
    needs: Needs, data: Data, columns: Mapping[str, pa.Array], num_labels: int
) -> Iterator[tuple[str, arrow.Problem | None]]:
    """What is wrong in each column; a question is asked only when those before it were answered with nothing."""
    for place, name in enumerate(data.inputs):
        wants_list = needs.columns == "list" and place == 1
        yield name, (arrow.text_list_problem if wants_list else arrow.text_problem)(columns[name])
    if needs.labels == "none" or data.label is None:
        return
    labels = columns[data.label]
    yield data.label, label_problem(needs, labels, num_labels)
    lengths = arrow.list_lengths(labels)
    if needs.labels == "list":
        texts = data.inputs[1]
        yield data.label, arrow.length_problem(lengths, arrow.list_lengths(columns[texts]), texts)
    if needs.labels == "margin":
        yield data.label, margin_problem(lengths, len(data.inputs) - 2)


def label_problem(needs: Needs, labels: pa.Array, num_labels: int) -> arrow.Problem | None:
    """What is wrong with the labels by themselves."""
    is_list = arrow.is_list(labels.type)
    wanted = LABEL_WORDS[needs.labels]
    if is_list and needs.labels == "scalar":
        return arrow.Problem(f"is a list, but {needs.loss} needs {wanted}: {CHANGE}")
    if not is_list and needs.labels == "list" and labels.type != pa.null():
        return arrow.Problem(f"is a single value, but {needs.loss} needs {wanted}: {CHANGE}")
    problem = arrow.number_problem(labels)
    if problem is not None:
        advice = CHANGE if problem.row is None else "mend such rows with dataset.map or drop them with dataset.filter"
        return replace(problem, text=f"{problem.text}, but {needs.loss} needs {wanted}: {advice}")
    if needs.unit_range:
        return arrow.range_problem(labels, 0, 1, f"{needs.loss} needs labels from 0 to 1: scale them, or take MSELoss")
    if needs.labels == "class":
        return class_problem(needs, labels, num_labels)
    return None


def class_problem(needs: Needs, labels: pa.Array, num_labels: int) -> arrow.Problem | None:
    """What is wrong with class ids or distributions over `num_labels` classes."""
    if arrow.is_list(labels.type):
        return arrow.fixed_length_problem(arrow.list_lengths(labels), {num_labels}, "probabilities, one per class")
    if not arrow.is_integer(labels.type):
        return arrow.Problem(
            f"is {labels.type}, but {needs.loss} needs integer class ids: cast it with dataset.cast_column, or take "
            "BinaryCrossEntropyLoss for one number per pair"
        )
    advice = f"the model has the classes 0 to {num_labels - 1}: load it with a larger num_labels"
    return arrow.range_problem(labels, 0, num_labels - 1, advice, besides=needs.ignored_class)


def margin_problem(lengths: Any, negatives: int) -> arrow.Problem | None:
    """What is wrong with the number of margins of each row."""
    if lengths is not None:
        what = f"numbers: one margin per negative ({negatives}), or the scores of the positive and each negative"
        return arrow.fixed_length_problem(lengths, {negatives, negatives + 1}, what)
    if negatives > 1:
        return arrow.Problem(f"is one number, but there are {negatives} negatives: give a list of as many margins")
    return None


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for a message."""
    return {name: shortened(value) for name, value in row.items()}
