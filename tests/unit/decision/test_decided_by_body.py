"""Requests that are read from their bodies, from message to answer: batches, offers, grants, and what is reused."""

import json

import grant_kit
import pytest
from cache_world import GRANTS, START, Fixed, question
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.errors import Reason
from authz.extauthz.mutations import MutationSettings
from authz.grants.condition import Condition
from authz.grants.scope import access
from authz.grants.token import sign_grant

PAY = "r.act.name == 'mcp:tools/call:pay' && r.act.args.amount <= 10"


def call(tool="pay", **arguments):
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def message(body, *, token=None, host="b.example", **headers):
    request = CheckRequest.FromString(question("/mcp", headers={"content-type": "application/json", **headers}))
    http = request.attributes.request.http
    http.method, http.host = "POST", host
    http.raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    http.size = len(http.raw_body)
    if token:
        http.headers[GRANTS.header] = token
    return request.SerializeToString()


def decided(world, body, **parts):
    told, outcome = world.cached.ask(message(body, **parts))
    fresh, expected = world.fresh.ask(message(body, **parts))
    assert (told, outcome.decision) == (fresh, expected.decision)
    return outcome


def reason(world, body, **parts):
    return decided(world, body, **parts).decision.reason


def grant(*details, uses=0):
    issued = int(START) - 30
    made = grant_kit.grant(
        id=grant_kit.grant_id(9),
        holder="spiffe://td/a",
        scope=grant_kit.scope(*details),
        issued_at=issued,
        not_before=issued,
        expires=issued + 600,
        uses=uses,
    )
    return sign_grant(made, grant_kit.ED_KEY)


def test_an_argument_decides():
    world = Fixed(PAY)
    assert reason(world, call(amount=10)) is Reason.ALLOWED
    assert reason(world, call(amount=11)) is Reason.NO_MATCHING_RULE
    assert reason(world, call("other", amount=1)) is Reason.NO_MATCHING_RULE


@pytest.mark.parametrize("arguments", [{}, {"amount": "10"}, {"amount": None}, {"amount": [1]}])
def test_an_argument_that_is_absent_or_of_another_type_allows_nothing(arguments):
    assert reason(Fixed(PAY), call(**arguments)) is Reason.RULE_ERROR


def test_amounts_between_the_same_bounds_share_a_decision():
    world = Fixed(PAY)
    assert [decided(world, call(amount=amount)).cached for amount in (3, 4, 9, 10, 11, 12, 10.5, 11.5)] == [
        *(False, True, True, False),  # 10 is the bound itself
        *(False, True, False, True),  # a float is not a whole number
    ]


def test_an_argument_that_no_rule_reads_is_in_no_key():
    world = Fixed("r.act.tool == 'pay'")
    assert [decided(world, call(amount=amount, note="x" * amount)).cached for amount in (1, 2)] == [False, True]


def test_what_cannot_be_read_is_denied_with_its_reason():
    world = Fixed("True")
    assert reason(world, b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}') is Reason.BODY_AMBIGUOUS
    assert reason(world, b"") is Reason.BODY_MISSING
    assert reason(world, call(), **{"content-encoding": "gzip"}) is Reason.BODY_ENCODING
    assert reason(world, call(), **{"x-envoy-auth-partial-body": "true"}) is Reason.BODY_PARTIAL


def test_a_batch_is_allowed_where_all_of_it_is():
    world = Fixed(PAY)
    assert reason(world, [call(amount=1), call(amount=2)]) is Reason.ALLOWED
    denied = decided(world, [call(amount=1), call(amount=99), call(amount=100)]).decision
    assert denied.reason is Reason.NO_MATCHING_RULE
    assert denied.detail == "element 2 of 3: mcp:tools/call:pay"


def test_a_batch_whose_first_element_is_forbidden_says_so():
    assert (
        decided(Fixed(PAY), [call("other"), call(amount=1)]).decision.detail == "element 1 of 2: mcp:tools/call:other"
    )


def test_a_batch_is_decided_again_only_for_the_same_elements():
    world = Fixed(PAY)
    one, other = [call(amount=1), call(amount=2)], [call(amount=1), call(amount=99)]
    assert [decided(world, body).cached for body in (one, other, one, other)] == [False, False, True, True]


def test_an_element_that_errs_denies_the_batch():
    assert reason(Fixed(PAY), [call(amount=1), call()]) is Reason.RULE_ERROR


def test_mutations_of_a_batch_tell_of_every_element():
    world = Fixed("True", told=MutationSettings(set_request_headers={"x-tool": "{act.tool}"}))
    told, _ = world.cached.ask(message([call("a"), call("b"), call("a")]))
    headers = {option.header.key: option.header.value for option in told.ok_response.headers}
    assert headers["x-tool"] == "a, b"


def offered(world, body=LIST, **parts):
    told, _ = world.cached.ask(message(body, **parts))
    return [
        option.header.value
        for option in told.ok_response.response_headers_to_add
        if option.header.key == "x-authz-allowed-tools"
    ]


def test_a_list_of_tools_tells_which_may_be_called():
    world = Fixed("r.act.name in ('mcp:tools/list', 'mcp:tools/call:pay')")
    assert offered(world) == ["pay"]
    assert offered(world) == ["pay"]
    assert offered(world, call("pay")) == []
    assert offered(Fixed("r.act.name == 'mcp:tools/list'")) == [""]
    assert offered(Fixed("r.act.name == 'mcp:tools/call:pay'")) == []


def test_a_tool_whose_arguments_decide_may_be_called():
    assert offered(Fixed(f"r.act.name == 'mcp:tools/list' || {PAY}")) == ["pay"]


def test_servers_with_other_tools_do_not_share_a_list():
    world = Fixed("True")
    assert offered(world) == ["pay,read"]
    assert offered(world, host="a.example") == ["read"]


def test_a_grant_takes_off_the_list_what_it_does_not_cover():
    world = Fixed("True")
    narrow = grant(access(["mcp:tools/list", "mcp:tools/call:read"], ["b.example"], ["/mcp"]))
    assert offered(world, token=narrow) == ["read"]
    assert offered(world) == ["pay,read"]


def test_a_grant_bounds_arguments():
    bounded = grant(access(["mcp:tools/*"], ["*"], ["/mcp"], [Condition("act.args.amount", max=10)]))
    world = Fixed("True")
    assert reason(world, call(amount=10), token=bounded) is Reason.ALLOWED
    assert reason(world, call(amount=10.5), token=bounded) is Reason.GRANT_SCOPE
    assert reason(world, call(), token=bounded) is Reason.GRANT_SCOPE
    assert reason(world, [call(amount=1), call(amount=11)], token=bounded) is Reason.GRANT_SCOPE


@pytest.mark.parametrize(
    ("condition", "covered"),
    [
        (Condition("act.tool", among=("pay",)), True),
        (Condition("act.tool", among=("read",)), False),
        (Condition("act.kind", among=("mcp",)), True),
        (Condition("obj.uri", among=("file:///a",)), False),
    ],
)
def test_a_grant_may_name_tool_kind_and_uri(condition, covered):
    token = grant(access(["*"], ["*"], ["/*"], [condition]))
    assert reason(Fixed("True"), call(), token=token) is (Reason.ALLOWED if covered else Reason.GRANT_SCOPE)


def test_a_batch_uses_no_grant_whose_uses_are_counted():
    counted = grant(access(["*"], ["*"], ["/*"]), uses=5)
    decision = decided(Fixed("True"), [call(), call()], token=counted).decision
    assert (decision.reason, "apart" in decision.detail) == (Reason.GRANT_SCOPE, True)


def test_what_is_read_of_the_resource_is_part_of_it():
    world = Fixed("r.obj.uri == 'file:///a' && r.obj.path == '/mcp'")
    read = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///a"}}
    assert reason(world, read) is Reason.ALLOWED
    assert reason(world, {**read, "params": {"uri": "file:///b"}}) is Reason.NO_MATCHING_RULE


def test_a_batch_of_lists_tells_each_tool_once():
    """I12: else a body of 16 short elements would have a header of 16 times all tools, and each of them decided."""
    assert offered(Fixed("True"), [LIST, LIST, LIST]) == ["pay,read"]


def test_a_batch_that_is_decided_again_says_what_it_was_itself():
    """I3: the record of a denial must not name the action of somebody else's."""
    world = Fixed("r.act.kind == 'x'")
    assert decided(world, [call("a"), call("b")]).decision.detail == "element 1 of 2: mcp:tools/call:a"
    assert decided(world, [call("c"), call("b")]).decision.detail == "element 1 of 2: mcp:tools/call:c"
