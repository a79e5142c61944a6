"""One answer for every call to Check: the same on both transports, never an exception, never an empty message (I2)."""

import asyncio
from typing import Final, TypeGuard

import structlog

from authz.errors import Reason, Refusal
from authz.transport.admission import Claim
from authz.transport.pdp import LAST_RESORT, DecisionPoint, Pending, ServerObserver

ENDING: Final = (KeyboardInterrupt, SystemExit)
"""Raised to end the process."""

LEFT_ALONE: Final = (asyncio.CancelledError, GeneratorExit, *ENDING)
"""What is not a fault: the caller took its call back, or the process is to end. All else that is raised is a denial,
BaseException included: a panic inside a Rust extension is no Exception."""

_STATUS_TAG: Final = b"\x0a"
"""Field 1 of CheckResponse, length-delimited."""
_SHED: Final = frozenset({Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED})


class Answerer:
    """Stands between a transport and the PDP."""

    def __init__(self, pdp: DecisionPoint, observer: ServerObserver) -> None:
        """Hold them; nothing is made per call."""
        self._check = pdp.check
        self._refuse = pdp.refuse
        self._observer = observer
        self._log = structlog.get_logger("authz.transport")

    def answer(self, message: bytes, claim: Claim) -> bytes | Pending:
        """Decide one CheckRequest in the time that its call has left; what is pending goes to `settle`."""
        try:
            budget = claim.budget()
        except Refusal as refusal:
            return self.refuse(refusal)
        return self.decide(message, budget)

    def decide(self, message: bytes, budget_seconds: float) -> bytes | Pending:
        """Decide one CheckRequest within `budget_seconds`; what is pending goes to `settle`."""
        try:
            response = self._check(message, budget_seconds)
        except Refusal as refusal:
            return self.refuse(refusal)
        except ENDING:
            raise
        except BaseException as fault:  # noqa: BLE001 - I2
            return self.fault("the PDP raised", fault)
        if (type(response) is bytes and response[:1] == _STATUS_TAG) or isinstance(response, Pending):
            return response  # `_says_something`, spelt out: it is asked of every answer
        return self.fault("the PDP answered nothing")

    async def settle(self, pending: Pending, claim: Claim) -> bytes:
        """Count what an allow rests on, then answer; whatever goes wrong is a denial (I2)."""
        try:
            async with asyncio.timeout(claim.budget()):
                refused = await pending.spend()
        except Refusal as refusal:
            refused = refusal.reason
        except TimeoutError:
            refused = Reason.DEADLINE_EXCEEDED
        except LEFT_ALONE:
            # Nobody waits for the answer, but the use may have been counted: it goes on record (I9).
            self._conclude(pending, Reason.DEADLINE_EXCEEDED)
            raise
        except BaseException as fault:  # noqa: BLE001 - I2
            self._log.error("what an allow rests on could not be counted", fault=type(fault).__name__)
            refused = Reason.STATE_UNAVAILABLE
        return self._conclude(pending, refused)

    def _conclude(self, pending: Pending, refused: Reason | None) -> bytes:
        try:
            response = pending.conclude(refused)
        except ENDING:
            raise
        except BaseException as fault:  # noqa: BLE001 - I2
            return self.fault("the PDP raised", fault)
        return response if _says_something(response) else self.fault("the PDP answered nothing")

    def refuse(self, refusal: Refusal) -> bytes:
        """Answer a denial for a call that cannot be decided."""
        try:
            if refusal.reason in _SHED:
                self._observer.shed(refusal.reason)
            response = self._refuse(refusal.reason, refusal.detail)
        except ENDING:
            raise
        except BaseException as fault:  # noqa: BLE001 - I2
            self._log.error("a refusal could not be made", reason=str(refusal.reason), fault=type(fault).__name__)
            return LAST_RESORT
        return response if _says_something(response) else LAST_RESORT

    def fault(self, problem: str, fault: BaseException | None = None) -> bytes:
        """Answer a denial for a call that failed on our side; `problem` is constant text."""
        # The fault's text may quote the request, so only its type is told (I10).
        name = type(fault).__name__ if fault is not None else ""
        self._log.error("no decision could be made", problem=problem, fault=name)
        return self.refuse(Refusal(Reason.INTERNAL_ERROR, f"{problem}: {name}" if name else problem))


def _says_something(response: object) -> TypeGuard[bytes]:
    """Whether a CheckResponse begins with its status, as every serializer writes it; Envoy reads one without as OK."""
    return type(response) is bytes and response.startswith(_STATUS_TAG)
