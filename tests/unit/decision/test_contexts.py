"""Several sections of one model, chosen by the request: Casbin's request context."""

from pathlib import Path

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.check import Checker
from authz.errors import ConfigError, PolicyError
from authz.model import AccessRequest, Kind, Subject, Target
from authz.stores.holder import SnapshotHolder

MODEL = """[request_definition]
r = sub, obj, act
r2 = sub, act
[policy_definition]
p = sub, path
p2 = sub, name
[policy_effect]
e = some(where (p.eft == allow))
e2 = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.path == p.path
m2 = r2.sub.id == p2.sub && r2.act.name == p2.name
"""
CONFIG = """
[identity]
trust_domain = "td.example"
[policy]
model = "model.conf"
policies = ["policy.csv"]
[policy.contexts]
"""
RULES = "p, a, /x\np2, a, connect\n"


def build(base: Path, contexts: str, model: str = MODEL, rules: str = RULES, more: str = ""):
    (base / "model.conf").write_text(model)
    (base / "policy.csv").write_text(rules)
    (base / "authz.toml").write_text(CONFIG + contexts + more)
    return Composition(load(base / "authz.toml", Config, {}), base).build_snapshot()


def asked(context: object = None, path: str = "/x", name: str = "connect") -> AccessRequest:
    given = {} if context is None else {"policy": context}
    return AccessRequest(
        subject=Subject(id="a", kind=Kind.WORKLOAD),
        target=Target(path=path),
        sub={"id": "a"},
        obj={"path": path, "host": "h"},
        act={"name": name, "protocol": "http", "method": "GET", "query": {}},
        env={"context": given, "time": 1.0},
    )


def decided(snapshot, request: AccessRequest) -> tuple[bool, str, str]:
    decision = snapshot.decide(request, lambda: False)
    return decision.allowed, decision.reason.value, decision.rule.id if decision.rule else ""


class Kept:
    def offer(self, outcome) -> bool:
        self.outcome = outcome
        return True

    def decided(self, outcome) -> None:
        """Nothing to count."""


BOTH = 'sections = { "" = 1, tcp = 2 }\n'


def test_each_context_has_its_own_rules(tmp_path: Path):
    snapshot = build(tmp_path, BOTH)
    assert decided(snapshot, asked(None)) == (True, "allowed", "policy.csv:1")
    assert decided(snapshot, asked("tcp")) == (True, "allowed", "policy.csv:2")
    assert decided(snapshot, asked("tcp", name="other")) == (False, "no_matching_rule", "")
    assert decided(snapshot, asked("tcp", path="/other"))[0] is True
    assert decided(snapshot, asked(None, path="/other"))[0] is False


@pytest.mark.parametrize("context", ["TCP", "udp", "tcp ", "2", 2, ["tcp"], {"tcp": 1}, True])
def test_a_context_that_is_not_named_denies(tmp_path: Path, context: object):
    snapshot = build(tmp_path, BOTH)
    assert decided(snapshot, asked(context)) == (False, "rule_error", "")


def test_a_request_without_the_attribute_is_denied_unless_it_is_named(tmp_path: Path):
    snapshot = build(tmp_path, "sections = { http = 1, tcp = 2 }\n")
    assert decided(snapshot, asked(None))[0] is False
    decision = snapshot.decide(asked(None), lambda: False)
    assert decision.detail == "no sections of the model are meant for this env.context.policy"


def test_any_attribute_may_choose(tmp_path: Path):
    snapshot = build(tmp_path, 'attribute = "act.protocol"\nsections = { http = 2 }\n')
    assert decided(snapshot, asked(None, path="/other"))[0] is True


def test_all_rules_count_and_all_attributes_are_known(tmp_path: Path):
    snapshot = build(tmp_path, BOTH)
    assert snapshot.engine.rule_count == 2
    assert {"r.env.context.policy", "r.obj.path", "r2.act.name"} <= snapshot.engine.reads


def test_sections_that_the_model_lacks(tmp_path: Path):
    with pytest.raises(PolicyError, match="r3 is not defined"):
        build(tmp_path, "sections = { a = 1, b = 3 }\n")


def test_an_error_in_a_rule_of_another_section_is_found_at_load(tmp_path: Path):
    broken = MODEL.replace("r2.act.name == p2.name", "nosuch(r2.act.name)")
    with pytest.raises(PolicyError, match="nosuch"):
        build(tmp_path, BOTH, broken)


def test_tokens_are_mapped_for_every_section_and_a_stray_mapping_is_refused(tmp_path: Path):
    model = MODEL.replace("r2 = sub, act", "r2 = who, act").replace("r2.sub.id", "r2.who")
    more = '[attributes.request]\nwho = "sub.id"\n'
    assert decided(build(tmp_path, BOTH, model, more=more), asked("tcp"))[0] is True
    with pytest.raises(ConfigError, match="no request token `stray`"):
        build(tmp_path, BOTH, more='[attributes.request]\nstray = "sub.id"\n')


@pytest.mark.parametrize(
    "contexts",
    [
        "",
        "sections = {}\n",
        "sections = { a = 0 }\n",
        "sections = { a = 100 }\n",
        'sections = { a = "2" }\n',
        'attribute = "host"\nsections = { a = 1 }\n',
        'attribute = "obj."\nsections = { a = 1 }\n',
        'attribute = "headers.x"\nsections = { a = 1 }\n',
    ],
)
def test_settings_that_are_refused(tmp_path: Path, contexts: str):
    with pytest.raises(ConfigError):
        build(tmp_path, contexts)


def test_a_decision_is_never_used_again_in_another_context(tmp_path: Path):
    rules = "p, spiffe://td.example/a, /x\np2, spiffe://td.example/a, POST\n"
    build(tmp_path, BOTH, rules=rules)
    composition = Composition(load(tmp_path / "authz.toml", Config, {}), tmp_path, trust_principal=True)
    kept = Kept()
    checker = Checker(composition.parts(SnapshotHolder(composition.build_snapshot()), kept, kept))
    request = CheckRequest()
    request.attributes.source.principal = "spiffe://td.example/a"
    http = request.attributes.request.http
    http.method, http.host, http.path = "GET", "h", "/x"
    seen = []
    for context in ("", "tcp", "", "tcp", "udp", ""):
        request.attributes.context_extensions.clear()
        if context:
            request.attributes.context_extensions["policy"] = context
        checker.check(request.SerializeToString(), 60.0)
        seen.append((context, kept.outcome.decision.allowed, kept.outcome.cached))
    assert seen == [
        ("", True, False),
        ("tcp", False, False),
        ("", True, True),
        ("tcp", False, True),
        ("udp", False, False),
        ("", True, True),
    ]
