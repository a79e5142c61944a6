"""Tokens of configured issuers: Kubernetes service account tokens, and OpenID Connect access tokens (RFC 9068)."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.issuers import IssuerSettings
from authz.identity.token_checks import Party, TokenChecks, TokenProof
from authz.jose.jwk import KeySet
from authz.jose.jwt import ALGORITHMS, CompactToken
from authz.model import Kind
from authz.spiffe import SpiffeId, TrustDomain, parse_spiffe_id

# RFC 1123 label and subdomain, as Kubernetes names its namespaces and service accounts.
_SERVICE_ACCOUNT: Final = re.compile(
    r"system:serviceaccount:([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?):([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
)
_OIDC_SUBJECT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_PLACEHOLDER: Final = re.compile(r"\{(namespace|service_account)\}")


class IssuerRule:
    """Accepts the tokens of one issuer."""

    def __init__(
        self,
        settings: IssuerSettings,
        keys: KeySet,
        trust_domains: Collection[TrustDomain],
        leeway_seconds: float,
    ) -> None:
        where = f"identity.tokens.issuers ({settings.issuer})"
        self._checks = TokenChecks(where, settings.form, settings, ALGORITHMS, leeway_seconds)
        if "#" in settings.issuer:
            raise ConfigError(f"{where}: 'issuer' must not contain '#', which separates it from the subject in an ID")
        if settings.form == "kubernetes":
            _require_template(where, settings.spiffe_id, trust_domains)
        elif settings.spiffe_id:
            raise ConfigError(f"{where}: 'spiffe_id' is for form \"kubernetes\"")
        self._settings = settings
        self._keys = keys
        self._types = frozenset(_media_type(name) for name in settings.types)

    def verify(self, token: CompactToken, digest: str, now: float) -> TokenProof:
        """What `token`, whose text has the SHA-256 `digest`, proves.

        Raises:
            Refusal: TOKEN_MALFORMED, TOKEN_SUBJECT, and as `TokenChecks`.
        """
        self._checks.check_header(token)
        form = token.header.get("typ", "")
        if not isinstance(form, str) or _media_type(form) not in self._types:
            # An ID token, a logout token or a proof is signed by the same keys and is no access token (RFC 8725 3.11).
            raise Refusal(Reason.TOKEN_MALFORMED, "'typ' is not one of the issuer's")
        party = self._service_account(token) if self._settings.form == "kubernetes" else self._oidc_subject(token)
        return self._checks.prove(token, digest, party, self._keys, now)

    def _oidc_subject(self, token: CompactToken) -> Party:
        if _OIDC_SUBJECT.fullmatch(token.subject) is None:
            raise Refusal(Reason.TOKEN_SUBJECT, "'sub' is not 1 to 255 printable ASCII characters")
        # "#" is in no SPIFFE ID: this can never be taken for one.
        return Party(f"{self._settings.issuer}#{token.subject}", kind=Kind(self._settings.subject_kind))

    def _service_account(self, token: CompactToken) -> Party:
        match = _SERVICE_ACCOUNT.fullmatch(token.subject)
        if match is None:
            raise Refusal(Reason.TOKEN_SUBJECT, "'sub' is not system:serviceaccount:<namespace>:<name>")
        namespace, name = match.groups()
        if "kubernetes.io" in token.claims:
            bound = token.claims["kubernetes.io"]
            account = bound.get("serviceaccount") if isinstance(bound, Mapping) else None
            named = account.get("name") if isinstance(account, Mapping) else None
            if not isinstance(bound, Mapping) or (bound.get("namespace"), named) != (namespace, name):
                raise Refusal(Reason.TOKEN_SUBJECT, "'sub' and 'kubernetes.io' name different service accounts")
        try:
            spiffe_id = _fill(self._settings.spiffe_id, namespace, name)
        except Refusal as refusal:
            raise Refusal(Reason.TOKEN_SUBJECT, refusal.detail) from None
        return Party(str(spiffe_id), spiffe_id)


def _require_template(where: str, template: str, trust_domains: Collection[TrustDomain]) -> None:
    try:
        _fill(template, "a", "b")
    except Refusal as refusal:
        raise ConfigError(f"{where}: 'spiffe_id' gives no SPIFFE ID: {refusal.detail}") from None
    if not any(template.startswith(f"{SpiffeId(domain)}/") for domain in trust_domains):
        raise ConfigError(f"{where}: the trust domain of 'spiffe_id' is neither our own nor a federated one")
    if not {"{namespace}", "{service_account}"}.issubset(template.split("/")):
        # Within a segment "a-b" and "c" would give what "a" and "b-c" give: one identity for two service accounts.
        raise ConfigError(f"{where}: 'spiffe_id' must have {{namespace}} and {{service_account}} as path segments")


def _fill(template: str, namespace: str, service_account: str) -> SpiffeId:
    values = {"namespace": namespace, "service_account": service_account}
    return parse_spiffe_id(_PLACEHOLDER.sub(lambda match: values[match[1]], template))


def _media_type(name: str) -> str:
    return name.lower().removeprefix("application/")
