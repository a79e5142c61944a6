"""The way through the proxy by HTTP/1.1, over TLS or not."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from cryptography import x509

from authz.cli.probing import PREFIX, PROBE_REASON, Observed, Probe, Reply
from authz.errors import AuthzError

_MAX_REPLY_BYTES = 65536


class _Answer(msgspec.Struct, frozen=True):
    reason: str = ""
    observed: Observed | None = None


class HttpDoor:
    """A door by HTTP/1.1; each probe has a connection of its own."""

    def __init__(  # noqa: PLR0913 - one parameter for each option of the command
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        server_id: str = "",
        timeout_seconds: float = 5.0,
    ) -> None:
        """`server_id`: the SPIFFE ID that the proxy must prove, in place of the host name in the URL.

        Raises:
            AuthzError: the URL or a file is not usable.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.query:
            raise AuthzError(f"--through {url}: expected http(s)://host or http(s)://host:port")
        try:
            self._port = parts.port
        except ValueError:
            raise AuthzError(f"--through {url}: the port is not a number up to 65535") from None
        self._host = parts.hostname
        self._url = url
        self._prefix = prefix.rstrip("/")
        self._timeout = timeout_seconds
        self._server_id = server_id
        self._context = self._stranger = None
        self.identity = ""
        self.encrypted = parts.scheme == "https"
        if self.encrypted:
            try:
                self._context = self._tls(ca, cert, key)
                self._stranger = self._tls(ca, None, None)
                self.identity = _identity(cert) if cert else ""
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise AuthzError(f"certificate files: {error}") from None

    def _tls(self, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = not self._server_id
        if cert:
            context.load_cert_chain(cert, key)
        return context

    def send(self, probe: Probe) -> Reply:
        """Send a probe and answer what came back."""
        try:
            return self._exchange(probe, self._context)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None

    def admits_strangers(self) -> bool:
        """Whether a caller without a certificate gets an HTTP response at all."""
        try:
            self._exchange(Probe.make(), self._stranger)
        except (ssl.SSLError, ConnectionError):  # in TLS 1.3 a refused certificate shows only after the handshake
            return False
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None
        return True

    def _failed(self, error: Exception) -> AuthzError:
        ended = isinstance(error, ssl.SSLError | ConnectionError) and not isinstance(error, ConnectionRefusedError)
        hint = "; does it ask for a certificate? give --cert and --key" if ended and not self.identity else ""
        return AuthzError(f"{self._url}: {type(error).__name__}: {error}{hint}")

    def _exchange(self, probe: Probe, context: ssl.SSLContext | None) -> Reply:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
            if context
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        try:
            connection.connect()
            self._check_server(connection)
            _write(connection, f"{self._prefix}/{probe.nonce}/{probe.suffix}", probe)
            response = connection.getresponse()
            return _read(response, probe)
        finally:
            connection.close()

    def _check_server(self, connection: http.client.HTTPConnection) -> None:
        if self._server_id and isinstance(connection.sock, ssl.SSLSocket):
            names = (connection.sock.getpeercert() or {}).get("subjectAltName", ())
            if ("URI", self._server_id) not in names:
                raise AuthzError(f"{self._url}: the server is not {self._server_id}")


def _write(connection: http.client.HTTPConnection, target: str, probe: Probe) -> None:
    connection.putrequest("POST" if probe.body else "GET", target, skip_accept_encoding=True)
    for name, value in {"connection": "close", **probe.headers}.items():
        connection.putheader(name, value)
    if probe.body:
        connection.putheader("content-length", str(len(probe.body)))
    connection.endheaders()
    try:
        connection.send(probe.body)
    except ConnectionError:
        return  # a body over the limit: the response may have come before all of it was sent


def _read(response: http.client.HTTPResponse, probe: Probe) -> Reply:
    body = response.read(_MAX_REPLY_BYTES)
    answer = _Answer()
    if response.headers.get_content_type() == "application/problem+json":
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError:
            answer = _Answer()
    seen = answer.observed if answer.reason == PROBE_REASON else None
    return Reply(
        status=response.status,
        reason=answer.reason,
        observed=seen if seen and probe.nonce in seen.path else None,
        from_upstream="x-envoy-upstream-service-time" in response.headers,
    )


def _identity(certificate: Path) -> str:
    leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")
