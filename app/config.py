"""Settings: parsed once from flags and `RERANKER_*` variables, frozen, then passed as values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from app.errors import ConfigError

PREFIX = "RERANKER_"


def _split(value: object) -> object:
    parts = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
    if isinstance(parts, list | tuple) and "" in parts:
        raise ValueError("one of its values is empty")
    return parts


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Several values: a repeated flag, or a comma-separated variable."""


class Settings(BaseModel):
    """Everything that can be configured. A description is the setting's help text; its unit stands in brackets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all interfaces.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    model: Names = Field(
        ("default",),
        min_length=1,
        description="Model to serve: 'default' (embedded), a directory or a Hub id, optionally as NAME=MODEL. "
        "Repeat for several; the first answers requests that name none.",
    )
    backend: Literal["auto", "onnx", "openvino", "torch", "vnni"] = Field(
        "auto",
        description="Runtime that executes the model; auto: on a CPU the fastest of those installed, measured at the "
        "first start.",
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    precision: Literal["fp32", "fp16", "bf16", "int16", "int8"] = Field(
        "fp32",
        description="Arithmetic of the torch and openvino backends; ONNX graphs and vnni files carry their own. With "
        "backend auto the least precise form that may replace the model's default one.",
    )
    parity_policy: Literal["warn", "refuse", "ignore"] = Field(
        "warn", description="What to do with an exported graph that its manifest shows to be unfaithful."
    )
    parity_max_difference: float = Field(
        0.0,
        ge=0,
        description="Largest score difference from the reference that a graph may have; 0: any.",
    )
    parity_min_tau: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Lowest Kendall tau with the reference that a graph may have; 0: any.",
    )
    cache_dir: str = Field(
        "", description="Directory that keeps what was measured for the next start; empty: the user's cache directory."
    )
    graph: str = Field("", description="Exported file inside the model to load; empty: the usual names are tried.")
    providers: Names = Field(
        (), description="ONNX Runtime execution providers in order, e.g. TensorrtExecutionProvider; empty: by device."
    )
    compile: bool = Field(
        False, description="Compile the model (torch backend), padding and all: slower start, often faster scoring."
    )
    threads: int = Field(0, ge=0, description="Threads for scoring; 0 follows the CPU quota of the container.")
    max_length: int = Field(0, ge=0, description="Limit per query-document pair [tokens]; 0: the model's own.")
    truncation: Literal["longest_first", "only_second"] = Field(
        "longest_first", description="Which text of an over-long pair is cut."
    )
    truncation_side: Literal["auto", "right", "left"] = Field(
        "auto", description="Which end of an over-long text is cut; auto: as the model's tokenizer says."
    )
    revision: str = Field("", description="Branch, tag or commit of Hub models; empty: the main branch.")
    hub_token: str = Field("", repr=False, description="Access token for private Hub models; empty: the saved login.")
    hub_local_files_only: bool = Field(False, description="Never contact the Hub; use directories and its cache.")
    max_batch_tokens: int = Field(
        0, ge=0, description="Longest row x rows of a batch [tokens]; 0: measured, on a GPU within its free memory."
    )
    max_batch_rows: int = Field(256, ge=1, description="Most rows of a batch [rows].")
    min_batch_fill: float = Field(
        0.5, ge=0, le=1, description="Shortest row of a batch as a share of its longest; higher wastes less padding."
    )
    max_pending_requests: int = Field(
        512, ge=1, description="Admitted requests without answer, per model; more get 429."
    )
    max_pending_tokens: int = Field(
        1_000_000, ge=1, description="Admitted tokens not yet scored, per model [tokens]; what exceeds it gets 429."
    )
    max_documents: int = Field(4096, ge=1, description="Most items of one request; more get 413.")
    max_text_characters: int = Field(
        500_000, ge=1, description="Longest text [characters]; longer gets 413. Long before that, models cut it."
    )
    max_body_bytes: int = Field(32 << 20, ge=1, description="Largest request body [bytes]; larger gets 413.")
    max_request_timeout_ms: int = Field(
        60_000, ge=1, description="Time limit of a request, and the most that X-Request-Timeout-Ms can ask for [ms]."
    )
    score_cache_mb: int = Field(
        0, ge=0, description="Memory for the scores of inputs that come again, all models together [MB]; 0: none."
    )
    tokenizer_threads: int = Field(0, ge=0, description="Threads for tokenising; 0 follows the CPU quota.")
    api_key: Names = Field(
        (), repr=False, description="Keys, one of which 'Authorization: Bearer KEY' must carry; empty: open to all."
    )
    shutdown_grace_s: float = Field(
        30.0, ge=0, description="After SIGTERM, time for admitted requests to be answered before exit [s]."
    )
    drain_delay_s: float = Field(
        0.0, ge=0, description="After SIGTERM, time in which requests are still accepted while not ready [s]."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log level shown.")
    log_requests: bool = Field(True, description="Write one JSON line per request.")

    @field_validator("precision")
    @classmethod
    def _has_a_backend(cls, precision: str, info: ValidationInfo) -> str:
        """Only files of the vnni backend are in int16: with another it would be a wish that nobody heeds."""
        backend = info.data.get("backend")
        if precision == "int16" and backend not in ("auto", "vnni", None):
            raise ValueError(f"the backend {backend} has no such arithmetic; choose backend auto or vnni")
        return precision


def load_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from command-line flags over `RERANKER_*` variables over defaults.

    Raises ConfigError naming the flag or variable. Exits as argparse does on --help and unknown flags.
    """
    given = _from_environment(environment) | _from_arguments(arguments)
    try:
        return Settings(**given)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        raise ConfigError(f"{flag(name)} ({variable(name)}): {first['msg']}, not {first['input']!r}") from error


def flag(name: str) -> str:
    """`max_batch_tokens` -> `--max-batch-tokens`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """`max_batch_tokens` -> `RERANKER_MAX_BATCH_TOKENS`."""
    return PREFIX + name.upper()


def settings_table() -> list[tuple[str, str, str, str]]:
    """(flag, variable, default, description) of every setting, as README lists them."""
    return [
        (flag(name), variable(name), _shown(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {variable(name): name for name in Settings.model_fields}
    given = {key: value for key, value in environment.items() if key.startswith(PREFIX)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"{unknown[0]}: no such setting; 'rerank-server --help' lists them")
    return {known[key]: value for key, value in given.items() if value != ""}


def _from_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog="rerank-server",
        description="Serve cross-encoder rerankers over HTTP: /rerank, /score, /classify; /docs shows the API.",
        epilog="Every flag can also be given as the environment variable in brackets; the flag wins.",
    )
    for name, field in Settings.model_fields.items():
        shown = _shown(field.default) or "none"
        text = f"{field.description} Default: {shown}. [{variable(name)}]".replace("%", "%%")
        options: dict[str, Any] = {"dest": name, "help": text, "default": argparse.SUPPRESS}
        if get_origin(field.annotation) is Literal:
            options["choices"] = get_args(field.annotation)
        if field.annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = None if "choices" in options else name.rpartition("_")[2].upper()
        if isinstance(field.default, tuple):
            options["action"] = "append"
        parser.add_argument(flag(name), **options)
    return vars(parser.parse_args(arguments))


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)
