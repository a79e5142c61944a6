"""`authz policy replay`: recorded calls decided again, and never by what the record does not hold."""

import json
import sys

import msgspec
import pytest
from author_world import BILLING, PLANNER, AuthorWorld
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.audit.record import Recorder
from authz.audit.schema import CredentialRecord, DecisionRecord
from authz.audit.settings import AuditSettings
from authz.authoring.past_calls import Lines, NotRecordedError, Partial, asked_again, read_log, recorded
from authz.authoring.question import Question, build_request
from authz.authoring.ruling import Ruling, UncertainError, rule_on, ruling
from authz.authoring.sides import Side
from authz.cli.options import read_config
from authz.errors import Refusal

AT = 1_767_600_000.0
CONFIG = """\
[identity]
trust_domain = "demo.internal"
anonymous = "policy"
inventory.file = "inventory.toml"
[policy]
model = "model.conf"
policies = ["policy.csv"]
[attributes]
expose_headers = ["x-team", "x-other"]
"""
AUDIT = AuditSettings(headers=("x-team",), query_values=("page",))


class Past:
    """A policy, and calls that it decided, on record."""

    def __init__(self, directory, policy):
        self.world = AuthorWorld(directory, policy=policy, config=CONFIG)
        self.side = Side("x", read_config(self.world.config), directory, "")
        self.records = []

    def call(self, **question):
        message = build_request(Question(**question), None).SerializeToString()
        answer = self.side.run.ask(message, AT)
        line = Recorder(AUDIT).line(answer.outcome)
        self.records.append(line)
        return answer, next(read_log([line], "log", Lines()))[1]

    def log(self):
        return self.world.write("audit.jsonl", b"".join(self.records).decode())

    def replay(self, *options):
        return self.world.run("replay", self.log(), "-c", self.world.config, *options)


ALLOW_ALL = "p, all, True, *, *, allow,\n"


def test_nothing_changes_under_the_policy_that_decided(tmp_path):
    past = Past(tmp_path, f"p, r, r.sub.id == '{PLANNER}', /a/*, GET, allow,\n")
    past.call(principal=PLANNER, path="/a/1")
    past.call(principal=BILLING, path="/a/1?q=1")
    past.call(path="/a/1")
    result = past.replay()
    assert result.exit_code == 0, result.output
    assert "no decisions change, of 3 calls" in result.output


def test_what_a_new_policy_would_deny_is_told_before_it_ships(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    for number in range(12):
        past.call(principal=PLANNER, path="/a", method="PUT", source=f"10.0.0.1:{1000 + number}")
    past.call(principal=PLANNER, path="/a")
    past.world.write("policy.csv", "p, gets, True, *, GET, allow,\n")
    result = past.replay()
    assert result.exit_code == 1
    assert "now denied: 12 calls" in result.output
    assert f"12 x {PLANNER}: PUT /a" in result.output
    assert "was allowed by policy.csv:1" in result.output
    assert "now denied (no_matching_rule)" in result.output
    assert "audit.jsonl:" in result.output
    assert "12 decisions change, of 13 calls" in result.output
    assert past.replay("--fail-on-gain").exit_code == 0


def test_what_a_new_policy_would_allow_fails_on_gain(tmp_path):
    past = Past(tmp_path, "p, gets, True, *, GET, allow,\n")
    past.call(principal=PLANNER, path="/a", method="PUT")
    past.world.write("policy.csv", ALLOW_ALL)
    assert past.replay("--fail-on-gain").exit_code == 1


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        ("r.env.context.team == 'a'", "r.env.context.team"),
        ("r.env.headers['x-other'] == 'a'", "r.env.headers.x-other"),
        ("r.act.query.id == '7'", "r.act.query.id"),
        ("r.obj.port == 8443", "r.obj.port"),
        ("'prod' in r.env.metadata", "r.env.metadata"),
    ],
)
def test_what_rests_on_an_attribute_that_is_not_recorded_is_not_compared(tmp_path, rule, missing):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a?id=7&page=2", host="h:8443", headers={"x-other": "a"}, context={"team": "a"})
    past.world.write("policy.csv", f"p, r, {rule}, /a, *, allow,\n")
    result = past.replay()
    assert result.exit_code == 0
    assert "not comparable: 1 calls" in result.output
    assert f"1 x {missing}, such as" in result.output
    # Where the rule would not come to look at it, it does not matter.
    past.world.write("policy.csv", f"p, r, {rule}, /b, *, allow,\n")
    assert "now denied: 1 calls" in past.replay().output
    # A rule that denies for certain settles it, whatever the other says.
    past.world.write("policy.csv", f"p, r, {rule}, /a, *, allow,\np, no, True, *, *, deny,\n")
    assert "now denied by no (policy.csv:2)" in past.replay().output


def test_what_is_recorded_is_used(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(
        principal=PLANNER, path="/a?page=2", headers={"x-team": "a", "x-task-purpose": "plan"}, source="10.1.2.3:9"
    )
    for rule in ("r.env.headers['x-team'] == 'a'", "r.act.query.page == '2'", "r.env.task.purpose == 'plan'",
                 "r.env.source_address == '10.1.2.3'", f"r.env.time == {AT}",
                 "timeMatch('2026-01-05 00:00:00', '2026-01-06 00:00:00')"):  # fmt: skip
        past.world.write("policy.csv", f"p, r, {rule}, /a, *, allow,\n")
        assert "no decisions change, of 1 calls" in past.replay().output, rule


def test_claims_of_a_token_are_not_recorded_and_without_one_there_are_none(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    _, record = past.call(principal=PLANNER, path="/a")
    past.world.write("policy.csv", "p, r, 's' in r.sub.claims && r.sub.claims.s == 'x', /a, *, allow,\n")
    side = Side("y", read_config(past.world.config), past.world.directory, "")
    assert rule_on(side.run, asked_again(side.run, record)).effect == "deny"
    token = CredentialRecord(kind="jwt-svid", not_after="2027-01-01T00:00:00Z")
    proved = msgspec.structs.replace(record, subject=msgspec.structs.replace(record.subject, token=token))
    with pytest.raises(UncertainError, match=r"r\.sub\.claims"):
        rule_on(side.run, asked_again(side.run, proved))


def test_with_priorities_what_stands_first_decides_or_leaves_it_open(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a")
    model = past.world.directory / "model.conf"
    model.write_text(model.read_text().replace(MODELS[0], MODELS[1]))
    unknown, no = "p, u, r.env.context.team == 'a', /a, *, allow,\n", "p, no, True, /a, *, deny,\n"
    past.world.write("policy.csv", unknown + no)
    assert "1 x r.env.context.team" in past.replay().output
    past.world.write("policy.csv", no + unknown)
    assert "now denied by no (policy.csv:1)" in past.replay().output


def test_a_masked_path_is_not_taken_for_the_path(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/cards/4111111111111111")
    past.world.write("policy.csv", "p, r, True, /cards/*, *, allow,\n")
    assert "1 x r.obj.path, such as" in past.replay().output


def test_calls_that_the_policy_was_not_asked_about_are_counted_apart(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a/../b")
    assert "1 x the policy was not asked (path_dot_segment)" in past.replay().output


def test_other_events_and_broken_lines_do_not_stop_it(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a")
    past.records[:0] = [b'{"event":"trail_started","v":1,"time":"x","pid":1}\n', b'{"event":"decision","v":1,"ti\n']
    past.records.append(b'{"event":"something_new","v":1}\n\n')
    result = past.replay()
    assert result.exit_code == 0, result.exception
    assert "audit.jsonl:2: not a record" in result.stderr
    assert "no decisions change, of 1 calls" in result.output
    told = json.loads(past.replay("--json").stdout)
    assert told["asked"] == {"call": 1}
    assert [place.rpartition(":")[2] for place in told["unreadable"]] == ["2"]


def test_a_forged_log_cannot_speak_to_the_terminal(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a")
    past.records = [past.records[0].replace(b'"path":"/a"', b'"path":"/\\u001b[2J"')]
    past.world.write("policy.csv", "p, r, True, /b, *, allow,\n")
    output = past.replay().output
    assert "localhost/\\u001b[2J" in output


def test_a_diff_over_an_audit_log_asks_both_policies(tmp_path):
    past = Past(tmp_path / "old", ALLOW_ALL)
    past.call(principal=PLANNER, path="/a", method="PUT")
    new = AuthorWorld(tmp_path / "new", policy="p, gets, True, *, GET, allow,\n", config=CONFIG)
    result = new.run("diff", past.world.directory, new.directory, "--samples", "0", "--audit", past.log())
    assert result.exit_code == 1
    assert "now denied: 1 calls" in result.output


def test_a_trust_domain_that_is_not_trusted_any_more_shows(tmp_path):
    past = Past(tmp_path, ALLOW_ALL)
    past.call(principal=PLANNER, path="/a")
    past.world.write("authz.toml", CONFIG.replace("demo.internal", "other.internal"))
    assert "now denied (trust_domain_not_allowed)" in past.replay().output


def test_a_partial_mapping_tells_absent_from_not_recorded():
    some = Partial({"a": 1}, "env", lacks=frozenset({"b"}))
    assert some["a"] == 1
    assert "c" not in some
    for look in (lambda: some["b"], lambda: "b" in some, lambda: some.get("b"), lambda: some == {}):
        with pytest.raises(NotRecordedError):
            look()
    with pytest.raises(NotRecordedError, match=r"env\.b"):
        Partial({}, "env")["b"]


CONDITIONS = [
    "True", f"r.sub.id == '{PLANNER}'", "r.sub.registered", "r.sub.environment == 'prod'", "r.obj.path == '/a'",
    "r.act.query.id == '7'", "'id' in r.act.query", "r.act.query.page == '2'", "r.env.context.team == 'a'",
    "'team' in r.env.context && r.env.context.team == 'a'", "r.env.headers['x-team'] == 'a'",
    "'x-other' in r.env.headers", "r.obj.port == 8443", "r.env.hour < 9", "r.sub.claims.s == 'x'", "r.env.size > 3",
    "r.env.task.id == 't1'", "r.sub.labels.team == 'x'", "r.sub.credential.age < 60",
]  # fmt: skip
RULES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=2).map(" && ".join),
        st.sampled_from(["*", "/a", "/a/*"]),
        st.sampled_from(["*", "GET"]),
        st.sampled_from(["allow", "allow", "deny"]),
    ),
    min_size=1,
    max_size=5,
)
QUESTIONS = st.fixed_dictionaries(
    {
        "principal": st.sampled_from([PLANNER, BILLING, ""]),
        "path": st.sampled_from(["/a", "/a/1", "/a?id=7", "/a?page=2", "/a?id=7&page=3", "/b?page="]),
        "method": st.sampled_from(["GET", "PUT"]),
        "host": st.sampled_from(["h", "h:8443"]),
        "headers": st.sampled_from([{}, {"x-team": "a"}, {"x-other": "b", "x-task-id": "t1"}, {"x-team": "b"}]),
        "context": st.sampled_from([{}, {"team": "a"}, {"team": "b"}]),
        "body": st.sampled_from(["", "12345"]),
    }
)
MODELS = ["some(where (p.eft == allow)) && !some(where (p.eft == deny))", "priority(p.eft) || deny"]


@pytest.mark.parametrize("effect", MODELS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=RULES, question=QUESTIONS)
def test_a_call_is_decided_again_as_it_would_have_been_or_not_at_all(tmp_path, effect, rules, question):
    past = Past(tmp_path, ALLOW_ALL)
    _, record = past.call(**question)
    assert isinstance(record, DecisionRecord)
    past.world.write(
        "policy.csv", "".join(f"p, r, {rule}, {path}, {method}, {eft},\n" for rule, path, method, eft in rules)
    )
    model = past.world.directory / "model.conf"
    model.write_text(model.read_text().replace(MODELS[0], effect))
    side = Side("y", read_config(past.world.config), past.world.directory, "")
    message = build_request(Question(**question), None).SerializeToString()
    truth = ruling(side.run.ask(message, AT))
    try:
        recorded(record)
        told = rule_on(side.run, asked_again(side.run, record))
    except UncertainError:
        return
    except Refusal as refusal:
        told = Ruling("deny", refusal.reason.value)
    assert told.effect == truth.effect
    if told.effect == "allow":
        assert told == truth


MCP = """
[[actions.routes]]
decoder = "mcp"
path = "/mcp"
"""


def test_calls_read_from_bodies_are_replayed_by_what_was_recorded_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CONFIG", CONFIG + MCP)
    past = Past(tmp_path, "p, pays, r.act.tool == 'pay', /mcp, POST, allow,\n")
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s","arguments":{"amount":5}}}'
    headers = {"content-type": "application/json"}
    for tool in ("pay", "read"):
        past.call(principal=PLANNER, method="POST", path="/mcp", headers=headers, body=body % tool)
    result = past.replay()
    assert result.exit_code == 0, result.output
    assert "no decisions change, of 2 calls" in result.output
    past.world.write("policy.csv", "p, reads, r.act.tool == 'read' && r.act.kind == 'mcp', /mcp, POST, allow,\n")
    assert "2 decisions change, of 2 calls" in past.replay().output
    # What no record holds decides nothing.
    past.world.write("policy.csv", "p, pays, r.act.tool == 'pay' && r.act.args.amount <= 10, /mcp, POST, allow,\n")
    assert "act.args" in past.replay().output
