"""The compiled engine behind the interface: verdicts, obligations, contexts, versions, limits of time."""

import threading

import pytest

from authz.errors import PolicyError, Reason, Refusal
from authz.model import Effect
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Engine
from authz.policy.limits import PolicyLimits
from authz.policy.roles import RoleSettings
from authz.policy.source import CompileSettings, Sections

MODEL = """
[request_definition]
r = sub, obj, act
r2 = sub

[policy_definition]
p = sub, obj, act, eft, obligations
p2 = sub, eft

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
e2 = priority(p2.eft) || deny

[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
m2 = r2.sub.age > 18 && r2.sub.name == p2.sub
"""
POLICY = """
p, alice, data1, read, allow, log=full
p, reader, data1, read, allow, max_age=5s;log=full
p, banned, data1, read, deny,
p, alice, data2, read, allow,
g, alice, reader
g, mallory, reader
g, mallory, banned
p2, alice, deny
p2, alice, allow
p2, bob, allow
"""


def never() -> bool:
    return False


def load(model: str = MODEL, policy: str = POLICY, **more) -> CompiledEngine:
    return CompiledEngine.load(
        model, "model.conf", [("policy.csv", policy)], known_obligations=["log", "max_age"], **more
    )


def test_it_is_an_engine():
    engine: Engine = load()
    assert engine.tokens == ("sub", "obj", "act")
    assert engine.rule_count == 4
    assert len(engine.version) == 64


def test_the_verdict_names_the_first_rule_that_allows_with_file_line_and_text():
    verdict = load().evaluate(("alice", "data1", "read"), never)
    assert verdict.effect is Effect.ALLOW
    assert verdict.rule.id == "policy.csv:2"
    assert verdict.rule.text == "p, alice, data1, read, allow, log=full"


def test_obligations_are_those_of_every_rule_that_allows_each_once():
    assert load().evaluate(("alice", "data1", "read"), never).obligations == (("log", "full"), ("max_age", "5s"))
    assert load().evaluate(("reader", "data1", "read"), never).obligations == (("max_age", "5s"), ("log", "full"))
    assert load().evaluate(("alice", "data2", "read"), never).obligations == ()


def test_a_rule_that_denies_is_named():
    verdict = load().evaluate(("mallory", "data1", "read"), never)
    assert (verdict.effect, verdict.rule.line, verdict.obligations) == (Effect.DENY, 4, ())


def test_no_rule_is_named_when_none_matches():
    verdict = load().evaluate(("nobody", "data1", "read"), never)
    assert (verdict.effect, verdict.rule, verdict.error) == (Effect.DENY, None, "")


@pytest.mark.parametrize(
    "effect", ["some(where (p.eft == allow))", "!some(where (p.eft == deny))", "priority(p.eft) || deny"]
)
@pytest.mark.parametrize("policy", ["", "\n\n# nothing\n", "g, alice, reader", "p2, alice, allow"])
def test_without_a_rule_everything_is_denied(effect: str, policy: str):
    model = MODEL.replace("some(where (p.eft == allow)) && !some(where (p.eft == deny))", effect)
    engine = load(model, policy)
    for request in (("", "", ""), ("alice", "data1", "read"), (None, None, None)):
        assert engine.evaluate(request, never).effect is Effect.DENY


@pytest.mark.parametrize("request_", [(), ("alice",), ("alice", "data1"), ("alice", "data1", "read", "more")])
def test_a_request_of_another_size_is_denied_with_an_error(request_: tuple[object, ...]):
    verdict = load().evaluate(request_, never)
    assert verdict.effect is Effect.DENY
    assert verdict.error == f"the request has {len(request_)} values, not 3"


def test_it_refuses_once_time_is_up():
    with pytest.raises(Refusal) as refused:
        load().evaluate(("alice", "data1", "read"), lambda: True)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        2.5,
        True,
        b"alice",
        [],
        ["alice"],
        {},
        {"a": {}},
        object(),
        float("nan"),
        "\ud800",
        "a" * 100_000,
        10**400,
    ],
)
def test_nothing_that_a_request_holds_raises(odd: object):
    engine = load()
    for place in range(3):
        request = ["alice", "data1", "read"]
        request[place] = odd
        assert engine.evaluate(request, never).effect is Effect.DENY
    assert engine.under(Sections.numbered(2)).evaluate([odd], never).effect is Effect.DENY


class Hostile(dict):
    """A request value that fails in its own way."""

    def __getitem__(self, key: object) -> object:
        raise RuntimeError("secret")


def test_a_fault_while_probing_the_request_denies_and_tells_no_secret():
    engine = load().under(Sections.numbered(2))
    many = load(policy="\n".join(f"p2, s{n}, allow" for n in range(50))).under(Sections.numbered(2))
    for asked in (engine, many):
        verdict = asked.evaluate([Hostile()], never)
        assert verdict.effect is Effect.DENY
        assert "RuntimeError" in verdict.error
        assert "secret" not in verdict.error


def test_a_second_set_of_sections_has_its_own_effect():
    engine = load().under(Sections.numbered(2))
    assert engine.tokens == ("sub",)
    assert engine.rule_count == 3
    # By priority (e2), the deny comes first; pycasbin ignores e2 and would look at e.
    assert engine.evaluate([{"age": 30, "name": "alice"}], never).rule.line == 9
    assert engine.evaluate([{"age": 30, "name": "bob"}], never).effect is Effect.ALLOW
    assert engine.evaluate([{"age": 3, "name": "bob"}], never).effect is Effect.DENY
    assert engine.evaluate([{"name": "bob"}], never).error == "the request has no attribute 'age' there"
    assert engine.version == load().version


@pytest.mark.parametrize("name", ["request", "policy", "effect", "matcher"])
def test_a_section_that_the_model_lacks_is_refused(name: str):
    section = {"request": "r9", "policy": "p9", "effect": "e9", "matcher": "m9"}[name]
    with pytest.raises(PolicyError, match=f"{section} is not defined"):
        load(sections=Sections(**{name: section}))


def test_a_matcher_of_other_sections_is_refused():
    with pytest.raises(PolicyError, match=r"model.conf:19: in m2: .*unknown name 'r2'"):
        load(sections=Sections(matcher="m2"))


def test_the_version_is_that_of_the_content_not_of_its_place():
    same = CompiledEngine.load(MODEL, "elsewhere", [("moved", POLICY)], known_obligations=["log", "max_age"])
    assert same.version == load().version
    assert load(policy=POLICY + "\n").version != load().version
    assert load(MODEL + "\n").version != load().version
    settings = CompileSettings(roles=RoleSettings(role_matching={"g": "keyMatch"}))
    assert load(settings=settings).version != load().version


def test_moving_a_line_between_files_is_another_version():
    def version(*texts: str) -> str:
        files = [(str(n), text) for n, text in enumerate(texts)]
        return CompiledEngine.load(MODEL, "m", files).version

    assert version("p, a, b, c, allow,\n", "g, a, b") != version("p, a, b, c, allow,\ng, a, b", "")


def test_several_policy_files_are_one_policy_and_keep_their_names():
    files = [("a.csv", "p, alice, data1, read, allow,"), ("b.csv", "\n\np, bob, data1, read, allow,"), ("c.csv", "")]
    engine = CompiledEngine.load(MODEL, "m", files)
    assert engine.evaluate(("alice", "data1", "read"), never).rule.id == "a.csv:1"
    assert engine.evaluate(("bob", "data1", "read"), never).rule.id == "b.csv:3"


def test_what_is_read_is_told_by_path():
    model = MODEL.replace("r.act == p.act", "r.act.name == p.act && 'x' in r.sub.labels['a.b'].c")
    assert load(model).reads == {"r.sub", "r.obj", "r.act.name", "r.sub.labels.a.b.c"}
    assert load().under(Sections.numbered(2)).reads == {"r2.sub.age", "r2.sub.name"}


def test_every_obligation_is_told_with_its_rule():
    assert [(rule.line, demand) for rule, demand in load().obligations] == [
        (2, ("log", "full")),
        (3, ("max_age", "5s")),
        (3, ("log", "full")),
    ]


def test_threads_can_ask_at_once():
    rows = "\n".join(f"p, role{n}, data{n}, read, allow,\ng, user{n}, role{n}" for n in range(300))
    engine = load(policy=rows)
    wrong = []

    def ask(start: int) -> None:
        for n in range(start, 300, 4):
            if engine.evaluate((f"user{n}", f"data{n}", "read"), never).effect is not Effect.ALLOW:
                wrong.append(n)
            if engine.evaluate((f"user{n}", f"data{n + 1}", "read"), never).effect is not Effect.DENY:
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_priorities_are_numbers_and_equal_ones_stay_as_written():
    model = """
[request_definition]
r = sub
[policy_definition]
p = priority, sub, eft
[policy_effect]
e = priority(p.eft) || deny
[matchers]
m = r.sub == p.sub
"""
    rows = (
        "10, a, deny",
        "9, a, allow",
        "9, a, deny",
        "-1, b, allow",
        "0, b, deny",
        "2, c, indeterminate",
        "3, c, allow",
    )
    policy = "\n".join(f"p, {row}" for row in rows)
    engine = CompiledEngine.load(model, "m", [("p", policy)])
    assert [engine.evaluate([who], never).rule.line for who in "abc"] == [2, 4, 7]


def test_a_policy_at_its_limit_loads_and_one_beyond_does_not():
    rows = "\n".join(f"p, s{n}, o, a, allow," for n in range(20))
    settings = CompileSettings(limits=PolicyLimits(max_rules=20))
    assert load(policy=rows, settings=settings).rule_count == 20
    with pytest.raises(PolicyError, match=r"policy.csv:21: more than 20 rows"):
        load(policy=f"{rows}\ng, a, b", settings=settings)
