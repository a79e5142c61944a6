"""A real OpenID Connect provider in a process of its own: Canaille (PyPI), with its own login pages, keys and consents.

`Provider.start()` answers one that is up; `sign_in` goes through its login form as a browser would. Run as a program it
is that process: it takes commands on stdin, one JSON object a line, and answers each with one.
"""

import contextlib
import json
import logging
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urljoin

import httpx

CLIENT_ID = "authz-console"
OTHER_CLIENT = "another-application"
SECRET = "the-console's-own-secret"
PASSWORD = "correct horse battery staple"
PEOPLE = {
    "ada": ("Ada Approver", ["payments", "staff"]),
    "omar": ("Omar Operator", ["sre", "staff"]),
    "sam": ("Sam Security", ["security-team", "payments"]),
    "vera": ("Vera Viewer", ["staff"]),
    "gina": ("Gina Gone", ["staff"]),
    "nick": ("Nick Nobody", ["guests"]),
}
"""User name -> what they are called, and their groups at the provider."""


class Provider:
    """The provider, seen from a test."""

    def __init__(self, process: subprocess.Popen[str], issuer: str) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._urls: list[str] = []
        self.issuer = issuer
        self.client_id, self.secret = CLIENT_ID, SECRET

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator["Provider"]:
        """Run one for the length of a block."""
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            line = process.stdout.readline()
            assert line, "the provider did not start"
            yield cls(process, json.loads(line)["issuer"])
        finally:
            process.stdin.close()
            process.terminate()
            process.wait(30)
            process.stdout.close()

    def _do(self, **command: object) -> Any:
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def redirects_to(self, *urls: str) -> None:
        """Let clients name these, too, as where the browser comes back to."""
        self._urls.extend(urls)
        self._do(do="redirects", urls=self._urls)

    def rotate_keys(self) -> None:
        """Sign with a new key from now on, and publish no other."""
        self._do(do="rotate")

    def subject(self, user: str) -> str:
        """Answer the `sub` of a user."""
        return user

    def sign_in(self, client: httpx.Client, url: str, user: str, password: str = PASSWORD) -> str:
        """Go through the provider's pages from an authorization URL; answer the URL at which it sends the browser back.

        `client` is an httpx client that follows no redirects and keeps cookies.
        """
        for _ in range(20):
            answer = client.get(url)
            while answer.status_code in (301, 302, 303):
                url = urljoin(str(answer.request.url), answer.headers["location"])
                if not url.startswith(self.issuer):
                    return url
                answer = client.get(url)
            fields = _fields(answer.text)
            if 'name="login"' in answer.text:
                fields["login"] = user
            elif 'name="password"' in answer.text:
                fields["password"] = password
            elif 'name="answer"' in answer.text:
                fields["answer"] = "accept"
            else:
                raise AssertionError(
                    f"a page of the provider that is not known: {answer.status_code} {answer.text[:2000]}"
                )
            answer = client.post(url, data=fields, headers={"referer": url})
            if answer.status_code not in (301, 302, 303):
                raise AssertionError(f"the provider does not go on: {answer.status_code} {answer.text[:3000]}")
            url = urljoin(url, answer.headers["location"])
            if not url.startswith(self.issuer):
                return url
        raise AssertionError("the provider leads nowhere")


_INPUT = re.compile(r"<input\b[^>]*>", re.DOTALL)
_ATTRIBUTE = re.compile(r'(name|value)="([^"]*)"')


def _fields(page: str) -> dict[str, str]:
    found = {}
    for tag in _INPUT.findall(page):
        attributes = dict(_ATTRIBUTE.findall(tag))
        if attributes.get("name") and attributes.get("value"):
            found[attributes["name"]] = unescape(attributes["value"])
    return found


def _demand_all(backend: Any) -> None:
    """Have the memory backend answer what fits all of a query: by itself it answers what fits any part, so that one
    login could be given the code of another.
    """
    any_of = backend.do_query

    def do_query(self: Any, model: Any, *args: Any, **wanted: Any) -> Any:
        if len(wanted) <= 1:
            return any_of(self, model, *args, **wanted)
        parts = [
            {each.id: each for each in any_of(self, model, *args, **{name: value})} for name, value in wanted.items()
        ]
        return [each for key, each in parts[0].items() if all(key in part for part in parts)]

    backend.do_query = do_query


def _answer(told: object) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _serve() -> None:
    from canaille import create_app  # noqa: PLC0415 - only in the process that it is
    from canaille.app import models  # noqa: PLC0415 - only in the process that it is
    from canaille.backends import Backend  # noqa: PLC0415 - only in the process that it is
    from canaille.backends.memory.backend import MemoryBackend  # noqa: PLC0415 - only in the process that it is
    from joserfc.jwk import RSAKey  # noqa: PLC0415 - only in the process that it is
    from werkzeug.serving import make_server  # noqa: PLC0415 - only in the process that it is

    _demand_all(MemoryBackend)

    def key() -> dict[str, Any]:
        made = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True, auto_kid=True)
        return made.as_dict(private=True)

    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    host = f"127.0.0.1:{server.server_port}"
    app = create_app(
        {
            "SECRET_KEY": secrets.token_hex(16),
            "SERVER_NAME": host,
            "PREFERRED_URL_SCHEME": "http",
            "TESTING": False,
            "WTF_CSRF_ENABLED": True,
            "CANAILLE": {
                "DATABASE": "memory",
                "HTMX": False,
                "JAVASCRIPT": False,
                "PASSWORD_LIFETIME": None,
                "ENABLE_PASSWORD_COMPROMISSION_CHECK": False,
                "LOGGING": {"version": 1, "root": {"level": "ERROR"}},
            },
            "CANAILLE_OIDC": {"ACTIVE_JWKS": [key()], "TRUSTED_DOMAINS": ["127.0.0.1"]},
        }
    )
    clients = {}
    with app.app_context():
        groups = {}
        for name, (called, names) in PEOPLE.items():
            first, _, last = called.partition(" ")
            user = models.User(
                user_name=name,
                formatted_name=called,
                given_name=first,
                family_name=last,
                emails=[f"{name}@people.demo.internal"],
                password=PASSWORD,
            )
            Backend.instance.save(user)
            for group in names:
                groups.setdefault(group, []).append(user)
        for group, members in groups.items():
            Backend.instance.save(models.Group(display_name=group, members=members))
        for client_id in (CLIENT_ID, OTHER_CLIENT):
            client = models.Client(
                client_id=client_id,
                client_name=client_id,
                client_secret=SECRET,
                client_uri=f"http://{host}",
                redirect_uris=[],
                grant_types=["authorization_code"],
                response_types=["code"],
                token_endpoint_auth_method="client_secret_basic",
                scope=["openid", "profile", "email", "groups"],
            )
            Backend.instance.save(client)
            client.audience = [client]
            Backend.instance.save(client)
            clients[client_id] = client
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.app = app
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _answer({"issuer": f"http://{host}"})
    for line in sys.stdin:
        command = json.loads(line)
        with app.app_context():
            if command["do"] == "redirects":
                for client in clients.values():
                    client.redirect_uris = command["urls"]
                    Backend.instance.save(client)
            elif command["do"] == "rotate":
                app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = [key()]
        _answer({"done": True})


if __name__ == "__main__":
    _serve()
