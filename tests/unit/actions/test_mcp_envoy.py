"""The reading of Envoy's MCP filter: believed only where it says that it read a whole request."""

import pytest
from mcp_kit import call, decode, one, reason, rpc

from authz.errors import Reason

NAMESPACE = "envoy.filters.http.mcp"
TOLD = {
    "status": "mcp_ok",
    "jsonrpc": "2.0",
    "id": 1.0,
    "method": "tools/call",
    "is_mcp_request": True,
    "params": {"name": "pay"},
}


@pytest.mark.parametrize("namespace", [NAMESPACE, "mcp_proxy"])
def test_the_filter_is_read_under_both_of_its_names(namespace):
    action = one(None, source="envoy", metadata={namespace: TOLD})
    assert (action.name, action.args) == ("mcp:tools/call:pay", {})


def test_arguments_that_the_filter_passes_on_are_read():
    told = {**TOLD, "params": {"name": "pay", "arguments": {"amount": 12.0}}}
    assert one(None, source="envoy", metadata={NAMESPACE: told}).args == {"amount": 12.0}


@pytest.mark.parametrize(
    "changed",
    [
        {"is_mcp_request": False},
        {"is_mcp_request": None},
        {"is_mcp_request": 1.0},
        {"is_exceeding_limit": True},
        {"passthrough_reason": "mcp_parse_error"},
        {"status": "mcp_parse_error"},
        {"jsonrpc": "1.0"},
        {"method": None},
        {"params": []},
    ],
)
def test_what_the_filter_did_not_read_whole_is_refused(changed):
    metadata = {NAMESPACE: {**TOLD, **changed}}
    assert reason(None, source="envoy", metadata=metadata) is Reason.BODY_MISMATCH
    assert reason(call("pay"), source="both", metadata=metadata) is Reason.BODY_MISMATCH


@pytest.mark.parametrize("metadata", [{}, {"other": TOLD}, {NAMESPACE: "x"}])
def test_a_filter_that_says_nothing_is_refused(metadata):
    assert reason(None, source="envoy", metadata=metadata) is Reason.BODY_MISMATCH
    assert reason(call("pay"), source="both", metadata=metadata) is Reason.BODY_MISMATCH


def test_both_together_have_our_arguments():
    assert one(call("pay", amount=1), source="both", metadata={NAMESPACE: TOLD}).args == {"amount": 1}


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "tools/list"},
        {"id": 2.0},
        {"id": "1"},
        {"id": 1.5},
        {"params": {"name": "read"}},
        {"params": {}},
        {"params": {"name": "pay", "uri": "file:///a"}},
    ],
)
def test_a_filter_that_reads_otherwise_is_refused(changed):
    assert reason(call("pay"), source="both", metadata={NAMESPACE: {**TOLD, **changed}}) is Reason.BODY_MISMATCH


def test_a_response_is_none_of_the_filter_s_business():
    assert one({"jsonrpc": "2.0", "id": 1, "result": {}}, source="both").name == "mcp:response"


def test_a_batch_cannot_be_compared():
    assert reason([call("pay")], source="both", metadata={NAMESPACE: TOLD}) is Reason.BODY_MISMATCH


def test_names_that_the_filter_tells_are_held_to_the_same():
    told = {**TOLD, "params": {"name": "pa\u0443"}}
    assert reason(None, source="envoy", metadata={NAMESPACE: told}) is Reason.BODY_AMBIGUOUS


def test_an_id_may_be_text():
    metadata = {NAMESPACE: {**TOLD, "id": "x"}}
    assert decode(rpc("tools/call", {"name": "pay"}, id="x"), source="both", metadata=metadata)
