"""The native dialect: POST /rerank, /score, /classify."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.exchange import TIMEOUT_HEADER, Exchange
from app.api.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    ErrorResponse,
    RerankRequest,
    RerankResponse,
    ScoreRequest,
    ScoreResponse,
)

router = APIRouter(tags=["inference"])


def _documented(request: type[BaseModel], response: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI of an endpoint that reads its body itself."""
    timeout = {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "required": False,
        "description": "Time limit [ms]; the server's maximum applies as well.",
        "schema": {"type": "integer", "minimum": 1},
    }
    content = {"application/json": {"schema": request.model_json_schema()}}
    return {
        "responses": {
            200: {"model": response},
            **{status: {"model": ErrorResponse} for status in (400, 401, 404, 413, 422, 429, 500, 503, 504)},
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}, "parameters": [timeout]},
    }


@router.post("/rerank", summary="Rank documents for a query", **_documented(RerankRequest, RerankResponse))
async def rerank(request: Request) -> Response:
    """Scores every document against the query and returns them best first."""
    exchange = Exchange(request)
    body = await exchange.body(RerankRequest)
    options = exchange.options(
        truncate=body.truncate, raw_scores=body.raw_scores, max_document_tokens=body.max_tokens_per_doc
    )
    texts = [document if isinstance(document, str) else document["text"] for document in body.documents]
    work = exchange.service(body.model).rerank(body.query, texts, options)
    order, prediction = await exchange.unless_disconnected(work)
    scores = prediction.scores.tolist()
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": scores[index][0]} for index in order[: body.top_n]
    ]
    if body.return_documents:
        for result in results:
            document = body.documents[result["index"]]
            result["document"] = {"text": document} if isinstance(document, str) else document
    return exchange.answer(prediction.usage, {"results": results})


@router.post("/score", summary="Score pairs of texts", **_documented(ScoreRequest, ScoreResponse))
async def score(request: Request) -> Response:
    """Scores one text against many, or texts pairwise, in the order of the request."""
    exchange = Exchange(request)
    body = await exchange.body(ScoreRequest)
    options = exchange.options(truncate=body.truncate, raw_scores=body.raw_scores)
    service, first, second = exchange.service(body.model), body.first, body.second
    if len(first) == 1:
        work = service.score_documents(first[0], second, options)
    else:
        work = service.score_pairs(list(zip(first, second, strict=True)), options)
    prediction = await exchange.unless_disconnected(work)
    data = [
        {"index": index, "object": "score", "score": row[0]} for index, row in enumerate(prediction.scores.tolist())
    ]
    return exchange.answer(prediction.usage, {"data": data})


@router.post("/classify", summary="Label texts or pairs", **_documented(ClassifyRequest, ClassifyResponse))
async def classify(request: Request) -> Response:
    """Probabilities of the model's labels for every text or pair, in the order of the request."""
    exchange = Exchange(request)
    body = await exchange.body(ClassifyRequest)
    options = exchange.options(truncate=body.truncate, raw_scores=body.raw_scores)
    service = exchange.service(body.model)
    given = [body.input] if isinstance(body.input, str) else body.input
    inputs = [item if isinstance(item, str) else (item[0], item[1]) for item in given]
    prediction = await exchange.unless_disconnected(service.classify(inputs, options))
    labels = service.model.artifact.labels
    best_first = np.argsort(-prediction.logits, axis=-1, kind="stable").tolist()
    data = [
        {
            "index": index,
            "label": labels[order[0]],
            "probs": row,
            "num_classes": len(labels),
            "scores": [{"label": labels[label], "score": row[label]} for label in order[: body.top_k]],
        }
        for index, (row, order) in enumerate(zip(prediction.scores.tolist(), best_first, strict=True))
    ]
    return exchange.answer(prediction.usage, {"data": data})
