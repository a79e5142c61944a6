"""The compiled engine against its executable specification: generated models, rules and requests, odd ones included."""

from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.errors import PolicyError
from authz.model import Effect
from authz.policy import candidates, index
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.policy.limits import PolicyLimits
from authz.policy.reference import Reference
from authz.policy.roles import RoleSettings
from authz.policy.source import CompileSettings

EFFECTS = (
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
)
CONJUNCTS = (
    "r.sub.name == p.sub",
    "p.sub == r.sub.name",
    "r.obj == p.obj",
    "r.act == p.act",
    "r.obj.path == p.obj",
    'r.act in ("read", "write")',
    "r.act in ['read']",
    'r.act != "delete"',
    "p.sub in r.sub.groups",
    '"staff" in r.sub.groups',
    '"team" not in r.sub.groups',
    "r.sub.name in r.sub.groups",
    "g(r.sub.name, p.sub)",
    "g(r.sub.name, 'admin')",
    "g2(r.obj, p.obj, r.dom)",
    "g2(r.obj, p.obj, p.act)",
    "keyMatch(r.obj, p.obj)",
    "keyMatch2(r.obj, p.obj)",
    "keyMatch2(r.obj.path, p.obj)",
    "keyMatch3(r.obj, p.obj)",
    "keyMatch5(r.obj, p.obj)",
    "globMatch(r.obj, p.obj)",
    "regexMatch(r.act, p.act)",
    "ipMatch(r.sub.ip, '10.0.0.0/8')",
    "keyGet2(r.obj, '/data/:id', 'id') == r.sub.name",
    "eval(p.rule)",
    "eval(p.rule) && eval(p.rule)",
    "r.sub.age > 17",
    "17 < r.sub.age <= 60",
    "r.sub.age + 1 > r.sub.limit * 2",
    "r.sub.age % 7 == 3",
    "r.sub.age / r.sub.limit > 2",
    "r.sub.admin",
    "!r.sub.admin",
    "r.sub",
    "p.act == 'read'",
    'p.sub == "*"',
    '(p.sub == "*" || g(r.sub.name, p.sub))',
    '(p.sub == "*" || r.sub.name == p.sub)',
    "(r.obj == p.obj || keyMatch2(r.obj, p.obj))",
    "(r.sub.name == p.sub || r.sub.admin)",
    "!(r.obj == p.obj)",
    "not r.obj == p.obj",
    '(r.sub.name == p.sub && r.act == p.act || r.sub.name == "root")',
    "r.dom == p.act",
    "True",
    "False",
)
SUB_RULES = (
    "r.sub.age > {n}",
    "r.sub.age < {n} && r.act == {s}",
    "r.sub.name == {s}",
    "r.sub.name in ({s}, {s})",
    "r.sub.name in ({s},)",
    "{s} in r.sub.groups",
    "r.sub.admin",
    "r.sub.admin || r.sub.age > {n}",
    "r.sub.name == {s} || r.sub.name == {s}",
    "r.sub.name == {s} && r.sub.age > {n}",
    "r.sub.name == {s} && {n} > 3",
    "keyMatch2(r.obj, {s})",
    "g(r.sub.name, {s})",
    "p.act == {s}",
    "p.sub != {s} || r.sub.age == {n}",
    "!(r.sub.name == {s})",
    'r.sub["name"] == {s}',
    "r.sub.limit * {n} > 10",
    "r.dom == {s}",
    "True",
    "r.sub.age",
)
NAMES = ("alice", "bob", "admin", "staff", "*", "root", "read", "d1")
OBJECTS = ("data1", "/data/1", "/data/:id", "/data/*", "/data/{id}", "*", "/data/1/x", "group", "alice")
ACTS = ("read", "write", "(read)|(write)", "d1", "r.*")


@st.composite
def sub_rules(draw) -> str:
    text = draw(st.sampled_from(SUB_RULES))
    while "{s}" in text:
        text = text.replace("{s}", repr(draw(st.sampled_from((*NAMES, *OBJECTS)))), 1)
    while "{n}" in text:
        text = text.replace("{n}", str(draw(st.integers(0, 70))), 1)
    return text


class Case(NamedTuple):
    """One policy and what to ask it."""

    model: str
    policy: str
    requests: list[tuple[object, ...]]
    roles: RoleSettings


values = st.sampled_from(("alice", "bob", "carol", "", 7, None, True, 2.5, ["staff"], {"x": "y"}, "\ud800"))
people = st.one_of(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("alice", "bob", "root", "carol", "d1"))},
        optional={
            "age": st.one_of(st.integers(0, 80), st.sampled_from(("old", None, 2.5, True))),
            "limit": st.sampled_from((0, 1, 3.5, "x")),
            "groups": st.sampled_from((["staff"], ("admin", "alice"), {"staff": 1}, "staff", [], [["x"], "bob"])),
            "admin": st.sampled_from((True, False, "yes", 0)),
            "ip": st.sampled_from(("10.1.2.3", "192.168.0.1", "::1", "nowhere", 5)),
        },
    ),
    st.dictionaries(st.sampled_from(("name", "age", "admin", "groups")), values, max_size=3),
    values,
)
things = st.one_of(
    st.sampled_from(("data1", "/data/1", "/data/2/x", "/data/1?x=1", "group", "/data/1\n", "/other")),
    st.fixed_dictionaries({}, optional={"path": st.sampled_from(("/data/1", "/other", 3))}),
    values,
)
odd = st.tuples(people, things, st.sampled_from(("read", "write", "delete", 3)), st.sampled_from(("d1", "d2", 1)))
grown = st.fixed_dictionaries(
    {
        "name": st.sampled_from(("alice", "bob", "root", "carol")),
        "age": st.integers(0, 80),
        "limit": st.sampled_from((1, 3.5, 20)),
        "groups": st.sampled_from((["staff"], ["alice", "admin"], [])),
        "admin": st.booleans(),
        "ip": st.sampled_from(("10.1.2.3", "192.168.0.1")),
    }
)
regular = st.tuples(
    grown,
    st.sampled_from(("data1", "/data/1", "/data/1/x", "group", "alice")),
    st.sampled_from(("read", "write")),
    st.sampled_from(("d1", "d2")),
)
requests = st.one_of(regular, regular, regular, odd)


@st.composite
def cases(draw) -> Case:
    conjuncts = draw(st.lists(st.sampled_from(CONJUNCTS), min_size=1, max_size=5))
    if draw(st.integers(0, 3)):
        # Mostly without what errs for every ordinary request.
        conjuncts = [part for part in conjuncts if ".path" not in part and part != "r.sub"] or ["r.act == p.act"]
    matcher = conjuncts[0]
    for conjunct in conjuncts[1:]:
        matcher += draw(st.sampled_from((" && ", " && ", " && ", " && ", " || "))) + conjunct
    effect = draw(st.sampled_from(EFFECTS))
    conditional = draw(st.booleans())
    model = f"""
[request_definition]
r = sub, obj, act, dom
[policy_definition]
p = sub, obj, act, rule, eft, obligations
[role_definition]
g = {"_, _, (_, _)" if conditional else "_, _"}
g2 = _, _, _
[policy_effect]
e = {effect}
[matchers]
m = {matcher}
"""
    lines = []
    for _ in range(draw(st.integers(0, 14))):
        eft = draw(st.sampled_from(("allow", "allow", "allow", "deny", "indeterminate")))
        demand = draw(st.sampled_from(("", "", "log=full", "max_age=5s;log=full"))) if eft == "allow" else ""
        cells = (
            draw(st.sampled_from(NAMES)),
            draw(st.sampled_from(OBJECTS)),
            draw(st.sampled_from(ACTS)),
            draw(sub_rules()),
            eft,
            demand,
        )
        lines.append(", ".join(("p", *cells)))
    # Without circles: a name is only granted names behind it.
    names = ("alice", "bob", "carol", "data1", "/data/:id", "staff", "admin", "group", "*", "d1")
    for _ in range(draw(st.integers(0, 5))):
        low, high = sorted(draw(st.lists(st.integers(0, len(names) - 1), min_size=2, max_size=2, unique=True)))
        until = draw(st.sampled_from(("_", "2020-01-01 00:00:00", "2040-01-01 00:00:00")))
        lines.append(f"g, {names[low]}, {names[high]}" + (f", _, {until}" if conditional else ""))
        lines.append(f"g2, {names[low]}, {names[high]}, {draw(st.sampled_from(('d1', 'd2', '*', 'read')))}")
    roles = RoleSettings(
        role_matching=draw(st.sampled_from(({}, {"g2": "keyMatch2"}, {"g": "keyMatch"}))),
        domain_matching=draw(st.sampled_from(({}, {"g2": "keyMatch"}))),
    )
    asked = draw(st.lists(requests, min_size=1, max_size=8))
    return Case(model, "\n".join(draw(st.permutations(lines))), asked, roles)


def answer(verdict: Verdict) -> tuple[object, ...]:
    return verdict.effect, verdict.rule, verdict.obligations, bool(verdict.error)


def load(case: Case) -> CompiledEngine:
    return CompiledEngine.load(
        case.model,
        "model.conf",
        [("policy.csv", case.policy)],
        known_obligations=["log", "max_age"],
        settings=CompileSettings(limits=PolicyLimits(max_role_depth=20), roles=case.roles),
        clock=lambda: 1_800_000_000.0,
    )


@pytest.mark.parametrize("few", [0, 1, 8])
def test_every_verdict_is_the_specifications(few: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(candidates, "_FEW", few)
    monkeypatch.setattr(index, "_FEW", few)

    @given(cases())
    @settings(max_examples=settings.default.max_examples)
    def agree(case: Case) -> None:
        try:
            engine = load(case)
        except PolicyError as refused:
            event(f"refused: {refused.problem[:40]}")
            return
        reference = Reference(engine.source)
        for request in case.requests:
            found, expected = engine.evaluate(request, lambda: False), reference.evaluate(request)
            event("errs" if found.error else found.effect.value if found.rule else "nothing matches")
            assert answer(found) == answer(expected), request

    agree()


@given(cases(), st.randoms(use_true_random=False))
def test_order_and_duplicates_change_nothing_without_priorities(case: Case, random):
    if "priority" in case.model:
        return
    lines = case.policy.splitlines()
    shuffled = lines + [random.choice(lines) for _ in range(2) if lines]
    random.shuffle(shuffled)
    try:
        first, second = load(case), load(case._replace(policy="\n".join(shuffled)))
    except PolicyError:
        return
    for request in case.requests:
        one, other = first.evaluate(request, lambda: False), second.evaluate(request, lambda: False)
        assert one.effect is other.effect
        if one.effect is Effect.ALLOW:
            assert set(one.obligations) == set(other.obligations)


@given(cases(), st.data())
def test_what_is_not_read_does_not_matter(case: Case, data):
    try:
        engine = load(case)
    except PolicyError:
        return
    for request in case.requests:
        changed = tuple(
            blurred(value, f"r.{token}", engine.reads, data)
            for token, value in zip(engine.tokens, request, strict=True)
        )
        assert answer(engine.evaluate(request, lambda: False)) == answer(engine.evaluate(changed, lambda: False))


def blurred(value: object, path: str, reads: frozenset[str], data) -> object:
    """The value with everything changed that no policy reads."""
    if path in reads:
        return value
    if isinstance(value, Mapping):
        kept = {key: blurred(item, f"{path}.{key}", reads, data) for key, item in value.items()}
        return kept if f"{path}.unread" in reads else {**kept, "unread": data.draw(values)}
    if any(read.startswith(f"{path}.") for read in reads):
        return value
    return data.draw(values)


@given(cases())
def test_an_explicit_deny_beats_every_allow(case: Case):
    if "priority" in case.model:
        return
    try:
        engine = load(case)
        with_deny = load(case._replace(policy=f"{case.policy}\np, *, *, read, True, deny,"))
    except PolicyError:
        return
    reference = Reference(with_deny.source)
    for request in case.requests:
        denied = engine.evaluate(request, lambda: False).effect is Effect.DENY
        if denied or any(says_deny(reference, rule, request) for rule in reference.rules):
            assert with_deny.evaluate(request, lambda: False).effect is Effect.DENY


def says_deny(reference: Reference, rule, request) -> bool:
    try:
        matches = reference.matches(rule, dict(zip(reference.scope.tokens, request, strict=True)))
    except Exception:  # noqa: BLE001 - whatever it is, the rule errs
        return False
    return matches and reference.cell(rule, "eft") == "deny"
