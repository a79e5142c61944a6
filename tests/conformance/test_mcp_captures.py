"""What a real Envoy 1.40 and its MCP filter sent, read by us, by the filter, and by both."""

import json
import pathlib

import pytest

from authz.actions.mcp.decoder import McpDecoder
from authz.actions.mcp.settings import McpSettings
from authz.actions.reader import ActionReader
from authz.actions.settings import ActionSettings, RouteSettings
from authz.errors import Reason, Refusal
from authz.extauthz.canonical import RequestRules, canonicalise
from authz.extauthz.request import DecodeSettings, decode

CORPUS = pathlib.Path(__file__).parents[1] / "corpus" / "captures"
FILES = {
    case["name"]: case["file"]
    for case in json.loads((CORPUS / "index.json").read_text())["cases"]
    if "mcp" in case["name"] and case.get("file")
}
PAY, LIST, STREAM = "mcp:tools/call:ledger.pay", "mcp:tools/list", "mcp:stream/open"
AMBIGUOUS, MALFORMED, MISMATCH = Reason.BODY_AMBIGUOUS, Reason.BODY_MALFORMED, Reason.BODY_MISMATCH
MISSING, PARTIAL = Reason.BODY_MISSING, Reason.BODY_PARTIAL
# Each capture: how we read its body, what the filter alone says, and what the two say together.
READINGS = {
    "mcp_toolscall_hdrs_plain_sanitize_set": (PAY, MISMATCH, MISMATCH),
    "mcp_toolscall_hdrs_pack_bytes": (PAY, MISMATCH, MISMATCH),
    "mcp_toolscall_hdrs_mcp_body": (PAY, PAY, PAY),
    "mcp_toolscall_hdrs_mcp_reject": (PAY, PAY, PAY),
    "mcp_toolscall_hdrs_mcp_headers": (PAY, PAY, PAY),
    "mcp_toolscall_hdrs_mcp_verify": (PAY, PAY, PAY),
    "mcp_toolscall_hdrs_mcp_nobody": (MISSING, PAY, MISSING),
    # The filter takes the last of two names, and in no mode tells that there were two.
    "mcp_dupkey_mcp_body": (AMBIGUOUS, PAY, AMBIGUOUS),
    "mcp_dupkey_mcp_verify": (AMBIGUOUS, PAY, AMBIGUOUS),
    "mcp_notjson_mcp_body": (MALFORMED, MISMATCH, MALFORMED),
    "mcp_notjson_mcp_verify": (MALFORMED, MISMATCH, MALFORMED),
    # It reads 8 KiB, and lets the rest pass with a mark. ext_authz cut the body at the same length.
    "mcp_big_mcp_body": (PARTIAL, MISMATCH, PARTIAL),
    "mcp_big_mcp_verify": (PARTIAL, MISMATCH, PARTIAL),
    # With attributes from headers it believes the caller, who says ledger.read there and ledger.pay in the body. We see
    # the header as well as the body, and so does every mode of ours.
    "mcp_hdr_body_mismatch_mcp_headers": (MISMATCH, "mcp:tools/call:ledger.read", MISMATCH),
    "mcp_hdr_body_mismatch_mcp_reject": (MISMATCH, MISMATCH, MISMATCH),
    # Of a batch it says nothing; revision 2025-11-25, which the header names, has none.
    "mcp_batch_mcp_headers": (MALFORMED, MISMATCH, MALFORMED),
    "mcp_get_mcp_headers": (STREAM, STREAM, STREAM),
    "mcp_get_mcp_reject": (STREAM, STREAM, STREAM),
    "mcp_list_mcp_headers": (LIST, LIST, LIST),
    "mcp_list_mcp_reject": (LIST, LIST, LIST),
}
SOURCES = ("body", "envoy", "both")


def reading(name, source):
    reads = ActionReader(
        ActionSettings(routes=(RouteSettings(decoder="mcp"),), accept_text_bodies=True),
        {"mcp": McpDecoder(McpSettings(source=source))},
    )
    settings = DecodeSettings(metadata_namespaces=("envoy.filters.http.mcp",))
    call = decode((CORPUS / FILES[name]).read_bytes(), settings)
    try:
        (action,) = reads(call, canonicalise(call, RequestRules()), {"type": ""}, "http")
    except Refusal as refusal:
        return refusal.reason
    return action.name


def test_every_capture_has_its_reading():
    assert READINGS.keys() == FILES.keys()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", READINGS)
def test_a_capture_is_read_as_it_must_be(name, source):
    assert reading(name, source) == READINGS[name][SOURCES.index(source)]


@pytest.mark.parametrize("name", READINGS)
def test_both_together_let_through_nothing_that_the_body_alone_does_not(name):
    body, _, both = READINGS[name]
    assert both in {body, MISMATCH}
