"""What the services that change shared state rest on."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec
from google.protobuf.message import Message

from authz.control.fields import Fields
from authz.control.method import Call
from authz.control.settings import ControlSettings
from authz.stores.database.records import Once
from authz.stores.database.store import Store

_MAX_KEY_CHARACTERS = 128
_ID_BYTES = 12


class Settle(Protocol):
    """Sees to it that what was changed is in force."""

    async def __call__(self) -> None:
        """Return once what the store holds is in force in every process of this host, or raise ControlError."""


class Backing(msgspec.Struct, frozen=True, kw_only=True):
    """The store, and what is to be done around each change of it."""

    settings: ControlSettings
    store: Store
    settle: Settle
    clock: Callable[[], float]

    def fields(self, idempotency_key: str = "") -> Fields:
        """Answer what checks a request's fields, its idempotency key first."""
        fields = Fields(self.settings.max_text_characters)
        fits = len(idempotency_key) <= _MAX_KEY_CHARACTERS
        fields.demand("idempotency_key", fits, f"longer than {_MAX_KEY_CHARACTERS} characters")
        return fields

    def once(self, call: Call, key: str, request: Message) -> Once | None:
        """Answer what gives a retry with the same idempotency key the first answer; None: it came without one."""
        if not key:
            return None
        return Once(
            scope=f"{call.action} {call.caller.name}",
            key=key,
            digest=hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest(),
            expires_at=call.now + self.settings.idempotency_seconds,
        )


def new_id(kind: str) -> str:
    """Answer an id that nobody can guess, its kind in front."""
    return f"{kind}-{secrets.token_hex(_ID_BYTES)}"
