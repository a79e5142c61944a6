"""CheckRequest bytes to a `CheckCall`, at once: messages of a form seen before, which differ in ids and path only.

A client that calls again sends the same headers over the same connection, and its proxy tells of it in the same bytes
but for few places: the time, the number of the stream, the path, and the ids by which requests are traced. What is
around these places is the form of a message. Where the form is known, so is all that the message says, but for them.

That is no guess. A form is learnt from a message that was read thoroughly, and only if the same message with other ids
and another path, read thoroughly as well, says the same but for these. Later every byte around them is compared, those
that tell of lengths included, so that the places lie within the same fields. What does not fit is read thoroughly.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from authz.errors import Refusal
from authz.extauthz.recurring import FIELD_1, FIELD_2, FIELD_4, MORE, RecurringDecoder, cut, span
from authz.extauthz.request import DecodeSettings
from authz.memo import Memo, size
from authz.model import CheckCall, Recurrence

_MOST_BYTES = 4_096
"""Longer descriptions of a connection, or of a request, are not kept (I12)."""
_MOST_ALIKE = 8
"""Most forms of one client that are alike in method and length; they are tried one by one."""
_CLIENT_BYTES = 192
"""So much of the source's description, where it is longer, tells of the client's address and port, and who it is: by
this a client is looked up. Also what a client takes besides its description."""
_CREDIT, _MOST_CREDIT = 8, 64
"""How many forms of a client are learnt before one has come again, and ever in a row. Each that does earns another."""
_REST = 64
"""After so many that are not learnt one is, so that whoever comes first to a connection that is shared cannot have all
others on it read thoroughly ever after."""
_PATH: Final = ":path"
_PATHS: Final = 2
"""How often a message tells of the path: as a header, and in a field of its own. An id stands in it once. What does not
is compared like all else."""
_IDS: Final = ("x-request-id", "traceparent", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid")
"""Headers that are new in every request."""
_ID = re.compile(rb"[0-9a-f-]{1,127}")
_TEXT = re.compile(rb"[\x20-\x7e]+")
"""A path in which nothing is that a text or a header's value may not have."""
_BEGIN = re.compile(
    rb"\n[\x02-\x0c]\x08[\x80-\xff]{0,4}[\x00-\x7f](?:\x10[\x80-\xff]{0,4}[\x00-\x7f])?"  # request.time
    rb"(\x12)[\x80-\xff]{0,2}[\x00-\x7f]"  # request.http
    rb"\n[\x01-\x14]([0-9]+)\x12[\x01-\x20]([A-Z]+)"  # its id, its method
)
_VALUES: Final = (0x12, 0x1A)
"""How a value begins in an entry of `headers`, and in one of `header_map`."""
_MAP, _LIST, _SIZE = 0x1A, 0x6A, 0x48
"""How fields of a request begin: an entry of `headers`, `header_map`, and `size`, which is a number."""
_WIRE_TYPE, _HAS_LENGTH = 7, 2
"""The bits of a tag that tell how a field is written, and what they are where its length comes first."""
_NAMED: Final = {b"\n%c%b" % (len(name), name.encode()): name for name in (_PATH, *_IDS)}
"""Headers that may differ, by how an entry of theirs begins."""
_FORM_BYTES = 1_500
"""What a form takes besides the bytes that it compares, and what it says: itself, its places, that in the table;
measured."""
_HEAD_BYTES = 2
"""What tag and length take before a value of less than 128 bytes."""

Span = tuple[int, int, str]
"""Where a value begins and ends, and of what: a header's name, that of the path for the path itself."""


class _Place(NamedTuple):
    """Where a value stands that may be another one in every message."""

    name: str
    begin: int
    """Counted, like `end`, from where forms begin."""
    end: int
    after: bytes
    """All that follows up to the next place, or the end of the message."""


class Form:
    """What all messages of one form say. It begins behind the request's method."""

    __slots__ = ("_before", "_call", "_headers", "_places", "_size")

    def __init__(self, call: CheckCall, rest: bytes, spans: list[Span]) -> None:
        """`rest`: a message of the form, from where forms begin; `spans`: the places in it, from left to right."""
        ids = frozenset(name for _, _, name in spans if name is not _PATH)
        self._call = msgspec.structs.replace(call, recurrence=Recurrence(ids))
        self._headers = dict(call.headers)
        self._size = len(rest)
        self._before = rest[: spans[0][0]]
        ends = [begin for begin, _, _ in spans[1:]] + [len(rest)]
        self._places = tuple(
            _Place(name, begin, end, rest[end:until]) for (begin, end, name), until in zip(spans, ends, strict=True)
        )

    def read(self, message: bytes, stream_id: bytes, at: int) -> CheckCall | None:
        """Read a message that is of this form from `at` on; None: it is not."""
        if len(message) - at != self._size or not message.startswith(self._before, at):
            return None
        headers, path = self._headers.copy(), b""
        for name, begin, end, after in self._places:
            if not message.startswith(after, at + end):
                return None
            if name is not _PATH:
                if not _ID.fullmatch(message, at + begin, at + end):
                    return None
                headers[name] = message[at + begin : at + end].decode()
            elif path:  # it is told of twice
                if not message.startswith(path, at + begin):
                    return None
            elif _TEXT.fullmatch(message, at + begin, at + end):
                path = message[at + begin : at + end]
                headers[_PATH] = path.decode()
            else:
                return None
        return msgspec.structs.replace(
            self._call,
            stream_id=stream_id.decode(),
            path=headers[_PATH] if path else self._call.path,
            headers=headers,
        )


class _Client:
    """A connection of a client: how it is described, in full, and the forms of what came over it."""

    __slots__ = ("credit", "ends", "forms", "missed")

    def __init__(self, ends: bytes) -> None:
        self.ends = ends
        self.credit = _CREDIT
        """How many forms may still be learnt."""
        self.missed = 0
        """Messages that nothing was learnt from, since something was."""
        self.forms: dict[tuple[bytes, int], tuple[Form, ...]] = {}
        """By method and length."""


_Begun = tuple[bytes, int, bytes, int, int]
"""A message up to where forms begin: its stream id and where that stands, its method, where forms begin, and where the
request ends."""


class FormDecoder:
    """Reads CheckRequests as `Decoder` does, those of a known form without looking at them field by field."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._thorough = RecurringDecoder(settings)
        self._clients: Memo[bytes, _Client] = Memo(settings.max_memo_entries)
        self._max_bytes = self._room = settings.max_form_bytes

    def decode(self, message: bytes) -> CheckCall:
        """Read one CheckRequest.

        Raises:
            Refusal: REQUEST_MALFORMED, REQUEST_TOO_LARGE or HEADER_MALFORMED.

        Cost: about half of the thorough decoder's for a form that is known, a third more for one that is not.
        """
        try:
            begin, whole = span(message, 0, FIELD_1)
            key = message[begin : min(span(message, begin, FIELD_1)[1], begin + _CLIENT_BYTES)]
            client = self._clients.get(key)
            if client is None or whole != len(message) or not message.startswith(client.ends, begin):
                self._meet(message, key)
                return self._thorough.decode(message)
            begun = _begin(message, begin + len(client.ends))
        except (ValueError, IndexError):
            return self._thorough.decode(message)
        stream_id, _, method, at, end = begun
        for form in client.forms.get((method, end - at), ()):
            call = form.read(message, stream_id, at)
            if call is not None:
                if client.credit < _MOST_CREDIT:
                    client.credit += 1
                return call
        call = self._thorough.decode(message)
        if len(message) - at <= _MOST_BYTES:
            if client.credit or client.missed >= _REST:
                client.credit, client.missed = max(client.credit - 1, 0), 0
                self._learn(message, call, client, begun)
            else:
                client.missed += 1
        return call

    def _meet(self, message: bytes, key: bytes) -> None:
        """Remember a connection.

        Raises:
            ValueError, IndexError: it is described in another way.
        """
        begin, request, _, _ = cut(message)
        if request - begin <= _MOST_BYTES:
            self._reserve(request - begin + _CLIENT_BYTES)
            self._clients.put(key, _Client(message[begin:request]))

    def _learn(self, message: bytes, call: CheckCall, client: _Client, begun: _Begun) -> None:
        """Remember the form of a message that says `call`, if with other ids and another path it says the like."""
        spans = _spans(message, begun, call.path.encode())
        if not spans:
            return
        stream_id, _, method, at, end = begun
        form = Form(call, message[at:], [(begin - at, end - at, name) for begin, end, name in spans])
        other, its_id = _unlike(message, begun, spans)
        try:
            expected = self._thorough.decode(other)
        except Refusal:
            return
        if form.read(message, stream_id, at) == call and form.read(other, its_id, at) == expected:
            self._reserve(len(message) + _taken(call))
            key = method, end - at
            client.forms[key] = (form, *client.forms.get(key, ())[: _MOST_ALIKE - 1])

    def _reserve(self, taken: int) -> None:
        """Take room, which if need be is made by forgetting everything (I12)."""
        if taken > self._room:
            self._clients.clear()
            self._room = self._max_bytes
        self._room -= taken


def _taken(call: CheckCall) -> int:
    """What a form of messages that say `call` takes in bytes, but for theirs. It has the headers in two tables."""
    said = call.headers, call.context_extensions, call.metadata, call.route_metadata
    return _FORM_BYTES + sys.getsizeof(call.headers) + size(said)


def _begin(message: bytes, request: int) -> _Begun:
    """Read a message, whose request is told of at `request`, up to where forms begin.

    Raises:
        ValueError, IndexError: it is of no form.
    """
    inside, end = span(message, request, FIELD_4)
    found = _BEGIN.match(message, inside, end)
    if found is None:
        raise ValueError
    _, (http, _), (id_begin, id_end), (method_begin, at) = found.regs
    if not (
        message[inside + 1] == http - inside - _HEAD_BYTES
        and span(message, http, FIELD_2) == (id_begin - _HEAD_BYTES, end)
        and message[id_begin - 1] == id_end - id_begin
        and message[method_begin - 1] == at - method_begin
    ):
        raise ValueError
    return message[id_begin:id_end], id_begin, message[method_begin:at], at, end


def _spans(message: bytes, begun: _Begun, path: bytes) -> list[Span]:
    """Where the values stand that may be others in every message, from left to right; none: it is of no form.

    They are looked for field by field: whoever writes a body writes there what looks like a header, or half of one.
    """
    try:
        spans = list(_varying(message, begun, path))
    except (ValueError, IndexError):
        return []
    times = Counter([name for _, _, name in spans])
    return [each for each in spans if times[each[2]] == (_PATHS if each[2] is _PATH else 1)]


def _varying(message: bytes, begun: _Begun, path: bytes) -> Iterator[Span]:
    """As `_spans`.

    Raises:
        ValueError, IndexError: the request is written in another way than proxies do.
    """
    _, _, _, start, stop = begun
    for tag, begin, end in _fields(message, start, stop):
        if tag == FIELD_4:
            if message[begin:end] == path:
                yield begin, end, _PATH
        elif tag == _MAP:
            yield from _entry(message, begin, end, path)
        elif tag == _LIST:
            for each, entry, entry_end in _fields(message, begin, end):
                if each == FIELD_1:
                    yield from _entry(message, entry, entry_end, path)


def _entry(message: bytes, begin: int, end: int, path: bytes) -> Iterator[Span]:
    """The value of a header, if it may be another one in every message: an entry is its name and its value alone."""
    tag = begin + _HEAD_BYTES + message[begin + 1]
    name = _NAMED.get(message[begin:tag])
    if name is None or message[tag] not in _VALUES:
        return
    value, value_end = span(message, tag, message[tag])
    if value_end == end and (message[value:end] == path if name is _PATH else _ID.fullmatch(message, value, end)):
        yield value, end, name


def _fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields between two places that have a length: tag, and where the content begins and ends.

    Raises:
        ValueError, IndexError: there are others than a proxy writes.
    """
    while at < end:
        tag = message[at]
        if tag == _SIZE:
            at += 1
            while message[at] >= MORE:
                at += 1
            at += 1
        elif tag < MORE and tag & _WIRE_TYPE == _HAS_LENGTH:
            begin, at = span(message, at, tag)
            yield tag, begin, at
        else:
            raise ValueError
    if at != end:
        raise ValueError


def _unlike(message: bytes, begun: _Begun, spans: list[Span]) -> tuple[bytes, bytes]:
    """The same message with other ids, and another path of the same length; and its stream id."""
    known_id, id_at, _, _, _ = begun
    other, stream_id = bytearray(message), _filled(known_id, b"1", b"2")
    other[id_at : id_at + len(stream_id)] = stream_id
    for begin, end, name in spans:
        other[begin:end] = _filled(message[begin:end], *((b"/", b"*") if name is _PATH else (b"0", b"f")))
    return bytes(other), stream_id


def _filled(value: bytes, one: bytes, another: bytes) -> bytes:
    """A value of the same length that differs from it at its begin."""
    return (another if value.startswith(one) else one) * len(value)
