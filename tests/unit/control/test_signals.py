"""Shared signals: CAEP events that come in become revocations, and revocations go out as events."""

import asyncio
import http.server
import json
import ssl
import threading
import time

import jwt
import pytest
from control_kit import BILLING, DOMAIN, OPERATORS, PLANNER
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1

from authz.errors import Reason
from authz.model import Credential, Subject

IDP = "https://idp.demo.internal"
US = "https://authz.demo.internal"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
KEY, OTHER = ec.generate_private_key(SECP256R1()), ec.generate_private_key(SECP256R1())
RULES = f"""
p, idp, r.sub.id == '{IDP}' && r.env.transport == 'signals' && r.obj.value != '{BILLING}', /revocations/*, control:revocations.create, allow,
p, alice, r.sub.operator == 'alice', *, *, allow,
"""  # noqa: E501 - a rule stands on a line of its own


def jwks():
    document = jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    document.pop("key_ops", None)
    return json.dumps({"keys": [{**document, "kid": "k1", "use": "sig", "alg": "ES256"}]})


@pytest.fixture
async def world(start, tmp_path):
    (tmp_path / "idp.json").write_text(jwks())
    tables = f'[[control.signals.issuers]]\nissuer = "{IDP}"\naudience = "{US}"\njwks = "idp.json"\n'
    async with start(rules=RULES, operators=OPERATORS + tables) as made:
        yield made


def token(event="session-revoked", subject=None, content=None, key=KEY, header=None, **changes):
    now = int(time.time())
    claims = {
        "iss": IDP,
        "jti": "24c63fb5",
        "iat": now,
        "aud": US,
        "sub_id": subject or {"format": "uri", "uri": PLANNER},
        "events": {f"{CAEP}{event}": {"event_timestamp": now - 5, "initiating_entity": "policy"} | (content or {})},
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, "ES256", headers={"typ": "secevent+jwt", "kid": "k1"} | (header or {}))


async def push(world, text, content_type="application/secevent+jwt"):
    async with world.http() as client:  # no client certificate: the signature says who it is
        return await client.post("/ssf/events", content=text, headers={"content-type": content_type})


def refusal(world, who=PLANNER, issued=-100.0):
    credential = Credential("x509-svid", "ab" * 32, time.time() + issued, time.time() + 100)
    subject = Subject(id=who, trust_domain=DOMAIN, credential=credential)
    return world.shared.view.revocations.refusal(subject, None, time.time())


async def listed(world):
    return (await world.shared.store.revocations()).items


async def test_a_revoked_session_is_over_when_the_event_is_taken(world):
    answer = await push(world, token())
    assert (answer.status_code, answer.content) == (202, b"")
    assert refusal(world) is Reason.ISSUED_BEFORE_CUTOFF
    assert refusal(world, issued=0.0) is None  # who comes with a new credential goes on
    [kept] = await listed(world)
    assert kept.author == IDP
    assert world.trail.last.subject.id == IDP
    assert world.trail.last.request.act["name"] == "control:revocations.create"


@pytest.mark.parametrize("change", ["revoke", "delete"])
async def test_a_credential_that_is_gone_is_cut_off(world, change):
    content = {"credential_type": "x509", "change_type": change}
    assert (await push(world, token("credential-change", content=content))).status_code == 202
    assert refusal(world) is Reason.ISSUED_BEFORE_CUTOFF


@pytest.mark.parametrize(
    ("subject", "kind", "value"),
    [
        ({"format": "opaque", "id": "task-42"}, "task", "task-42"),
        ({"format": "jwt_id", "iss": US, "jti": "g" * 24}, "grant", "g" * 24),
        ({"format": "iss_sub", "iss": IDP, "sub": "alice"}, "issued_before", f"{IDP}#alice"),
    ],
)
async def test_what_subjects_mean(world, subject, kind, value):
    assert (await push(world, token(subject=subject))).status_code == 202
    [kept] = await listed(world)
    assert (kept.kind, kept.value) == (kind, value)


@pytest.mark.parametrize("event", ["token-claims-change", "assurance-level-change", "session-established"])
async def test_events_that_mean_nothing_here_are_taken(world, event):
    assert (await push(world, token(event))).status_code == 202
    assert (await push(world, token("credential-change", content={"change_type": "create"}))).status_code == 202
    assert not await listed(world)


async def test_an_event_counts_once_even_after_it_was_undone(world):
    text = token()
    await push(world, text)
    [kept] = await listed(world)
    await world.shared.store.undo(kept.id, "operator:alice", "a mistake")
    await world.shared.settle()
    assert (await push(world, text)).status_code == 202
    assert len(await listed(world)) == 1
    assert refusal(world) is None


@pytest.mark.parametrize(
    ("text", "err"),
    [
        (lambda: "x.y.z", "invalid_request"),
        (lambda: token(iss="https://evil.example"), "invalid_issuer"),
        (lambda: token(aud="https://elsewhere.example"), "invalid_audience"),
        (lambda: token(aud=None), "invalid_audience"),
        (lambda: token(key=OTHER), "authentication_failed"),
        (lambda: token(header={"kid": "k2"}), "invalid_key"),
        (lambda: token(header={"typ": "JWT"}), "invalid_request"),
        (lambda: token(exp=9_999_999_999), "invalid_request"),
        (lambda: token(sub=PLANNER), "invalid_request"),
        (lambda: token(jti=""), "invalid_request"),
        (lambda: token(jti=None), "invalid_request"),
        (lambda: token(iat=1_000_000_000), "invalid_request"),
        (lambda: token(iat=int(time.time()) + 600), "invalid_request"),
        (lambda: token(iat=True), "invalid_request"),
        (lambda: token(events={}), "invalid_request"),
        (lambda: token(content={"event_timestamp": 0}), "invalid_request"),
        (lambda: token(content={"event_timestamp": -1e9}), "invalid_request"),
        (lambda: token(content={"event_timestamp": 0.0004}), "invalid_request"),
        (lambda: token(sub_id=PLANNER), "invalid_request"),
        (lambda: token(subject={"format": "complex", "user": {}}), "invalid_request"),
        (lambda: token(subject={"format": "uri", "uri": "not a principal"}), "invalid_request"),
        (lambda: jwt.encode({"iss": IDP}, "s" * 32, "HS256", headers={"typ": "secevent+jwt"}), "invalid_request"),
    ],
)
async def test_what_is_not_taken(world, text, err):
    answer = await push(world, text())
    assert (answer.status_code, answer.json()["err"]) == (400, err), answer.text
    assert not await listed(world)


async def test_policy_says_what_an_issuer_may_revoke(world):
    answer = await push(world, token(subject={"format": "uri", "uri": BILLING}))
    assert (answer.status_code, answer.json()["err"]) == (400, "access_denied")
    assert refusal(world, BILLING) is None


async def test_another_content_type(world):
    assert (await push(world, token(), "application/json")).status_code == 400


# Out


class Receiver:
    """An HTTPS server that keeps what is pushed to it."""

    def __init__(self, pki):
        self.taken, self.answers = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.taken.append((self.headers, body.decode()))
                self.send_response(outer.answers.pop(0) if outer.answers else 202)
                self.end_headers()

            def log_message(self, *_):
                pass

        made = pki.issue(f"spiffe://{DOMAIN}/receiver", "receiver", dns=("localhost",))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made["certificate"], made["key"])
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self):
        return f"https://localhost:{self.server.server_port}/events"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
async def receiver(pki):
    made = Receiver(pki)
    yield made
    await asyncio.to_thread(made.close)


@pytest.fixture
def transmitting(start, receiver, pki, tmp_path):
    (tmp_path / "auth").write_text("Bearer s3cret\n")
    tables = (
        f'[control.signals]\nretry_min_seconds = 0.01\n[[control.signals.receivers]]\nurl = "{receiver.url}"\n'
        f'audience = "https://receiver.example"\nca_file = "{pki.ca}"\nauthorization_file = "auth"\n'
    )
    return lambda: start(rules=RULES, operators=OPERATORS + tables)


async def count(receiver, number):
    async with asyncio.timeout(20):
        while len(receiver.taken) < number:
            await asyncio.sleep(0.01)


async def settled(world):
    """Return once the transmitter follows: its place is written."""
    async with asyncio.timeout(20):
        while not list((world.directory / "state").glob("signals-*.json")):
            await asyncio.sleep(0.01)


def read(world, text):
    header = jwt.get_unverified_header(text)
    key = world.shared.ring.key_set().find(header["kid"]).key
    return header, jwt.decode(text, key, ["EdDSA"], audience="https://receiver.example")


async def test_a_revocation_is_told_as_a_signed_event(transmitting, receiver):
    async with transmitting() as world:
        await settled(world)
        await world.revoke("principal", PLANNER)
        await count(receiver, 1)
        headers, text = receiver.taken[0]
        assert headers["content-type"] == "application/secevent+jwt"
        assert headers["authorization"] == "Bearer s3cret"
        header, claims = read(world, text)
        assert header["typ"] == "secevent+jwt"
        assert claims["iss"] == US
        assert claims["sub_id"] == {"format": "uri", "uri": PLANNER}
        assert list(claims["events"]) == [f"{CAEP}session-revoked"]
        assert not claims.keys() & {"sub", "exp"}


async def test_what_fails_is_told_again_with_the_same_id_and_in_order(transmitting, receiver):
    async with transmitting() as world:
        await settled(world)
        receiver.answers += [503, 429, 500]
        await world.revoke("principal", PLANNER)
        await count(receiver, 4)
        assert len({read(world, text)[1]["jti"] for _, text in receiver.taken}) == 1


async def test_what_a_receiver_refuses_for_good_is_not_told_again(transmitting, receiver):
    async with transmitting() as world:
        await settled(world)
        receiver.answers.append(400)
        await world.revoke("principal", PLANNER)
        await world.shared.store.revoke(_other())
        await count(receiver, 2)
        assert read(world, receiver.taken[1][1])[1]["sub_id"]["uri"] == BILLING


async def test_a_restart_goes_on_where_it_ended(transmitting, receiver):
    async with transmitting() as world:
        await settled(world)
    async with transmitting() as world:
        pass
    async with transmitting() as world:
        await world.shared.store.revoke(_other())
        await count(receiver, 1)
        assert read(world, receiver.taken[0][1])[1]["sub_id"]["uri"] == BILLING


def _other():
    from authz.stores.database.records import Revocation

    return Revocation(id="r-2", kind="principal", value=BILLING, reason="x", author="x", created_at=time.time())
