"""From a request to the actions that its body asks for: which decoder reads it, and whether its body can be read.

Where a decoder is meant for a request, a body that is missing, cut, encoded or too large denies: what was not read
whole was not judged.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from authz.actions.decoder import Decoder, Message
from authz.actions.limits import Limits
from authz.actions.settings import NONE, ActionSettings, RouteSettings
from authz.errors import Reason, Refusal
from authz.memo import Memo
from authz.model import Action, Attributes, CheckCall, Target
from authz.resource_pattern import host_patterns, parse_path, path_segments

_REMEMBERED: Final = 4_096
_MEMO_CHARS: Final = 512
_MAX_NAME_CHARS: Final = 512
_UTF8 = frozenset({"utf-8", "utf8"})


class ActionReader:
    """Reads actions the way that settings ask for. Implements `authz.decision.bind.ReadActions`."""

    def __init__(self, settings: ActionSettings, decoders: Mapping[str, Decoder]) -> None:
        """`decoders`: by every name that a route gives, or the proxy may give."""
        self._decoders = decoders
        self._context_key = settings.context_key
        self._text_bodies = settings.accept_text_bodies
        self._limits: Limits = settings.limits
        self._routes = tuple(_Route(route) for route in settings.routes)
        self._known: Memo[tuple[str, str, str, str, str], str] = Memo(_REMEMBERED)

    def __call__(self, call: CheckCall, target: Target, resource: Attributes, protocol: str) -> Sequence[Action]:
        """Answer every action, at least one; () where no decoder is meant for the request.

        Raises:
            Refusal: BODY_*: the body cannot be read, or not in one way.
        """
        if call.layer != "http":
            return ()
        content_type = _media_type(call)
        name = self._decoder_for(call, target, resource, content_type)
        if name == NONE:
            return ()
        decoder = self._decoders[name]
        if decoder.content_types and "upgrade" in call.headers:
            # What is said on the connection after an upgrade is never shown to us.
            raise Refusal(Reason.BODY_UNKNOWN, "an upgrade to another protocol, where requests are read from bodies")
        message = Message(
            target.method,
            target.path,
            target.query,
            call.headers,
            content_type,
            max(call.size, len(call.body)),
            call.metadata,
            resource,
            protocol == "grpc",
            call.repeated_headers,
        )
        body = self._body(call, decoder, content_type) if decoder.wants_body(message) else b""
        actions = self._checked(decoder.decode(message, body, self._limits))
        # Arguments out of a body are no longer than it is; those that the proxy told have only the bound of metadata.
        if not 0 < len(body) <= self._limits.max_args_bytes:
            self._demand_small(actions)
        return actions

    def _decoder_for(self, call: CheckCall, target: Target, resource: Attributes, content_type: str) -> str:
        if self._context_key and (given := call.context_extensions.get(self._context_key)):
            if given != NONE and given not in self._decoders:
                raise Refusal(Reason.BODY_UNKNOWN, "the proxy's route names a decoder that is not configured")
            return given
        # The type is the snapshot's, so that it is part of what is remembered by.
        key = (target.host, target.path, target.method, str(resource.get("type", "")), content_type)
        name = self._known.get(key)
        if name is None:
            name = next((route.decoder for route in self._routes if route.fits(*key)), NONE)
            if sum(map(len, key)) <= _MEMO_CHARS:
                self._known.put(key, name)
        return name

    def _body(self, call: CheckCall, decoder: Decoder, content_type: str) -> bytes:
        """Answer the body, whole and as the upstream will get it."""
        headers, body = call.headers, call.body
        if call.body_partial:
            raise Refusal(Reason.BODY_PARTIAL, "the proxy cut it: raise max_request_bytes, or leave the limit strict")
        if headers.get("content-encoding", "identity").strip().lower() not in {"identity", ""}:
            raise Refusal(Reason.BODY_ENCODING, "the body is compressed or encoded")
        if len(body) > self._limits.max_body_bytes or call.size > self._limits.max_body_bytes:
            raise Refusal(Reason.BODY_TOO_LARGE, "longer than `actions.limits.max_body_bytes`")
        if not body:
            raise Refusal(Reason.BODY_MISSING, "the proxy sent none: is with_request_body set on the route?")
        if 0 <= call.size != len(body):
            raise Refusal(Reason.BODY_PARTIAL, "the proxy sent another number of bytes than the request has")
        if call.body_as_text and not self._text_bodies:
            raise Refusal(Reason.BODY_ENCODING, "the proxy sent the body as text: set pack_as_bytes")
        if content_type not in decoder.content_types:
            raise Refusal(Reason.BODY_ENCODING, "a media type that the route's decoder does not read")
        _demand_one_utf8(headers.get("content-type", ""))
        return body

    def _checked(self, actions: Sequence[Action]) -> Sequence[Action]:
        """Hold a decoder, whoever wrote it, to what the rest relies on."""
        if len(actions) > self._limits.max_batch:
            raise Refusal(Reason.BODY_TOO_LARGE, "more actions than `actions.limits.max_batch`")
        if not actions:
            raise Refusal(Reason.BODY_MALFORMED, "the body asks for nothing")
        for action in actions:
            name, kind = action.name, action.kind
            # So that no body can be called what plain requests are called: GET is a method, never a body's word.
            if not (name.startswith(f"{kind}:") and kind) and not (kind == "grpc" and "/" in name):
                raise ValueError(f"a decoder named an action without its kind {kind!r} before a colon")
            if not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable() or " " in name:
                raise Refusal(Reason.BODY_AMBIGUOUS, "what the body asks for has a name that cannot be written down")
        return actions

    def _demand_small(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if action.args and len(msgspec.json.encode(action.args)) > self._limits.max_args_bytes:
                raise Refusal(Reason.BODY_TOO_LARGE, "arguments longer than `actions.limits.max_args_bytes`")


class _Route:
    """A route, made ready for many questions."""

    def __init__(self, settings: RouteSettings) -> None:
        self.decoder = settings.decoder
        self._host = settings.host
        self._path = parse_path(settings.path) if settings.path else None
        self._methods = frozenset(settings.methods)
        self._type = settings.type
        self._content_type = settings.content_type

    def fits(self, host: str, path: str, method: str, resource_type: str, content_type: str) -> bool:
        return (
            (not self._methods or method in self._methods)
            and self._type in {"", resource_type}
            and self._content_type in {"", content_type}
            and self._host in host_patterns(host)
            and (self._path is None or self._path.matches(path_segments(path)))
        )


def _media_type(call: CheckCall) -> str:
    return call.headers.get("content-type", "").partition(";")[0].strip().lower()


def _demand_one_utf8(content_type: str) -> None:
    """Refuse a body of two media types, or in another charset than that in which it is read (RFC 8259 section 8.1).

    A header that came twice has its values joined by ","; which of them counts differs from one server to the next, and
    the same bytes can be JSON and a form.
    """
    if "," in content_type:
        raise Refusal(Reason.BODY_ENCODING, "more than one media type")
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF8:
            raise Refusal(Reason.BODY_ENCODING, "a charset other than UTF-8")
