"""SPIFFE IDs and trust domains as values that cannot be half valid.

Source: SPIFFE-ID standard, sections 2.1 to 2.4. It calls the scheme and trust domain case-insensitive, yet allows lower
case letters only in the latter; one principal then must not have two spellings, so upper case is refused (I5).
"""

import re
from typing import Final

import msgspec

from authz.errors import Reason, Refusal

MAX_ID_BYTES: Final = 2048
"""SPIFFE-ID 2.3: the length that every implementation must support."""
MAX_TRUST_DOMAIN_BYTES: Final = 255
"""SPIFFE-ID 2.3, which is the limit of a host in RFC 3986."""

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
# fullmatch and \Z only: "$" would accept a newline at the end.
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")
_ISTIO_PATH = re.compile(r"/ns/([^/]+)/sa/([^/]+)(?:/.*)?")


class TrustDomain(msgspec.Struct, frozen=True, gc=False):
    """The name of a trust domain; never equal to a plain string.

    Raises:
        Refusal: SPIFFE_ID_MALFORMED.
    """

    name: str

    def __post_init__(self) -> None:
        if len(self.name) > MAX_TRUST_DOMAIN_BYTES or _TRUST_DOMAIN.fullmatch(self.name) is None:
            raise Refusal(
                Reason.SPIFFE_ID_MALFORMED,
                "a trust domain is 1 to 255 of lower-case letters, digits, dot, dash, underscore",
            )

    def __str__(self) -> str:
        return self.name


class SpiffeId(msgspec.Struct, frozen=True, gc=False):
    """A SPIFFE ID; `path` is "" or begins with "/". Never equal to a plain string.

    Raises:
        Refusal: SPIFFE_ID_MALFORMED.
    """

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        if len(_SCHEME) + len(self.trust_domain.name) + len(self.path) > MAX_ID_BYTES:
            raise Refusal(Reason.SPIFFE_ID_MALFORMED, "longer than 2048 bytes")
        if _PATH.fullmatch(self.path) is None:
            raise Refusal(
                Reason.SPIFFE_ID_MALFORMED,
                "a path segment is letters, digits, dot, dash, underscore, and not empty, '.' or '..'",
            )

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain.name}{self.path}"

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace, when the path begins as Istio's do: /ns/<namespace>/sa/<account>; else ""."""
        match = _ISTIO_PATH.fullmatch(self.path)
        return match[1] if match else ""

    @property
    def service_account(self) -> str:
        """The service account, when the path begins as Istio's do; else ""."""
        match = _ISTIO_PATH.fullmatch(self.path)
        return match[2] if match else ""


def parse_spiffe_id(text: str) -> SpiffeId:
    """The SPIFFE ID that `text` is, whole.

    Valid does not mean usable as a caller: an ID without a path names the trust domain itself (`require_workload`).

    Raises:
        Refusal: SPIFFE_ID_MALFORMED.
    """
    if not text.startswith(_SCHEME):
        raise Refusal(Reason.SPIFFE_ID_MALFORMED, "does not begin with 'spiffe://' in lower case")
    name, slash, path = text[len(_SCHEME) :].partition("/")
    return SpiffeId(TrustDomain(name), slash + path)


def require_workload(spiffe_id: SpiffeId) -> SpiffeId:
    """The same ID, known to name a workload: one that has a path (X509-SVID 5.2).

    Raises:
        Refusal: SPIFFE_ID_WITHOUT_PATH.
    """
    if not spiffe_id.path:
        raise Refusal(Reason.SPIFFE_ID_WITHOUT_PATH, "names a trust domain, not a workload")
    return spiffe_id
