"""What an identity provider, or somebody in its place, may answer: one way in, and everything else proves nobody."""

import asyncio
import base64
import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authz.console import provider as module
from authz.console.login import Logins
from authz.console.provider import NotSignedIn, Provider, ProviderDown
from authz.console.settings import MemberSettings, OidcSettings
from authz.jose.signing import SigningKey, sign_compact

BACK = "https://console.example/login/callback"


class Fake:
    """A provider that answers what a test tells it to."""

    def __init__(self):
        fake = self
        self.asked = []
        self.more, self.answers = {}, {}
        self.key = SigningKey("k1", ec.generate_private_key(ec.SECP256R1()))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("content-length", 0))
                fake.asked.append((self.path, parse_qs(self.rfile.read(length).decode())))
                status, content = fake.answers.get(self.path) or (200, fake.page(self.path))
                content = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"

    def page(self, path):
        if path == "/jwks":
            return {"keys": [self.key.public_jwk()]}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        } | self.more

    def count(self, path):
        return sum(asked == path for asked, _ in self.asked)

    def claims(self, login, **changes):
        now = time.time()
        claims = {
            "iss": self.issuer,
            "sub": "ada",
            "aud": "us",
            "iat": int(now),
            "exp": int(now) + 300,
            "nonce": login.nonce,
            "groups": ["payments"],
        } | changes
        return {name: value for name, value in claims.items() if value is not ...}

    def gives(self, id_token):
        self.answers["/token"] = 200, {"access_token": "a", "token_type": "Bearer", "id_token": id_token}


@pytest.fixture
def fake():
    made = Fake()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def ours(fake, tmp_path, person_claim="sub", **changes):
    settings = OidcSettings(
        issuer=fake.issuer, client_id="us", members=(MemberSettings(claim="payments"),), timeout_seconds=60, **changes
    )
    return Provider(settings, tmp_path, time.time, person_claim)


@pytest.fixture
def login():
    return Logins(600, time.time).begin()


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_what_is_as_it_must_be_comes_in(fake, tmp_path, login):
    provider = ours(fake, tmp_path)
    away = parse_qs(urlsplit(await provider.leave(login, BACK)).query)
    assert away["state"] == [login.state]
    assert away["nonce"] == [login.nonce]
    assert away["code_challenge_method"] == ["S256"]
    assert away["redirect_uri"] == [BACK]
    fake.gives(sign_compact(fake.claims(login, azp="us", groups="payments"), "JWT", fake.key))
    person = await provider.come_back(login, BACK, "c", "")
    assert (person.id, person.roles) == (f"{fake.issuer}#ada", {"viewer"})
    assert fake.asked[-1][1]["code_verifier"] == [login.verifier]


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": ...},
        {"aud": "others"},
        {"aud": ["us", "others"]},
        {"aud": []},
        {"aud": ...},
        {"azp": "others"},
        {"nonce": "of another login"},
        {"nonce": ...},
        {"nonce": ["x"]},
        {"exp": 1},
        {"exp": ...},
        {"exp": float("nan")},
        {"exp": True},
        {"iat": 1},
        {"iat": ...},
        {"iat": float("nan")},
        {"iat": 2**33},
        {"nbf": 2**33},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "a" * 256},
        {"groups": ...},
        {"groups": None},
        {"groups": {"payments": True}},
        {"groups": ["payments", 1]},
        {"groups": [["payments"]]},
        {"groups": 7},
        {"groups": ["Payments", "payments "]},
        {"groups": ["payments"] * 1_001},
    ],
    ids=str,
)
async def test_a_token_with_another_claim_proves_nobody(fake, tmp_path, login, changes):
    fake.gives(sign_compact(fake.claims(login, **changes), "JWT", fake.key))
    with pytest.raises(NotSignedIn):
        await ours(fake, tmp_path).come_back(login, BACK, "c", "")


async def test_a_token_that_is_not_signed_with_a_key_of_the_provider_proves_nobody(fake, tmp_path, login):
    claims = part(fake.claims(login))
    other = SigningKey("k1", ec.generate_private_key(ec.SECP256R1()))
    import hashlib
    import hmac

    confused = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{claims}"
    secret = json.dumps(fake.key.public_jwk()).encode()
    mac = base64.urlsafe_b64encode(hmac.digest(secret, confused.encode(), hashlib.sha256)).rstrip(b"=").decode()
    good = sign_compact(fake.claims(login), "JWT", fake.key)
    for token in (
        f"{part({'alg': 'none'})}.{claims}.",
        f"{confused}.{mac}",
        sign_compact(fake.claims(login), "JWT", other),
        f"{good.split('.')[0]}.{part(fake.claims(login, sub='root'))}.{good.split('.')[2]}",
        f"{part({'alg': 'ES256', 'jwk': other.public_jwk()})}.{claims}.{good.split('.')[2]}",
        "",
        "a.b.c",
        7,
        None,
        ["x"],
    ):
        fake.gives(token)
        with pytest.raises(NotSignedIn):
            await ours(fake, tmp_path).come_back(login, BACK, "c", "")


@pytest.mark.parametrize("answer", [(200, []), (200, "x"), (200, None), (200, 7), (500, {}), (404, {}), (302, {})])
async def test_an_answer_that_is_none_lets_nobody_in(fake, tmp_path, login, answer):
    fake.answers["/token"] = answer
    with pytest.raises((NotSignedIn, ProviderDown)):
        await ours(fake, tmp_path).come_back(login, BACK, "c", "")


@pytest.mark.parametrize("key", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1.evil.example/x", "http://localhost.evil.example/", "http://127.0.0.1@evil.example/", "//x", ""],
)
async def test_an_endpoint_that_others_could_listen_to_is_refused(fake, tmp_path, login, key, url):
    fake.more[key] = url
    with pytest.raises(ProviderDown, match="not https"):
        await ours(fake, tmp_path).leave(login, BACK)


async def test_a_provider_without_a_place_to_sign_out_is_fine_and_one_that_is_not_private_is_not(fake, tmp_path, login):
    provider = ours(fake, tmp_path)
    await provider.leave(login, BACK)
    assert provider.sign_out(BACK) == ""
    fake.more["end_session_endpoint"] = f"{fake.issuer}/bye?x=1"
    provider = ours(fake, tmp_path)
    await provider.leave(login, BACK)
    assert provider.sign_out("https://c/signin").startswith(f"{fake.issuer}/bye?x=1&client_id=us&post_logout_")
    fake.more["end_session_endpoint"] = "javascript:alert(1)"
    with pytest.raises(ProviderDown):
        await ours(fake, tmp_path).leave(login, BACK)


async def test_who_a_person_is_to_approvals_is_told_by_the_claim_of_their_provider(fake, tmp_path, login):
    fake.gives(sign_compact(fake.claims(login, oid="ada-0"), "JWT", fake.key))
    person = await ours(fake, tmp_path, "oid").come_back(login, BACK, "c", "")
    assert (person.subject, person.person) == ("ada", "ada-0")
    assert (await ours(fake, tmp_path).come_back(login, BACK, "c", "")).person == "ada"


@pytest.mark.parametrize("oid", [..., "", 7, ["ada"], "a\n", "a" * 256], ids=str)
async def test_who_is_no_person_to_approvals_does_not_come_in(fake, tmp_path, login, oid):
    fake.gives(sign_compact(fake.claims(login, oid=oid), "JWT", fake.key))
    with pytest.raises(NotSignedIn, match="oid names no person"):
        await ours(fake, tmp_path, "oid").come_back(login, BACK, "c", "")


async def test_a_name_counts_whole_where_it_excludes_its_bearer(fake, tmp_path, login):
    name = "a" * 300
    fake.gives(sign_compact(fake.claims(login, name=name), "JWT", fake.key))
    person = await ours(fake, tmp_path).come_back(login, BACK, "c", "")
    assert person.claims["name"] == name
    assert len(person.name) < 300


async def test_logins_by_the_hundred_cost_little(fake, tmp_path, login, monkeypatch):
    """Anybody may begin one: none of them may read the system's authorities anew, which takes milliseconds."""
    made = []
    whole = module.ssl.create_default_context
    monkeypatch.setattr(module.ssl, "create_default_context", lambda **more: made.append(1) or whole(**more))
    provider = ours(fake, tmp_path)
    await asyncio.gather(*(provider.leave(login, BACK) for _ in range(100)))
    fake.answers["/token"] = 400, {"error": "invalid_grant"}
    for _ in range(10):
        with pytest.raises(NotSignedIn):
            await provider.come_back(login, BACK, "c", "")
    assert (len(made), fake.count("/jwks")) == (1, 1)


async def test_a_provider_that_is_down_is_asked_again_only_after_a_while(fake, tmp_path, login):
    fake.answers["/jwks"] = 500, {}
    provider = ours(fake, tmp_path, min_refresh_seconds=3_600)
    told = await asyncio.gather(*(provider.leave(login, BACK) for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in told} == {ProviderDown}
    assert fake.count("/jwks") == 1
