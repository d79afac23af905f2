"""The error tree of the service and of the inference library.

RerankerError                          500 internal
├── StartupError                       (never on the wire: one line on stderr, exit code 2)
│   ├── ConfigError                    a setting is wrong
│   └── ArtifactError                  a model directory is incomplete, contradictory or corrupt
├── RequestError                       400 bad_request           malformed JSON
│   ├── ValidationError                422 validation            a field is wrong
│   ├── InputTooLong                   422 input_too_long        truncate=false and an item is over the limit
│   ├── PayloadTooLarge                413 payload_too_large
│   ├── Unauthorized                   401 unauthorized
│   └── NotFound                       404 not_found             no such route or model
├── Unavailable                        503 unavailable           try again after retry_after_s
│   ├── Overloaded                     429 overloaded            the queue is full
│   └── DeadlineUnreachable            503 deadline_unreachable  would not be finished in time
├── DeadlineExceeded                   504 deadline_exceeded
├── ClientDisconnected                 499 client_disconnected   (logged only: nobody is there to read it)
└── BackendError                       500 backend               the model failed on one item
    └── DeviceError                    500 backend_device        the accelerator failed: worth one retry
        └── BackendOutOfMemory         500 backend_memory        ... with smaller batches
"""

from __future__ import annotations


class RerankerError(Exception):
    """Base of every error that this project raises on purpose."""

    status = 500
    error_type = "internal"
    retry_after_s: float | None = None


class StartupError(RerankerError):
    """The service cannot start: the message names the file or setting and the remedy."""


class ConfigError(StartupError):
    """A setting has a wrong name or value."""


class ArtifactError(StartupError):
    """A model directory is incomplete, contradictory or corrupt."""


class RequestError(RerankerError):
    """The request itself is wrong: sending it again unchanged cannot help."""

    status = 400
    error_type = "bad_request"


class ValidationError(RequestError):
    """A field of the request has a wrong value."""

    status = 422
    error_type = "validation"


class InputTooLong(ValidationError):
    """An item exceeds the token limit and truncation was declined."""

    error_type = "input_too_long"


class PayloadTooLarge(RequestError):
    """The body, or the number of items in it, exceeds the limit of the service."""

    status = 413
    error_type = "payload_too_large"


class Unauthorized(RequestError):
    """The API key is missing or wrong."""

    status = 401
    error_type = "unauthorized"


class NotFound(RequestError):
    """No such route or model."""

    status = 404
    error_type = "not_found"


class Unavailable(RerankerError):
    """The service cannot take the request now: not warmed up, draining, or its worker died."""

    status = 503
    error_type = "unavailable"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """Admitting the request would exceed the queue limits; `retry_after_s` comes from the measured rate."""

    status = 429
    error_type = "overloaded"


class DeadlineUnreachable(Unavailable):
    """At the measured service rate the request would miss its deadline, so it is refused at once."""

    error_type = "deadline_unreachable"


class DeadlineExceeded(RerankerError):
    """The deadline passed before every item was scored; what remained was not computed."""

    status = 504
    error_type = "deadline_exceeded"


class ClientDisconnected(RerankerError):
    """The client went away; its remaining items are not computed."""

    status = 499
    error_type = "client_disconnected"


class BackendError(RerankerError):
    """The model failed on an item. `index` is the item's position in its request, where known."""

    error_type = "backend"

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class DeviceError(BackendError):
    """The accelerator failed during a forward, whatever the input."""

    error_type = "backend_device"


class BackendOutOfMemory(DeviceError):
    """The device or the host ran out of memory during a forward."""

    error_type = "backend_memory"
