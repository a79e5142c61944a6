"""With a cache and without, whatever comes in whatever order, the same is decided (I3, I4)."""

import pytest
from grant_kit import ED_KEY, grant, grant_id
from grants_served import HOLDER, NOW, Served
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.grants.changes import (
    CutOff,
    CutOffKind,
    DenyAllBut,
    EndCutOff,
    EndDenyAllBut,
    Restore,
    RevocationKind,
    Revoke,
)
from authz.grants.grant import Task
from authz.grants.scope import Scope, access
from authz.grants.token import sign_grant

OTHER = "spiffe://prod.example/ns/agents/sa/other"
POLICY = """p, r.sub.id == 'spiffe://prod.example/ns/agents/sa/payer' && r.obj.path == '/v1/a', allow,
p, r.env.grant.valid && r.env.grant.age < 20 && r.act.method == 'PUT', allow,
p, r.obj.path == '/v1/b' && r.env.task.id == 't1', allow, grant=required
p, r.env.task.id == 't2' && r.env.task.declared, deny,
p, r.obj.path == '/v1/c' && r.env.hour < 24, allow,
"""


def token(number, task, paths, **changes):
    scope = Scope((access(["GET", "PUT"], ["*"], paths),))
    return sign_grant(grant(id=grant_id(number), task=Task(task), scope=scope, **changes), ED_KEY)


TOKENS = [
    None,
    token(1, "t1", ["/*"]),
    token(2, "t2", ["/v1/b"], expires=NOW + 30, delegators=("spiffe://prod.example/boss",)),
    token(3, "t1", ["/v1/a", "/v1/c"], holder=OTHER, not_before=NOW + 10, expires=NOW + 60),
    token(4, "t1", ["/*"], ancestors=(grant_id(1),)),
    "no.grant.this",
]
named = st.sampled_from(
    [
        *((RevocationKind.GRANT, grant_id(number)) for number in (1, 2, 3)),
        (RevocationKind.TASK, "t1"),
        (RevocationKind.COMPLETED_TASK, "t2"),
        (RevocationKind.PRINCIPAL, HOLDER),
        (RevocationKind.PRINCIPAL, "spiffe://prod.example/boss"),
        (RevocationKind.TRUST_DOMAIN, "prod.example"),
    ]
)
changes = (
    st.builds(lambda what, end: Revoke(*what, NOW + end), named, st.integers(0, 60))
    | st.builds(lambda what: Restore(*what), named)
    | st.builds(
        lambda at, end: CutOff(CutOffKind.EVERYBODY, "", NOW + at, NOW + end), st.integers(0, 5), st.integers(0, 60)
    )
    | st.just(EndCutOff(CutOffKind.EVERYBODY, ""))
    | st.builds(lambda end: DenyAllBut("o1", "a", "b", NOW + end, (OTHER,)), st.integers(0, 60))
    | st.just(EndDenyAllBut("o1"))
)
asks = st.tuples(
    st.sampled_from(TOKENS),
    st.sampled_from(["/v1/a", "/v1/b", "/v1/c", "/v1/d"]),
    st.sampled_from(["GET", "GET", "PUT"]),
    st.sampled_from([HOLDER, HOLDER, OTHER]),
    st.sampled_from(["", "t1", "t2"]),
)
steps = st.lists(st.tuples(st.integers(0, 9), changes | st.none(), st.lists(asks, min_size=1, max_size=4)), max_size=12)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One that keeps decisions, and one that evaluates every request."""
    cached = Served(tmp_path_factory.mktemp("cached"), POLICY)
    off = "[cache]\nmax_allowed_entries = 0\nmax_denied_entries = 0"
    return cached, Served(tmp_path_factory.mktemp("fresh"), POLICY, off)


@settings(max_examples=100)
@given(history=steps)
def test_cached_equals_fresh(pair, history):
    for pdp in pair:
        pdp.begin()
        pdp.checker._cache.clear()
    for wait, change, asked in history:
        for pdp in pair:
            pdp.now += wait
            if change is not None:
                pdp.revoked.take(change)
        for text, path, method, who, task in asked * 2:
            headers = {"x_task_id": task} if task else {}
            first, second = (pdp.reason(text, path=path, method=method, who=who, **headers) for pdp in pair)
            assert first is second
            assert not pair[1].cached


def test_the_one_with_a_cache_uses_it(pair):
    cached = pair[0]
    cached.begin()
    for _ in range(2):
        cached.reason(TOKENS[1], path="/v1/a")
    assert cached.cached
