"""`authz login`: the device flow and the code flow with PKCE, against a provider here, and against evil ones."""

import base64
import contextlib
import hashlib
import http.server
import json
import stat
import threading
import urllib.parse
import urllib.request

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from authz.cli.main import cli
from authz.cli.sign_in import browser
from authz.cli.sign_in.cache import read_token, write_token
from authz.cli.sign_in.provider import SignInError, check_url
from authz.errors import ConfigError
from authz.jose.signing import SigningKey, sign_compact

KEY = SigningKey("k", ec.generate_private_key(ec.SECP256R1()))


class Idp:
    """A provider: discovery, device authorization, tokens, and an authorization endpoint that says yes at once."""

    def __init__(self):
        self.answers = []
        self.device = {"device_code": "dc", "user_code": "ABCD-EFGH", "interval": 0, "expires_in": 60}
        self.forms = []
        self.configuration = {}
        self.nonce = self.challenge = None
        self.code = "code-1"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.reply(self, 200, outer.configuration)

            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                outer.forms.append(form)
                outer.reply(self, *outer.post(self.path, form))

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.configuration = {
            "issuer": self.issuer,
            "token_endpoint": f"{self.issuer}/token",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "device_authorization_endpoint": f"{self.issuer}/device",
        }
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def reply(self, handler, status, content):
        body = json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        handler.wfile.write(body)

    def tokens(self):
        claims = {"iss": self.issuer, "sub": "ann", "name": "Ann\x1b[2J", "exp": 4_000_000_000}
        if self.nonce:
            claims["nonce"] = self.nonce
        return {"id_token": sign_compact(claims, "JWT", KEY), "access_token": "opaque"}

    def post(self, path, form):
        if path == "/device":
            return 200, {**self.device, "verification_uri": f"{self.issuer}/go"}
        if self.answers:
            return self.answers.pop(0)
        if form["grant_type"] == "authorization_code":
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            made = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if (form["code"], made) != (self.code, self.challenge):
                return 400, {"error": "invalid_grant"}
        return 200, self.tokens()

    def visit(self, **changes):
        """Answer what a browser does: signs in at once, and comes back."""

        def visit(address):
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
            self.nonce, self.challenge = query["nonce"], query["code_challenge"]
            assert query["code_challenge_method"] == "S256"
            answer = {"code": self.code, "state": query["state"], "iss": self.issuer} | changes
            back = f"{query['redirect_uri']}?{urllib.parse.urlencode(answer)}"
            threading.Thread(target=_come_back, args=(back,), daemon=True).start()

        return visit


def _come_back(address):
    with contextlib.suppress(OSError):
        urllib.request.urlopen(address, timeout=30).read()


@pytest.fixture
def idp():
    made = Idp()
    yield made
    made.close()


def run(idp, tmp_path, *words, code=0):
    command = ["login", "--issuer", idp.issuer, "--client-id", "authz-cli", "--token-file", str(tmp_path / "t"), *words]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_by_a_code_that_is_typed_in_elsewhere(idp, tmp_path):
    idp.answers = [(400, {"error": "authorization_pending"}), (400, {"error": "authorization_pending"})]
    result = run(idp, tmp_path)
    assert "ABCD-EFGH" in result.stderr
    assert f"{idp.issuer}/go" in result.stderr
    assert "signed in as Ann" in result.stdout
    assert "\x1b" not in result.stdout
    token = tmp_path / "t"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert read_token(token).rpartition(".")[0] == idp.tokens()["id_token"].rpartition(".")[0]
    assert idp.forms[-1]["grant_type"] == "urn:ietf:params:oauth:grant-type:device_code"
    assert "id_token" not in result.output


@pytest.mark.parametrize("error", ["access_denied", "expired_token", "\x1b[2J", "x" * 100])
def test_a_human_who_says_no_is_told_of(idp, tmp_path, error):
    idp.answers = [(400, {"error": error})]
    result = run(idp, tmp_path, code=1)
    assert isinstance(result.exception, SignInError)
    assert "\x1b" not in str(result.exception)
    assert not (tmp_path / "t").exists()


def test_a_code_that_lapses_ends_it(idp, tmp_path):
    idp.device["expires_in"] = 0
    assert "lapsed" in str(run(idp, tmp_path, code=1).exception)


def test_by_a_browser(idp, tmp_path, monkeypatch):
    monkeypatch.setattr("authz.cli.login.webbrowser.open", idp.visit())
    assert "signed in as Ann" in run(idp, tmp_path, "--browser").stdout
    assert idp.forms[-1]["redirect_uri"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://evil.example"}, "another provider"),
        ({"error": "access_denied"}, "access_denied"),
        ({"code": "somebody-else's"}, "invalid_grant"),
    ],
)
def test_what_comes_back_must_be_the_answer_to_this(idp, tmp_path, monkeypatch, changes, why):
    monkeypatch.setattr("authz.cli.login.webbrowser.open", idp.visit(**changes))
    assert why in str(run(idp, tmp_path, "--browser", code=1).exception)


def test_an_answer_to_another_question_is_not_listened_to(idp, monkeypatch, tmp_path):
    monkeypatch.setattr("authz.cli.login.webbrowser.open", idp.visit(state="forged"))
    monkeypatch.setattr(browser._Receiver, "timeout", 0.05)
    original = browser.sign_in_by_browser
    monkeypatch.setattr("authz.cli.login.sign_in_by_browser", lambda *a, **k: original(*a, **k, seconds=0.5))
    assert "in time" in str(run(idp, tmp_path, "--browser", code=1).exception)


def test_a_token_for_another_request_is_not_kept(idp, tmp_path, monkeypatch):
    visit = idp.visit()

    def other(address):
        visit(address)
        idp.nonce = "another"

    monkeypatch.setattr("authz.cli.login.webbrowser.open", other)
    assert "does not answer this request" in str(run(idp, tmp_path, "--browser", code=1).exception)


def test_a_configuration_of_another_issuer_is_not_used(idp, tmp_path):
    idp.configuration["issuer"] = "https://evil.example"
    assert "no OpenID configuration of its own" in str(run(idp, tmp_path, code=1).exception)
    idp.configuration |= {"issuer": idp.issuer, "token_endpoint": "http://evil.example/token"}
    assert "expected https://" in str(run(idp, tmp_path, code=1).exception)


def test_without_a_device_flow_it_says_what_to_do(idp, tmp_path):
    del idp.configuration["device_authorization_endpoint"]
    assert "--browser" in str(run(idp, tmp_path, code=1).exception)


@pytest.mark.parametrize(
    "url", ["http://idp.example", "ftp://127.0.0.1", "https://", "http://[", "https://u:p@idp.example"]
)
def test_nothing_is_sent_where_others_read_along(url):
    with pytest.raises(SignInError):
        check_url(url)


def test_out_again(tmp_path):
    write_token(tmp_path / "t", "abc")
    assert CliRunner().invoke(cli, ["logout", "--token-file", str(tmp_path / "t")]).exit_code == 0
    with pytest.raises(ConfigError, match="there is no token"):
        read_token(tmp_path / "t")
