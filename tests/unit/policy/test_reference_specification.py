"""The executable specification itself: small, plain, and right about what can be checked by hand."""

from pathlib import Path

import pytest

from authz.model import Effect
from authz.policy import reference
from authz.policy.functions import registry
from authz.policy.limits import PolicyLimits
from authz.policy.reference import Reference
from authz.policy.roles import RoleSettings
from authz.policy.source import CompileSettings, Sections, read

MODEL = """
[request_definition]
r = sub, obj, act
r2 = who
[policy_definition]
p = sub, obj, act, eft, obligations
p2 = who
[role_definition]
g = _, _
[policy_effect]
e = {}
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
m2 = r2.who == p2.who
"""
ALLOW_AND_DENY = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
POLICY = """
p, reader, /docs/:id, read, allow, log=full
p, alice, /docs/:id, read, allow, max_age=5s
p, banned, /docs/:id, read, deny,
p, writer, /docs/:id, write, indeterminate,
p2, bob
g, alice, reader
g, mallory, reader
g, mallory, banned
"""


def specification(effect: str = ALLOW_AND_DENY, policy: str = POLICY, sections: Sections | None = None) -> Reference:
    known = frozenset(("log", "max_age"))
    source = read(MODEL.format(effect), "m", [("p", policy)], known, CompileSettings(), registry(None, {}))
    return Reference(source, sections or Sections())


@pytest.mark.parametrize(
    ("request_", "effect", "line", "obligations", "errs"),
    [
        (("alice", "/docs/1", "read"), "allow", 2, (("log", "full"), ("max_age", "5s")), False),
        (("reader", "/docs/1", "read"), "allow", 2, (("log", "full"),), False),
        (("mallory", "/docs/1", "read"), "deny", 4, (), False),
        (("alice", "/docs/1/2", "read"), "deny", 0, (), False),
        (("alice", "/docs/1", "write"), "deny", 0, (), False),
        (("writer", "/docs/1", "write"), "deny", 0, (), False),
        ((7, "/docs/1", "read"), "deny", 2, (), True),
    ],
)
def test_it_says_what_one_would_say_by_hand(
    request_: tuple[object, ...], effect: str, line: int, obligations: tuple[tuple[str, str], ...], errs: object
):
    verdict = specification().evaluate(request_)
    assert (verdict.effect, verdict.rule.line if verdict.rule else 0) == (Effect(effect), line)
    assert (verdict.obligations, bool(verdict.error)) == (obligations, errs)


def test_it_denies_on_an_empty_policy_whatever_the_effect():
    for effect in (ALLOW_AND_DENY, "!some(where (p.eft == deny))", "some(where (p.eft == allow))"):
        assert specification(effect, "").evaluate(("", "", "")).effect is Effect.DENY


def test_it_can_be_asked_under_other_sections():
    sections = Sections(request="r2", policy="p2", matcher="m2")
    assert specification(sections=sections).evaluate(("bob",)).effect is Effect.ALLOW
    assert specification(sections=sections).evaluate(("alice",)).effect is Effect.DENY


def test_it_knows_patterns_of_roles():
    settings = CompileSettings(roles=RoleSettings(role_matching={"g": "keyMatch"}), limits=PolicyLimits())
    policy = "p, staff, /docs/:id, read, allow,\ng, agent-*, staff"
    source = read(MODEL.format(ALLOW_AND_DENY), "m", [("p", policy)], frozenset(), settings, registry(None, {}))
    assert Reference(source).evaluate(("agent-7", "/docs/1", "read")).effect is Effect.ALLOW
    assert Reference(source).evaluate(("other-7", "/docs/1", "read")).effect is Effect.DENY


def test_it_fits_on_a_page():
    text = Path(reference.__file__).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
