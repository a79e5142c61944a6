"""Reading `x-forwarded-client-cert`, the whole of its text form or none of it.

Source: Envoy, "HTTP header manipulation", x-forwarded-client-cert; elements stand oldest first, one for each proxy that
appended. Envoy does not quote URI and DNS values, so a SAN that contains `;` or `,` can forge pairs and whole elements.
Hence no repair, no skipping and no first-or-last-wins here: what is not exactly the grammar is refused.
"""

import re
from typing import Annotated, Final, Literal

import msgspec

from authz.errors import Reason, Refusal

_CONTROL = re.compile(r"[^\x20-\x7e]")
# An unquoted value cannot hold what separates pairs and elements, a quote or a backslash: those need quoting.
_PAIR = re.compile(r' *([A-Za-z]+) *= *(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^ "\\;,=]*)) *([;,]|\Z)')
_ESCAPED = re.compile(r'\\(["\\])')
_HASH = re.compile(r"[0-9a-f]{64}")
_SINGLE: Final = {
    "by": "by",
    "hash": "hash",
    "cert": "certificate",
    "chain": "chain",
    "subject": "subject",
    "uri": "uri",
    "issuer": "issuer",
}


class XfccSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether `x-forwarded-client-cert` says who calls, where the proxy gives neither principal nor certificate."""

    mode: Literal["off", "sanitize_set", "append_forward"] = "off"
    """How the trusted proxy in front sets the header. "off": it is never read. "sanitize_set": that proxy replaces it,
    so that it has exactly one element. "append_forward": that proxy appends one element. The caller is the URI of the
    last element. Whoever can reach the listener without passing that proxy can write the header: close that way before
    turning this on."""
    trusted_hops: Annotated[int, msgspec.Meta(ge=1, le=16)] = 1
    """append_forward: how many elements, at most, trusted proxies in a row have appended; more are refused. Those
    before the last are earlier hops: policies see them in `hops`."""
    proxies: tuple[str, ...] = ()
    """append_forward with several hops: the SPIFFE IDs of the proxies that are trusted to say who called them."""
    max_header_bytes: Annotated[int, msgspec.Meta(ge=64, le=262_144)] = 32_768
    """The longest header value that is read, in bytes."""
    max_pairs: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 256
    """The most key=value pairs that are read, over all elements."""


class XfccElement(msgspec.Struct, frozen=True, gc=False):
    """What one proxy said of the client certificate that it saw. Absent values are ""; still untrusted."""

    by: str = ""
    """URI SAN of the proxy's own certificate."""
    hash: str = ""
    """SHA-256 of the client certificate's DER, lower-case hex."""
    certificate: str = ""
    """The client certificate, URL-encoded PEM."""
    chain: str = ""
    """The client's certificate chain with the leaf, URL-encoded PEM."""
    subject: str = ""
    uri: str = ""
    dns: tuple[str, ...] = ()
    issuer: str = ""


def parse_xfcc(text: str, max_elements: int, settings: XfccSettings) -> tuple[XfccElement, ...]:
    """The elements of a header value, at least one, oldest first.

    Raises:
        Refusal: XFCC_TOO_LARGE, XFCC_TOO_MANY_HOPS (more than `max_elements`), XFCC_MALFORMED, and
            CERTIFICATE_TWO_URI_SANS for an element with two URIs: such a certificate is not an SVID, or its one SAN
            forges the second.
    """
    if len(text) > settings.max_header_bytes:
        raise Refusal(Reason.XFCC_TOO_LARGE, "header longer than max_header_bytes")
    if _CONTROL.search(text):
        raise Refusal(Reason.XFCC_MALFORMED, "a character that is not printable ASCII")
    if text.lstrip(" ")[:1] in ("[", "{"):
        # Which form a proxy appends in follows the caller's header: only one of them may be readable at all.
        raise Refusal(Reason.XFCC_MALFORMED, "the JSON form is not accepted")
    elements: list[XfccElement] = []
    pairs: list[tuple[str, str]] = []
    position = count = 0
    separator = ","
    while separator:
        match = _PAIR.match(text, position)
        if match is None:
            raise Refusal(Reason.XFCC_MALFORMED, "not a list of key=value pairs")
        count += 1
        if count > settings.max_pairs:
            raise Refusal(Reason.XFCC_TOO_LARGE, "more pairs than max_pairs")
        key, quoted, plain, separator = match.groups()
        pairs.append((key.lower(), plain if quoted is None else _ESCAPED.sub(r"\1", quoted)))
        position = match.end()
        if separator != ";":
            elements.append(_element(pairs))
            pairs = []
        if len(elements) + (separator == ",") > max_elements:
            raise Refusal(Reason.XFCC_TOO_MANY_HOPS, "more elements than trusted proxies may have appended")
    return tuple(elements)


def _element(pairs: list[tuple[str, str]]) -> XfccElement:
    fields: dict[str, str] = {}
    dns: list[str] = []
    for key, value in pairs:
        if key == "dns":
            dns.append(value)
            continue
        name = _SINGLE.get(key)
        if name is None:
            raise Refusal(Reason.XFCC_MALFORMED, "a key that is none of Envoy's")
        if name in fields:
            if name == "uri":
                raise Refusal(Reason.CERTIFICATE_TWO_URI_SANS, "an element with two URI keys")
            raise Refusal(Reason.XFCC_MALFORMED, "a key that may stand once stands twice")
        fields[name] = value
    if fields.get("hash") and _HASH.fullmatch(fields["hash"]) is None:
        raise Refusal(Reason.XFCC_MALFORMED, "Hash is not SHA-256 in lower-case hex")
    return XfccElement(**fields, dns=tuple(dns))
