"""CheckRequest bytes to a `CheckCall`: decoded by protobuf's upb, bounded, still untrusted.

Source: envoy.service.auth.v3.CheckRequest and AttributeContext; which fields a real Envoy fills is told in
docs/envoy.md.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as StructValue

from authz.errors import Reason, Refusal
from authz.model import CheckCall, Value

_MAPPED = "::ffff:"
_NOTHING: Mapping[str, Value] = {}
_NONE_EXTENDED: Mapping[str, str] = {}
_NONE: frozenset[str] = frozenset()
_CheckRequest = external_auth_pb2.CheckRequest
_PARTIAL_BODY = "x-envoy-auth-partial-body"

Connection = tuple[str, int, str, int, str, str, str]
"""Address and port of the source, then of the destination, the source's principal and certificate, the
destination's principal."""
Surroundings = tuple[str, Mapping[str, str], Mapping[str, Value], Mapping[str, Value]]
"""The name that the client wanted in TLS, context extensions, metadata, the route's metadata."""


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
    max_memo_entries: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4_096
    """How many connections, and surroundings of requests (context extensions, metadata, SNI), are remembered by the
    bytes that tell of them."""
    max_form_bytes: Annotated[int, msgspec.Meta(ge=0, le=4_294_967_296)] = 33_554_432
    """Memory for the forms of requests that came before, in bytes; when it is full, all of them are learnt anew. 0:
    every request is read field by field."""


class Decoder:
    """Reads CheckRequests the way that settings ask for."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._settings = settings
        self._namespaces = settings.metadata_namespaces
        self._route_namespaces = settings.route_metadata_namespaces

    def decode(self, message: bytes) -> CheckCall:
        """Read one CheckRequest.

        Raises:
            Refusal: REQUEST_MALFORMED, REQUEST_TOO_LARGE or HEADER_MALFORMED.

        Cost: about 10 us for a request of 2 kB with a certificate. Each access to a field of the message makes a Python
        object, so that none is read twice; what is rare is looked at only where it is there.
        """
        try:
            attributes = _CheckRequest.FromString(message).attributes
        except DecodeError:
            raise Refusal(Reason.REQUEST_MALFORMED, "not a CheckRequest") from None
        source, destination, request = attributes.source, attributes.destination, attributes.request
        source_address, source_port = _address(source.address)
        destination_address, destination_port = _address(destination.address)
        found = attributes.context_extensions
        extensions: Mapping[str, str] = dict(found) if found else _NONE_EXTENDED
        metadata = self._metadata(attributes.metadata_context, self._namespaces) if self._namespaces else _NOTHING
        route = (
            self._metadata(attributes.route_metadata_context, self._route_namespaces)
            if self._route_namespaces
            else _NOTHING
        )
        if not request.HasField("http"):
            # The network filter always names both ends; a message with neither is not from a filter at all.
            if not (source_address and destination_address):
                raise Refusal(Reason.REQUEST_MALFORMED, "no attributes of a request or a connection")
            return CheckCall(
                "tcp",
                source_address,
                source_port,
                destination_address,
                destination_port,
                source.principal,
                source.certificate,
                destination.principal,
                attributes.tls_session.sni,
                context_extensions=extensions,
                metadata=metadata,
                route_metadata=route,
            )
        connection = (
            source_address,
            source_port,
            destination_address,
            destination_port,
            source.principal,
            source.certificate,
            destination.principal,
        )
        surroundings = attributes.tls_session.sni, extensions, metadata, route
        return self.http_call(connection, surroundings, request.http)

    def http_call(
        self,
        connection: Connection,
        surroundings: Surroundings,
        http: attribute_context_pb2.AttributeContext.HttpRequest,
    ) -> CheckCall:
        """The call of an HTTP request, of which all else was read.

        Raises:
            Refusal: REQUEST_TOO_LARGE or HEADER_MALFORMED.
        """
        headers, repeated, raw = self._headers(http)
        body = http.raw_body
        text = "" if body else http.body
        sni, extensions, metadata, route = surroundings
        return CheckCall(
            "http",
            *connection,
            sni,
            http.id,
            http.method,
            http.path,
            http.host,
            http.scheme,
            http.protocol,
            headers,
            repeated,
            raw,
            text.encode() if text else body,
            headers.get(_PARTIAL_BODY, "false") != "false",
            http.size,
            extensions,
            metadata,
            route,
            bool(text),
        )

    def _headers(
        self, http: attribute_context_pb2.AttributeContext.HttpRequest
    ) -> tuple[dict[str, str], frozenset[str], bool]:
        """Answer (name -> value, repeated names, whether raw bytes were visible)."""
        if http.HasField("header_map"):
            return *self._listed(http.header_map.headers), True
        fields = http.headers
        headers = {name: fields[name] for name in fields}  # its `items` goes through Python code
        every_name = "".join(headers)
        self._check(len(headers), every_name, "".join(headers.values()))
        if every_name.islower():
            return headers, _NONE, False
        return *_joined(map(str.lower, headers), headers.values()), False

    def _listed(self, fields: Iterable[object]) -> tuple[dict[str, str], frozenset[str]]:
        """Answer (name -> value, repeated names) of the form that shows bytes."""
        names, values = self._raw_headers(fields)
        self._check(len(names), "".join(names), "".join(values))
        names = [name.lower() for name in names]
        headers = dict(zip(names, values, strict=True))
        return (headers, _NONE) if len(headers) == len(names) else _joined(names, values)

    def _check(self, count: int, every_name: str, every_value: str) -> None:
        settings = self._settings
        if count > settings.max_headers or len(every_name) + len(every_value) > settings.max_header_bytes:
            raise Refusal(Reason.REQUEST_TOO_LARGE, "headers")
        # RFC 9110 section 5.5: these never belong in a field value; here they would let one value be read as two. Nor
        # in a name, where one would be taken for the end of it.
        if "\n" in every_value or "\r" in every_value or "\0" in every_value or "\n" in every_name:
            raise Refusal(Reason.HEADER_MALFORMED, "control character")

    def _raw_headers(self, fields: Iterable[object]) -> tuple[list[str], list[str]]:
        names: list[str] = []
        values: list[str] = []
        for field in fields:
            octets: bytes = field.raw_value or field.value.encode()  # type: ignore[attr-defined]  # no types generated
            try:
                values.append(octets.decode())
            except UnicodeDecodeError:
                if self._settings.non_utf8_headers == "refuse":
                    raise Refusal(Reason.HEADER_MALFORMED, "not UTF-8") from None
                continue
            names.append(field.key)  # type: ignore[attr-defined]  # no types generated
        return names, values

    def _metadata(self, context: object, namespaces: tuple[str, ...]) -> Mapping[str, Value]:
        """Answer the wanted namespaces as plain values."""
        known = context.filter_metadata  # type: ignore[attr-defined]  # no types generated
        return {name: _Plain(self._settings).struct(known[name], 0) for name in namespaces if name in known}


def connection_of(call: CheckCall) -> Connection:
    """What a call says of its connection."""
    return (
        call.source_address,
        call.source_port,
        call.destination_address,
        call.destination_port,
        call.principal,
        call.certificate,
        call.destination_principal,
    )


def surroundings_of(call: CheckCall) -> Surroundings:
    """What a call says besides its connection and its request."""
    return call.sni, call.context_extensions, call.metadata, call.route_metadata


def decode(message: bytes, settings: DecodeSettings) -> CheckCall:
    """As `Decoder.decode` does, once."""
    return Decoder(settings).decode(message)


def _address(address: object) -> tuple[str, int]:
    socket = address.socket_address  # type: ignore[attr-defined]  # the generated modules carry no types
    host: str = socket.address
    if host.startswith(_MAPPED) and "." in host:
        # On a dual-stack socket an IPv4 peer shows in this form, which a rule on 10.0.0.0/8 would not match.
        host = host[len(_MAPPED) :]
    return host or address.pipe.path, socket.port_value  # type: ignore[attr-defined]  # likewise


def _joined(names: Iterable[str], values: Iterable[str]) -> tuple[dict[str, str], frozenset[str]]:
    """The headers, repeated ones joined as the proxy joins those of the map form (RFC 9110 section 5.3)."""
    headers: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in zip(names, values, strict=True):
        if name in headers:
            repeated.add(name)
            headers[name] = f"{headers[name]},{value}"
        else:
            headers[name] = value
    return headers, frozenset(repeated)


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
