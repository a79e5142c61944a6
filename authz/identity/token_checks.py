"""What every kind of accepted token must satisfy, checked before the first cryptographic operation."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.issuers import Binds, IssuerSettings, JwtSvidSettings
from authz.jose.jwk import KeySet
from authz.jose.jwt import (
    CompactToken,
    check_header,
    read_audiences,
    read_certificate_binding,
    read_times,
    verify_signature,
)
from authz.jose.validity import Validity
from authz.model import Credential, Kind, Value
from authz.spiffe import SpiffeId

_SINCE_EVER: Final = float("-inf")


class Party(msgspec.Struct, frozen=True, gc=False):
    """Whom a token speaks of."""

    id: str
    spiffe_id: SpiffeId | None = None
    """Set when `id` is one."""
    kind: Kind | None = None
    """What the issuer vouches for; None where the SPIFFE ID tells."""


class TokenTime(msgspec.Struct, frozen=True, gc=False):
    """When a token may be accepted."""

    validity: Validity
    short_lived_from: float
    """From here on what is left of its life is within the limit; before all time when it says when it was issued."""

    def check(self, now: float, leeway_seconds: float) -> None:
        """Pass when the token may be accepted at `now`.

        Raises:
            Refusal: TOKEN_NOT_YET_VALID, TOKEN_EXPIRED, CREDENTIAL_TOO_LONG_LIVED.
        """
        self.validity.check(now, leeway_seconds, Reason.TOKEN_NOT_YET_VALID, Reason.TOKEN_EXPIRED)
        if now < self.short_lived_from:
            raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "token lives beyond max_lifetime_seconds")


class TokenProof(msgspec.Struct, frozen=True):
    """A token that was accepted, and for how long that holds."""

    party: Party
    credential: Credential
    time: TokenTime
    claims: Mapping[str, Value]
    """Those that configuration selects."""
    binds: Binds
    certificate: str
    """Fingerprint of the certificate that the token is bound to; "" for a bearer token."""


class TokenChecks:
    """The checks that do not depend on the kind of token, for one section of the configuration."""

    def __init__(
        self,
        where: str,
        form: str,
        settings: JwtSvidSettings | IssuerSettings,
        allowed_algorithms: Collection[str],
        leeway_seconds: float,
    ) -> None:
        for name in settings.algorithms:
            if name not in allowed_algorithms:
                raise ConfigError(
                    f"{where}: algorithm '{name}' is not accepted; use of {', '.join(allowed_algorithms)}"
                )
        self._form = form
        self._settings = settings
        self._leeway_seconds = leeway_seconds

    def check_header(self, token: CompactToken) -> None:
        """Pass when the header is one that the configuration allows.

        Raises:
            Refusal: TOKEN_ALGORITHM or TOKEN_MALFORMED.
        """
        check_header(token, self._settings.algorithms)

    def prove(self, token: CompactToken, digest: str, party: Party, keys: KeySet, now: float) -> TokenProof:
        """What the token proves of `party`, its subject: audience, times, binding, and then the signature.

        Raises:
            Refusal: TOKEN_AUDIENCE, TOKEN_MALFORMED, TOKEN_NOT_YET_VALID, TOKEN_EXPIRED, CREDENTIAL_TOO_LONG_LIVED,
                TOKEN_KEY_UNKNOWN, TOKEN_ALGORITHM, TOKEN_SIGNATURE.
        """
        settings = self._settings
        if read_audiences(token).isdisjoint(settings.audiences):
            raise Refusal(Reason.TOKEN_AUDIENCE, "meant for another service")
        times = read_times(token)
        latest_issue = times.expires - settings.max_lifetime_seconds
        if times.issued is None:
            time = TokenTime(times.validity, latest_issue)
        else:
            time = TokenTime(times.validity, _SINCE_EVER)
            if times.issued < latest_issue:
                raise Refusal(Reason.CREDENTIAL_TOO_LONG_LIVED, "token lives beyond max_lifetime_seconds")
        time.check(now, self._leeway_seconds)
        certificate = read_certificate_binding(token)
        kid = token.header.get("kid")
        key = keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise Refusal(Reason.TOKEN_KEY_UNKNOWN, "'kid' is absent, or names no key of the issuer")
        verify_signature(token, key)
        begins = times.validity.not_before if times.issued is None else times.issued
        return TokenProof(
            party=party,
            credential=Credential(self._form, digest, begins, times.expires, token.issuer),
            time=time,
            claims={name: token.claims[name] for name in settings.claims if name in token.claims},
            binds=settings.binds,
            certificate=certificate,
        )
