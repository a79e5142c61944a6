"""Pages of lists, and the opaque tokens that lead from one to the next."""

import base64
import binascii
import hashlib
from typing import Final

import msgspec

from authz.control.faults import invalid
from authz.control.settings import ControlSettings
from authz.control.v1.common_pb2 import PageRequest

_MAX_TOKEN: Final = 512


class _Position(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    selection: str
    after: str


class Page(msgspec.Struct, frozen=True):
    """Which part of a list is wanted."""

    size: int
    after: str
    """Where the page before ended; "" at the beginning."""
    selection: str

    def token(self, last: str) -> str:
        """Answer the token for what comes after `last`."""
        position = msgspec.json.encode(_Position(self.selection, last))
        return base64.urlsafe_b64encode(position).rstrip(b"=").decode()


def read_page(page: PageRequest, settings: ControlSettings, *selects: object) -> Page:
    """Read which page is wanted; a token is good only for the selection that it came from.

    Raises:
        ControlError: the size or the token is not one.
    """
    if page.size < 0:
        raise invalid({"page.size": "must not be negative"})
    size = min(page.size or settings.default_page_size, settings.max_page_size)
    selection = hashlib.sha256(repr(selects).encode()).hexdigest()[:16]
    if not page.token:
        return Page(size, "", selection)
    try:
        raw = base64.b64decode(
            page.token[:_MAX_TOKEN] + "=" * (-len(page.token[:_MAX_TOKEN]) % 4), altchars=b"-_", validate=True
        )
        position = msgspec.json.decode(raw, type=_Position)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise invalid({"page.token": "not a token of this server"}) from None
    if position.selection != selection:
        raise invalid({"page.token": "of another list: the selection must stay the same from page to page"})
    return Page(size, position.after, selection)
