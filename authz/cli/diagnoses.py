"""What `authz doctor` concludes from what its probes met. Which Envoy setting does what: docs/envoy.md."""

from collections.abc import Iterator, Mapping
from enum import Enum
from http import HTTPStatus

import msgspec

from authz.cli.probing import Door, Observed, Probe, Reply

_BODY_SIZES = (4096, 65536, 1048576)
# Not UTF-8, and with a NUL: what a text field would have changed.
_BODY_BYTES = b"\xff\xfe\x00probe"


class State(Enum):
    """How a check came out."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found, and what to do about it."""

    check: str
    state: State
    detail: str
    advice: str = ""


class _PathCheck(msgspec.Struct, frozen=True):
    """A path with two spellings: what is sent, what it should have become, and by which setting."""

    check: str
    sent: str
    settled: tuple[str, ...]
    setting: str


_PATH_CHECKS = (
    _PathCheck("path-dot-segments", "x/../y", ("y",), "normalize_path: true"),
    _PathCheck("path-encoded-dots", "x/%2e%2e/y", ("y",), "normalize_path: true"),
    _PathCheck("path-backslash", "x\\y", ("x/y",), "normalize_path: true"),
    _PathCheck(
        "path-dots-with-parameter",
        "x/..;/y",
        ("y",),
        "normalize_path: true, and Envoy 1.39.1 or later (CVE-2026-73551)",
    ),
    _PathCheck("path-double-slash", "x//y", ("x/y",), "merge_slashes: true"),
    _PathCheck("path-encoded-slash", "x%2fy", ("x/y",), "path_with_escaped_slashes_action: REJECT_REQUEST"),
    _PathCheck("path-encoded-backslash", "x%5cy", ("x/y", "x\\y"), "path_with_escaped_slashes_action: REJECT_REQUEST"),
)
# Envoy has no setting for these: it is the PDP that must refuse them, or read them as the upstream does.
_PATHS_LEFT_TO_PDP = {"path-parameter": "x;y=1/z", "path-double-encoding": "x%252fy"}


class _HeaderCheck(msgspec.Struct, frozen=True):
    """Headers that no caller may set, and the setting that keeps them out."""

    check: str
    headers: Mapping[str, str]
    setting: str


def _header_checks(statement_prefix: str) -> tuple[_HeaderCheck, ...]:
    forged = f"{statement_prefix}subject"
    return (
        _HeaderCheck(
            "xfcc",
            {"x-forwarded-client-cert": "By=spiffe://doctor.invalid/proxy;Hash=00;URI=spiffe://doctor.invalid/{nonce}"},
            "forward_client_cert_details: SANITIZE_SET",
        ),
        _HeaderCheck(
            "statements",
            {forged: "{nonce}", f"{statement_prefix}doctor": "{nonce}"},
            f"early_header_mutation_extensions: remove_on_match, key_matcher prefix {statement_prefix}",
        ),
        _HeaderCheck(
            "underscores",
            {forged.replace("-", "_"): "{nonce}"},
            "common_http_protocol_options.headers_with_underscores_action: REJECT_REQUEST",
        ),
        _HeaderCheck(
            "request-id",
            {"x-request-id": "{nonce}"},
            "use_remote_address: true, with neither preserve_external_request_id nor internal_address_config",
        ),
        _HeaderCheck(
            "proxy-headers",
            {"x-envoy-original-path": "/{nonce}", "x-envoy-external-address": "{nonce}"},
            "use_remote_address: true, without internal_address_config",
        ),
    )


def diagnose(door: Door, statement_prefix: str = "x-authz-") -> Iterator[Finding]:
    """Yield every finding; only the first, and those that need no PDP, when the PDP does not answer probes.

    Raises:
        AuthzError: the proxy cannot be reached.
    """
    reply = door.send(Probe.make())
    yield _answered(reply)
    if reply.observed is not None:
        yield from _who(door, reply.observed)
        yield _scheme(door)
        for path_check in _PATH_CHECKS:
            yield _settled(path_check, door)
        for check, suffix in _PATHS_LEFT_TO_PDP.items():
            yield _left_to_pdp(check, suffix, door.send(Probe.make(suffix)))
        for header_check in _header_checks(statement_prefix):
            yield _kept_out(header_check, door.send(Probe.make(headers=header_check.headers)))
        yield _raw_headers(reply.observed)
        yield from _bodies(door)
    yield _strangers(door)
    yield Finding(
        "fail-closed",
        State.UNKNOWN,
        "only a PDP that is gone shows what happens without one",
        "stop the PDP (or point one Envoy at a closed port) and run this again with --pdp-stopped",
    )


def diagnose_without_pdp(door: Door) -> Iterator[Finding]:
    """Yield what happens while the PDP is stopped, as the operator says that it is.

    Raises:
        AuthzError: the proxy cannot be reached.
    """
    reply = door.send(Probe.make())
    denied = reply.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or (
        reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
    if reply.reason:
        yield Finding(
            "fail-closed", State.UNKNOWN, "the PDP answered: it is not stopped", "stop it, and run this again"
        )
    elif denied and not reply.from_upstream:
        yield Finding("fail-closed", State.OK, f"without the PDP there is no access (status {reply.status})")
    else:
        yield Finding(
            "fail-closed",
            State.PROBLEM,
            f"without the PDP the request got through (status {reply.status})",
            "ext_authz: failure_mode_allow: false, and no route on which the filter is disabled",
        )


def _answered(reply: Reply) -> Finding:
    if reply.observed is not None:
        return Finding("pdp", State.OK, "the PDP is asked, and answers probes")
    enable = "set doctor.enabled = true, list this caller's SPIFFE ID in doctor.identities, and use the same prefix"
    if reply.reason:
        return Finding("pdp", State.UNKNOWN, f"the PDP denied the probe ({reply.reason}) without telling more", enable)
    if reply.from_upstream or reply.status < HTTPStatus.BAD_REQUEST:
        detail = f"the probe went through to the upstream (status {reply.status})"
        advice = f"ext_authz must run on this route; if it does, a policy allows the probe: {enable}"
        return Finding("pdp", State.UNKNOWN, detail, advice)
    advice = "see Envoy's access log: is there a route for this host, and is the PDP running?"
    return Finding("pdp", State.UNKNOWN, f"the proxy answered by itself (status {reply.status})", advice)


def _who(door: Door, seen: Observed) -> Iterator[Finding]:
    if not door.identity:
        yield Finding("identity", State.UNKNOWN, "probes were sent without a certificate", "give --cert and --key")
        return
    if seen.subject == door.identity:
        yield Finding("identity", State.OK, f"the PDP knows the caller as {seen.subject}")
    else:
        yield Finding(
            "identity",
            State.PROBLEM,
            f"the caller is {door.identity}, the PDP sees {seen.subject or 'nobody'}",
            "terminate mutual TLS at this Envoy: require_client_certificate: true",
        )
    if seen.certificate:
        yield Finding("peer-certificate", State.OK, "the PDP sees the caller's certificate")
    else:
        yield Finding(
            "peer-certificate",
            State.PROBLEM,
            "the PDP does not see the caller's certificate, so a second URI SAN or its lifetime stays hidden",
            "ext_authz: include_peer_certificate: true",
        )


def _scheme(door: Door) -> Finding:
    claimed = "http" if door.encrypted else "https"
    reply = door.send(Probe.make(headers={"x-forwarded-proto": claimed}))
    if reply.observed is None:
        return _unclear("scheme", reply)
    if reply.observed.scheme == claimed:
        return Finding(
            "scheme",
            State.PROBLEM,
            "the PDP takes the scheme from a caller's x-forwarded-proto",
            "use_remote_address: true, without internal_address_config",
        )
    return Finding("scheme", State.OK, "a caller's x-forwarded-proto counts for nothing")


def _settled(check: _PathCheck, door: Door) -> Finding:
    probe = Probe.make(check.sent)
    reply = door.send(probe)
    if reply.refused:
        return Finding(check.check, State.OK, f"{check.sent} is refused by the proxy")
    if reply.redirected:
        return Finding(check.check, State.OK, f"{check.sent} is redirected to one spelling")
    if reply.observed is None:
        return _unclear(check.check, reply)
    arrived = reply.observed.path.partition(f"/{probe.nonce}/")[2]
    if arrived in check.settled:
        return Finding(check.check, State.OK, f"{check.sent} reaches the PDP as {arrived}")
    refusal = reply.observed.refusal
    then = f"the PDP refuses it ({refusal})" if refusal else f"the PDP reads {reply.observed.canonical_path}"
    return Finding(
        check.check,
        State.PROBLEM,
        f"{check.sent} is passed on as {arrived}; {then}, but Envoy's routes and the upstream go by its letters",
        check.setting,
    )


def _left_to_pdp(check: str, sent: str, reply: Reply) -> Finding:
    if reply.refused:
        return Finding(check, State.OK, f"{sent} is refused by the proxy")
    if reply.observed is None:
        return _unclear(check, reply)
    if reply.observed.refusal:
        return Finding(check, State.OK, f"{sent} is refused by the PDP ({reply.observed.refusal})")
    return Finding(
        check,
        State.UNKNOWN,
        f"{sent} is read as {reply.observed.canonical_path}",
        "right only if the upstream reads it so: otherwise let request.path refuse it",
    )


def _kept_out(check: _HeaderCheck, reply: Reply) -> Finding:
    names = ", ".join(check.headers)
    if reply.refused:
        return Finding(check.check, State.OK, f"a request with {names} is refused by the proxy")
    if reply.observed is None:
        return _unclear(check.check, reply)
    arrived = sorted(set(check.headers) & set(reply.observed.nonce_headers))
    if not arrived:
        return Finding(check.check, State.OK, f"what a caller sends as {names} does not arrive")
    detail = f"what a caller sends as {', '.join(arrived)} arrives"
    if check.check == "xfcc" and reply.observed.xfcc_elements > 1:
        detail = "a caller's x-forwarded-client-cert arrives, with the proxy's own element behind it"
    return Finding(check.check, State.PROBLEM, detail, check.setting)


def _raw_headers(seen: Observed) -> Finding:
    if seen.raw_headers:
        return Finding("raw-headers", State.OK, "the PDP sees header bytes as they came, repeated headers one by one")
    return Finding(
        "raw-headers",
        State.PROBLEM,
        "bytes that are not UTF-8 are replaced before the PDP sees them, but not before the upstream does",
        "ext_authz: encode_raw_headers: true",
    )


def _bodies(door: Door) -> Iterator[Finding]:
    probe = Probe.make(body=_BODY_BYTES)
    reply = door.send(probe)
    if reply.observed is None:
        yield _unclear("body", reply)
        return
    if not reply.observed.body_bytes:
        yield Finding(
            "body",
            State.PROBLEM,
            "the PDP sees no bodies, so no policy may depend on one",
            "ext_authz: with_request_body: {max_request_bytes: ..., pack_as_bytes: true}",
        )
        return
    if reply.observed.body_sha256 == probe.body_sha256:
        yield Finding("body", State.OK, "the PDP sees bodies byte for byte")
    else:
        detail = "the PDP sees another body than the upstream gets: bytes that are not UTF-8 are replaced"
        yield Finding("body", State.PROBLEM, detail, "ext_authz: with_request_body: pack_as_bytes: true")
    yield _body_limit(door)


def _body_limit(door: Door) -> Finding:
    whole = len(_BODY_BYTES)
    for size in _BODY_SIZES:
        reply = door.send(Probe.make(body=b"x" * size))
        if reply.observed is None:
            if reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return Finding("body-limit", State.OK, f"{whole} bytes come whole; {size} are refused, not cut (413)")
            return _unclear("body-limit", reply)
        if reply.observed.body_partial or reply.observed.body_bytes != size:
            return Finding(
                "body-limit",
                State.PROBLEM,
                f"of a body of {size} bytes the PDP sees {reply.observed.body_bytes}",
                "ext_authz: with_request_body: allow_partial_message: false",
            )
        whole = size
    return Finding("body-limit", State.OK, f"{whole} bytes come whole; larger ones were not tried")


def _strangers(door: Door) -> Finding:
    if not door.identity:
        return Finding("client-certificate", State.UNKNOWN, "probes were sent without a certificate", "give --cert")
    if door.admits_strangers():
        return Finding(
            "client-certificate",
            State.UNKNOWN,
            "a caller without a certificate gets as far as HTTP",
            "right only where tokens prove who calls; otherwise require_client_certificate: true",
        )
    return Finding("client-certificate", State.OK, "without a certificate there is no connection")


def _unclear(check: str, reply: Reply) -> Finding:
    who = "the upstream" if reply.from_upstream else "the proxy or the PDP"
    return Finding(check, State.UNKNOWN, f"the probe was not seen by the PDP: {who} answered with {reply.status}")
