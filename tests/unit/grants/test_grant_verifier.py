"""The grant that a request presents: its time and holder are asked at every use."""

import pytest
from grant_kit import (
    EC_KEY,
    ED_KEY,
    FINGERPRINT,
    HOLDER,
    KEYS,
    NOW,
    PLANNER,
    call,
    grant,
    grant_id,
    request,
    settings,
    subject,
)

import authz.grants.verifier
from authz.errors import Reason, Refusal
from authz.grants.settings import GrantSettings
from authz.grants.token import sign_grant
from authz.grants.verifier import GrantVerifier
from authz.jose.jwk import KeySet
from authz.model import Credential, Subject

TOKEN = sign_grant(grant(), ED_KEY)


def verifier(keys=KEYS, **changes):
    return GrantVerifier(settings(**changes), keys)


def refused(checker, token=TOKEN, who=None, now=NOW, **changes):
    with pytest.raises(Refusal) as caught:
        checker.verify(call(token, **changes), who or subject(), now)
    assert len(token) < 20 or token not in caught.value.detail  # I10
    return caught.value.reason


def test_a_grant_is_verified_once_and_described():
    found = verifier().verify(call(TOKEN), subject(), NOW)
    assert found.grant == grant()
    assert len(found.fingerprint) == 64
    assert TOKEN not in repr(found)  # I10
    assert found.covers(request())
    assert not found.covers(request("PUT"))


def test_a_signature_is_checked_once_for_each_token(monkeypatch):
    read, real = [], authz.grants.verifier.read_grant
    monkeypatch.setattr(
        authz.grants.verifier, "read_grant", lambda text, *rest: (read.append(text), real(text, *rest))[1]
    )
    checker = verifier(max_memo_entries=2)
    tokens = [sign_grant(grant(id=grant_id(n)), EC_KEY) for n in range(3)]
    for token in (tokens[0], tokens[1], tokens[0], tokens[0]):
        checker.verify(call(token), subject(), NOW)
    assert read == tokens[:2]
    checker.verify(call(tokens[2]), subject(), NOW)  # the least recently used, tokens[1], goes
    checker.verify(call(tokens[0]), subject(), NOW)
    assert read == tokens
    checker.verify(call(tokens[1]), subject(), NOW)
    assert read == [*tokens, tokens[1]]


def test_without_a_header_there_is_no_grant():
    assert verifier().verify(call(None), subject(), NOW) is None
    assert verifier().verify(call(TOKEN, header="authorization"), subject(), NOW) is None


def test_where_grants_are_off_none_is_read():
    off = GrantVerifier(GrantSettings(), KEYS)
    assert off.verify(call("garbage"), subject(), NOW) is None
    assert off.verify(call("garbage", header=""), subject(), NOW) is None


def test_the_header_is_the_configured_one():
    checker = verifier(header="x-task-grant")
    assert checker.verify(call(TOKEN), subject(), NOW) is None
    assert checker.verify(call(TOKEN, header="x-task-grant"), subject(), NOW)


@pytest.mark.parametrize("token", ["", " ", "garbage", "a.b.c", f"{TOKEN},{TOKEN}", f"Bearer {TOKEN}"])
def test_a_header_that_holds_no_grant_is_not_the_same_as_none(token):
    assert refused(verifier(), token) is Reason.GRANT_MALFORMED


def test_a_header_that_came_twice_is_refused_even_when_it_says_the_same():
    assert refused(verifier(), repeated_headers=frozenset({"authz-grant"})) is Reason.GRANT_MALFORMED


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    ("moment", "reason"),
    [
        (NOW + 10 - 5.001, Reason.GRANT_NOT_YET_VALID),
        (NOW + 10 - 5, None),
        (NOW + 300 + 5, None),
        (NOW + 300 + 5.001, Reason.GRANT_EXPIRED),
        (float("nan"), Reason.GRANT_NOT_YET_VALID),
    ],
)
def test_the_time_is_judged_at_every_use(moment, reason, seen):
    """I4: to the leeway and not beyond, whether the token was seen before or not."""
    checker, token = verifier(), sign_grant(grant(not_before=NOW + 10), ED_KEY)
    if seen:
        assert checker.verify(call(token), subject(), NOW + 50)
    if reason:
        assert refused(checker, token, now=moment) is reason
    else:
        assert checker.verify(call(token), subject(), moment)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    "who",
    [
        subject(PLANNER),
        subject(HOLDER + "x"),
        subject(""),
        Subject(),
        subject("spiffe://other.example/ns/agents/sa/payer"),
    ],
)
def test_nobody_but_the_holder_may_present_it(who, seen):
    checker = verifier()
    if seen:
        assert checker.verify(call(TOKEN), subject(), NOW)
    assert refused(checker, who=who) is Reason.GRANT_HOLDER


def test_whoever_handed_the_task_on_is_not_the_holder():
    token = sign_grant(grant(delegators=(PLANNER,)), ED_KEY)
    assert verifier().verify(call(token), subject(), NOW)
    assert refused(verifier(), token, subject(PLANNER)) is Reason.GRANT_HOLDER


@pytest.mark.parametrize("seen", [False, True])
def test_a_bound_grant_is_for_one_certificate(seen):
    checker, token = verifier(), sign_grant(grant(certificate=FINGERPRINT), ED_KEY)
    if seen:
        assert checker.verify(call(token), subject(), NOW)
    assert refused(checker, token, subject(fingerprint="cd" * 32)) is Reason.GRANT_CERTIFICATE
    assert refused(checker, token, subject(fingerprint="")) is Reason.GRANT_CERTIFICATE
    by_token = Subject(id=HOLDER, token=Credential("jwt-svid", FINGERPRINT, 0, 1))
    assert refused(checker, token, by_token) is Reason.GRANT_CERTIFICATE


def test_a_refused_token_is_not_remembered():
    checker = verifier(keys=KeySet())
    assert refused(checker) is Reason.GRANT_KEY_UNKNOWN
    assert refused(checker) is Reason.GRANT_KEY_UNKNOWN
