"""Who is signed in: sessions on the server's side, of which a browser holds nothing but an unguessable name."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

import msgspec

from authz.console.settings import Role, SessionSettings
from authz.model import Value

_BYTES = 32


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A human, as the provider vouched for them."""

    issuer: str
    subject: str
    """The `sub` of the ID token: who they are here, for ever."""
    person: str
    """The claim that tells people apart for approvals, `sub` mostly: the same by whatever way they come."""
    name: str
    """What they are called; anybody could be."""
    roles: frozenset[Role]
    groups: tuple[str, ...]
    """As policies know them."""
    claims: Mapping[str, Value]
    """Their groups and names as the provider tells them."""
    token: str
    """The SHA-256 of the ID token, in lower-case hex."""
    issued_at: float

    @property
    def id(self) -> str:
        """The one name of this human."""
        return f"{self.issuer}#{self.subject}"

    def is_same(self, other: "Person") -> bool:
        """Whether this is that human."""
        return self.subject == other.subject and self.issuer == other.issuer


class Session(msgspec.Struct):
    """One browser that somebody has signed in with."""

    person: Person
    digest: str
    """The SHA-256 of its name."""
    csrf: str
    """What every form of this session must hold."""
    began: float
    ends: float
    used: float


class Sessions:
    """All of them, within bounds (I12)."""

    def __init__(self, settings: SessionSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._by_digest: OrderedDict[str, Session] = OrderedDict()
        """By the SHA-256 of the name, so that looking one up tells nothing by its time; the last used at the end."""

    def __len__(self) -> int:
        return len(self._by_digest)

    def begin(self, person: Person) -> str:
        """Begin a session, and answer its name: always a new one, whatever the browser came with (fixation)."""
        now = self._clock()
        self._drop_ended(now)
        own = [digest for digest, session in self._by_digest.items() if session.person.is_same(person)]
        for digest in own[: max(0, len(own) + 1 - self._settings.max_per_user)]:
            del self._by_digest[digest]
        while len(self._by_digest) >= self._settings.max_sessions:
            self._by_digest.popitem(last=False)
        name = secrets.token_urlsafe(_BYTES)
        digest = _digest(name)
        self._by_digest[digest] = Session(
            person=person,
            digest=digest,
            csrf=secrets.token_urlsafe(_BYTES),
            began=now,
            ends=now + self._settings.absolute_seconds,
            used=now,
        )
        return name

    def find(self, name: str) -> Session | None:
        """Answer the session of this name, now used once more; None: there is none, or it has ended."""
        digest = _digest(name)
        session = self._by_digest.get(digest)
        if session is None:
            return None
        now = self._clock()
        if self._ended(session, now):
            del self._by_digest[digest]
            return None
        session.used = now
        self._by_digest.move_to_end(digest)
        return session

    def knows(self, name: str) -> bool:
        """Whether there is a session of this name; looking does not count as using it."""
        session = self._by_digest.get(_digest(name)) if name else None
        return session is not None and not self._ended(session, self._clock())

    def going_on(self) -> list[Session]:
        """All that have not ended, the last used first; looking does not count as using them."""
        now = self._clock()
        return [session for session in reversed(self._by_digest.values()) if not self._ended(session, now)]

    def holds(self, session: Session) -> bool:
        """Whether a session goes on; looking does not count as using it."""
        return self._by_digest.get(session.digest) is session and not self._ended(session, self._clock())

    def end(self, name: str) -> None:
        """End a session."""
        self._by_digest.pop(_digest(name), None)

    def _ended(self, session: Session, now: float) -> bool:
        return now >= session.ends or now >= session.used + self._settings.idle_seconds

    def _drop_ended(self, now: float) -> None:
        for digest in [digest for digest, session in self._by_digest.items() if self._ended(session, now)]:
            del self._by_digest[digest]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
