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
