"""What envoy/bootstrap.yaml guarantees by itself, whatever the PDP says. The PDP is a stub; Envoy is real."""

import socket
import ssl
import threading
from urllib.parse import unquote

import grpc
import pki
import pytest
from cryptography import x509
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from harness.clients import Answer, HandshakeRefused, StreamRefused
from harness.stub_pdp import StubPdp, allow, deny
from harness.world import World, stubbed

pytestmark = pytest.mark.envoy

PLANNER = "spiffe://demo.internal/ns/agents/sa/planner"
ECHO = "/demo.Echo/Say"
TCP_REQUEST = b"GET /%s HTTP/1.1\r\nhost: up\r\nconnection: close\r\n\r\n"


def http_of(stub: StubPdp):
    return stub.last.attributes.request.http


# --- Both answers, on every protocol ----------------------------------------------------------------------------------


def test_an_allowed_request_reaches_the_upstream_with_the_pdps_headers(world, stub, mark):
    stub.answer = lambda request: allow(request, {"x-authz-subject": "proved"})
    answer = world.caller("planner").get(f"/v1/{mark}")
    assert answer.status == 200
    assert answer.upstream_got("x-authz-subject") == ["proved"]


def test_a_denied_request_does_not_reach_the_upstream(world, stub, mark):
    stub.answer = lambda request: deny(request, 403, "no")
    answer = world.caller("planner").get(f"/v1/{mark}")
    assert (answer.status, answer.body) == (403, b"no")
    assert world.upstream.saw(mark) == []


def test_http2_is_asked_about_too(world, stub, mark):
    path = f"/v1/{mark}".encode()
    assert world.caller("planner").h2(path).status == 403
    assert world.upstream.saw(mark) == []
    stub.answer = allow
    assert world.caller("planner").h2(path).json()["target"] == path.decode()
    assert http_of(stub).protocol == "HTTP/2"


def test_a_grpc_call_is_asked_about_and_goes_upstream_as_http2(world, stub):
    stub.answer = allow
    seen = world.caller("planner").grpc(ECHO, b"hello")
    assert b'"protocol": "http/2"' in seen
    assert http_of(stub).raw_body.endswith(b"hello")


def test_a_denied_grpc_call_ends_with_permission_denied(world, stub):
    with pytest.raises(grpc.RpcError) as error:
        world.caller("planner").grpc(ECHO)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_websocket_opens_only_when_allowed(world, stub, mark):
    refused = world.caller("planner").websocket(f"/ws/{mark}", "hi")
    assert isinstance(refused, Answer)
    assert refused.status == 403
    assert world.upstream.saw(mark) == []
    stub.answer = allow
    assert world.caller("planner").websocket(f"/ws/{mark}", "hi") == "echo: hi"


def test_a_tcp_connection_is_closed_when_denied_and_carried_when_allowed(world, stub, mark):
    assert world.tcp_caller("planner").tcp(TCP_REQUEST % mark.encode()) == b""
    assert world.upstream.saw(mark) == []
    stub.answer = allow
    assert mark.encode() in world.tcp_caller("planner").tcp(TCP_REQUEST % mark.encode())
    assert not stub.last.attributes.request.HasField("http")
    assert stub.last.attributes.source.principal == PLANNER


# --- Who calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "expired", "impostor"])
def test_a_caller_without_a_good_certificate_is_refused_before_the_pdp_is_asked(world, stub, name):
    for caller in (world.caller(name), world.tcp_caller(name)):
        with pytest.raises((HandshakeRefused, StreamRefused)):
            caller.get("/")
    assert stub.requests == []


def test_principal_and_certificate_are_told_to_the_pdp(world, stub):
    world.caller("planner").get("/")
    source = stub.last.attributes.source
    assert source.principal == PLANNER
    assert x509.load_pem_x509_certificate(unquote(source.certificate).encode())
    assert stub.last.attributes.tls_session.sni == "localhost"


def test_a_second_uri_san_is_visible_to_the_pdp_in_the_certificate_only(world, stub):
    world.caller("two-uris").get("/")
    source = stub.last.attributes.source
    leaf = x509.load_pem_x509_certificate(unquote(source.certificate).encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert source.principal == PLANNER
    assert len(names.get_values_for_type(x509.UniformResourceIdentifier)) == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_tls_session_is_resumed_so_that_every_connection_proves_its_certificate(world, stub, version):
    context = ssl.create_default_context(cafile=world.pki / "ca.pem")
    context.load_cert_chain(world.pki / "planner.pem", world.pki / "planner.key")
    context.minimum_version = context.maximum_version = version
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", world.envoy.ports["edge"]), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert tls.recv(65536)
            assert not tls.session_reused
            session = tls.session


def test_a_federated_workload_connects_and_is_left_to_the_policy(world, stub):
    assert world.caller("foreign").get("/").status == 403
    assert stub.last.attributes.source.principal == "spiffe://partner.example/ns/agents/sa/planner"


# --- What a caller may not say about itself ---------------------------------------------------------------------------

FORGED = [
    ("x-authz-subject", "spiffe://demo.internal/ns/payments/sa/billing"),
    ("X-Authz-Subject", "again"),
    ("x-authz-decision-id", "forged"),
    ("x-authz-anything-else", "forged"),
    ("x-envoy-auth-failure-mode-allowed", "true"),
    ("x-envoy-auth-partial-body", "true"),
    ("x-envoy-original-path", "/forged"),
    ("x-envoy-external-address", "10.0.0.1"),
]


@pytest.mark.parametrize(("name", "value"), FORGED)
def test_a_forged_statement_reaches_neither_pdp_nor_upstream(world, stub, mark, name, value):
    stub.answer = allow
    answer = world.caller("planner").get(f"/{mark}", [(name, value)])
    assert value not in answer.upstream_got(name.lower())
    assert value.encode() not in stub.headers().get(name.lower(), [])


@pytest.mark.parametrize("name", ["x_authz_subject", "x-authz_subject", "x_forwarded_client_cert"])
def test_a_header_name_with_an_underscore_is_refused(world, stub, name):
    assert world.caller("planner").get("/", [(name, "forged")]).status == 400
    assert stub.requests == []


def test_a_forged_x_forwarded_client_cert_is_replaced_by_the_real_one(world, stub):
    stub.answer = allow
    forged = "By=spiffe://demo.internal/ns/edge/sa/envoy;Hash=00;URI=spiffe://demo.internal/ns/payments/sa/billing"
    answer = world.caller("planner").get("/", [("x-forwarded-client-cert", forged)])
    (told,) = answer.upstream_got("x-forwarded-client-cert")
    assert "billing" not in told
    assert f"URI={PLANNER}" in told
    assert [told.encode()] == stub.headers()["x-forwarded-client-cert"]


def test_the_request_id_is_envoys_own(world, stub, mark):
    answer = world.caller("planner").get("/", [("x-request-id", mark)])
    assert mark.encode() not in stub.headers()["x-request-id"]
    assert stub.headers()["x-request-id"] == [answer.request_id.encode()]


def test_the_scheme_is_the_connections_own(world, stub):
    world.caller("planner").get("/", [("x-forwarded-proto", "http")])
    assert http_of(stub).scheme == "https"


@pytest.mark.parametrize("host", ["localhost:PORT", "localhost.", "localhost.:PORT"])
def test_port_and_trailing_dot_are_no_second_spelling_of_a_host(world, stub, host):
    stub.answer = allow
    host = host.replace("PORT", str(world.envoy.ports["edge"]))
    answer = world.caller("planner").send(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    assert http_of(stub).host == "localhost"
    assert answer.upstream_got("host") == ["localhost"]


def test_header_bytes_that_are_not_utf8_are_shown_to_the_pdp_as_they_are(world, stub):
    world.caller("planner").h2(b"/", [(b"x-thing", b"\xff!")])
    assert stub.headers()["x-thing"] == [b"\xff!"]


def test_path_bytes_that_are_not_utf8_are_escaped_for_pdp_and_upstream_alike(world, stub):
    stub.answer = allow
    assert world.caller("planner").h2(b"/v1/\xff\xfe").json()["target"] == "/v1/%FF%FE"
    assert stub.headers()[":path"] == [b"/v1/%FF%FE"]


def test_repeated_headers_are_shown_to_the_pdp_one_by_one(world, stub):
    world.caller("planner").get("/", [("x-thing", "a"), ("x-thing", "b")])
    assert stub.headers()["x-thing"] == [b"a", b"b"]


# --- Bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"amount": 1}', b"\xff\x00\xfe" * 100, b"x" * 65536])
def test_a_body_is_shown_to_the_pdp_whole_and_byte_for_byte(world, stub, body):
    stub.answer = allow
    assert world.caller("planner").post("/", body).json()["body_bytes"] == len(body)
    assert http_of(stub).raw_body == body
    assert stub.headers()["x-envoy-auth-partial-body"] == [b"false"]


def test_a_body_over_the_limit_is_refused_rather_than_cut(world, stub, mark):
    assert world.caller("planner").post(f"/{mark}", b"x" * 65537).status == 413
    assert stub.requests == []
    assert world.upstream.saw(mark) == []


# --- What the PDP may not do, and what happens without it -------------------------------------------------------------


@pytest.mark.parametrize("name", [":path", ":method", "host", ":authority", "x-envoy-upstream-alt-stat-name"])
def test_the_pdp_cannot_move_a_request_after_it_was_decided(world, stub, mark, name):
    stub.answer = lambda request: allow(request, {name: f"/elsewhere/{mark}"})
    assert world.caller("planner").get(f"/{mark}").status == 500
    assert world.upstream.saw(mark) == []


def test_a_line_break_in_a_header_of_the_pdp_splits_neither_request_nor_response(world, stub, mark):
    def to_the_client(request):
        response = allow(request)
        header = response.ok_response.response_headers_to_add.add().header
        header.key, header.value = "x-thing", "a\r\nx-smuggled: b"
        return response

    for answer in (lambda request: allow(request, {"x-thing": "a\r\nx-smuggled: b"}), to_the_client):
        stub.answer = answer
        got = world.caller("planner").get(f"/{mark}")
        assert got.status == 500
        assert got.header("x-smuggled") is None
    assert len(world.upstream.saw(mark)) <= 1  # a response header is looked at on the way back
    assert all(name != "x-smuggled" for one in world.upstream.saw(mark) for name, _ in one["headers"])


def _fail(_request: object) -> CheckResponse:
    raise RuntimeError("a fault of the stub")


@pytest.mark.parametrize("answer", [_fail, lambda _: b"\xff\xff"], ids=["grpc error", "garbage"])
def test_a_pdp_that_answers_nonsense_means_no_access(world, stub, mark, answer):
    stub.answer = answer
    assert world.caller("planner").get(f"/{mark}").status == 503
    assert world.upstream.saw(mark) == []


def test_a_pdp_that_does_not_answer_in_time_means_no_access(pki_directory, upstream, mark):
    asked, over = threading.Event(), threading.Event()

    def allow_too_late(request):
        asked.set()
        over.wait(60)
        return allow(request)

    with stubbed(pki_directory, upstream, as_hasty_as_shipped=True) as (world, stub):
        stub.answer = allow_too_late
        try:
            assert world.caller("planner").get(f"/{mark}").status == 503
            assert asked.wait(60), "the PDP was asked, and had no time to answer"
        finally:
            over.set()
    assert upstream.saw(mark) == []


def test_without_a_pdp_there_is_no_access_on_any_protocol(pki_directory, upstream, mark):
    world = World(pki_directory, upstream)
    try:
        caller = world.caller("planner")
        assert caller.get(f"/{mark}").status == 503
        assert caller.h2(f"/{mark}".encode()).status == 503
        with pytest.raises(grpc.RpcError) as error:
            caller.grpc(ECHO, metadata=[("x-mark", mark)])
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caller.websocket(f"/{mark}", "hi").status == 503
        assert world.tcp_caller("planner").tcp(TCP_REQUEST % mark.encode()) == b""
    finally:
        world.stop()
    assert upstream.saw(mark) == []


# --- The PDP over TCP, both sides proving who they are ----------------------------------------------------------------


def test_the_pdp_is_reached_over_mutual_tls(pki_directory, upstream):
    with stubbed(pki_directory, upstream, tls=(pki_directory / "pdp.pem", pki_directory / "pdp.key")) as (
        world,
        stub,
    ):
        stub.answer = allow
        assert world.caller("planner").get("/").status == 200
        assert world.tcp_caller("planner").tcp(TCP_REQUEST % b"")


@pytest.mark.parametrize("name", ["billing", "expired"])
def test_a_server_that_is_not_the_pdp_is_not_asked(pki_directory, upstream, name):
    # It holds a certificate of the right trust domain; it would allow everything.
    certificate = (pki_directory / f"{name}.pem", pki_directory / f"{name}.key")
    with stubbed(pki_directory, upstream, tls=certificate) as (world, stub):
        stub.answer = allow
        assert world.caller("planner").get("/").status == 503
        assert stub.requests == []


# --- What is written down ---------------------------------------------------------------------------------------------


def test_the_access_log_tells_the_pdps_words_and_not_the_query(world, stub, mark):
    def answer(request):
        response = deny(request)
        response.dynamic_metadata["reason"] = "because"
        return response

    stub.answer = answer
    logged = world.logged(world.caller("planner").get(f"/v1/accounts?token={mark}").request_id)
    assert logged["authz"]["reason"] == "because"
    assert (logged["peer"], logged["path"], logged["status"]) == (PLANNER, "/v1/accounts", 403)
    assert int(logged["authz_microseconds"]) > 0
    assert mark not in str(logged)


def test_the_access_log_tells_of_a_tcp_connection_that_was_denied(world, stub, mark):
    def answer(request):
        response = deny(request)
        response.dynamic_metadata["decision_id"] = mark
        return response

    stub.answer = answer
    world.tcp_caller("planner").tcp(b"hello")
    logged = world.access_log(lambda entry: (entry.get("authz") or {}).get("decision_id") == mark)
    assert (logged["protocol"], logged["peer"]) == ("tcp", PLANNER)


def test_envoy_finds_nothing_to_warn_of_in_the_configuration(world):
    assert "deprecat" not in world.envoy.child.log.lower()
    assert "[warning][config]" not in world.envoy.child.log


def test_private_keys_of_the_demo_are_readable_by_their_owner_alone(pki_directory):
    keys = list(pki_directory.glob("*.key"))
    assert len(keys) == len(pki.WORKLOADS) + 6
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
