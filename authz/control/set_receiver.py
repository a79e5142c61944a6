"""Takes security events that other systems push (RFC 8935), and revokes what they say is over.

A transmitter is who its signature says: it needs no client certificate. What it may revoke is policy, as for every
caller: `r.sub.id` is the issuer, `r.env.transport` is "signals".
"""

from collections.abc import Callable, Iterable

from authz.control.caller import Caller
from authz.control.desk import Desk
from authz.control.faults import ControlError
from authz.control.method import Method
from authz.control.revocations import SIGNALS
from authz.control.set_reader import BadEventError, SecurityEvent, read_set, revocations_of
from authz.control.settings import SignalIssuerSettings
from authz.control.v1 import revocations_pb2 as pb
from authz.control.web import Route, Routes, WebAnswer, WebRequest, http_status, to_json
from authz.jose.jwk import KeySet
from authz.model import Kind, Subject

_MEDIA_TYPE = "application/secevent+jwt"
_ACTION = "control:revocations.create"


class SetReceiver:
    """The endpoint, as a route."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        desk: Desk,
        create: "Method[pb.CreateRevocationRequest]",
        issuers: Iterable[SignalIssuerSettings],
        *,
        keys: Callable[[str], KeySet],
        grant_issuer: str,
        clock: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._create = create
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = keys
        self._grant_issuer = grant_issuer
        self._clock = clock

    @property
    def routes(self) -> Routes:
        """What is served where."""
        return {"/ssf/events": Route("POST", self._take, told, needs_caller=False)}

    async def _take(self, request: WebRequest) -> WebAnswer:
        try:
            event = self._read(request)
            asked = revocations_of(event, self._grant_issuer, self._clock())
        except BadEventError as error:
            return to_json(400, {"err": error.err, "description": error.description})
        caller = Caller(Subject(id=event.issuer, kind=Kind.WORKLOAD, sources=(SIGNALS,)), SIGNALS)
        for each in asked:
            await self._desk.call(_ACTION, self._create, each, caller)
        return WebAnswer(202)  # in force by now, and on disk

    def _read(self, request: WebRequest) -> SecurityEvent:
        if request.media_type != _MEDIA_TYPE:
            raise BadEventError("invalid_request", f"the content type must be {_MEDIA_TYPE}")
        return read_set(request.body.decode("ascii", "replace"), self._issuers, self._keys, self._clock())


def told(error: ControlError) -> WebAnswer:
    """Word an error: 400 for what will not go better the next time, 5xx for what may (RFC 8935 section 2.4)."""
    status = http_status(error)
    if status < 500:  # noqa: PLR2004 - HTTP's
        code = "access_denied" if status in {401, 403} else "invalid_request"
        return to_json(400, {"err": code, "description": error.message})
    return to_json(status, {"err": "internal", "description": error.message})
