"""Answers the probes of `authz doctor`: denied like nothing else, and told what was seen of them.

It stands in front of the checker only where configuration enables it, and only for the identities listed there; for
everybody else a probe is a request like any other.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from authz.decision.check import Checker, CheckerParts, denial
from authz.decision.pending import Pending
from authz.errors import Reason, Refusal
from authz.identity.xfcc import XfccSettings, parse_xfcc
from authz.model import CheckCall, Outcome, Subject

_NONCE = re.compile(r"/([0-9a-f]{16,64})/")
_MAX_ELEMENTS = 64  # more than any mode allows: what is told is a count
_VISIBLE_PATH = re.compile(r"/[\x21-\x7e]{1,256}")


class DoctorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether `authz doctor` may probe the proxy in front."""

    enabled: bool = False
    """Answer probes; for setting up, not needed in production."""
    identities: tuple[str, ...] = ()
    """The SPIFFE IDs that may probe."""
    prefix: str = "/.well-known/authz-doctor"
    """The path below which a request is a probe."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Name what is wrong with it, as (key, message)."""
        if self.enabled and not self.identities:
            yield "identities", "name who may probe, by SPIFFE ID"
        if not _VISIBLE_PATH.fullmatch(self.prefix) or self.prefix.endswith("/"):
            yield "prefix", "must be a path without a slash at its end"


class ProbeEncoder(Protocol):
    """Encodes the answer."""

    def decode(self, message: bytes) -> CheckCall:
        """Read a CheckRequest, or raise Refusal."""

    def deny(self, outcome: Outcome, observed: Mapping[str, object] | None) -> bytes:
        """Encode a denial that tells what was observed."""


class DoctorPoint:
    """A decision point that answers probes itself and hands everything else on."""

    def __init__(
        self,
        settings: DoctorSettings,
        parts: CheckerParts,
        codec: ProbeEncoder,
        checker: Checker,
    ) -> None:
        """Stand in front of `checker`, made of the same parts."""
        self._identities = frozenset(settings.identities)
        self._prefix = f"{settings.prefix}/"
        self._prefix_bytes = self._prefix.encode()
        self._parts = parts
        self._codec = codec
        self._check = checker.check
        self.refuse = checker.refuse

    def check(self, message: bytes, budget_seconds: float) -> bytes | Pending:
        """Answer a probe, or decide a request."""
        if self._prefix_bytes in message:
            try:
                answer = self._probe(message)
            except Refusal:
                answer = b""  # nobody who may probe: the checker refuses it with the same reason
            if answer:
                return answer
        return self._check(message, budget_seconds)

    def _probe(self, message: bytes) -> bytes:
        parts = self._parts
        snapshot, now = parts.snapshots.current, parts.clock()
        call = self._codec.decode(message)
        if not call.path.startswith(self._prefix):
            return b""
        subject = snapshot.resolver.identify(call, now)
        if subject.id not in self._identities:
            return b""
        outcome = Outcome(
            decision_id=parts.new_id(),
            decision=denial(Reason.DOCTOR_PROBE, snapshot.version),
            call=call,
            subject=subject,
            request=None,
            time=now,
            latency_seconds=0.0,
        )
        if not parts.trail.offer(outcome) and parts.no_record_no_allow:
            return b""  # I9: the checker denies it, for the same want of a record
        parts.meter.decided(outcome)
        return self._codec.deny(outcome, self._observe(call, subject))

    def _observe(self, call: CheckCall, subject: Subject) -> Mapping[str, object]:
        canonical = refusal = ""
        try:
            canonical = self._parts.snapshots.current.canonicalise(call).path
        except Refusal as refused:
            refusal = refused.reason.value
        nonce = _NONCE.match(call.path, len(self._prefix) - 1)
        return {
            "path": call.path,
            "canonical_path": canonical,
            "refusal": refusal,
            "scheme": call.scheme,
            "subject": subject.id,
            "certificate": bool(call.certificate),
            "raw_headers": call.raw_headers,
            "nonce_headers": sorted(n for n, value in call.headers.items() if nonce and nonce[1] in value),
            "xfcc_elements": _xfcc_elements(call.headers.get("x-forwarded-client-cert", "")),
            "body_bytes": len(call.body),
            "body_sha256": hashlib.sha256(call.body).hexdigest(),
            "body_partial": call.body_partial,
        }


def _xfcc_elements(header: str) -> int:
    if not header:
        return 0
    try:
        return len(parse_xfcc(header, _MAX_ELEMENTS, XfccSettings()))
    except Refusal:
        return -1
