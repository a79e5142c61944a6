"""What `authz check` and test cases ask: a CheckRequest as people write it, in protobuf's JSON, or as captured."""

import sys
from pathlib import Path
from urllib.parse import quote

import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from authz.errors import ConfigError

MAX_BYTES = 16 * 1024 * 1024
"""Far above what a proxy sends."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request as people write it; what is absent stays empty, as in a CheckRequest."""

    method: str = "GET"
    """The method, in capitals."""
    host: str = "localhost"
    """The host that the caller names."""
    path: str = "/"
    """The path as the caller writes it, with its query."""
    scheme: str = "https"
    """`http` or `https`."""
    protocol: str = "HTTP/2"
    """`HTTP/1.1`, `HTTP/2` or `HTTP/3`."""
    headers: dict[str, str] = {}
    """Request headers."""
    body: str = ""
    """The body, as text."""
    principal: str = ""
    """A SPIFFE ID, as the proxy would name the caller."""
    certificate: str = ""
    """PEM text, or the path of a PEM file (relative to the question's own file)."""
    source: str = "127.0.0.1:40000"
    """Who connects to the proxy, as address:port."""
    destination: str = "127.0.0.1:443"
    """The proxy's own end, as address:port; for `tcp` the port is what is asked for."""
    sni: str = ""
    """The TLS server name."""
    context: dict[str, str] = {}
    """`context_extensions` of the Envoy route."""
    tcp: bool = False
    """Ask as the network filter does: a connection, no HTTP."""


def read_question_file(file: Path) -> bytes:
    """Answer the CheckRequest that a file holds; "-" is standard input.

    Raises:
        ConfigError: it cannot be read, or is no request.
    """
    if str(file) == "-":
        return read_question(sys.stdin.buffer.read(MAX_BYTES + 1), None)
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    return read_question(data, file)


def read_question(data: bytes, where: Path | None) -> bytes:
    """Answer a serialized CheckRequest; `where`: the file that the data came from, if any.

    JSON with `attributes` is protobuf's own JSON form; other JSON is a Question; anything else a captured message.

    Raises:
        ConfigError: it is none of these, and why.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where or 'stdin'}: larger than {MAX_BYTES} bytes")
    if data.lstrip()[:1] != b"{":
        return _captured(data, where)
    try:
        raw = msgspec.json.decode(data)
        if "attributes" in raw:
            message = json_format.ParseDict(raw, CheckRequest())
        else:
            message = build_request(msgspec.convert(raw, Question), where)
    except (msgspec.MsgspecError, json_format.ParseError, RecursionError) as error:
        raise ConfigError(f"{where or 'stdin'}: not a request: {error}") from None
    return message.SerializeToString()  # type: ignore[no-any-return]  # the generated modules carry no types


def _captured(data: bytes, where: Path | None) -> bytes:
    try:
        CheckRequest.FromString(data)
    except DecodeError:
        raise ConfigError(f"{where or 'stdin'}: neither a JSON request nor a CheckRequest message") from None
    return data


def build_request(question: Question, where: Path | None) -> CheckRequest:
    """Answer the CheckRequest that a question stands for; `where`: the file that it came from, if any.

    Raises:
        ConfigError: an address is none, or the certificate's file cannot be read.
    """
    request = CheckRequest()
    attributes = request.attributes
    for peer, text in ((attributes.source, question.source), (attributes.destination, question.destination)):
        host, _, port = text.rpartition(":")
        if not port.isdigit():
            raise ConfigError(f"{where or 'stdin'}: `{text}` is not address:port")
        peer.address.socket_address.address = host.strip("[]")
        peer.address.socket_address.port_value = int(port)
    attributes.source.principal = question.principal
    attributes.source.certificate = _certificate(question.certificate, where)
    attributes.tls_session.sni = question.sni
    if question.tcp:
        return request
    attributes.context_extensions.update(question.context)
    http = attributes.request.http
    http.method, http.host, http.path = question.method, question.host, question.path
    http.scheme, http.protocol = question.scheme, question.protocol
    # The map form: a person who writes JSON writes text, so no byte is hidden by it. `!` is then what was written.
    http.header_map.SetInParent()
    for name, value in question.headers.items():
        http.header_map.headers.add(key=name.lower(), raw_value=value.encode())
    http.raw_body = question.body.encode()
    http.size = len(http.raw_body)
    return request


def _certificate(text: str, where: Path | None) -> str:
    if "-----BEGIN" in text:
        return text if "%0A" in text else quote(text, safe="")
    if not text:
        return ""
    path = Path(text) if where is None else where.parent / text
    try:
        return quote(path.read_text(encoding="ascii"), safe="")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{where or 'stdin'}: certificate {path}: {error}") from None
