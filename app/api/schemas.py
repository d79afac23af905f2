"""Request and response bodies of the native dialect. Every optional field accepts null; unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _documents(value: object) -> object:
    """Stops at the first wrong element: a list of them must not make an answer larger than the question."""
    if not isinstance(value, list):
        raise ValueError("must be a list")
    for index, item in enumerate(value):
        if not isinstance(item, str) and not (isinstance(item, dict) and isinstance(item.get("text"), str)):
            raise ValueError(f'element {index} must be a string, or an object with a string field "text"')
    return value


def _texts(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("must be a string or a list of strings")


def _classifiable(value: object) -> object:
    """One text, or a list whose elements are texts or pairs of texts; the error names the element."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a string, a list of strings, or a list of [text, text] pairs")
    for index, item in enumerate(value):
        is_pair = isinstance(item, list) and len(item) == 2 and all(isinstance(text, str) for text in item)
        if not isinstance(item, str) and not is_pair:
            raise ValueError(f"element {index} must be a string or a pair of exactly two strings")
    return value


def _example(**body: Any) -> ConfigDict:
    """What /docs offers to try."""
    return ConfigDict(json_schema_extra={"examples": [body]})


Documents = Annotated[list[str | dict[str, Any]], BeforeValidator(_documents)]
Texts = Annotated[str | list[str] | None, BeforeValidator(_texts)]
Inputs = Annotated[str | list[str | list[str]], BeforeValidator(_classifiable)]


class RerankRequest(BaseModel):
    """One query and its candidates."""

    model_config = _example(query="capital of France", documents=["Paris", "Berlin"], top_n=1, return_documents=True)

    query: str = Field(description="What the documents are ranked for.")
    documents: Documents = Field(description="Candidates: strings, or objects with a 'text' field.")
    model: str | None = Field(None, description="Name of a served model; null: the first.")
    top_n: int | None = Field(None, ge=1, description="Return only the best; null: all.")
    return_documents: bool | None = Field(None, description="Echo the documents in the results.")
    raw_scores: bool | None = Field(None, description="Logits instead of activated scores.")
    truncate: bool | None = Field(None, description="Cut over-long inputs (default) instead of refusing them.")
    max_tokens_per_doc: int | None = Field(None, ge=1, description="Cut each document to this many tokens.")


class ScoreRequest(BaseModel):
    """One text against many, or two lists of equal length. Each side has three accepted names."""

    model_config = _example(queries="capital of France", documents=["Paris", "Berlin"])

    queries: Texts = Field(None, description="First texts; text_1 and data_1 mean the same.")
    text_1: Texts = Field(None, description="Same as queries.")
    data_1: Texts = Field(None, description="Same as queries.")
    documents: Texts = Field(None, description="Second texts; text_2 and data_2 mean the same.")
    text_2: Texts = Field(None, description="Same as documents.")
    data_2: Texts = Field(None, description="Same as documents.")
    model: str | None = Field(None, description="Name of a served model; null: the first.")
    raw_scores: bool | None = Field(None, description="Logits instead of activated scores.")
    truncate: bool | None = Field(None, description="Cut over-long inputs (default) instead of refusing them.")

    @model_validator(mode="after")
    def _check_sides(self) -> ScoreRequest:
        first, second = self.first, self.second
        if len(first) not in (1, len(second)):
            raise ValueError(
                f"queries has {len(first)} texts and documents {len(second)}; give one query, or as many of each"
            )
        return self

    @property
    def first(self) -> list[str]:
        """The texts of whichever name was used for the first side."""
        return _only({"queries": self.queries, "text_1": self.text_1, "data_1": self.data_1})

    @property
    def second(self) -> list[str]:
        """The texts of whichever name was used for the second side."""
        return _only({"documents": self.documents, "text_2": self.text_2, "data_2": self.data_2})


class ClassifyRequest(BaseModel):
    """Texts, or pairs of texts, to label."""

    model_config = _example(input=[["A dog runs.", "An animal moves."]], top_k=1)

    input: Inputs = Field(description="A text, a list of texts, or a list of [text, text] pairs.")
    model: str | None = Field(None, description="Name of a served model; null: the first.")
    raw_scores: bool | None = Field(None, description="Logits instead of probabilities.")
    top_k: int | None = Field(None, ge=1, description="Return only the best labels in 'scores'; null: all.")
    truncate: bool | None = Field(None, description="Cut over-long inputs (default) instead of refusing them.")


class Usage(BaseModel):
    """Tokens that were scored, special tokens included."""

    prompt_tokens: int
    total_tokens: int


class RerankResult(BaseModel):
    """One document's place: `index` is its position in the request."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = Field(None, description="Only where return_documents was set.")


class RerankResponse(BaseModel):
    """Best first; equal logits in order of the request."""

    id: str
    object: str
    model: str
    results: list[RerankResult]
    usage: Usage


class Score(BaseModel):
    """One pair's score."""

    index: int
    object: str
    score: float


class ScoreResponse(BaseModel):
    """Scores in the order of the request."""

    id: str
    object: str
    model: str
    data: list[Score]
    usage: Usage


class LabelScore(BaseModel):
    """One label's probability, or its logit with raw_scores."""

    label: str
    score: float


class Classification(BaseModel):
    """`probs` in the model's label order; `scores` best first."""

    index: int
    label: str
    probs: list[float]
    num_classes: int
    scores: list[LabelScore]


class ClassifyResponse(BaseModel):
    """Classifications in the order of the request."""

    id: str
    object: str
    model: str
    data: list[Classification]
    usage: Usage


class ErrorResponse(BaseModel):
    """Every error of every endpoint."""

    error: str
    error_type: str
    message: str
    detail: str | list[dict[str, Any]]
    id: str


def _only(names: dict[str, str | list[str] | None]) -> list[str]:
    given = {name: value for name, value in names.items() if value is not None}
    if len(given) != 1:
        found = f"not {len(given)} ({', '.join(given)})" if given else "none is given"
        raise ValueError(f"give exactly one of {', '.join(names)}; {found}")
    (value,) = given.values()
    return [value] if isinstance(value, str) else value
