"""CheckRequest bytes to a `CheckCall`: decoded by protobuf's upb, bounded, still untrusted.

Source: envoy.service.auth.v3.CheckRequest and AttributeContext; which fields a real Envoy fills is told in
docs/envoy.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as StructValue

from authz.errors import Reason, Refusal
from authz.model import CheckCall, Value

# RFC 9110 section 5.5: these never belong in a field value; here they would let one value be read as two.
_FORBIDDEN_IN_HEADER = re.compile(r"[\x00\r\n]")
_MAPPED = "::ffff:"
_PARTIAL_BODY = "x-envoy-auth-partial-body"


class DecodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a CheckRequest is read."""

    max_headers: int = 256
    """Most header fields of a request; more is refused."""
    max_header_bytes: int = 98304
    """All header names and values together, in bytes; more is refused."""
    max_metadata_depth: int = 16
    """How deep a metadata structure may nest; deeper is refused."""
    max_metadata_values: int = 4096
    """Most values of one metadata namespace; more is refused."""
    metadata_namespaces: tuple[str, ...] = ()
    """Namespaces of dynamic metadata that policies may read as `r.env.metadata`."""
    route_metadata_namespaces: tuple[str, ...] = ()
    """Namespaces of route metadata that policies may read as `r.env.route`."""
    non_utf8_headers: Literal["refuse", "hide"] = "refuse"
    """A header whose bytes are not UTF-8: refuse the request, or go on as if the header were absent. Envoy shows the
    bytes only with `encode_raw_headers`."""


def decode(message: bytes, settings: DecodeSettings) -> CheckCall:
    """Read one CheckRequest.

    Raises:
        Refusal: REQUEST_MALFORMED, REQUEST_TOO_LARGE or HEADER_MALFORMED.

    Cost: about 10 us for a request of 2 kB with a certificate.
    """
    wire = external_auth_pb2.CheckRequest()
    try:
        wire.ParseFromString(message)
    except DecodeError:
        raise Refusal(Reason.REQUEST_MALFORMED, "not a CheckRequest") from None
    attributes = wire.attributes
    source, destination, request = attributes.source, attributes.destination, attributes.request
    source_address, source_port = _address(source.address)
    destination_address, destination_port = _address(destination.address)
    common = {
        "source_address": source_address,
        "source_port": source_port,
        "destination_address": destination_address,
        "destination_port": destination_port,
        "principal": source.principal,
        "certificate": source.certificate,
        "destination_principal": destination.principal,
        "sni": attributes.tls_session.sni,
        "context_extensions": dict(attributes.context_extensions),
        "metadata": _metadata(attributes.metadata_context, settings.metadata_namespaces, settings),
        "route_metadata": _metadata(attributes.route_metadata_context, settings.route_metadata_namespaces, settings),
    }
    if not request.HasField("http"):
        # The network filter always names both ends; a message with neither is not from a filter at all.
        if not (source_address and destination_address):
            raise Refusal(Reason.REQUEST_MALFORMED, "no attributes of a request or a connection")
        return CheckCall(layer="tcp", **common)
    http = request.http
    headers, repeated, raw = _headers(http, settings)
    return CheckCall(
        layer="http",
        time=request.time.seconds + request.time.nanos / 1e9,
        stream_id=http.id,
        method=http.method,
        path=http.path,
        host=http.host,
        scheme=http.scheme,
        protocol=http.protocol,
        headers=headers,
        repeated_headers=repeated,
        raw_headers=raw,
        body=http.raw_body or http.body.encode(),
        body_partial=headers.get(_PARTIAL_BODY, "false") != "false",
        size=http.size,
        **common,
    )


def _address(address: object) -> tuple[str, int]:
    socket = address.socket_address  # type: ignore[attr-defined]  # the generated modules carry no types
    host: str = socket.address
    if host.startswith(_MAPPED) and "." in host:
        # On a dual-stack socket an IPv4 peer shows in this form, which a rule on 10.0.0.0/8 would not match.
        host = host[len(_MAPPED) :]
    return host or address.pipe.path, socket.port_value  # type: ignore[attr-defined]  # likewise


def _headers(
    http: attribute_context_pb2.AttributeContext.HttpRequest, settings: DecodeSettings
) -> tuple[dict[str, str], frozenset[str], bool]:
    """Answer (name -> value, repeated names, whether raw bytes were visible)."""
    if http.HasField("header_map"):
        pairs: Iterable[tuple[str, str]] = _raw_headers(http.header_map.headers, settings)
        raw = True
    else:
        pairs, raw = http.headers.items(), False
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    size = 0
    for key, value in pairs:
        name = key.lower()
        size += len(name) + len(value)
        if name in headers:
            # The proxy joins repeated fields of the map form in the same way (RFC 9110 section 5.3).
            repeated.add(name)
            headers[name] = f"{headers[name]},{value}"
        else:
            headers[name] = value
        if size > settings.max_header_bytes or len(headers) > settings.max_headers:
            raise Refusal(Reason.REQUEST_TOO_LARGE, "headers")
        if _FORBIDDEN_IN_HEADER.search(value):
            raise Refusal(Reason.HEADER_MALFORMED, "control character")
    return headers, frozenset(repeated), raw


def _raw_headers(fields: Iterable[object], settings: DecodeSettings) -> Iterable[tuple[str, str]]:
    for field in fields:
        octets: bytes = field.raw_value or field.value.encode()  # type: ignore[attr-defined]  # no types generated
        try:
            yield field.key, octets.decode()  # type: ignore[attr-defined]  # no types generated
        except UnicodeDecodeError:
            if settings.non_utf8_headers == "refuse":
                raise Refusal(Reason.HEADER_MALFORMED, "not UTF-8") from None


def _metadata(context: object, namespaces: tuple[str, ...], settings: DecodeSettings) -> Mapping[str, Value]:
    """Answer the wanted namespaces as plain values."""
    if not namespaces:
        return {}
    known = context.filter_metadata  # type: ignore[attr-defined]  # no types generated
    return {name: _Plain(settings).struct(known[name], 0) for name in namespaces if name in known}


class _Plain:
    """google.protobuf.Struct to plain values, bounded in depth and number (I12)."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._max_depth = settings.max_metadata_depth
        self._left = settings.max_metadata_values

    def struct(self, struct: Struct, depth: int) -> dict[str, Value]:
        return {key: self._value(value, depth + 1) for key, value in struct.fields.items()}

    def _value(self, value: StructValue, depth: int) -> Value:
        self._left -= 1
        if depth > self._max_depth or self._left < 0:
            raise Refusal(Reason.REQUEST_TOO_LARGE, "metadata")
        kind = value.WhichOneof("kind")
        if kind == "struct_value":
            return self.struct(value.struct_value, depth)
        if kind == "list_value":
            return [self._value(item, depth + 1) for item in value.list_value.values]
        return None if kind in {"null_value", None} else getattr(value, kind)
