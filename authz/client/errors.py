"""Why a call failed, with what the server says of it for programs."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

_DETAILS = "grpc-status-details-bin"


class CallFailedError(Exception):
    """A call that failed; the message is for people."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str],
        violations: Mapping[str, str],
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        """Stable, such as "NO_MATCHING_RULE"; "" when the server was not reached."""
        self.message = message
        self.metadata = metadata
        """What belongs to the reason, such as `change_id` to SECOND_PERSON_REQUIRED."""
        self.violations = violations
        """For INVALID_ARGUMENT: what is wrong with which field."""


def failed(error: grpc.aio.AioRpcError) -> CallFailedError:
    """Answer what a gRPC error says."""
    reason = ""
    metadata: dict[str, str] = {}
    violations: dict[str, str] = {}
    trailer: Any = error.trailing_metadata() or ()  # the stubs have no bytes in it
    for key, value in trailer:
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        info, bad = ErrorInfo(), BadRequest()
        for detail in Status.FromString(value).details:
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = {each.field: each.description for each in bad.field_violations}
    return CallFailedError(error.code(), reason, error.details() or error.code().name, metadata, violations)
