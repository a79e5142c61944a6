"""The keys that sign grants: private halves in files of this host, public halves in the store for every replica."""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from authz.errors import ConfigError
from authz.jose.jwk import KeySet, VerificationKey, parse_verification_key
from authz.jose.signing import SigningKey
from authz.stores.database.records import SigningKey as KeyRecord
from authz.stores.database.store import Store

_DIRECTORY = "signing-keys"
_SUFFIX = ".pem"
_MAX_FILE_BYTES = 16_384
_KID_BYTES = 12
_FOR_EVER = 4_102_444_800.0
"""2100: a key is over when it was rotated out and all that it signed has expired, not by itself."""


class KeyRing:
    """The signing keys of this host and the verification keys of all. For one event loop."""

    def __init__(
        self,
        store: Store,
        state_directory: Path,
        algorithm: Literal["EdDSA", "ES256"],
        grant_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """`grant_seconds`: how long after a key was last used a grant that it signed can still be accepted."""
        self._store = store
        self._directory = state_directory / _DIRECTORY
        self._algorithm = algorithm
        self._grant_seconds = grant_seconds
        self._clock = clock
        self._own: dict[str, SigningKey] = {}
        self._records: Sequence[KeyRecord] = ()
        self._rotating = asyncio.Lock()

    async def start(self) -> None:
        """Read the keys.

        Raises:
            ConfigError: a key file cannot be used. StoreError: the store cannot.
        """
        self._own = await asyncio.to_thread(self._read)
        await self.refresh()

    async def ensure(self) -> None:
        """Make a key where this host has none to sign with; for the process that issues grants.

        Raises:
            ConfigError: it cannot be written. StoreError: it cannot be published.
        """
        if self.signing is None:
            await self.rotate()

    async def refresh(self) -> None:
        """Read which keys there are, and those of this host that another process has made.

        Raises:
            StoreError: they cannot be read.
        """
        self._records = await self._store.keys()
        if any(record.kid not in self._own and self._path(record.kid).exists() for record in self._records):
            self._own = await asyncio.to_thread(self._read)

    async def rotate(self) -> KeyRecord:
        """Make a key and sign with it from now on; the ones before verify as long as a grant of theirs can live.

        Raises:
            StoreError: it cannot be published, and is not used then. ConfigError: it cannot be written.
        """
        async with self._rotating:
            now = self._clock()
            before = [record.kid for record in self._records if record.retired_at is None and record.kid in self._own]
            key = SigningKey(secrets.token_urlsafe(_KID_BYTES), _generate(self._algorithm))
            await asyncio.to_thread(self._write, key)
            # Published before it is used: whoever sees a grant of it can find it.
            record = await self._store.add_key(
                KeyRecord(
                    kid=key.kid,
                    replica_id=self._store.replica_id,
                    jwk=dict(key.public_jwk()),
                    created_at=now,
                    not_before=now,
                    expires_at=_FOR_EVER,
                )
            )
            self._own[key.kid] = key
            for kid in before:
                await self._store.retire_key(kid, now)
            await self.refresh()
            await asyncio.to_thread(self._remove_old, now)
            return record

    @property
    def signing(self) -> SigningKey | None:
        """The key to sign with; None before the start."""
        usable = [record for record in self._records if record.retired_at is None and record.kid in self._own]
        return self._own[max(usable, key=lambda record: record.not_before).kid] if usable else None

    @property
    def records(self) -> list[KeyRecord]:
        """The keys that sign or verify, those that sign first, then the newest."""
        now = self._clock()
        live = [record for record in self._records if self.verifies_until(record) > now]
        return sorted(live, key=lambda record: (record.retired_at is not None, -record.not_before))

    def verifies_until(self, record: KeyRecord) -> float:
        """When nothing that the key signed can be accepted any more."""
        if record.retired_at is None:
            return record.expires_at
        return min(record.expires_at, record.retired_at + self._grant_seconds)

    def key_set(self) -> KeySet:
        """The keys that verify now."""
        found: dict[str, VerificationKey] = {}
        for record in self.records:
            key = parse_verification_key(record.jwk)
            if key is not None:
                # Kept in memory for longer than that, it still lets nothing in that was signed after its time.
                found[key.kid] = msgspec.structs.replace(key, until=self.verifies_until(record))
        return KeySet(found)

    def jwks(self) -> bytes:
        """The public keys as a JSON Web Key Set (RFC 7517)."""
        return msgspec.json.encode({"keys": [record.jwk for record in self.records]})

    def _path(self, kid: str) -> Path:
        return self._directory / f"{kid}{_SUFFIX}"

    def _read(self) -> dict[str, SigningKey]:
        if not self._directory.is_dir():
            return {}
        return {path.stem: _load(path) for path in sorted(self._directory.glob(f"*{_SUFFIX}"))}

    def _write(self, key: SigningKey) -> None:
        text = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path(key.kid), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{self._directory}: a signing key cannot be written: {error.strerror}") from None

    def _remove_old(self, now: float) -> None:
        """Private keys that sign nothing any more go: what is not there cannot be stolen."""
        over: Mapping[str, KeyRecord] = {each.kid: each for each in self._records if each.retired_at is not None}
        for kid in [kid for kid in self._own if kid in over and over[kid].retired_at is not None]:
            retired = over[kid].retired_at
            if retired is not None and retired < now:
                del self._own[kid]
                self._path(kid).unlink(missing_ok=True)


def _generate(algorithm: Literal["EdDSA", "ES256"]) -> Ed25519PrivateKey | EllipticCurvePrivateKey:
    return Ed25519PrivateKey.generate() if algorithm == "EdDSA" else generate_private_key(SECP256R1())


def _load(path: Path) -> SigningKey:
    problem = ""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                problem = "others can read it: chmod 600"
            content = file.read(_MAX_FILE_BYTES)
        key = load_pem_private_key(content, password=None)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):  # the library's text may quote the key (I10)
        raise ConfigError(f"{path}: not an unencrypted PEM private key") from None
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        problem = problem or "neither an Ed25519 nor a P-256 key"
    if problem or not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: {problem}")
    try:
        return SigningKey(path.stem, key)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
