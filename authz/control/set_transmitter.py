"""Tells other systems what is revoked here: security events, pushed in order until they are taken (RFC 8935, CAEP)."""

import asyncio
import hashlib
import http.client
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog

from authz.control.set_reader import CREDENTIAL_CHANGE, SESSION_REVOKED
from authz.control.settings import SignalReceiverSettings, SignalSettings
from authz.errors import ConfigError
from authz.jose.signing import SigningKey, sign_compact
from authz.model import Value
from authz.stores.database.errors import ChangesLostError
from authz.stores.database.records import Change, Revocation
from authz.stores.database.store import Store
from authz.stores.https_fetch import FetchError, check_url

_TYPE = "secevent+jwt"
_TAKEN = 202
_RETRY_FROM = 500
_TOO_MANY = 429


class _Place(msgspec.Struct, frozen=True):
    """How far a receiver has been told."""

    store_id: str
    seq: int


class SetTransmitter:
    """Tells one receiver, for as long as it runs."""

    def __init__(  # noqa: PLR0913 - the parts that meet here
        self,
        receiver: SignalReceiverSettings,
        settings: SignalSettings,
        store: Store,
        *,
        issuer: str,
        key: Callable[[], SigningKey | None],
        state_directory: Path,
        base: Path,
    ) -> None:
        """`base`: where relative file names start.

        Raises:
            ConfigError: the URL is not one of HTTPS, or the authorities cannot be loaded.
        """
        try:
            check_url(receiver.url)
        except FetchError as error:
            raise ConfigError(f"control.signals.receivers: {receiver.url}: {error}") from None
        self._receiver = receiver
        self._settings = settings
        self._store = store
        self._issuer = issuer
        self._key = key
        self._place_file = state_directory / f"signals-{hashlib.sha256(receiver.url.encode()).hexdigest()[:16]}.json"
        self._authorization = base / receiver.authorization_file if receiver.authorization_file else None
        try:
            self._tls = ssl.create_default_context(cafile=str(base / receiver.ca_file) if receiver.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"control.signals.receivers: {receiver.ca_file}: no usable certificates: {type(error).__name__}"
            ) from None
        self._log = structlog.get_logger("authz.signals")

    async def run(self) -> None:
        """Tell what is revoked from where the last run ended; a receiver that is new is told from now on."""
        place = await asyncio.to_thread(self._read_place)
        if place is None or place.store_id != self._store.store_id:
            place = await self._move(self._store.head)
        while True:
            try:
                async for changes in self._store.watch(place.seq, place.store_id):
                    for change in changes:
                        await self._tell(change)
                    place = await self._move(changes[-1].seq)
            except ChangesLostError:
                self._log.error("events were deleted before they could be delivered", receiver=self._receiver.url)
                place = await self._move(self._store.head)
            else:
                return

    async def _tell(self, change: Change) -> None:
        event = event_of(change, self._issuer)
        if event is None:
            return
        subject, name, content = event
        jti = f"{self._store.store_id}-{change.seq}"  # the same at every attempt, so that it counts once
        pause = self._settings.retry_min_seconds
        while True:
            key = self._key()
            if key is not None:
                claims = {
                    "iss": self._issuer,
                    "jti": jti,
                    "iat": int(change.at),
                    "aud": self._receiver.audience,
                    "sub_id": subject,
                    "events": {name: content},
                }
                status = await asyncio.to_thread(self._post, sign_compact(claims, _TYPE, key))
                if status == _TAKEN:
                    return
                if status and status < _RETRY_FROM and status != _TOO_MANY:
                    self._log.error("a receiver refuses an event", receiver=self._receiver.url, status=status, jti=jti)
                    return
                self._log.warning("an event could not be delivered; trying again", receiver=self._receiver.url)
            await asyncio.sleep(pause * (1 + secrets.randbelow(256) / 1024))
            pause = min(pause * 2, self._settings.retry_max_seconds)

    def _post(self, token: str) -> int:
        """Deliver once; answer the status, 0 when there was none."""
        parts = urlsplit(self._receiver.url)
        headers = {"Content-Type": f"application/{_TYPE}", "Accept": "application/json", "User-Agent": "authz"}
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=self._settings.timeout_seconds, context=self._tls
        )
        try:
            if self._authorization is not None:
                headers["Authorization"] = self._authorization.read_text("ascii").strip()
            path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request("POST", path, token.encode("ascii"), headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError):
            return 0
        finally:
            connection.close()

    async def _move(self, seq: int) -> _Place:
        place = _Place(self._store.store_id, seq)
        await asyncio.to_thread(self._write_place, place)
        return place

    def _read_place(self) -> _Place | None:
        try:
            return msgspec.json.decode(self._place_file.read_bytes(), type=_Place)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write_place(self, place: _Place) -> None:
        new = self._place_file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(place))
        new.replace(self._place_file)


def event_of(change: Change, issuer: str) -> tuple[dict[str, Value], str, dict[str, Value]] | None:
    """Answer a change of the store as (subject, event type, event); None: it says nothing to others."""
    if change.kind != "revoked":
        return None
    revocation = msgspec.convert(change.data["revocation"], Revocation)
    content: dict[str, Value] = {"event_timestamp": int(revocation.before or revocation.created_at)}
    content["initiating_entity"] = "admin" if revocation.author.startswith("operator:") else "system"
    match revocation.kind:
        case "grant":
            return {"format": "jwt_id", "iss": issuer, "jti": revocation.value}, SESSION_REVOKED, content
        case "task":
            return {"format": "opaque", "id": revocation.value}, SESSION_REVOKED, content
        case "credential":
            content |= {"credential_type": "x509", "change_type": "revoke"}
            return {"format": "opaque", "id": revocation.value}, CREDENTIAL_CHANGE, content
        case "trust_domain":
            return {"format": "uri", "uri": f"spiffe://{revocation.value}"}, SESSION_REVOKED, content
        case "issued_before" if revocation.cut_off != "principal":
            return None  # of everybody, or of an issuer: there is no subject to name
        case _:
            return _principal(revocation.value), SESSION_REVOKED, content


def _principal(value: str) -> dict[str, Value]:
    if value.startswith("spiffe://"):
        return {"format": "uri", "uri": value}
    issuer, _, name = value.partition("#")
    return {"format": "iss_sub", "iss": issuer, "sub": name}
