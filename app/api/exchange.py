"""What every inference endpoint does around its service call: read the body, watch the client, answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from typing import Any, TypeVar

import pydantic
import pydantic_core
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.errors import InvalidBody
from app.api.record import Record, record_of
from app.config import Settings
from app.errors import ClientDisconnected, DeadlineExceeded, ValidationError
from app.service import Options, ScoringService, Usage

TIMEOUT_HEADER = "x-request-timeout-ms"
Body = TypeVar("Body", bound=BaseModel)
Answer = TypeVar("Answer")


class Exchange:
    """One request and the answer to it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.record: Record = record_of(request.scope)

    async def body(self, schema: type[Body]) -> Body:
        """The parsed body, whatever its content type claims.

        Raises InvalidBody, ClientDisconnected, or DeadlineExceeded when it does not arrive in time.
        """
        settings: Settings = self._request.app.state.settings
        try:
            async with asyncio.timeout(settings.max_request_timeout_ms / 1e3):
                content = await self._receive()
        except TimeoutError:
            raise DeadlineExceeded("the body did not arrive within the time limit") from None
        self._request.app.state.lifecycle.in_flight += 1
        self.record.in_flight = True
        try:
            return schema.model_validate_json(content)
        except pydantic.ValidationError as error:
            raise InvalidBody(error) from None

    async def _receive(self) -> bytes:
        chunks, more = [], True
        while more:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected("the client went away while sending")
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(chunks)

    def service(self, model: str | None) -> ScoringService:
        """The model that the body names. Raises NotFound."""
        service: ScoringService = self._request.app.state.registry.find(model)
        self.record.model = service.name
        return service

    def options(
        self, *, truncate: bool | None, raw_scores: bool | None, max_document_tokens: int | None = None
    ) -> Options:
        """The request's wishes; null means the default. Raises ValidationError for a wrong timeout header."""
        settings: Settings = self._request.app.state.settings
        limit_ms: float = settings.max_request_timeout_ms
        wanted = self._request.headers.get(TIMEOUT_HEADER)
        if wanted is not None:
            if not re.fullmatch(r"0*[1-9][0-9]{0,14}", wanted):
                raise ValidationError(f"{TIMEOUT_HEADER}: {wanted!r} is not a positive whole number of milliseconds")
            limit_ms = min(limit_ms, int(wanted))
        return Options(
            timeout_s=limit_ms / 1e3,
            arrived_at=self.record.arrived_at,
            truncate=truncate is not False,
            raw_scores=bool(raw_scores),
            max_document_tokens=max_document_tokens,
        )

    async def unless_disconnected(self, work: Awaitable[Answer]) -> Answer:
        """The result of `work`, which is cancelled when the client goes away. Raises ClientDisconnected."""
        task = asyncio.ensure_future(work)
        watcher = asyncio.ensure_future(self._request.receive())
        try:
            await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnected("the client went away before the answer was ready")
            return task.result()
        finally:
            watcher.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    def answer(self, usage: Usage, body: dict[str, Any]) -> Response:
        """200 with id, object, model, `body` and usage."""
        self.record.usage = usage
        tokens = {"prompt_tokens": usage.tokens, "total_tokens": usage.tokens}
        content = {"id": self.record.id, "object": "list", "model": self.record.model, **body, "usage": tokens}
        return Response(pydantic_core.to_json(content, inf_nan_mode="null"), media_type="application/json")
