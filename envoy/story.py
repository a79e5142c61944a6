"""The demo's calls, what should come of each, and how it is made and told."""

import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED = "refused"
"""The TLS handshake came to nothing."""
CLOSED = "closed"
"""A TCP connection that was closed at once."""
Record = dict[str, Any]
"""One line of a log."""
_LOG_SECONDS = 30.0
_POLL_SECONDS = 0.02
_TIMEOUT_SECONDS = 10.0
_MAX_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a call: the answer to the client, and the reason on record."""

    answer: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """Who (by certificate) asks what, and what should come of it."""

    who: str
    asks: str
    """ "METHOD /path", or "TCP"."""
    answer: str
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    note: str = ""

    @property
    def expected(self) -> Told:
        """What should come of it."""
        return Told(self.answer, self.reason)


BILLING = "spiffe://demo.internal/ns/payments/sa/billing"
CALLS = (
    Call("planner", "GET /v1/accounts/42", "200", "allowed"),
    Call("planner", "POST /v1/payments", "403", "denied_by_rule", body='{"amount": 1}'),
    Call("billing", "POST /v1/payments", "200", "allowed", body='{"amount": 1}'),
    Call("researcher", "GET /v1/documents/public/7", "200", "allowed"),
    Call("researcher", "GET /v1/accounts/42/cards/1", "403", "denied_by_rule"),
    Call(
        "planner",
        "GET /v1/accounts/42/cards/1",
        "403",
        "denied_by_rule",
        note="^ a rule allows it, another denies: the denial wins",
    ),
    Call("stranger", "GET /v1/accounts/42", "403", "no_matching_rule"),
    Call("foreign", "GET /v1/accounts/42", "403", "trust_domain_not_allowed"),
    Call("two-uris", "GET /v1/accounts/42", "401", "certificate_two_uri_sans"),
    Call("", "GET /v1/accounts/42", REFUSED, note="^ no certificate, no connection"),
    Call("expired", "GET /v1/accounts/42", REFUSED),
    Call("impostor", "GET /v1/accounts/42", REFUSED, note="^ billing's identity, signed by the partner's CA"),
    Call(
        "planner",
        "POST /v1/payments",
        "403",
        "denied_by_rule",
        headers=(("x-forwarded-client-cert", f"Hash=00;URI={BILLING}"),),
        body='{"amount": 1}',
        note="^ with a forged x-forwarded-client-cert that says billing",
    ),
    Call(
        "planner",
        "GET /v1/accounts/42",
        "200",
        "allowed",
        headers=(("x-authz-subject", BILLING),),
        note="^ with a forged x-authz-subject; the service behind sees the real one",
    ),
    Call("planner", "GET /v1//accounts/42", "200", "allowed", note="^ Envoy made one slash of it, for all to see"),
    Call("planner", "GET /v1/accounts/../payments", "403", "denied_by_rule"),
    Call("planner", "GET /v1/accounts/42;x=1", "400", "path_parameter"),
    Call("planner", "GET /v1/accounts%2f42", "400", "envoy: path_normalization_failed"),
    Call("billing", "TCP", "open", "allowed"),
    Call("planner", "TCP", CLOSED, "no_matching_rule"),
)


class Story:
    """Makes calls through a running Envoy and finds what was written about them."""

    def __init__(self, directory: Path, port: int, tcp_port: int) -> None:
        """`directory`: where pki/, access.log and audit.jsonl are."""
        self.directory = directory
        self.port = port
        self._tcp_port = tcp_port
        self._decided: set[str] = set()

    @property
    def unrecorded(self) -> set[str]:
        """The ids of decisions that Envoy's access log tells of and the audit trail does not."""
        return self._decided - {record["decision_id"] for record in self._trail()}

    def tell(self, call: Call) -> Told:
        """Make a call and answer what came of it."""
        try:
            return self._tcp(call) if call.asks == "TCP" else self._http(call)
        except (ssl.SSLError, ConnectionError):  # in TLS 1.3 a refused certificate shows only after the handshake
            return Told(REFUSED)

    def records(self) -> Iterator[str]:
        """Yield one line for each decision on record, once those of all calls are: they are written shortly after."""
        end = time.monotonic() + _LOG_SECONDS
        while self.unrecorded and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        yield from map(_summary, self._trail())

    def _trail(self) -> list[Record]:
        lines = (self.directory / "audit.jsonl").read_text().splitlines(keepends=True)
        records = [_record(line) for line in lines if line.endswith("\n")]
        return [record for record in records if record["event"] == "decision"]

    def _http(self, call: Call) -> Told:
        method, path = call.asks.split(" ")
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=_TIMEOUT_SECONDS, context=self._tls(call)
        )
        with contextlib.closing(connection):
            connection.request(method, path, body=call.body or None, headers=dict(call.headers))
            response = connection.getresponse()
            body = response.read(_MAX_READ_BYTES)
            request_id = response.headers["x-request-id"]
        entry = self._logged(lambda one: one.get("request_id") == request_id)
        reason = (entry["authz"] or {}).get("reason") or f"envoy: {entry['details']}"
        if response.status == http.HTTPStatus.OK and BILLING in _subjects(body) and call.who != "billing":
            reason = "the service was told a forged subject"
        return Told(str(response.status), reason)

    def _tcp(self, call: Call) -> Told:
        with (
            socket.create_connection(("localhost", self._tcp_port), timeout=_TIMEOUT_SECONDS) as plain,
            self._tls(call).wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            own = tls.getsockname()[1]
            try:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                answer = "open" if tls.recv(_MAX_READ_BYTES) else CLOSED
            except ConnectionError:
                answer = CLOSED
        entry = self._logged(lambda one: one["protocol"] == "tcp" and one["from"].endswith(f":{own}"))
        return Told(answer, (entry["authz"] or {}).get("reason", ""))

    def _tls(self, call: Call) -> ssl.SSLContext:
        keys = self.directory / "pki"
        context = ssl.create_default_context(cafile=keys / "ca.pem")
        if call.who:
            context.load_cert_chain(keys / f"{call.who}.pem", keys / f"{call.who}.key")
        return context

    def _logged(self, wanted: Callable[[Record], bool]) -> Record:
        """Answer the line of Envoy's access log; it is written shortly after the response."""
        end = time.monotonic() + _LOG_SECONDS
        log = self.directory / "access.log"
        while time.monotonic() < end:
            for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
                if line.endswith("\n") and wanted(entry := _record(line)):
                    self._decided |= {entry["authz"]["decision_id"]} if entry["authz"] else set()
                    return entry
            time.sleep(_POLL_SECONDS)
        return {"authz": None, "details": "nothing in the access log"}


def _record(line: str) -> Record:
    record: Record = json.loads(line)
    return record


def _subjects(body: bytes) -> list[str]:
    """What the service behind was told of who calls."""
    return [value for name, value in json.loads(body)["headers"] if name == "x-authz-subject"]


def _summary(record: Record) -> str:
    subject = record.get("subject") or record.get("asserted_principal") or {}
    who = (subject.get("id") or subject.get("value") or "(nobody)").removeprefix("spiffe://")
    action = record.get("action") or {}
    path = action.get("path") or action.get("raw_path") or f"port {record.get('destination', {}).get('port', '')}"
    rule = (record.get("rule") or {}).get("id", "")
    clock = record["time"].partition("T")[2][:12]
    asked = f"{action.get('method', '')} {path}"
    return (
        f"{clock} {record['effect']:<5} {record['reason']:<26} {who:<40} {asked:<34} "
        f"{rule.rpartition('/')[2]:<14} {record.get('latency_us', 0):>5} us"
    )
