"""The one place where an error becomes an HTTP answer, in one shape that every client of the field can read."""

from __future__ import annotations

import math
from typing import Any

import pydantic
import pydantic_core
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.record import record_of
from app.errors import RequestError, RerankerError, ValidationError

MOST_DETAILS = 20
HTTP_TYPES = {404: "not_found", 405: "method_not_allowed"}


class InvalidBody(ValidationError):
    """The body does not match the endpoint's schema; `details` lists every problem with its location."""

    def __init__(self, error: pydantic.ValidationError) -> None:
        self.details = [
            {"loc": ["body", *problem["loc"]], "msg": problem["msg"], "type": problem["type"]}
            for problem in error.errors(include_url=False, include_input=False, include_context=False)[:MOST_DETAILS]
        ]
        where = ".".join(str(part) for part in self.details[0]["loc"][1:])
        reason = str(self.details[0]["msg"]).removeprefix("Value error, ")
        super().__init__(f"{where}: {reason}" if where else reason)
        if self.details[0]["type"] == "json_invalid":
            self.status, self.error_type = 400, "bad_request"


def error_response(error: RerankerError, request_id: str) -> Response:
    """{"error", "error_type", "message", "detail", "id"} with the class's status, and Retry-After where it helps."""
    text = str(error)
    detail: Any = error.details if isinstance(error, InvalidBody) and error.status == 422 else text
    body = {"error": text, "error_type": error.error_type, "message": text, "detail": detail, "id": request_id}
    headers = {}
    if error.retry_after_s is not None:
        milliseconds = max(1, math.ceil(error.retry_after_s * 1e3))
        headers = {"retry-after": str(math.ceil(milliseconds / 1e3)), "retry-after-ms": str(milliseconds)}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(pydantic_core.to_json(body), error.status, headers, "application/json")


def install(app: FastAPI) -> None:
    """Registers the handlers on an application."""

    async def on_reranker_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RerankerError)
        record = record_of(request.scope)
        record.error = error
        return error_response(error, record.id)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        mapped = RequestError(f"{request.method} {request.scope['path']}: {error.detail}; /docs lists the endpoints")
        mapped.status = error.status_code
        mapped.error_type = HTTP_TYPES.get(error.status_code, "bad_request")
        response = await on_reranker_error(request, mapped)
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(RerankerError, on_reranker_error)
    app.add_exception_handler(HTTPException, on_http_exception)
