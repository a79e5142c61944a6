"""CheckRequest bytes to a `CheckCall`, quickly: what a proxy says in each message of a connection is read once.

Serializers write fields in the order of their numbers, so that a message has three pieces: the two ends of the
connection, the request, and what surrounds it (context extensions, metadata, the TLS session). The first and the last
come again and again, byte for byte, and what they mean is remembered by their bytes, as it was read from a whole
message by `request.Decoder`. A message of any other form is read by that alone. So each gets the answer that it
gives; tests compare the two on all that they have.
"""

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from google.protobuf.message import DecodeError

from authz.errors import Reason, Refusal
from authz.extauthz.request import Connection, Decoder, DecodeSettings, Surroundings, connection_of, surroundings_of
from authz.memo import Memo
from authz.model import CheckCall

_PIECE_BYTES = 4_096
"""Longer pieces are not remembered (I12)."""
FIELD_1, FIELD_2, FIELD_4 = 0x0A, 0x12, 0x22
"""How fields that have a length begin: of attributes 1 is the source, 2 the destination, 4 the request."""
MORE = 0x80
"""The bit that says that another byte of the number follows."""
_MOST_SHIFT = 28

Cut = tuple[int, int, int, int]
"""Where the ends of the connection begin, the request's field, its content, and what comes after it."""

_read_request = AttributeContext.Request.FromString


class RecurringDecoder:
    """Reads CheckRequests as `Decoder` does, and remembers what recurs."""

    def __init__(self, settings: DecodeSettings) -> None:
        self._decoder = Decoder(settings)
        self._connections: Memo[bytes, Connection] = Memo(settings.max_memo_entries)
        self._surroundings: Memo[bytes, Surroundings] = Memo(settings.max_memo_entries)

    def decode(self, message: bytes) -> CheckCall:
        """Read one CheckRequest.

        Raises:
            Refusal: REQUEST_MALFORMED, REQUEST_TOO_LARGE or HEADER_MALFORMED.

        Cost: about nine tenths of the decoder's, on a connection seen before.
        """
        try:
            found = cut(message)
        except (ValueError, IndexError):
            return self._decoder.decode(message)
        return self.decode_cut(message, found)

    def decode_cut(self, message: bytes, found: Cut) -> CheckCall:
        """As `decode`, of a message that was cut."""
        begin, request, inside, end = found
        ends, around = message[begin:request], message[end:]
        connection, surroundings = self._connections.get(ends), self._surroundings.get(around)
        if connection is None or surroundings is None:
            return self._learn(message, ends, around)
        try:
            asked = _read_request(message[inside:end])
        except DecodeError:
            raise Refusal(Reason.REQUEST_MALFORMED, "not a CheckRequest") from None
        if not asked.HasField("http"):
            return self._decoder.decode(message)
        return self._decoder.http_call(connection, surroundings, asked.http)

    def _learn(self, message: bytes, ends: bytes, around: bytes) -> CheckCall:
        """Read a whole message, and remember what it says of the connection, and of what surrounds the request."""
        call = self._decoder.decode(message)
        rest = AttributeContext.FromString(around)
        # A field that stands twice is put together from both: then no piece says all of it.
        if not (rest.HasField("source") or rest.HasField("destination") or rest.HasField("request")):
            if len(ends) <= _PIECE_BYTES:
                self._connections.put(ends, connection_of(call))
            if len(around) <= _PIECE_BYTES:
                self._surroundings.put(around, surroundings_of(call))
        return call


def cut(message: bytes) -> Cut:
    """Cut a message in three.

    Raises:
        ValueError, IndexError: it is written in another way, which says nothing of whether it is a CheckRequest.
    """
    begin, whole = span(message, 0, FIELD_1)
    _, source_end = span(message, begin, FIELD_1)
    _, request = span(message, source_end, FIELD_2)
    inside, end = span(message, request, FIELD_4)
    if whole != len(message) or end > whole:
        raise ValueError
    return begin, request, inside, end


def span(message: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the content begins, and ends, of the field of that tag at `at`.

    Raises:
        ValueError, IndexError: there is none, or of another tag, or one too long.
    """
    if message[at] != tag:
        raise ValueError
    length = message[at + 1]
    if length < MORE:
        return at + 2, at + 2 + length
    # Each byte of a number holds seven bits of it, the lowest first; two are what most lengths take.
    length = length - MORE | message[at + 2] << 7
    begin, shift = at + 3, 14
    while length >> shift - 7 >= MORE:
        if shift > _MOST_SHIFT:
            raise ValueError
        length = length - (MORE << shift - 7) | message[begin] << shift
        begin, shift = begin + 1, shift + 7
    return begin, begin + length
