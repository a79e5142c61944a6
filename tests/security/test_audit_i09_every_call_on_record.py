"""I9: every call is on record, or the caller is told that it is not; whatever the call holds."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from authz.audit.record import Recorder
from authz.audit.settings import AuditSettings
from authz.audit.trail import AuditTrail
from authz.errors import Reason
from authz.model import Asked, CheckCall, Credential, Decision, Effect, Kind, Outcome, RuleRef, Subject, Target

# Text of every sort, lone surrogates and separators included.
texts = st.text(st.characters(), max_size=40) | st.sampled_from(["", "\n", "\u2028", "\ud800", "%", "%zz", "a" * 9000])
numbers = st.integers(-1, 2**63 - 1)
times = st.floats(allow_nan=True, allow_infinity=True)
values = st.recursive(
    st.none() | st.booleans() | numbers | times | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
attributes = st.dictionaries(st.sampled_from(["type", "id", "name", "task", "owner", "registered", "x"]), values)
tasks = st.dictionaries(st.sampled_from(["id", "purpose", "declared"]), values)
credentials = st.none() | st.builds(Credential, texts, texts, times, times, texts)
subjects = st.builds(
    Subject,
    id=texts,
    kind=st.sampled_from(Kind),
    trust_domain=texts,
    sources=st.lists(texts, max_size=2).map(tuple),
    credential=credentials,
    token=credentials,
    hops=st.lists(texts, max_size=3).map(tuple),
    attributes=attributes,
)
calls = st.builds(
    CheckCall,
    layer=texts,
    source_address=texts,
    source_port=numbers,
    destination_address=texts,
    principal=texts,
    destination_principal=texts,
    sni=texts,
    stream_id=texts,
    method=texts,
    path=texts,
    host=texts,
    protocol=texts,
    headers=st.dictionaries(st.sampled_from(["x-request-id", "cookie", "x-team"]), texts),
    size=numbers,
    body_partial=st.booleans(),
)
things = st.builds(
    Asked,
    target=st.builds(Target, method=texts, host=texts, path=texts, query=texts),
    obj=attributes,
    protocol=texts,
    name=texts,
    task=tasks,
)
decisions = st.builds(
    Decision,
    effect=st.sampled_from(Effect),
    reason=st.sampled_from(Reason),
    policy_version=texts,
    rule=st.none() | st.builds(RuleRef, texts, texts, numbers, texts),
    obligations=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    detail=texts,
)


outcomes = st.builds(
    Outcome,
    decision_id=texts,
    decision=decisions,
    call=st.none() | calls,
    subject=st.none() | subjects,
    request=st.none(),
    asked=st.none() | things,
    time=times,
    latency_seconds=st.floats(0, 1e6),
)


@given(outcomes)
def test_whatever_a_call_holds_its_record_is_one_line_that_says_what_was_decided(outcome):
    recorder = Recorder(AuditSettings(headers=("x-team",)))
    line = recorder.line(outcome)
    assert line.endswith(b"}\n")
    assert len(line.decode().splitlines()) == 1
    record = msgspec.json.decode(line)
    assert record["effect"] == outcome.decision.effect.value
    assert record["reason"] == outcome.decision.reason.value
    assert record["v"] == 1


@given(outcomes, calls, calls, things, things, st.booleans())
def test_the_record_of_a_decision_used_again_is_that_of_its_own_call(outcome, call, other, asked, another, named):  # noqa: PLR0917 - two of each
    """Two ways of writing one record, from remembered pieces and field by field, of calls that differ in one field."""
    recorder = Recorder(AuditSettings(headers=("x-team",) if named else ()))
    path = msgspec.structs.replace(asked.target, path="/p")
    asked = msgspec.structs.replace(asked, target=path)
    pairs = [(call, asked)]
    pairs += [(_with(call, other, name), asked) for name in CheckCall.__struct_fields__]
    pairs += [(call, _with(asked, another, name)) for name in Asked.__struct_fields__]
    pairs += [
        (call, msgspec.structs.replace(asked, target=_with(path, another.target, name)))
        for name in Target.__struct_fields__
    ]
    for each, thing in pairs:
        one = msgspec.structs.replace(outcome, call=each, asked=thing, subject=Subject(id="s"), cached=True)
        wanted = msgspec.json.decode(recorder.encode(recorder._record(one)))
        assert msgspec.json.decode(recorder.line(one)) == wanted


def _with(one, other, name):
    return msgspec.structs.replace(one, **{name: getattr(other, name)})


class LostSink:
    """Takes nothing."""

    name = "lost"

    def open(self):
        pass

    def write(self, lines):
        raise OSError("lost")

    def reopen(self):
        pass

    def close(self):
        pass


@given(st.integers(1, 30), st.integers(1, 8))
def test_what_is_not_written_was_refused_or_is_told_of_when_closing(offered, limit):
    counts: Counter[str] = Counter()
    trail = AuditTrail(
        AuditSettings(queue_records=limit, flush_seconds=0.001, retry_seconds=0.001),
        count=lambda what, records: counts.update({what: records}),
        report=lambda _: None,
        sink=LostSink(),
    )
    trail.start()
    decision = Decision(Effect.ALLOW, Reason.ALLOWED)
    outcome = Outcome("d", decision, None, None, None, 0.0, 0.0)
    kept = [trail.offer(outcome) for _ in range(offered)]
    assert trail.close() == kept.count(True)
    assert counts == Counter(dropped=kept.count(False), failed=kept.count(True))


def test_denying_what_cannot_be_recorded_is_the_default():
    assert AuditSettings().on_failure == "deny"
