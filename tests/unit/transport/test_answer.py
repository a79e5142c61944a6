"""Never an exception, never an empty answer (I2)."""

import asyncio

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from structlog.testing import capture_logs
from transport_kit import FakeObserver, FakePdp, allow, deny, reason_of

from authz.errors import Reason, Refusal
from authz.transport.answer import Answerer
from authz.transport.pdp import LAST_RESORT


class FakeClaim:
    def __init__(self, budget: float | Refusal) -> None:
        self._budget = budget

    def budget(self) -> float:
        if isinstance(self._budget, Refusal):
            raise self._budget
        return self._budget


def test_the_last_resort_is_a_denial():
    response = CheckResponse.FromString(LAST_RESORT)
    assert response.status.code == 14
    assert response.WhichOneof("http_response") == "denied_response"
    assert response.denied_response.status.code == 503
    assert response.SerializeToString() == LAST_RESORT


def test_the_pdps_answer_is_passed_on_with_its_budget():
    pdp = FakePdp(lambda *_: deny(Reason.DENIED_BY_RULE))
    assert Answerer(pdp, FakeObserver()).answer(b"m", FakeClaim(0.1)) == deny(Reason.DENIED_BY_RULE)
    assert (pdp.messages, pdp.budgets) == ([b"m"], [0.1])


@pytest.mark.parametrize("reason", [Reason.OVERLOADED, Reason.DEADLINE_EXCEEDED])
def test_a_call_that_is_not_admitted_is_refused_and_counted(reason):
    pdp, observer = FakePdp(), FakeObserver()
    assert reason_of(Answerer(pdp, observer).answer(b"m", FakeClaim(Refusal(reason)))) == reason.value
    assert (pdp.messages, pdp.refusals, observer.sheds) == ([], [reason], [reason])


def test_a_malformed_call_is_not_counted_as_shed():
    observer = FakeObserver()
    assert reason_of(Answerer(FakePdp(), observer).refuse(Refusal(Reason.REQUEST_MALFORMED))) == "request_malformed"
    assert observer.sheds == []


def broken_by(error: BaseException):
    def broken(*_: object):
        raise error

    return broken


class PanicError(BaseException):
    """Not an Exception, as a panic in a Rust extension is not."""


BROKEN = [
    lambda *_: b"",
    lambda *_: None,
    lambda *_: bytearray(allow()),
    lambda *_: b"\x12\x00",
    broken_by(RuntimeError("secret")),
    broken_by(RecursionError()),
    broken_by(PanicError()),
    broken_by(asyncio.CancelledError()),
    broken_by(GeneratorExit()),
    broken_by(Refusal(Reason.INTERNAL_ERROR)),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_the_pdp_does_wrong_is_a_denial(broken):
    pdp = FakePdp(on_check=broken)
    with capture_logs() as logs:
        assert reason_of(Answerer(pdp, FakeObserver()).answer(b"m", FakeClaim(1.0))) == "internal_error"
    assert "secret" not in str(logs)


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_the_refusal_does_wrong_is_the_last_resort(broken):
    answerer = Answerer(FakePdp(on_refuse=broken), FakeObserver())
    with capture_logs() as logs:
        assert answerer.refuse(Refusal(Reason.REQUEST_MALFORMED)) == LAST_RESORT
    assert "secret" not in str(logs)


def test_an_observer_that_fails_is_a_denial():
    class Broken(FakeObserver):
        def shed(self, reason: Reason) -> None:
            raise ValueError

    with capture_logs():
        assert Answerer(FakePdp(), Broken()).refuse(Refusal(Reason.OVERLOADED)) == LAST_RESORT


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_is_not_held_up(end):
    with pytest.raises(end):
        Answerer(FakePdp(on_check=broken_by(end())), FakeObserver()).answer(b"m", FakeClaim(1.0))


class FakePending:
    """An allow that waits for a use of a grant to be counted."""

    def __init__(self, spend: object = 1, conclude: object = None) -> None:
        self._spend = spend
        self._conclude = conclude or (lambda refused: allow() if refused is None else deny(refused))
        self.concluded: list[Reason | None] = []

    async def spend(self) -> Reason | None:
        if isinstance(self._spend, BaseException):
            raise self._spend
        if self._spend is None:
            await asyncio.Event().wait()
        return None if self._spend else Reason.GRANT_USED_UP

    def conclude(self, refused: Reason | None) -> bytes:
        self.concluded.append(refused)
        return self._conclude(refused)


async def settled(pending: FakePending, claim: FakeClaim | None = None) -> str:
    answerer = Answerer(FakePdp(lambda *_: pending), FakeObserver())
    claim = claim or FakeClaim(10.0)
    waiting = answerer.answer(b"m", claim)
    assert waiting is pending
    return reason_of(await answerer.settle(pending, claim))


@pytest.mark.parametrize(
    ("spend", "refused", "told"),
    [
        (True, None, "allowed"),
        (False, Reason.GRANT_USED_UP, "grant_used_up"),
        (Refusal(Reason.STATE_UNAVAILABLE), Reason.STATE_UNAVAILABLE, "state_unavailable"),
        (Refusal(Reason.STATE_STALE), Reason.STATE_STALE, "state_stale"),
        (RuntimeError("the store is gone"), Reason.STATE_UNAVAILABLE, "state_unavailable"),
        (PanicError(), Reason.STATE_UNAVAILABLE, "state_unavailable"),
        (TimeoutError(), Reason.DEADLINE_EXCEEDED, "deadline_exceeded"),
    ],
)
async def test_an_allow_that_waits_is_given_when_the_use_is_counted_and_denied_otherwise(spend, refused, told):
    pending = FakePending(spend)
    with capture_logs():
        assert await settled(pending) == told
    assert pending.concluded == [refused]


async def test_an_allow_that_waits_too_long_is_denied():
    pending = FakePending(None)
    assert await settled(pending, FakeClaim(0.01)) == "deadline_exceeded"
    assert pending.concluded == [Reason.DEADLINE_EXCEEDED]


@pytest.mark.parametrize(
    "broken", [broken_by(RuntimeError("x")), broken_by(PanicError()), lambda _: b"", lambda _: None]
)
async def test_an_allow_that_waited_and_cannot_be_told_is_denied(broken):
    with capture_logs():
        assert await settled(FakePending(conclude=broken)) == "internal_error"


async def test_when_the_caller_goes_while_the_use_is_counted_it_goes_on_record():
    """I9: the use may have been counted."""
    pending = FakePending(None)
    task = asyncio.create_task(settled(pending))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending.concluded == [Reason.DEADLINE_EXCEEDED]
