"""CheckRequest bytes to a CheckCall."""

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.errors import Reason, Refusal
from authz.extauthz.request import DecodeSettings, decode


def message(**http):
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = "10.0.0.1"
    attributes.source.address.socket_address.port_value = 40000
    attributes.destination.address.socket_address.address = "10.0.0.2"
    attributes.destination.address.socket_address.port_value = 443
    attributes.request.http.SetInParent()
    for name, value in http.items():
        setattr(attributes.request.http, name, value)
    return request


def read(request, **settings):
    return decode(request.SerializeToString(), DecodeSettings(**settings))


def refused(request, **settings):
    with pytest.raises(Refusal) as refusal:
        read(request, **settings)
    return refusal.value.reason


def raw_header(request, name, value):
    request.attributes.request.http.header_map.headers.add(key=name, raw_value=value)


def test_every_field_that_a_decision_needs_is_read():
    request = message(
        method="GET", path="/a?b", host="h", scheme="https", protocol="HTTP/2", id="7", size=5, body="hello"
    )
    attributes = request.attributes
    attributes.source.principal = "spiffe://td/a"
    attributes.source.certificate = "PEM"
    attributes.destination.principal = "spiffe://td/envoy"
    attributes.tls_session.sni = "h"
    attributes.request.time.seconds = 100
    attributes.request.time.nanos = 500_000_000
    attributes.context_extensions["route"] = "r1"
    attributes.request.http.headers["x-request-id"] = "rid"
    call = read(request)
    assert (call.layer, call.method, call.path, call.host) == ("http", "GET", "/a?b", "h")
    assert (call.scheme, call.protocol, call.stream_id, call.size, call.body) == ("https", "HTTP/2", "7", 5, b"hello")
    assert (call.source_address, call.source_port) == ("10.0.0.1", 40000)
    assert (call.destination_address, call.destination_port) == ("10.0.0.2", 443)
    assert (call.principal, call.certificate) == ("spiffe://td/a", "PEM")
    assert (call.destination_principal, call.sni) == ("spiffe://td/envoy", "h")
    assert call.context_extensions == {"route": "r1"}
    assert call.request_id == "rid"
    assert call.raw_headers is False


def test_the_network_filter_sends_only_a_connection():
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = "10.0.0.1"
    request.attributes.destination.address.pipe.path = "/run/x.sock"
    call = read(request)
    assert (call.layer, call.destination_address, call.method) == ("tcp", "/run/x.sock", "")


@pytest.mark.parametrize("octets", [b"", b"\x0a\x00", b"\xff\xff", b"\x0a\x05\x0a", b"GET / HTTP/1.1", b"\x00" * 64])
def test_bytes_that_are_no_check_request_are_refused(octets):
    with pytest.raises(Refusal) as refusal:
        decode(octets, DecodeSettings())
    assert refusal.value.reason is Reason.REQUEST_MALFORMED


def test_raw_headers_keep_their_order_and_show_repetition():
    request = message()
    for name, value in (("X-A", b"1"), ("x-b", b"2"), ("x-a", b"3")):
        raw_header(request, name, value)
    call = read(request)
    assert call.headers == {"x-a": "1,3", "x-b": "2"}
    assert call.repeated_headers == {"x-a"}
    assert call.raw_headers is True


def test_header_names_of_the_map_form_are_lower_case():
    request = message()
    request.attributes.request.http.headers["X-Mixed"] = "v"
    assert read(request).headers == {"x-mixed": "v"}


@pytest.mark.parametrize("value", [b"a\x00b", b"a\rb", b"a\nb"])
def test_a_header_with_nul_or_line_break_is_refused_in_both_forms(value):
    raw = message()
    raw_header(raw, "x", value)
    assert refused(raw) is Reason.HEADER_MALFORMED
    mapped = message()
    mapped.attributes.request.http.headers["x"] = value.decode()
    assert refused(mapped) is Reason.HEADER_MALFORMED


def test_a_name_with_a_line_break_is_refused_in_both_forms():
    raw = message()
    raw_header(raw, "x-a\nx-b", b"1")
    assert refused(raw) is Reason.HEADER_MALFORMED
    mapped = message()
    mapped.attributes.request.http.headers["x-a\nx-b"] = "1"
    assert refused(mapped) is Reason.HEADER_MALFORMED


def test_a_header_that_is_not_utf8_is_refused_or_hidden():
    request = message()
    raw_header(request, "x-bin", b"\xff\xfe")
    raw_header(request, "x-ok", b"1")
    assert refused(request) is Reason.HEADER_MALFORMED
    assert read(request, non_utf8_headers="hide").headers == {"x-ok": "1"}


def test_headers_are_bounded_in_number_and_size():
    request = message()
    for i in range(5):
        request.attributes.request.http.headers[f"x-{i}"] = "v" * 10
    assert refused(request, max_headers=4) is Reason.REQUEST_TOO_LARGE
    assert refused(request, max_header_bytes=50) is Reason.REQUEST_TOO_LARGE
    assert len(read(request, max_headers=5, max_header_bytes=65).headers) == 5


@pytest.mark.parametrize(("value", "partial"), [("true", True), ("false", False), ("TRUE", True), ("", True)])
def test_a_body_is_whole_only_where_the_proxy_says_so(value, partial):
    request = message(raw_body=b"x")
    request.attributes.request.http.headers["x-envoy-auth-partial-body"] = value
    call = read(request)
    assert call.body_partial is partial
    assert call.body == b"x"


def metadata(depth=1):
    request = message()
    struct = request.attributes.metadata_context.filter_metadata["ns"]
    struct.update({"s": "x", "n": 1.5, "b": True, "z": None, "l": [1, {"k": "v"}]})
    for _ in range(depth):
        struct = struct.fields["deeper"].struct_value
        struct.SetInParent()
    request.attributes.metadata_context.filter_metadata["other"].update({"a": 1})
    request.attributes.route_metadata_context.filter_metadata["rt"].update({"class": "high"})
    return request


def test_only_the_configured_metadata_namespaces_are_read():
    call = read(metadata(), metadata_namespaces=("ns", "absent"), route_metadata_namespaces=("rt",))
    assert call.metadata == {"ns": {"s": "x", "n": 1.5, "b": True, "z": None, "l": [1, {"k": "v"}], "deeper": {}}}
    assert call.route_metadata == {"rt": {"class": "high"}}
    assert read(metadata()).metadata == {}


def test_metadata_is_bounded_in_depth_and_number():
    assert refused(metadata(depth=20), metadata_namespaces=("ns",)) is Reason.REQUEST_TOO_LARGE
    assert refused(metadata(), metadata_namespaces=("ns",), max_metadata_values=4) is Reason.REQUEST_TOO_LARGE


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [("::ffff:10.0.0.1", "10.0.0.1"), ("::ffff:a00:1", "::ffff:a00:1"), ("2001:db8::1", "2001:db8::1")],
)
def test_an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_address(sent, read_as):
    request = message()
    request.attributes.source.address.socket_address.address = sent
    assert read(request).source_address == read_as
