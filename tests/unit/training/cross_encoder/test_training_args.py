"""The arguments of a training run."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import HfArgumentParser
from transformers.utils import logging as transformers_logging

from training.cross_encoder import CrossEncoderTrainingArguments
from training.cross_encoder.precision import accelerator_available
from training.sampler import DefaultBatchSampler
from training.training_args import BatchSamplers, MultiDatasetBatchSamplers

needs_cpu_only = pytest.mark.skipif(accelerator_available(), reason="is about machines without accelerator")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What transformers' loggers, and those below `training`, write."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger("training"), transformers_logging.get_logger("transformers")]
    for one in loggers:
        one.addHandler(handler)
    yield stream
    for one in loggers:
        one.removeHandler(handler)


def make(directory: Path, **kwargs: Any) -> CrossEncoderTrainingArguments:
    return CrossEncoderTrainingArguments(output_dir=str(directory), report_to="none", **kwargs)


def test_defaults_are_those_of_the_library(tmp_path: Path) -> None:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments as Reference

    ours = make(tmp_path).to_dict()
    theirs = Reference(output_dir=str(tmp_path), report_to="none").to_dict()
    assert {name for name in theirs if name not in ours} == set()
    assert {name for name in theirs if ours[name] != theirs[name] and name != "logging_dir"} == set()
    assert {name for name in ours if name not in theirs} == {
        "length_bucketing",
        "batch_tokens",
        "mini_batch_tokens",
        "dataset_weights",
        "dataset_temperature",
    }


def test_codecarbon_is_quiet_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODECARBON_LOG_LEVEL", "debug")
    CrossEncoderTrainingArguments(output_dir=str(tmp_path), report_to="codecarbon")
    assert os.environ["CODECARBON_LOG_LEVEL"] == "debug"
    monkeypatch.delenv("CODECARBON_LOG_LEVEL")
    make(tmp_path)
    assert "CODECARBON_LOG_LEVEL" not in os.environ
    CrossEncoderTrainingArguments(output_dir=str(tmp_path), report_to=["tensorboard", "codecarbon"])
    assert os.environ["CODECARBON_LOG_LEVEL"] == "error"


def test_samplers_are_given_by_name_enum_class_or_function(tmp_path: Path) -> None:
    args = make(tmp_path, batch_sampler="no_duplicates", multi_dataset_batch_sampler="round_robin")
    assert args.batch_sampler is BatchSamplers.NO_DUPLICATES
    assert args.multi_dataset_batch_sampler is MultiDatasetBatchSamplers.ROUND_ROBIN
    assert make(tmp_path, batch_sampler=DefaultBatchSampler).batch_sampler is DefaultBatchSampler
    assert "batch_sampler" not in make(tmp_path, batch_sampler=DefaultBatchSampler).to_dict()
    with pytest.raises(ValueError, match="no_duplicate"):
        make(tmp_path, batch_sampler="no_duplicate")


def test_dictionaries_are_read_from_json(tmp_path: Path) -> None:
    args = make(
        tmp_path,
        prompts='{"a": "query: "}',
        learning_rate_mapping='{"classifier": 0.01}',
        router_mapping='{"a": "rerank"}',
        dataset_weights='{"a": 2, "b": 1}',
    )
    assert args.prompts == {"a": "query: "}
    assert args.learning_rate_mapping == {"classifier": 0.01}
    assert args.router_mapping == {"a": "rerank"}
    assert args.dataset_weights == {"a": 2, "b": 1}


def test_a_prompt_that_begins_with_a_brace_is_a_prompt(tmp_path: Path) -> None:
    assert make(tmp_path, prompts="{query} ").prompts == "{query} "


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate_mapping": "classifier=0.1"},
        {"router_mapping": "[1]"},
        {"batch_tokens": 0},
        {"mini_batch_tokens": -1},
        {"dataset_temperature": 0.0},
        {"dataset_temperature": 2.0, "dataset_weights": {"a": 1.0}},
        {"warmup_ratio": 1.5},
    ],
)
def test_values_without_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(tmp_path, **wrong)


def test_the_command_line_parser_reads_every_field(tmp_path: Path) -> None:
    line = [
        *("--output_dir", str(tmp_path), "--report_to", "none", "--batch_sampler", "group_by_label"),
        *("--multi_dataset_batch_sampler", "round_robin", "--prompts", '{"a": "b"}', "--warmup_ratio", "0.1"),
        *("--learning_rate_mapping", '{"x": 1e-3}', "--router_mapping", '{"a": "b"}', "--batch_tokens", "512"),
        *("--dataset_weights", '{"a": 1}', "--length_bucketing", "true", "--mini_batch_tokens", "64"),
    ]
    (args,) = HfArgumentParser(CrossEncoderTrainingArguments).parse_args_into_dataclasses(line)
    assert args.batch_sampler is BatchSamplers.GROUP_BY_LABEL
    assert args.prompts == {"a": "b"}
    assert args.learning_rate_mapping == {"x": 1e-3}
    assert args.length_bucketing is True
    assert (args.batch_tokens, args.mini_batch_tokens) == (512, 64)
    assert args.warmup_steps == pytest.approx(0.1)


@pytest.mark.parametrize(("ratio", "steps"), [(0.1, 10), (0.0, 0), (1.0, 100)])
def test_warmup_ratio_is_a_share_of_the_steps(tmp_path: Path, ratio: float, steps: int) -> None:
    assert make(tmp_path, warmup_ratio=ratio).get_warmup_steps(100) == steps


def test_warmup_steps_win_over_the_ratio(tmp_path: Path) -> None:
    assert make(tmp_path, warmup_ratio=0.5, warmup_steps=3).get_warmup_steps(100) == 3


@needs_cpu_only
def test_bf16_without_accelerator_is_bf16_on_the_cpu(tmp_path: Path) -> None:
    args = make(tmp_path, bf16=True)
    assert args.bf16
    assert args.mixed_precision == "bf16"
    assert args.device == torch.device("cpu")


@needs_cpu_only
def test_fp16_without_accelerator_computes_in_float32_and_says_so_once(tmp_path: Path, logged: io.StringIO) -> None:
    args = make(tmp_path, fp16=True)
    assert not args.fp16
    assert args.mixed_precision == "no"
    assert logged.getvalue().count("fp16=True needs a GPU: this run computes in float32") == 1


def test_fp16_and_bf16_together_are_refused_where_both_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="At most one of fp16 and bf16"):
        make(tmp_path, fp16=True, bf16=True)


def test_arguments_with_a_local_sampler_can_be_pickled(tmp_path: Path) -> None:
    args = make(tmp_path, batch_sampler=lambda dataset, **kwargs: None)
    assert pickle.loads(pickle.dumps(args)).output_dir == str(tmp_path)


def test_rows_of_similar_length_by_the_name_that_transformers_has_for_it(tmp_path: Path) -> None:
    """Its own sampler is not used here."""
    assert make(tmp_path, train_sampling_strategy="group_by_length").length_bucketing
    assert make(tmp_path, train_sampling_strategy="group_by_length", length_bucketing=False).length_bucketing is False
    assert make(tmp_path).length_bucketing is None
    with pytest.raises(ValueError, match="leave it out and choose a batch_sampler"):
        make(tmp_path, train_sampling_strategy="sequential")


def test_all_values_are_json(tmp_path: Path) -> None:
    assert json.loads(make(tmp_path, prompts={"a": "b"}).to_json_string())["prompts"] == {"a": "b"}
