"""Checks the fields of a request, and says of all that are wrong at once what is wrong with them."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from authz.control.faults import invalid
from authz.errors import Refusal
from authz.spiffe import parse_spiffe_id, require_workload

_ID: Final = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Fields:
    """Collects what is wrong; `settle` raises it."""

    def __init__(self, max_text_characters: int) -> None:
        self._max_text = max_text_characters
        self._wrong: dict[str, str] = {}

    def settle(self) -> None:
        """Raise ControlError if anything was wrong."""
        if self._wrong:
            raise invalid(self._wrong)

    def demand(self, field: str, holds: bool, why: str) -> bool:  # noqa: FBT001 - the condition itself
        """Note `why` unless the condition holds; answer whether it does."""
        if not holds:
            self._wrong.setdefault(field, why)
        return holds

    def text(self, field: str, value: str, *, required: bool = False) -> str:
        """A text for people: bounded, without control characters."""
        if self.demand(field, bool(value.strip()) or not required, "must not be empty"):
            self.demand(field, len(value) <= self._max_text, f"longer than {self._max_text} characters")
            self.demand(field, value.isprintable(), "holds control characters")
        return value

    def identifier(self, field: str, value: str) -> str:
        """The id of a task, grant or the like."""
        self.demand(field, _ID.fullmatch(value) is not None, "expected 1 to 128 of letters, digits and . _ : / @ -")
        return value

    def sha256(self, field: str, value: str) -> str:
        """A SHA-256 in lower-case hex."""
        self.demand(field, _SHA256.fullmatch(value) is not None, "expected a SHA-256 as 64 lower-case hex digits")
        return value

    def workload(self, field: str, value: str) -> str:
        """The SPIFFE ID of a workload."""
        try:
            require_workload(parse_spiffe_id(value))
        except Refusal as refusal:
            self.demand(field, False, f"not a workload's SPIFFE ID: {refusal.detail}")
        return value

    def count(self, field: str, values: Sequence[object], most: int) -> None:
        """A list that is bounded."""
        self.demand(field, len(values) <= most, f"more than {most}")

    def checked(self, field: str, check: Callable[[], object]) -> None:
        """Whatever raises ValueError or Refusal with what is wrong."""
        try:
            check()
        except Refusal as refusal:
            self.demand(field, False, refusal.detail or refusal.reason.summary)
        except ValueError as error:
            self.demand(field, False, str(error))


def timestamp(seconds: float) -> Timestamp | None:
    """Answer a time of the protocol; None for one that is not set, or never comes."""
    if not 0 < seconds < 253_402_300_800:  # noqa: PLR2004 - the year 10000
        return None
    moment = Timestamp()
    moment.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return moment


def seconds_of(moment: Timestamp) -> float:
    """Answer seconds since the epoch."""
    return moment.seconds + moment.nanos / 1e9
