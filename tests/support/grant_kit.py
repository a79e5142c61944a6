"""Grants, keys and questions for tests: honest ones, to be changed in one thing."""

import base64
import json

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from authz.grants.grant import Grant, Task
from authz.grants.scope import Scope, access
from authz.grants.settings import GrantSettings
from authz.jose.jwk import KeySet
from authz.jose.signing import SigningKey
from authz.model import Asked, CheckCall, Credential, Subject, Target

NOW = 1_790_000_000
ISSUER = "https://authz.prod.example"
HOLDER = "spiffe://prod.example/ns/agents/sa/payer"
PLANNER = "spiffe://prod.example/ns/agents/sa/planner"
FINGERPRINT = "ab" * 32
ED_KEY = SigningKey("ed-1", ed25519.Ed25519PrivateKey.generate())
EC_KEY = SigningKey("ec-1", ec.generate_private_key(ec.SECP256R1()))
KEYS = KeySet({key.kid: key.verification_key for key in (ED_KEY, EC_KEY)})
SETTINGS = GrantSettings(issuer=ISSUER)


def settings(**changes):
    return msgspec.structs.replace(SETTINGS, **changes)


def grant_id(number=1):
    return f"{number:022d}"


def scope(*details):
    return Scope(details or (access(["GET"], ["accounts.prod.example"], ["/v1/accounts/*"]),))


def grant(**changes):
    fields = {
        "id": grant_id(),
        "issuer": ISSUER,
        "audience": ISSUER,
        "holder": HOLDER,
        "task": Task("task-1", "pay an invoice"),
        "scope": scope(),
        "issued_at": NOW,
        "not_before": NOW,
        "expires": NOW + 300,
    }
    return Grant(**fields | changes)


def request(action="GET", host="accounts.prod.example", path="/v1/accounts/7", args=None, **obj):
    obj = {"host": host, "path": path, **obj}
    return Asked(Target(method=action), obj, "http", action, {}, args={} if args is None else args)


def subject(principal=HOLDER, fingerprint=FINGERPRINT, **changes):
    credential = Credential("x509-svid", fingerprint, NOW - 600, NOW + 3_000, "CN=prod CA") if fingerprint else None
    domain = principal.removeprefix("spiffe://").partition("/")[0] if principal else ""
    return Subject(id=principal, trust_domain=domain, credential=credential, **changes)


def call(token, header="authz-grant", **changes):
    return CheckCall(layer="http", headers={header: token} if token is not None else {}, **changes)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token):
    header, claims, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims))


def sign_raw(header, claims, key=ED_KEY):
    """A JWS over any header and claims (objects, or bytes as they are), with an honest signature by `key`."""
    header, claims = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims))
    signed = f"{b64(header)}.{b64(claims)}"
    if isinstance(key.key, ed25519.Ed25519PrivateKey):
        return f"{signed}.{b64(key.key.sign(signed.encode()))}"
    from jwt import get_algorithm_by_name

    return f"{signed}.{b64(get_algorithm_by_name('ES256').sign(signed.encode(), key.key))}"
