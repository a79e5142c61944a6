"""Which proxies may ask: an allow list of SPIFFE IDs, matched against the client's certificate.

The TLS layer has verified the certificate; here it is only read. A client that may not ask gets a denial, not an error:
a proxy set to let traffic pass when its PDP fails must not do so because we do not know it (I2).
"""

import ssl
from collections.abc import Sequence
from typing import Final

from authz.errors import ConfigError, Reason, Refusal
from authz.identity.x509 import parse_svid
from authz.spiffe import parse_spiffe_id

NOT_ALLOWED: Final = Reason.PROXY_NOT_ALLOWED
_REMEMBERED: Final = 1024


class AllowedCallers:
    """Answers for a PEM certificate; remembers the answer, since a proxy sends thousands of calls on one connection."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Allow exactly these SPIFFE IDs.

        Raises:
            ConfigError: one is no SPIFFE ID, so that it could never match.
        """
        try:
            self._allowed = frozenset(parse_spiffe_id(caller) for caller in allowed)
        except Refusal as refusal:
            raise ConfigError(f"server.tls.allowed_callers: not a SPIFFE ID: {refusal.detail}") from None
        self._known: dict[str, str] = {}

    def demand(self, certificate: str) -> None:
        """Return if the holder of this PEM certificate may ask.

        Raises:
            Refusal: it may not.
        """
        problem = self._known.get(certificate)
        if problem is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            problem = self._known[certificate] = self._problem(certificate)
        if problem:
            raise Refusal(NOT_ALLOWED, problem)

    def _problem(self, certificate: str) -> str:
        try:
            caller = parse_svid(ssl.PEM_cert_to_DER_cert(certificate)).id
        except Refusal as refusal:
            return f"the proxy's certificate is no X509-SVID: {refusal.detail}"
        except ValueError:
            return "the proxy's certificate cannot be read"
        return "" if caller in self._allowed else f"{caller} is not on server.tls.allowed_callers"
