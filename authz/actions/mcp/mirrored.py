"""How a value of the body is written in a header that mirrors it.

Source: revision 2026-07-28, transports, "Value Encoding": plain where it is visible ASCII, blanks and tabs, else
`=?base64?...?=`, to the letter.
"""

import base64
import binascii
import re
from typing import Final

from authz.errors import Reason, Refusal

_BLANKS: Final = " \t"
_PLAIN: Final = re.compile(r"[\t -~]*")
_BEGIN, _END = "=?base64?", "?="
_ENCODED: Final = re.compile(r"=\?base64\?([A-Za-z0-9+/]*={0,2})\?=")


def decoded(value: str, header: str) -> str:
    """What a mirrored value stands for; one that only begins like an encoded one stands for itself.

    Raises:
        Refusal: BODY_MISMATCH: a character that must be encoded, or an encoding that is none.
    """
    value = value.strip(_BLANKS)
    if _PLAIN.fullmatch(value) is None:
        raise Refusal(Reason.BODY_MISMATCH, f"{header}: a character that no header may have unless it is encoded")
    found = _ENCODED.fullmatch(value)
    if found is None:
        if value.startswith(_BEGIN) and value.endswith(_END):
            raise Refusal(Reason.BODY_MISMATCH, f"{header} is not base64")
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(Reason.BODY_MISMATCH, f"{header} is not base64 of UTF-8") from None
