"""MCP messages as AuthZEN questions: answered as the request would be, and never with more."""

import json
import random
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from control_kit import PLANNER, RESEARCHER
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from mcp_kit import META

# ruff: noqa: E501 - rules stand on a line of their own

RULES = f"""
p, pep, r.sub.id == '{PLANNER}', /decisions, control:decisions.evaluate, allow,
"""
POLICY = f"""\
p, lists, r.act.name in ('mcp:tools/list', 'mcp:ping', 'mcp:initialize', 'mcp:response'), /mcp, POST, allow,
p, notes, keyMatch(r.act.name, 'mcp:notifications/*'), /mcp, POST, allow,
p, pays, r.sub.id == '{PLANNER}' && r.act.tool == 'transfer_funds' && r.act.args.amount > 0 && r.act.args.amount <= 100, /mcp, POST, allow,
p, reads, r.act.tool == 'read_balance' && r.obj.host == 'ledger.demo.internal', /mcp, POST, allow,
p, reports, r.act.name == 'mcp:resources/read' && keyMatch(r.obj.uri, 'ledger://reports/*'), /mcp, POST, allow,
p, prompts, r.obj.prompt == 'summary' && r.act.protocol == 'http', /mcp, POST, allow,
p, tasks, r.obj.task == 'task-1', /mcp, POST, allow,
p, unread, r.obj.host == 'plain.demo.internal' && r.act.method == 'POST', /mcp, POST, allow,
p, never, 'note' in r.act.args && r.act.args.note == 'evil', /mcp, POST, deny,
"""
ACTIONS = """
[[actions.routes]]
decoder = "ledger"
host = "ledger.demo.internal"
path = "/mcp"
[[actions.routes]]
decoder = "mcp"
host = "any.demo.internal"
path = "/mcp"
[actions.mcp.ledger]
tools = ["read_balance", "transfer_funds"]
only_tools = true
[actions.mcp.ledger.mirrored]
transfer_funds = { Region = ["region"] }
"""
LEDGER = "https://ledger.demo.internal/mcp"
ABOUT = {
    "tools/call": ("tool", "name"),
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    "tasks/get": ("task", "taskId"),
    "tasks/cancel": ("task", "taskId"),
}


@pytest.fixture
async def zen(start):
    changes = {"rules": RULES, "files": {"policy.csv": POLICY}, "http": "max_evaluations = 1000", "more": ACTIONS}
    async with start(**changes) as world, world.http(PLANNER) as client:
        client.world = world
        yield client


def question(method, resource, who=PLANNER, server=LEDGER, **said):
    properties = {} if server is None else {"server": server}
    return {
        "subject": {"type": "workload", "id": who},
        "action": {"name": method, "properties": said},
        "resource": {**resource, "properties": properties},
    }


def calls(tool="transfer_funds", who=PLANNER, server=LEDGER, **said):
    return question("tools/call", {"type": "tool", "id": tool}, who, server, **said)


async def ask(client, document, **options):
    answer = await client.post("/access/v1/evaluation", json=document, **options)
    assert answer.status_code == 200
    return answer.json()["decision"], answer.json()["context"]["reason"]


# Against the request itself


class Requests:
    """What the same messages come to as requests through the proxy."""

    def __init__(self, world):
        self.world = world
        self.proofs = {}

    def certificate(self, who):
        if who not in self.proofs:
            path = self.world.pki.issue(who, who.rpartition("/")[2])["certificate"]
            self.proofs[who] = quote(Path(path).read_text(), safe="")
        return self.proofs[who]

    def outcome(self, who, server, headers, body):
        request = CheckRequest()
        source, http = request.attributes.source, request.attributes.request.http
        source.principal, source.certificate = who, self.certificate(who)
        http.method, (http.host, _, path) = "POST", server.removeprefix("https://").partition("/")
        http.path = f"/{path}"
        for name, value in {"content-type": "application/json", **headers}.items():
            http.headers[name.lower()] = value
        http.raw_body, http.size = body, len(body)
        world = self.world
        outcome, _ = world.composition.dry_run(world.holder, request.SerializeToString(), time.time())
        return outcome


def arguments(pick):
    params = {"name": pick.choice(["transfer_funds"] * 3 + ["read_balance", "close_account", "pay all"])}
    amount = pick.choice([1, 100, 100.0, 100.5, 101, -1, 0, 2**53 - 1, 2**60, "1", None, True, [1], {"x": 1}])
    given = {"amount": amount} if pick.random() < 0.9 else {}
    given |= pick.choice([{}, {}, {"note": "evil"}, {"note": "x\u0000"}, {"region": "eu"}])
    params["arguments"] = given if pick.random() < 0.95 else pick.choice([[], None])
    if pick.random() < 0.15:
        params["inputResponses"] = pick.choice([{"a": {"x": 1}}, {"note": "evil"}, 7])
    return params


URIS = ["ledger://reports/7", "ledger://secret", "ledger://reports/../secret"]
REFS = [{"type": "ref/prompt", "name": "summary"}, {"type": "ref/resource", "uri": "ledger://reports/{n}"}]
PARAMS = {
    "tools/call": arguments,
    "prompts/get": lambda pick: {
        "name": pick.choice(["summary", "other"]),
        "arguments": pick.choice([{}, {"note": "evil"}]),
    },
    "resources/read": lambda pick: {"uri": pick.choice(URIS)},
    "resources/subscribe": lambda pick: {"uri": pick.choice(URIS)},
    "tasks/get": lambda pick: {"taskId": pick.choice(["task-1", "task-2"])},
    "tasks/cancel": lambda pick: {"taskId": pick.choice(["task-1", "task-2"])},
    "completion/complete": lambda pick: {"ref": pick.choice(REFS)},
    "initialize": lambda _: {"protocolVersion": "2025-11-25"},
}


def mirrored(pick, method, params):
    """The headers of a message; in the current revision mostly those that mirror it."""
    revision = pick.choice(["", "", "2025-03-26", "2025-11-25", "2026-07-28", "2026-07-28", "2020-01-01"])
    if revision != "2026-07-28" or pick.random() < 0.1:
        return {"MCP-Protocol-Version": revision} if revision else {}
    params["_meta"] = META
    headers = {"MCP-Protocol-Version": revision, "Mcp-Method": pick.choice([method] * 9 + ["tools/list"])}
    named = params.get(ABOUT.get(method, ("", "-"))[1])
    if isinstance(named, str):
        headers["Mcp-Name"] = pick.choice([named] * 9 + ["other"])
    if isinstance(params.get("arguments"), dict) and "region" in params["arguments"]:
        headers["Mcp-Param-Region"] = pick.choice(["eu"] * 5 + ["us"])
    return headers


def messages(pick):
    """A message, as a request and as a question: the same parameters, whole or as far as the resource tells the rest."""
    who = pick.choice([PLANNER, PLANNER, RESEARCHER])
    server = pick.choice([LEDGER, LEDGER, "https://any.demo.internal/mcp", "plain.demo.internal/mcp", f"{LEDGER}/x"])
    method = pick.choice(
        ["tools/call"] * 8
        + ["prompts/get", "resources/read", "resources/subscribe", "tools/list", "ping", "initialize", "tools/frob"]
        + ["notifications/cancelled", "tasks/get", "tasks/cancel", "completion/complete", "x"]
    )
    params = PARAMS.get(method, lambda _: {})(pick)
    if pick.random() < 0.1:
        params["note"] = "evil"
    headers = mirrored(pick, method, params)
    kind, key = ABOUT.get(method, ("mcp_server", ""))
    about = params[key] if key else server
    if method == "completion/complete":
        kind, about = next(
            (t, params["ref"][k]) for t, k in (("prompt", "name"), ("resource", "uri")) if k in params["ref"]
        )
    partial = {name: value for name, value in params.items() if name != key} if pick.random() < 0.3 else params
    said = question(method, {"type": kind, "id": about}, who, server, params=partial, headers=headers)
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = 1
    return said, (who, server, headers, json.dumps(message, separators=(",", ":")).encode())


def without_something(pick, said):
    """The same question, with a part of it left out or said otherwise."""
    said = json.loads(json.dumps(said))
    action, resource = said["action"]["properties"], said["resource"]
    match pick.randrange(7):
        case 0:
            del action["params"]
        case 1:
            del action["headers"]
        case 2:
            resource["properties"] = {}
        case 3 if action["params"]:
            del action["params"][pick.choice(list(action["params"]))]
        case 4:
            resource["id"] = "other"
        case 5:
            resource["type"] = pick.choice(["tool", "prompt", "resource", "task", "mcp_server"])
        case _:
            said["action"]["properties"] = {"arguments": action["params"].get("arguments", {})}
    return said


async def answers(client, documents):
    answer = await client.post("/access/v1/evaluations", json={"evaluations": documents})
    return [(each["decision"], each["context"].get("reason")) for each in answer.json()["evaluations"]]


@pytest.mark.parametrize("seed", range(4))
async def test_a_question_about_a_message_is_answered_as_the_request_with_that_message(zen, seed):
    """Where a decoder reads it; where none does, what the request is called says nothing of the message."""
    pick, requests = random.Random(seed), Requests(zen.world)
    both = [messages(pick) for _ in range(400)]
    # What is ambiguous anywhere in what was sent denies all of it.
    plain = [(said, sent) for said, sent in both if 2**60 not in _numbers(said) and "\\u0000" not in json.dumps(said)]
    outcomes = [requests.outcome(*sent) for _, sent in plain]
    allowed = 0
    for (said, _), outcome, found in zip(plain, outcomes, await answers(zen, [said for said, _ in plain]), strict=True):
        decision = outcome.decision
        if outcome.asked is None or outcome.asked.kind:
            assert found == (decision.allowed, str(decision.reason)), said
        else:
            assert found == (False, "body_unknown"), said
        allowed += decision.allowed
    assert allowed > 40


@pytest.mark.parametrize("seed", range(4))
async def test_a_question_that_says_less_is_never_answered_with_more(zen, seed):
    pick, requests = random.Random(seed), Requests(zen.world)
    both = [messages(pick) for _ in range(400)]
    plain = [(said, sent) for said, sent in both if 2**60 not in _numbers(said) and "\\u0000" not in json.dumps(said)]
    cut = [(without_something(pick, said), sent) for said, sent in plain]
    for (said, sent), (allowed, _) in zip(cut, await answers(zen, [said for said, _ in cut]), strict=True):
        if allowed:
            whole = said["action"]["properties"]
            params = whole["params"] if "params" in whole else {"arguments": whole["arguments"]}
            _, key = ABOUT.get(said["action"]["name"], ("mcp_server", ""))
            full = {**({key: said["resource"]["id"]} if key else {}), **params}
            message = {"jsonrpc": "2.0", "method": said["action"]["name"], "params": full}
            if not said["action"]["name"].startswith("notifications/"):
                message["id"] = 1
            server = said["resource"]["properties"].get("server", said["resource"]["id"])
            body = json.dumps(message).encode()
            assert requests.outcome(sent[0], server, whole.get("headers", {}), body).decision.allowed, said


def _numbers(value):
    if isinstance(value, dict | list):
        return [each for inner in (value.values() if isinstance(value, dict) else value) for each in _numbers(inner)]
    return [value] if type(value) is int else []


# One by one


async def test_a_call_is_judged_by_its_arguments(zen):
    assert await ask(zen, calls(arguments={"amount": 100})) == (True, "allowed")
    assert await ask(zen, calls(arguments={"amount": 101})) == (False, "no_matching_rule")
    assert await ask(zen, calls(params={"arguments": {"amount": 100}})) == (True, "allowed")
    record = zen.world.trail.last
    assert (record.asked.name, record.asked.tool) == ("mcp:tools/call:transfer_funds", "transfer_funds")
    assert record.call.layer == "authzen"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (calls(), "body_missing"),
        (calls(arguments={"amount": 1}, params={"arguments": {"amount": 1}}), "body_missing"),
        (calls(server=None, arguments={"amount": 1}), "body_missing"),
        (calls(server=7, arguments={"amount": 1}), "body_malformed"),
        (calls(params=[]), "body_malformed"),
        (calls(arguments=[1]), "body_malformed"),
        (calls(params={"name": "read_balance", "arguments": {"amount": 1}}), "body_mismatch"),
        (calls("close_account", arguments={}), "body_unknown"),
        (calls(server="https://ledger.demo.internal/mcp/../x", arguments={"amount": 1}), "path_dot_segment"),
        (calls(server="https://plain.demo.internal/mcp", arguments={"amount": 1}), "body_unknown"),
        (calls(arguments={"amount": 1}, headers={"authorization": "x"}), "body_malformed"),
        (calls(arguments={"amount": 1}, headers={"content-type": "x"}), "body_malformed"),
        (calls(arguments={"amount": 1}, headers={"mcp-name": 7}), "body_malformed"),
        (calls(arguments={"amount": 1}, headers={"mcp-name": "a\nb"}), "body_malformed"),
        (calls(arguments={"amount": 1}, headers={"Mcp-Name": "transfer_funds", "mcp-name": "x"}), "body_ambiguous"),
        (calls(arguments={"amount": 1}, headers=[]), "body_malformed"),
        (calls(arguments={"amount": 1}, headers={"mcp-name": "read_balance"}), "body_mismatch"),
        (calls(arguments={"amount": 1}, headers={"mcp-protocol-version": "2026-07-28"}), "body_mismatch"),
        (
            question("tools/call", {"type": "mcp_server", "id": LEDGER}, params={"name": "read_balance"}),
            "body_mismatch",
        ),
        (question("tools/list", {"type": "tool", "id": "read_balance"}, params={}), "body_mismatch"),
        (question("tools/frob", {"type": "tool", "id": "read_balance"}, params={}), "body_mismatch"),
        (question("tools/frob", {"type": "mcp_server", "id": LEDGER}, params={}), "body_unknown"),
        (question("prompts/get", {"type": "tool", "id": "summary"}, params={}), "body_mismatch"),
        (question("completion/complete", {"type": "prompt", "id": "summary"}, params={}), "body_mismatch"),
    ],
)
async def test_what_is_missing_or_said_in_two_ways_denies(zen, document, reason):
    assert await ask(zen, document) == (False, reason)


async def test_what_is_asked_of_the_server_is_at_the_server_s_own_id(zen):
    asked = question("tools/list", {"type": "mcp_server", "id": LEDGER}, server=None, params={})
    assert await ask(zen, asked) == (True, "allowed")
    asked = question("tools/list", {"type": "mcp_server", "id": "https://mcp.example"}, params={})
    assert await ask(zen, asked) == (True, "allowed")


async def test_answers_within_a_request_are_judged_too(zen):
    params = {"arguments": {"amount": 1}, "inputResponses": {"note": "evil"}}
    assert await ask(zen, calls(params=params)) == (True, "allowed")  # `note` is below `responses`
    assert zen.world.trail.last.asked.batch[0].name == "mcp:response"
    assert len(zen.world.trail.last.asked.every) == 2


@pytest.mark.parametrize(
    "amount", [b"1e400", b"100.00000000000000001", b"9007199254740993", b'1, "Amount": 2', b'"\\ud800"']
)
async def test_a_number_or_key_with_two_readings_denies_as_in_a_body(zen, amount):
    body = json.dumps(calls(arguments={"amount": 7})).encode().replace(b"7}", amount + b"}")
    headers = {"content-type": "application/json"}
    answer = await zen.post("/access/v1/evaluation", content=body, headers=headers)
    assert answer.status_code == 400 or answer.json()["decision"] is False
    assert b"100" not in amount or answer.json()["context"]["reason"] == "body_ambiguous"


async def test_a_tool_of_somebody_s_own_mapping_is_a_resource_like_any(zen):
    document = question("get_customer", {"type": "customer", "id": "7"}, server=None)
    assert await ask(zen, document) == (False, "no_matching_rule")
    assert zen.world.trail.last.asked.name == "get_customer"
