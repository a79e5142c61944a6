"""The policies that were loaded last, and which is in force: the newest, or one that an operator went back to."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated, Generic, Protocol, TypeVar

import msgspec

from authz.errors import ConfigError

_ALIASES = 16
_MIN_PREFIX = 8


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many earlier policies stay in memory, ready to be gone back to."""

    keep: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """How many policies besides the newest and the one in force are kept."""
    max_rules: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 100_000
    """The most rules of all those kept policies together: 100,000 rules take 0.1 to 0.3 GB. The oldest go first."""


class Versioned(Protocol):
    """What is kept."""

    @property
    def version(self) -> str:
        """A hash of its content."""

    @property
    def rule_count(self) -> int:
        """How many rules it holds."""


_T = TypeVar("_T", bound=Versioned)


class Kept(msgspec.Struct, frozen=True):
    """One policy of the history, as operators are told of it."""

    version: str
    """A hash of model and rules."""
    policy_versions: tuple[str, ...]
    """What records called it, newest last: one for each set of keys and other files that it was in force with."""
    loaded_at: float
    rules: int
    newest: bool
    in_force: bool
    pinned: bool


class _Entry(Generic[_T]):
    def __init__(self, digest: bytes, policy: _T, loaded_at: float) -> None:
        self.digest = digest
        self.policy = policy
        self.loaded_at = loaded_at
        self.aliases: deque[str] = deque(maxlen=_ALIASES)


class SnapshotHistory(Generic[_T]):
    """Keeps policies by the digest of their text. May be used from any thread.

    What is kept is the compiled policy alone, not the keys and the inventory that it was in force with: going back to
    older rules must not bring back a key that was revoked since.
    """

    def __init__(self, settings: HistorySettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: list[_Entry[_T]] = []  # newest last
        self._pinned: _Entry[_T] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, digest: bytes) -> _T | None:
        """Answer the kept policy of that text."""
        with self._lock:
            return next((entry.policy for entry in self._entries if entry.digest == digest), None)

    def add(self, digest: bytes, policy: _T) -> None:
        """Take a policy as the newest; one that is kept already becomes the newest again."""
        with self._lock:
            entry = next((each for each in self._entries if each.policy is policy), None)
            if entry is None:
                entry = _Entry(digest, policy, self._clock())
            else:
                self._entries.remove(entry)
            self._entries.append(entry)

    @property
    def chosen(self) -> _T:
        """Answer the policy that should be in force: the pinned one, else the newest.

        Raises:
            ConfigError: none was loaded yet.
        """
        with self._lock:
            return self._chosen().policy

    @property
    def pinned(self) -> _T | None:
        """The policy that is pinned, if one is."""
        pinned = self._pinned
        return pinned.policy if pinned else None

    def known_as(self, policy: _T, policy_version: str) -> None:
        """Remember what records call decisions made under a policy."""
        with self._lock:
            for entry in self._entries:
                if entry.policy is policy and policy_version not in entry.aliases:
                    entry.aliases.append(policy_version)

    def rollback(self, version: str) -> _T:
        """Pin a kept policy until `release`; newer ones are loaded and kept meanwhile, but not in force.

        `version`: its own, at least eight characters of it, or the `policy_version` of a record.

        Raises:
            ConfigError: no kept policy, or more than one, has it.
        """
        with self._lock:
            found = [entry for entry in self._entries if _is_named(entry, version)]
            if len(found) != 1:
                kept = ", ".join(entry.policy.version[:16] for entry in self._entries)
                problem = "more than one kept policy" if found else "no kept policy"
                raise ConfigError(f"{problem} has the version {version!r}; kept are: {kept}")
            self._pinned = found[0]
            return found[0].policy

    def release(self) -> _T:
        """Pin nothing any more; answer the newest policy."""
        with self._lock:
            self._pinned = None
            return self._chosen().policy

    def listing(self) -> tuple[Kept, ...]:
        """Tell of every kept policy, the newest first."""
        with self._lock:
            chosen = self._chosen() if self._entries else None
            return tuple(
                Kept(
                    version=entry.policy.version,
                    policy_versions=tuple(entry.aliases),
                    loaded_at=entry.loaded_at,
                    rules=entry.policy.rule_count,
                    newest=entry is self._entries[-1],
                    in_force=entry is chosen,
                    pinned=entry is self._pinned,
                )
                for entry in reversed(self._entries)
            )

    def trim(self) -> list[_T]:
        """Let go of the policies beyond the settings' bounds and answer them, for the caller to free."""
        with self._lock:
            spare = [e for e in self._entries[:-1] if e is not self._pinned]
            let_go: list[_Entry[_T]] = []
            while spare and (
                len(spare) > self._settings.keep or sum(e.policy.rule_count for e in spare) > self._settings.max_rules
            ):
                let_go.append(spare.pop(0))
            self._entries = [entry for entry in self._entries if entry not in let_go]
            return [entry.policy for entry in let_go]

    def _chosen(self) -> _Entry[_T]:
        if self._pinned is not None:
            return self._pinned
        if not self._entries:
            raise ConfigError("no policy was loaded yet")
        return self._entries[-1]


def _is_named(entry: _Entry[_T], version: str) -> bool:
    own = entry.policy.version
    return version in entry.aliases or (len(version) >= _MIN_PREFIX and own.startswith(version))
