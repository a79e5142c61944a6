"""What a call of the control plane can fail with: a code, a stable reason, and details that a program can read.

Source: google/rpc/error_details.proto; AIP-193.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from authz.errors import AuthzError
from authz.stores.database.errors import (
    ChangesLostError,
    ConflictError,
    EndedError,
    IdempotencyError,
    NotFoundError,
    StoreError,
    StoreTrouble,
    TooLargeError,
)

DOMAIN: Final = "authz.control.v1"
"""The `domain` of every ErrorInfo."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
Code = grpc.StatusCode


class ControlError(AuthzError):
    """A call that fails. The message is for people, `reason` and `metadata` for programs; none holds a secret (I10)."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] = _NONE,
        details: tuple[Message, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.details = details

    def status(self) -> Status:
        """Answer it as gRPC's rich status."""
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        status = Status(code=self.code.value[0], message=self.message)
        for detail in (info, *self.details):
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status


def invalid(violations: Mapping[str, str]) -> ControlError:
    """Answer the error for fields that are not as they must be: field path -> what is wrong."""
    request = BadRequest(
        field_violations=[BadRequest.FieldViolation(field=field, description=why) for field, why in violations.items()]
    )
    message = "; ".join(f"{field}: {why}" for field, why in violations.items())
    return ControlError(Code.INVALID_ARGUMENT, "INVALID_FIELD", message, details=(request,))


def precondition(reason: str, subject: str, message: str, metadata: Mapping[str, str] = _NONE) -> ControlError:
    """Answer the error for something that must be changed first; `subject` is what."""
    failure = PreconditionFailure(
        violations=[PreconditionFailure.Violation(type=reason, subject=subject, description=message)]
    )
    return ControlError(Code.FAILED_PRECONDITION, reason, message, metadata=metadata, details=(failure,))


def not_found(what: str, name: str) -> ControlError:
    """Answer the error for a thing that is not there."""
    return ControlError(Code.NOT_FOUND, f"{what.upper()}_NOT_FOUND", f"there is no {what} {name}")


def try_later(code: grpc.StatusCode, reason: str, message: str, seconds: float = 1.0) -> ControlError:
    """Answer the error for what may go well in a moment."""
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(int(seconds * 1_000))
    return ControlError(code, reason, message, details=(retry,))


def of_store(error: StoreError) -> ControlError:
    """Answer what the store's error means to a caller."""
    message = str(error)
    match error:
        case NotFoundError():
            return ControlError(Code.NOT_FOUND, "NOT_FOUND", message)
        case ConflictError():
            return ControlError(Code.ABORTED, "CONFLICT", message)
        case EndedError():
            return precondition("ENDED", "task", message)
        case TooLargeError():
            return ControlError(Code.INVALID_ARGUMENT, "TOO_LARGE", message)
        case IdempotencyError():
            return ControlError(Code.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED", message)
        case ChangesLostError():
            return try_later(Code.ABORTED, "WATCH_LOST", "events were missed: list anew, then watch again")
        case StoreTrouble(transient=True):
            return try_later(Code.UNAVAILABLE, "STORE_UNAVAILABLE", message)
    return ControlError(Code.UNAVAILABLE, "STORE_TROUBLE", message)
