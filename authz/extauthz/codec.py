"""Envoy's protocol as the PDP wants it: one object that decodes calls and encodes outcomes."""

from authz.extauthz.request import DecodeSettings, decode
from authz.extauthz.response import Encoder
from authz.model import CheckCall


class ExtAuthzCodec:
    """The `Codec` of the ext_authz v3 API."""

    def __init__(self, settings: DecodeSettings, encoder: Encoder) -> None:
        """Join the two directions."""
        self._settings = settings
        self.allow = encoder.allow
        self.deny = encoder.deny

    def decode(self, message: bytes) -> CheckCall:
        """Read a CheckRequest, or raise Refusal."""
        return decode(message, self._settings)
