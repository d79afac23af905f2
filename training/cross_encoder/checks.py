"""Finds data that cannot be trained on before the first step, and says which dataset, column and row it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from training.cross_encoder import arrow_checks as arrow
from training.cross_encoder.columns import LABEL_COLUMNS, RESERVED, input_columns, label_column
from training.cross_encoder.row_errors import TrainingDataError, remedy

MOST_ROWS = 1_000_000
"""Rows looked at before training; the collator looks at the others when they come."""
BLOCK_ROWS = 10_000
STREAMED_ROWS = 16

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
    """A dataset with the words for it in messages, and its columns by role."""

    dataset: Any
    words: str
    inputs: tuple[str, ...]
    label: str | None

    def error(self, column: str, problem: str, row: int | None = None) -> TrainingDataError:
        """An error at a column, or at one of its rows."""
        place = f"column {column!r}" + ("" if row is None else f", row {row}")
        return TrainingDataError(f"{self.words}, {place}: {problem}{remedy(problem)}")


def check_column_names(dataset: Any, words: str) -> None:
    """Raises ValueError for columns whose names the trainer itself uses."""
    if reserved := sorted(set(dataset.column_names or ()) & RESERVED):
        raise ValueError(
            f"{words}: the column names {reserved} are invalid, they are reserved for internal use; rename them with "
            "dataset.rename_column"
        )


def check_data(dataset: Any, words: str, loss: Any, num_labels: int, valid: tuple[str, ...] = LABEL_COLUMNS) -> None:
    """Raises TrainingDataError if `dataset` (one, or a stream) does not fit `loss` and a model of `num_labels`.

    `words` begin the message, as in "training dataset 'nli'". Losses that declare nothing are not checked.
    """
    needs = Needs.of(loss)
    if needs is None:
        return
    check_outputs(needs, num_labels)
    blocks = read_blocks(dataset)
    start = 0
    data: Data | None = None
    for block in blocks:
        if data is None:
            names = list(dataset.column_names or block.column_names)
            data = Data(dataset, words, tuple(input_columns(names, valid)), label_column(names, valid))
            check_columns(needs, data)
        check_block(needs, data, block, start, num_labels)
        start += block.num_rows


def check_outputs(needs: Needs, num_labels: int) -> None:
    """Raises TrainingDataError if the model has the wrong number of labels for the loss."""
    if needs.outputs == 1 and num_labels != 1:
        raise TrainingDataError(
            f"{needs.loss} needs a model with 1 output label, this one has {num_labels}: load it with num_labels=1"
        )
    if needs.outputs == ">1" and num_labels < 2:
        raise TrainingDataError(
            f"{needs.loss} needs a model with more than 1 output label, this one has {num_labels}: load it with "
            "num_labels=<number of classes>"
        )


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


def read_blocks(dataset: Any) -> Iterator[pa.Table]:
    """The first rows as Arrow tables: as stored, or as the user's own transform gives them; of a stream a few."""
    if not hasattr(dataset, "__len__"):
        rows = list(islice(dataset, STREAMED_ROWS))
        if rows:
            yield to_table({name: [row[name] for row in rows] for name in rows[0]})
        return
    stored = dataset.format["type"] != "custom"
    source = dataset.with_format("arrow") if stored else dataset
    last = min(len(dataset), MOST_ROWS if stored else BLOCK_ROWS)
    for start in range(0, last, BLOCK_ROWS):
        block = source[start : min(start + BLOCK_ROWS, last)]
        yield block if isinstance(block, pa.Table) else to_table(block)


def to_table(columns: dict[str, Any]) -> pa.Table:
    """Python values as an Arrow table; a column of mixed kinds is left to the collator, as one of type null."""
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values if isinstance(values, list) else list(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            arrays[name] = pa.array([str(value) or " " for value in values])
    return pa.table(arrays)


def check_block(needs: Needs, data: Data, block: pa.Table, start: int, num_labels: int) -> None:
    """Raises TrainingDataError for the first wrong row of `block`, whose first row is row `start`."""
    columns = {name: arrow.one_array(block[name]) for name in block.column_names}
    for place, name in enumerate(data.inputs):
        wants_list = needs.columns == "list" and place == 1
        problem = arrow.text_list_problem(columns[name]) if wants_list else arrow.text_problem(columns[name])
        raise_problem(data, name, problem, start)
    if needs.labels == "none" or data.label is None:
        return
    labels = columns[data.label]
    raise_problem(data, data.label, label_problem(needs, labels, num_labels), start)
    lengths = arrow.list_lengths(labels)
    if needs.labels == "list":
        texts = data.inputs[1]
        raise_problem(data, data.label, arrow.length_problem(lengths, arrow.list_lengths(columns[texts]), texts), start)
    if needs.labels == "margin":
        raise_problem(data, data.label, margin_problem(lengths, len(data.inputs) - 2), start)


def label_problem(needs: Needs, labels: pa.Array, num_labels: int) -> arrow.Problem | None:
    """What is wrong with the labels by themselves."""
    is_list = arrow.is_list(labels.type)
    wanted = LABEL_WORDS[needs.labels]
    if is_list and needs.labels == "scalar":
        return arrow.Problem(f"is a list, but {needs.loss} needs {wanted}")
    if not is_list and needs.labels == "list":
        return arrow.Problem(f"is a single value, but {needs.loss} needs {wanted}")
    problem = arrow.number_problem(labels)
    if problem is not None:
        return replace(problem, text=f"{problem.text}, but {needs.loss} needs {wanted}")
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


def raise_problem(data: Data, column: str, problem: arrow.Problem | None, start: int) -> None:
    """Raises the problem, if there is one."""
    if problem is not None:
        raise data.error(column, problem.text, None if problem.row is None else start + problem.row)
