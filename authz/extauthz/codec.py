"""Envoy's protocol as the PDP wants it: one object that decodes calls and encodes outcomes."""

from authz.extauthz.forms import FormDecoder
from authz.extauthz.recurring import RecurringDecoder
from authz.extauthz.request import DecodeSettings
from authz.extauthz.response import Encoder


class ExtAuthzCodec:
    """The `Codec` of the ext_authz v3 API."""

    def __init__(self, settings: DecodeSettings, encoder: Encoder) -> None:
        """Join the two directions."""
        decoder = FormDecoder(settings) if settings.max_form_bytes else RecurringDecoder(settings)
        self.decode = decoder.decode
        self.shape = encoder.shape
        self.allow = encoder.allow
        self.deny = encoder.deny
