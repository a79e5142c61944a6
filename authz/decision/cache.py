"""Decisions that may be used again: bounded, each with its end, and gone the moment that anything moves under them.

Allows and denials are kept apart, so that a flood of distinct garbage cannot push out what is of use. An entry counts
only under the snapshot and the epoch in which its making *began*, so that a change in the middle of an evaluation can
never be outlived by its result (I4).
"""

from collections import OrderedDict
from typing import Annotated, Protocol, TypeAlias

import msgspec

from authz.decision.key import Key
from authz.decision.snapshot import Snapshot
from authz.memo import Memo, size
from authz.model import Decision, Subject

_ENTRY_BYTES = 300
"""What an entry takes besides its key and its answer: itself, its decision, its place in the table; measured."""
_MAX_POLICIES = 64
"""Most policy files that are counted each for itself (I12)."""
_OTHER_POLICIES = "others"
_MAX_ALIKE = 4_096
"""Most answers, and decisions, that are looked for among those of other entries."""
_ALIKE_BYTES = 4_096
"""Longer answers are not."""
_SUBJECT_BYTES = 1_500
"""What a subject takes besides its own texts and claims: itself, its credentials, its place in the memos; measured."""


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many decisions are kept to be used again, and for how long."""

    max_allowed_entries: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 100_000
    """Most allows that are kept; 0: none, every request is evaluated."""
    max_denied_entries: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 20_000
    """Most denials that are kept, apart from the allows; 0: none."""
    max_bytes: Annotated[int, msgspec.Meta(ge=65_536, le=17_179_869_184)] = 134_217_728
    """Most memory that the entries take, estimated, in bytes; of it a fifth for denials."""
    max_questions: Annotated[int, msgspec.Meta(ge=2, le=10_000_000)] = 16_384
    """Most questions, each of one client for one path, of which it is remembered how they were understood; those that
    take more than 8 kB never are."""
    max_age_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    """Longest time that a decision is used again, whatever it rests on."""


class Epoch(Protocol):
    """A number that moves whenever something changes that decisions rest on, besides the snapshot."""

    @property
    def current(self) -> int:
        """The number now. Cost: must be that of reading memory."""


class LocalEpoch:
    """The epoch of a process that serves alone."""

    def __init__(self) -> None:
        self.current = 0

    def advance(self) -> int:
        """Let no decision made before be used again; answer the new number."""
        self.current += 1
        return self.current


class PolicyUse(msgspec.Struct, gc=False):
    """How often the rules of one policy file decided."""

    again: int = 0
    """Decisions of theirs that were used again."""
    afresh: int = 0
    """Decisions that they were asked for."""


class Entry:
    """One decision, with its answer cut where the id of each call's own decision goes."""

    __slots__ = ("decision", "epoch", "parts", "since", "size", "subject", "until", "use")

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place only
        self,
        decision: Decision,
        parts: tuple[bytes, ...],
        subject: Subject,
        since: float,
        until: float,
        epoch: int,
    ) -> None:
        self.decision = decision
        self.parts = parts
        self.subject = subject
        """Kept so that the key, which names it by its place in memory, cannot come to mean another."""
        self.since = since
        """When it was made; a clock that was set back makes it void."""
        self.until = until
        self.epoch = epoch
        self.size = _ENTRY_BYTES + sum(map(len, parts))
        self.use = _NO_USE


_FREED_AT_ONCE = 16
"""Most void entries that are let go of at a time: some 30 us."""

_NO_USE = PolicyUse()
"""Of an entry that is not kept yet."""


class CacheStats(msgspec.Struct):
    """What the cache has been through; only rises."""

    hits_allowed: int = 0
    hits_denied: int = 0
    absent: int = 0
    expired: int = 0
    epoch: int = 0
    clock: int = 0
    uncacheable: int = 0
    """Calls whose decision could not be used again, by the rules or by what they rest on."""
    evicted_allowed: int = 0
    evicted_denied: int = 0
    invalidated_by_reload: int = 0
    """Entries dropped with the snapshot that they were made under."""
    invalidated_by_epoch: int = 0
    """Entries dropped because the epoch had moved."""
    cleared: int = 0
    """Entries dropped on request."""
    policies: dict[str, PolicyUse] = msgspec.field(default_factory=dict)
    """By the policy file of the rule that decided; "" where none did. Of too many files the last are "others"."""

    def of(self, decision: Decision) -> PolicyUse:
        """The counts of the policy file that decided."""
        name = decision.rule.file if decision.rule else ""
        found = self.policies.get(name)
        if found is None:
            if len(self.policies) >= _MAX_POLICIES:
                name = _OTHER_POLICIES
            found = self.policies.setdefault(name, PolicyUse())
        return found


class _Held:
    """A subject that entries keep alive: counted once, however many they are; every new token makes one (I12)."""

    __slots__ = ("entries", "size")

    def __init__(self, subject: Subject) -> None:
        texts = (subject.id, subject.path, subject.namespace, subject.service_account, subject.hops)
        self.size = _SUBJECT_BYTES * (1 + len(subject.chain)) + size(texts) + size(subject.claims)
        self.size += sum(size(hop.id) * 2 for hop in subject.chain)
        if subject.transaction is not None:
            self.size += _SUBJECT_BYTES + size(subject.transaction.context) + size(subject.transaction.request)
        self.entries = 0


_Void: TypeAlias = "list[OrderedDict[Key, Entry] | dict[int, _Held]]"


class _Table:
    """One bounded table, least recently used first."""

    __slots__ = ("_held", "bytes", "entries", "evicted", "max_bytes", "max_entries")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evicted = 0
        self._held: dict[int, _Held] = {}
        """The subjects of the entries, each by its place in memory, where its entries keep it."""

    def put(self, key: Key, entry: Entry) -> None:
        self.drop(key)
        entry.size += size(key)
        held = self._held.get(id(entry.subject)) or _Held(entry.subject)
        if entry.size + held.size > self.max_bytes:
            return
        self.entries[key] = entry
        self.bytes += entry.size
        if not held.entries:
            self._held[id(entry.subject)] = held
            self.bytes += held.size
        held.entries += 1
        while len(self.entries) > self.max_entries or self.bytes > self.max_bytes:
            _, oldest = self.entries.popitem(last=False)
            self._release(oldest)
            self.evicted += 1

    def drop(self, key: Key) -> None:
        gone = self.entries.pop(key, None)
        if gone is not None:
            self._release(gone)

    def clear(self) -> "_Void":
        """Hold nothing any more; answer what was held, which is void, for the caller to let go of."""
        void: _Void = [self.entries, self._held]
        self.entries, self._held, self.bytes = OrderedDict(), {}, 0
        return void

    def _release(self, gone: Entry) -> None:
        self.bytes -= gone.size
        held = self._held[id(gone.subject)]
        held.entries -= 1
        if not held.entries:
            del self._held[id(gone.subject)]
            self.bytes -= held.size


class DecisionCache:
    """The decisions of one process. Not for use by several threads."""

    def __init__(self, settings: CacheSettings, epoch: Epoch) -> None:
        """Start empty."""
        denied_bytes = settings.max_bytes // 5
        self._allowed = _Table(settings.max_allowed_entries, settings.max_bytes - denied_bytes)
        self._denied = _Table(settings.max_denied_entries, denied_bytes)
        self._max_age = settings.max_age_seconds
        self._epoch = epoch
        self._snapshot: Snapshot | None = None
        self._answers: Memo[tuple[bytes, ...], tuple[bytes, ...]] = Memo(_MAX_ALIKE)
        self._decisions: Memo[Decision, Decision] = Memo(_MAX_ALIKE)
        self._stats = CacheStats()
        self._void: _Void = []
        """What a reload left behind: 100,000 entries freed at once would keep a request waiting for 0.1 s."""

    @property
    def epoch(self) -> int:
        """The epoch now; read it before anything that a decision rests on, and hand it to `keep`."""
        return self._epoch.current

    def find(self, snapshot: Snapshot, key: Key | None, epoch: int, now: float) -> Entry | None:
        """An entry that holds `now`; None: decide afresh. Cost: about half a microsecond."""
        if snapshot is not self._snapshot:
            self._begin(snapshot)
        if key is None:
            return None
        table = self._allowed
        entry = table.entries.get(key)
        if entry is None:
            table = self._denied
            entry = table.entries.get(key)
            if entry is None:
                self._stats.absent += 1
                return None
        # I4: its end, the epoch, and a clock that went back behind its making.
        if entry.epoch == epoch and entry.since <= now < entry.until:
            table.entries.move_to_end(key)
            entry.use.again += 1
            if table is self._allowed:
                self._stats.hits_allowed += 1
            else:
                self._stats.hits_denied += 1
            return entry
        self._drop(table, key, entry, epoch, now)
        return None

    def keep(self, snapshot: Snapshot, key: Key | None, entry: Entry) -> None:
        """Keep a decision for its time; not one of a snapshot that has been replaced, nor one whose end has come."""
        entry.until = min(entry.until, entry.since + self._max_age)
        entry.use = self._stats.of(entry.decision)
        entry.use.afresh += 1
        if key is None or snapshot is not self._snapshot or entry.until <= entry.since:
            self._stats.uncacheable += 1
            return
        table = self._allowed if entry.decision.allowed else self._denied
        if not table.max_entries:
            return
        # Entries of a caller are mostly alike in all but their keys: equal decisions and answers are kept once.
        entry.decision = self._decisions.same(entry.decision)
        if entry.size <= _ALIKE_BYTES:
            entry.parts = self._answers.same(entry.parts)
        table.put(key, entry)
        if self._void:
            self._free_some()

    def clear(self) -> int:
        """Drop every entry; answer how many there were."""
        dropped = self._drop_all()
        self._stats.cleared += dropped
        return dropped

    @property
    def stats(self) -> CacheStats:
        """What happened so far."""
        self._stats.evicted_allowed = self._allowed.evicted
        self._stats.evicted_denied = self._denied.evicted
        return self._stats

    @property
    def entries(self) -> tuple[int, int]:
        """How many allows and denials are kept; some of them may have ended and not been met since."""
        return len(self._allowed.entries), len(self._denied.entries)

    @property
    def bytes(self) -> int:
        """What the entries take, estimated."""
        return self._allowed.bytes + self._denied.bytes

    def _begin(self, snapshot: Snapshot) -> None:
        """What was decided under another snapshot is void as a whole."""
        self._snapshot = snapshot
        self._stats.invalidated_by_reload += self._drop_all()

    def _drop_all(self) -> int:
        dropped = sum(self.entries)
        self._void += [each for each in (*self._allowed.clear(), *self._denied.clear()) if each]
        return dropped

    def _free_some(self) -> None:
        """Let go of some of what is void: called for each entry that is kept, so that there are never more of both."""
        void = self._void[-1]
        for _ in range(min(_FREED_AT_ONCE, len(void))):
            void.popitem()
        if not void:
            self._void.pop()

    def _drop(self, table: _Table, key: Key, entry: Entry, epoch: int, now: float) -> None:
        stats = self._stats
        table.drop(key)
        if entry.epoch != epoch:
            stats.epoch += 1
            stats.invalidated_by_epoch += 1
        elif now < entry.since:
            stats.clock += 1
        else:
            stats.expired += 1
