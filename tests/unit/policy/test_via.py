"""`via`: whether a chain went through somebody; in both spellings, and as pycasbin evaluates it."""

import casbin
import pytest
from casbin.model import Model
from casbin.persist.adapters.string_adapter import StringAdapter

from authz.errors import PolicyError
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.reference import Reference
from authz.policy.via import via

A, B, C = (f"spiffe://td/ns/{name}" for name in ("x/a", "x/b", "y/c"))
USER = "https://idp.example#alice"
MODEL = """
[request_definition]
r = sub
[policy_definition]
p = eft, pattern
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = {matcher}
"""
CHAINS = [(A,), (A, B), (B, A), (A, B, C), (USER, B, C), (C, B, A), ()]
MATCHERS = [
    f"r.sub.via('{A}')",
    f"!r.sub.via('{A}')",
    "r.sub.via('spiffe://td/ns/x/*')",
    "r.sub.via('spiffe://td/ns/*') && r.sub.depth == 2",
    "r.sub.via('https://idp.example/*')",
    f"via(r.sub.chain, '{A}')",
    "via(r.sub.chain, p.pattern)",
    f"'{A}' in r.sub.chain",
    f"r.sub.origin == '{A}' || r.sub.via('{B}')",
]


class Sub(dict):
    """A subject as pycasbin can call its method."""

    def via(self, pattern):
        return via(pattern)(self["chain"])


def subject(chain):
    return {"chain": chain, "depth": max(0, len(chain) - 1), "origin": chain[0] if chain else ""}


def engine(matcher, pattern="spiffe://td/ns/x/*"):
    return CompiledEngine.load(MODEL.format(matcher=matcher), "m", [("p", f"p, allow, {pattern}")])


def theirs(matcher, chain):
    model = Model()
    model.load_model_from_text(MODEL.format(matcher=matcher))
    enforcer = casbin.Enforcer(model, StringAdapter("p, allow, spiffe://td/ns/x/*"))
    enforcer.add_function("via", lambda parties, pattern: via(pattern)(parties))
    return enforcer.enforce(Sub(subject(chain)))


@pytest.mark.parametrize("matcher", MATCHERS)
@pytest.mark.parametrize("chain", CHAINS)
def test_engine_specification_and_pycasbin_agree(matcher, chain):
    compiled = engine(matcher)
    ours = compiled.evaluate((subject(chain),), lambda: False).effect is Effect.ALLOW
    assert ours is (Reference(compiled.source).evaluate((subject(chain),)).effect is Effect.ALLOW)
    assert ours is theirs(matcher, chain)


@pytest.mark.parametrize(
    ("pattern", "chain", "passed"),
    [
        (A, (A, B), True),
        (B, (A, B), False),  # the caller itself
        (A, (A,), False),
        ("spiffe://td/ns/x/*", (C, A, B), True),
        ("spiffe://td/ns/x/*", (C, B), False),
        ("spiffe://td/n/*", (A, B), False),  # whole segments
        ("spiffe://td/*", (3, B), False),
        (A, [A, B], True),
        (A, (), False),
        (USER, (USER, B), True),  # pycasbin takes "#" for a comment, also in quotes
    ],
)
def test_it_asks_for_those_before_the_last(pattern, chain, passed):
    assert via(pattern)(chain) is passed


@pytest.mark.parametrize("pattern", ["", "*", "spiffe://*/x", "spiffe://td/a*", "a*/*"])
def test_what_is_no_id_nor_the_beginning_of_one_is_refused(pattern):
    with pytest.raises(ValueError, match="via takes an ID"):
        via(pattern)
    with pytest.raises(PolicyError):
        engine(f"r.sub.via('{pattern}')")


@pytest.mark.parametrize("chain", ["spiffe://td/ns/x/a", None, {A: 1}, 3, {A}])
@pytest.mark.parametrize("matcher", [f"r.sub.via('{A}')", f"!r.sub.via('{A}')"])
def test_what_is_no_chain_errs_and_denies(matcher, chain):
    verdict = engine(matcher).evaluate(({"chain": chain},), lambda: False)
    assert verdict.effect is Effect.DENY
    assert verdict.error


@pytest.mark.parametrize(
    ("matcher", "problem"),
    [
        ("r.sub.via(r.sub.id)", "from the rule, not the request"),
        ("r.sub.via()", "via takes one pattern"),
        (f"r.sub.via('{A}', '{B}')", "via takes one pattern"),
        ("r.sub.visa('x')", "methods cannot be called"),
        ("p.pattern.via('x')", "methods cannot be called"),
        ("r.sub.chain.keys()", "methods cannot be called"),
    ],
)
def test_no_other_method_can_be_called_nor_this_one_otherwise(matcher, problem):
    with pytest.raises(PolicyError, match=problem):
        engine(matcher)


def test_many_rules_with_via_are_indexed_by_the_rest_and_err_no_more_than_they_must():
    """The guard of `via` is a list: while the chain is one, rules of other callers may be left out."""
    rules = "\n".join(f"p, allow, spiffe://td/ns/z/{number}" for number in range(500))
    compiled = CompiledEngine.load(
        MODEL.format(matcher="r.sub.id == p.pattern && r.sub.via('spiffe://td/ns/x/*')"), "m", [("p", rules)]
    )
    asked = {"id": "spiffe://td/ns/z/7", "chain": (A, B)}
    assert compiled.evaluate((asked,), lambda: False).effect is Effect.ALLOW
    assert compiled.evaluate(({**asked, "chain": "no"},), lambda: False).error
    assert not compiled.evaluate(({**asked, "id": "x"},), lambda: False).error
