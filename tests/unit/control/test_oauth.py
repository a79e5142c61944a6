"""OAuth's token endpoint, with a real OAuth client library over real mutual TLS."""

import json
import ssl

import httpx
import joserfc.jwt
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from control_kit import PLANNER, RESEARCHER, Pki
from joserfc.jwk import KeySet

from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task
from authz.grants.token import read_grant

GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
WIDE = Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/*"])
OPEN = "p, anybody, True, *, *, allow,\n"
NARROW = [{"type": "authz_access", "actions": ["GET"], "locations": ["*"], "resources": ["/v1/accounts/42"]}]


@pytest.fixture
async def free(start):
    async with start(rules=OPEN) as world:
        yield world


@pytest.fixture
async def parent(free):
    planner = await free.as_(PLANNER)
    request = grants_pb2.IssueRequest(task=Task(id="t-1", purpose="plan"), permissions=[WIDE])
    return (await planner.call(GRANTS, "Issue", request)).token


def form(token, **changes):
    values = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ACCESS_TOKEN, **changes}
    return {name: value for name, value in values.items() if value is not None}


async def test_a_standard_client_exchanges_a_token(free, parent):
    async with free.http(RESEARCHER) as plain:
        metadata = (await plain.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["token_endpoint"].endswith("/oauth/token")
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    plain = free.http(RESEARCHER)
    async with AsyncOAuth2Client(
        client_id=RESEARCHER, token_endpoint_auth_method="none", timeout=60, verify=plain._transport._pool._ssl_context
    ) as client:
        token = await client.fetch_token(
            f"https://{free.server.web_address}/oauth/token",
            grant_type=EXCHANGE,
            subject_token=parent,
            subject_token_type=ACCESS_TOKEN,
            authorization_details=json.dumps(NARROW),
        )
    await plain.aclose()
    assert token["issued_token_type"] == ACCESS_TOKEN
    assert token["token_type"] == "N_A"
    grant = read_grant(token["access_token"], free.shared.ring.key_set(), free.config.grants)
    assert (grant.holder, grant.delegators) == (RESEARCHER, (PLANNER,))
    assert grant.certificate == free.trail.last.subject.credential.fingerprint
    assert grant.scope.details[0].resources == ("/v1/accounts/42",)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_anybody_verifies_a_token_with_the_published_keys(free, parent):
    async with free.http() as client:
        answer = await client.get("/.well-known/jwks.json")
    assert "max-age" in answer.headers["cache-control"]
    claims = joserfc.jwt.decode(parent, KeySet.import_key_set(answer.json()), algorithms=["EdDSA"]).claims
    assert claims["sub"] == PLANNER
    assert claims["authorization_details"][0]["type"] == "authz_access"
    assert "d" not in answer.json()["keys"][0]


async def test_a_client_library_is_told_what_was_wrong(free, parent):
    plain = free.http(RESEARCHER)
    async with AsyncOAuth2Client(
        client_id=RESEARCHER, token_endpoint_auth_method="none", timeout=60, verify=plain._transport._pool._ssl_context
    ) as client:
        with pytest.raises(OAuthError) as failed:
            await client.fetch_token(
                f"https://{free.server.web_address}/oauth/token",
                grant_type=EXCHANGE,
                subject_token=parent[:-6],
                subject_token_type=ACCESS_TOKEN,
            )
    await plain.aclose()
    assert failed.value.error == "invalid_request"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token": ""}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"resource": "https://api"}, "invalid_target"),
        ({"audience": "https://elsewhere.example"}, "invalid_target"),
        ({"client_id": PLANNER}, "invalid_client"),
        ({"dpop_jkt": "x"}, "invalid_request"),
        ({"authorization_details": "{}"}, "invalid_authorization_details"),
        ({"authorization_details": '[],"details":[]'}, "invalid_authorization_details"),
        ({"authorization_details": '[{"type":"other"}]'}, "invalid_authorization_details"),
        (
            {"authorization_details": json.dumps([NARROW[0] | {"resources": ["/*"]}])},
            "invalid_authorization_details",
        ),
    ],
)
async def test_what_is_refused(free, parent, changes, error):
    async with free.http(RESEARCHER) as client:
        answer = await client.post("/oauth/token", data=form(parent, **changes))
    assert answer.json()["error"] == error, answer.text
    assert answer.status_code == (401 if error == "invalid_client" else 400)
    assert answer.headers["cache-control"] == "no-store"
    assert parent not in answer.text


async def test_a_repeated_parameter(free, parent):
    async with free.http(RESEARCHER) as client:
        body = f"grant_type={EXCHANGE}&subject_token={parent}&subject_token={parent}&subject_token_type={ACCESS_TOKEN}"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await client.post("/oauth/token", content=body, headers=headers)
    assert answer.json()["error"] == "invalid_request"


async def test_without_a_certificate_there_is_no_token(free, parent):
    async with free.http() as client:
        answer = await client.post("/oauth/token", data=form(parent))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_certificate_of_an_unknown_authority_is_no_certificate(free, parent, tmp_path):
    directory = tmp_path / "other"
    directory.mkdir()
    made = Pki(directory).issue(RESEARCHER, "forged")
    context = ssl.create_default_context(cafile=free.pki.ca)
    context.check_hostname = False
    context.load_cert_chain(made["certificate"], made["key"])
    async with httpx.AsyncClient(base_url=f"https://{free.server.web_address}", verify=context, timeout=60) as client:
        try:
            answer = await client.post("/oauth/token", data=form(parent))
        except (httpx.TransportError, ssl.SSLError):
            return  # the handshake failed
    assert answer.status_code == 401


async def test_policy_is_asked(world):
    planner = await world.as_(PLANNER)
    request = grants_pb2.IssueRequest(task=Task(purpose="plan"), permissions=[WIDE])
    token = (await planner.call(GRANTS, "Issue", request)).token
    async with world.http(RESEARCHER) as client:
        answer = await client.post("/oauth/token", data=form(token))
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    async with world.http(PLANNER) as client:
        assert (await client.post("/oauth/token", data=form(token))).status_code == 200


async def test_bodies_and_methods_are_bounded(start):
    async with start(rules=OPEN, http="max_body_bytes = 1024") as world, world.http(PLANNER) as client:
        answer = await client.post("/oauth/token", data=form("x" * 2_000))
        assert answer.status_code == 413
        assert (await client.get("/oauth/token")).status_code == 405
        assert (await client.get("/nothing")).status_code == 404
