"""`authz doctor` as a command, against a small HTTP server in place of Envoy."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from authz.cli.doctor import doctor
from authz.cli.http_door import HttpDoor
from authz.cli.probing import Probe
from authz.errors import AuthzError


class Served:
    """A server that answers as told and remembers the targets."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.answer: Any = lambda handler: (403, "application/problem+json", {"reason": "no_matching_rule"})
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.targets.append(self.path)
                status, kind, content = served.answer(self)
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def observed(handler: BaseHTTPRequestHandler) -> tuple[int, str, object]:
    return 403, "application/problem+json", {"reason": "doctor_probe", "observed": {"path": handler.path}}


def test_a_probe_goes_below_the_prefix_with_its_nonce_and_is_matched_to_its_answer(served):
    served.answer = observed
    probe = Probe.make("x/../y")
    reply = HttpDoor(served.url, prefix="/probe/").send(probe)
    assert served.targets == [f"/probe/{probe.nonce}/x/../y"]
    assert reply.observed is not None
    assert reply.reason == "doctor_probe"


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: (403, "application/problem+json", {"reason": "doctor_probe", "observed": {"path": "/of/another"}}),
        lambda h: (403, "application/json", {"reason": "doctor_probe", "observed": {"path": h.path}}),
        lambda h: (200, "application/problem+json", {"reason": "allowed", "observed": {"path": h.path}}),
        lambda _: (403, "application/problem+json", {"reason": "doctor_probe", "observed": {"path": 1}}),
        lambda _: (403, "application/problem+json", b"{" + b"x" * 100000),
        lambda _: (403, "application/problem+json", b""),
    ],
)
def test_what_is_not_the_pdps_answer_to_this_very_probe_is_not_taken_for_one(served, answer):
    served.answer = answer
    assert HttpDoor(served.url).send(Probe.make()).observed is None


@pytest.mark.parametrize(
    "url", ["localhost:8443", "ftp://localhost", "https://", "https://localhost/path", "http://h:99999"]
)
def test_a_url_that_is_none_is_refused_with_the_form_that_is_expected(url):
    with pytest.raises(AuthzError, match="--through"):
        HttpDoor(url)


def test_a_proxy_that_is_not_there_is_one_error_message():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    with pytest.raises(AuthzError, match=f"{port}: ConnectionRefusedError"):
        HttpDoor(f"http://127.0.0.1:{port}").send(Probe.make())


def test_the_command_prints_findings_and_advice_for_people(served):
    result = CliRunner().invoke(doctor, ["--through", served.url])
    assert result.exit_code == 2
    assert "cannot tell  pdp" in result.output
    assert "-> set doctor.enabled = true" in result.output


def test_the_command_prints_json_for_programs(served):
    result = CliRunner().invoke(doctor, ["--through", served.url, "--pdp-stopped", "--json"])
    assert result.exit_code == 2
    (finding,) = json.loads(result.output)
    assert finding["check"] == "fail-closed"
    assert finding["state"] == "cannot tell"


def test_a_certificate_needs_its_key(tmp_path):
    (tmp_path / "c.pem").write_text("")
    result = CliRunner().invoke(doctor, ["--through", "https://localhost", "--cert", str(tmp_path / "c.pem")])
    assert result.exit_code == 2
    assert "--cert and --key go together" in result.output


def test_an_unreadable_certificate_is_one_error_message(tmp_path):
    (tmp_path / "c.pem").write_text("nothing")
    with pytest.raises(AuthzError, match="certificate files"):
        HttpDoor("https://localhost", cert=tmp_path / "c.pem", key=tmp_path / "c.pem")
